"""`opendojo service backup|restore|token`: for whoever owns the machine, at the machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where(Common):
    root: Path = Path("runs/service")
    """Folder of the service."""
    database: str = ""
    """SQLAlchemy's address of the database; SQLite in the folder by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup(_Where):
    """Copy rows and jobs' files into a new folder; the service may go on meanwhile."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Where to; it must not be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(_Where):
    """Fill an empty database and folder from a backup, of either kind of database."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The backup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(_Where):
    """Make a member's token, with all scopes of the role; it is shown once."""

    organisation: str = "first"
    """Name of the organisation."""
    user: str = "admin"
    """Name of the member."""
    days: int = 30
    """Days until it expires."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 4 where a backup is damaged."""
    kind = (
        Annotated[Backup, tyro.conf.subcommand("backup")]
        | Annotated[Restore, tyro.conf.subcommand("restore")]
        | Annotated[Token, tyro.conf.subcommand("token")]
    )
    chosen: Any = parse(kind, "service", arguments, "Look after a service.")  # type: ignore[arg-type]
    try:
        from opendojo.service.database import address_of
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install 'opendojo[service]'") from None
    address = address_of(chosen.root, chosen.database)
    if isinstance(chosen, Token):
        return _token(chosen, address)
    from opendojo.service.backup import back_up, restore

    if isinstance(chosen, Backup):
        told, verb = back_up(address, chosen.root, chosen.folder), "backed up to"
    else:
        told, verb = restore(chosen.folder, address, chosen.root), "restored from"
    if chosen.json:
        print_document(dataclasses.asdict(told))
    else:
        print(f"{verb} {chosen.folder}: {told.rows['job']:,} jobs, {told.rows['ledger']:,} rows of "
              f"the ledger, {told.files:,} files of {told.files_bytes:,} bytes")  # fmt: skip
    return 0


def _token(chosen: Token, address: str) -> int:
    from opendojo.service.serve import operators_token

    secret = operators_token(address, chosen.organisation, chosen.user, chosen.days * 86400)
    if chosen.json:
        print_document({"token": secret})
    else:
        print(secret)
    return 0
