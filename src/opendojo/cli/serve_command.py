"""`opendojo serve`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve(Common):
    """Let other teams run jobs on this machine."""

    root: Path = Path("runs/service")
    """Folder of the database and the jobs' files."""
    chips: int = 1
    """How many chips there are to share: processors or accelerators, as jobs shall count."""
    machine: str = ""
    """What the chips are, such as dgx-h100, for plans; this machine's processors by default."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8077
    """Port to listen on."""
    backend: Literal["local", "slurm", "ray"] = "local"
    """What runs the jobs."""
    ray_address: str = ""
    """Address of the Ray cluster, for the backend ray."""
    database: str = ""
    """SQLAlchemy's address of the database; SQLite in the folder by default."""
    certificate: Path | None = None
    """TLS certificate (PEM)."""
    key: Path | None = None
    """TLS key (PEM)."""
    issuer: str = ""
    """Issuer of an identity provider (OpenID Connect) by which members may log in."""
    audience: str = ""
    """The client id that the provider knows this service by."""
    insecure: bool = False
    """Listen beyond loopback without TLS, behind a proxy that has it."""


def run(arguments: list[str]) -> int:
    """Serve until interrupted."""
    chosen = parse(Serve, "serve", arguments, "Let other teams run jobs on this machine.")
    try:
        from opendojo.service.serve import Serving, serve
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install 'opendojo[service]'") from None

    where = f"{'https' if chosen.certificate else 'http'}://{chosen.host}:{chosen.port}"

    def told(secret: str) -> None:
        if chosen.json:
            print_document({"address": where, "token": secret})
        else:
            print(f"first token, shown this once: {secret}")
            print(f"log in with: opendojo login {where} --token ...", flush=True)
        sys.stdout.flush()

    serving = Serving(
        root=chosen.root, chips=chosen.chips, host=chosen.host, port=chosen.port,
        database=chosen.database, certificate=chosen.certificate, key=chosen.key,
        insecure=chosen.insecure, backend=chosen.backend, ray_address=chosen.ray_address,
        machine=chosen.machine, issuer=chosen.issuer, audience=chosen.audience,
    )  # fmt: skip
    print(f"serving on {where}", file=sys.stderr, flush=True)
    serve(serving, told)
    return 0
