"""What the commands that speak to a service share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opendojo.cli.show import Common, parse, print_document

if TYPE_CHECKING:
    from opendojo.service.client import Client

__all__ = ["Nothing", "connected", "show", "simple"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing(Common):
    """No options but the common ones."""


def connected(work: Callable[[Client], int]) -> int:
    """Run with a client; 5 where the service cannot be reached."""
    import sys

    try:
        import httpx

        from opendojo.service.client import Client, Refused
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install 'opendojo[service]'") from None
    client = Client.logged_in()
    try:
        return work(client)
    except httpx.TransportError as error:
        print(f"opendojo: the service does not answer ({error}); try again", file=sys.stderr)
        return 5
    except Refused as refused:
        print(f"opendojo: {refused}", file=sys.stderr)
        return 4 if refused.status in (401, 403, 429) else 2
    finally:
        client.close()


def show(json: bool, document: dict[str, Any], text: str) -> int:
    """Print one of the two."""
    if json:
        print_document(document)
    else:
        print(text)
    return 0


def simple(name: str, about: str, arguments: list[str], work: Callable[[Client, bool], int]) -> int:
    """A command without options."""
    chosen = parse(Nothing, name, arguments, about)
    return connected(lambda client: work(client, chosen.json))
