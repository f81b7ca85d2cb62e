"""A copy of the whole service in plain files, and back, from and to either kind of database.

`rows/TABLE.jsonl` holds the rows of one consistent instant, `jobs/` the files of all jobs,
`files.jsonl` their SHA-256, and `backup.json`, written last, what there is. Rows are restored into
the schema they were taken from, which is then upgraded: a copy outlives the schema.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, func, select, text

from opendojo.service.database import Database, alone, migrate, now_ms
from opendojo.store.atomic import sync_file, sync_folder, write_json

__all__ = ["BackedUp", "BadBackup", "back_up", "restore"]

_VERSION = 1
_BLOCK = 1 << 20


class BadBackup(OSError):
    """A backup that is not whole, or not of this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup holds."""

    revision: str
    """Schema of the rows."""
    made_ms: int
    rows: dict[str, int]
    """Number of rows of each table."""
    files: int
    files_bytes: int


def back_up(address: str, root: Path, folder: Path) -> BackedUp:
    """Copy the rows, then the jobs' files, into a new folder; the service may go on meanwhile.

    A file that a running job writes just then is copied as it is; links are left out. Raises
    ValueError where the folder is there already or the database holds no service.
    """
    if folder.exists():
        raise ValueError(f"{folder} is there already: name a new folder")
    _must_exist(address)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    database = Database(address)
    try:
        made_ms = now_ms()
        revision, tables = _dump(database, part / "rows")
    finally:
        database.close()
    files = list(_copied(root / "jobs", part / "jobs"))
    with (part / "files.jsonl").open("wb") as listed:
        digest = _write_lines(listed, files)
    write_json(part / "backup.json", {
        "version": _VERSION, "revision": revision, "made_ms": made_ms, "tables": tables,
        "files": len(files), "files_bytes": sum(one["bytes"] for one in files),
        "files_sha256": digest,
    })  # fmt: skip
    part.rename(folder)
    sync_folder(folder.parent)
    return _told(folder)


def restore(folder: Path, address: str, root: Path) -> BackedUp:
    """Fill an empty database and folder with a backup, then bring them to the newest schema.

    Jobs that ran count as lost and go on from their checkpoints: end what is left of the old
    service first. Raises BadBackup where anything of the copy is damaged, before anything is
    written; ValueError where there is something already, or a server has the folder.
    """
    told = _told(folder)
    files = _checked(folder)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(root / "server.lock"):
        if (root / "jobs").exists():
            raise ValueError(f"{root} holds jobs already: restore into an empty folder")
        migrate(address, told.revision)
        database = Database(address)
        part = root / ".jobs.part"
        try:
            _bring(folder / "jobs", files, part)
            _fill(database, folder, told)
            part.rename(root / "jobs")
            sync_folder(root)
        finally:
            database.close()
            shutil.rmtree(part, ignore_errors=True)
        migrate(address)
    return told


def _bring(source: Path, files: list[dict[str, Any]], part: Path) -> None:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for one in files:
        target = part / one["path"]
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _copy(source / one["path"], target) != one["sha256"]:
            raise BadBackup(f"{one['path']} of the backup changed while it was read")


def _must_exist(address: str) -> None:
    """SQLite would make an empty database where there is none."""
    path = address.removeprefix("sqlite:///")
    if path != address and not Path(path).is_file():
        raise ValueError(f"there is no database at {path}")


def _told(folder: Path) -> BackedUp:
    try:
        found = json.loads((folder / "backup.json").read_text())
        if found["version"] != _VERSION:
            raise BadBackup(f"{folder} is of version {found['version']}, this reads {_VERSION}")
        rows = {name: int(one["rows"]) for name, one in found["tables"].items()}
        return BackedUp(
            revision=found["revision"], made_ms=found["made_ms"], rows=rows,
            files=found["files"], files_bytes=found["files_bytes"],
        )  # fmt: skip
    except (FileNotFoundError, NotADirectoryError):
        raise BadBackup(f"{folder} is no backup: it has no backup.json") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBackup(f"{folder}/backup.json is damaged: {error!r}") from None


def _tables(link: Connection) -> dict[str, Table]:
    """The tables as they are there, in an order in which rows find what they refer to."""
    meta = MetaData()
    meta.reflect(link)
    return {one.name: one for one in meta.sorted_tables if one.name != "alembic_version"}


def _dump(database: Database, folder: Path) -> tuple[str, dict[str, Any]]:
    folder.mkdir(mode=0o700)
    told: dict[str, Any] = {}
    with database.reading() as session:
        plain = session.get_bind().dialect.name == "sqlite"  # one transaction there is one instant
        options = {} if plain else {"isolation_level": "REPEATABLE READ"}
        link = session.connection(execution_options=options)
        revision = MigrationContext.configure(link).get_current_revision()
        if revision is None:
            raise ValueError(f"the database {database.address} holds no service")
        for name, table in _tables(link).items():
            with (folder / f"{name}.jsonl").open("wb") as file:
                rows = _rows(link, table)
                count = [0]
                told[name] = {"sha256": _write_lines(file, _counted(rows, count))}
                told[name]["rows"] = count[0]
    return revision, told


def _rows(link: Connection, table: Table) -> Iterator[dict[str, Any]]:
    query = select(table).order_by(*table.primary_key.columns)
    for row in link.execution_options(yield_per=1000).execute(query):
        yield dict(row._mapping)


def _counted(rows: Iterator[dict[str, Any]], count: list[int]) -> Iterator[dict[str, Any]]:
    for row in rows:
        count[0] += 1
        yield row


def _write_lines(file: BinaryIO, rows: Any) -> str:
    """Write a line of JSON a row; their SHA-256."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        file.write(line)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _copied(source: Path, target: Path) -> Iterator[dict[str, Any]]:
    """Copy the plain files of a tree; who vanishes meanwhile, or is a link, is left out."""
    target.mkdir(mode=0o700)
    for at, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(at) / name
            inner = path.relative_to(source)
            copy = target / inner
            with contextlib.suppress(FileNotFoundError):
                if path.is_symlink() or not path.is_file():
                    continue
                copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                digest = _copy(path, copy)
                yield {"path": str(inner), "bytes": copy.stat().st_size, "sha256": digest}


def _copy(source: Path, target: Path) -> str:
    """Copy a file with its mode; the SHA-256 of what was written."""
    digest = hashlib.sha256()
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as old, target.open("wb") as new:
        while block := old.read(_BLOCK):
            digest.update(block)
            new.write(block)
        target.chmod(os.fstat(handle).st_mode & 0o777)
    sync_file(target)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(folder: Path) -> list[dict[str, Any]]:
    """The list of files, after every file was read and compared."""
    told = json.loads((folder / "backup.json").read_text())
    try:
        wrong = [name for name, one in told["tables"].items()
                 if _sha256(folder / "rows" / f"{name}.jsonl") != one["sha256"]]  # fmt: skip
        if _sha256(folder / "files.jsonl") != told["files_sha256"]:
            raise BadBackup(f"{folder}/files.jsonl is damaged")
        files = list(_lines(folder / "files.jsonl"))
        wrong += [one["path"] for one in files
                  if _sha256(folder / "jobs" / one["path"]) != one["sha256"]]  # fmt: skip
    except FileNotFoundError as error:
        raise BadBackup(f"{error.filename} of the backup is missing") from None
    if wrong:
        raise BadBackup(f"the backup {folder} is damaged: {', '.join(wrong[:5])}")
    return files


def _fill(database: Database, folder: Path, told: BackedUp) -> None:
    """Insert all rows in one transaction."""
    with database.writing() as session:
        link = session.connection()
        tables = _tables(link)
        if set(tables) != set(told.rows):
            raise BadBackup(f"schema {told.revision} has other tables than the backup")
        for name, table in tables.items():
            if link.execute(select(func.count()).select_from(table)).scalar_one():
                raise ValueError("the database holds a service already: restore into an empty one")
            many: list[dict[str, Any]] = []
            for row in _lines(folder / "rows" / f"{name}.jsonl"):
                many.append(row)
                if len(many) == 1000:
                    link.execute(table.insert(), many)
                    many = []
            if many:
                link.execute(table.insert(), many)
            _count_on(link, table)


def _count_on(link: Connection, table: Table) -> None:
    """PostgreSQL numbers new rows by a sequence, which inserted numbers do not move."""
    key = table.primary_key.columns.values()[0]
    if link.dialect.name == "sqlite" or key.type.python_type is not int:
        return
    name = link.execute(select(func.pg_get_serial_sequence(table.name, key.name))).scalar_one()
    most = link.execute(select(func.max(key))).scalar_one()
    if most is not None:
        link.execute(text("SELECT setval(:name, :most)"), {"name": name, "most": most})
