"""`opendojo login ADDRESS --token ...`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Login(Common):
    """Keep the address and the token of a service."""

    address: Annotated[str, tyro.conf.Positional]
    """Such as http://127.0.0.1:8077."""
    token: str = "-"
    """The token; `-` reads it from the standard input, where no list of processes shows it."""
    identity: bool = False
    """The token is an ID token of the service's identity provider."""
    organisation: str = ""
    """Which of your organisations, where an identity provider knows you in several."""


def run(arguments: list[str]) -> int:
    """Check the token, then keep it in a file that only the user reads."""
    chosen = parse(Login, "login", arguments, "Keep the address and the token of a service.")
    try:
        import httpx

        from opendojo.service.client import Client, exchange, login_path
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install 'opendojo[service]'") from None
    from opendojo.store.atomic import write_json

    token = sys.stdin.readline().strip() if chosen.token == "-" else chosen.token
    try:
        if chosen.identity:
            token = exchange(chosen.address, token, chosen.organisation)
        quota = Client(chosen.address, token).quota()
    except httpx.TransportError as error:
        print(f"opendojo: {chosen.address} does not answer ({error})", file=sys.stderr)
        return 5
    path = login_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    old = os.umask(0o077)
    try:
        write_json(path, {"address": chosen.address, "token": token})
        path.chmod(0o600)
    finally:
        os.umask(old)
    if chosen.json:
        print_document({"organisation": quota["organisation"], "kept": str(path)})
    else:
        print(f"logged in to {quota['organisation']}; kept in {path}")
    return 0
