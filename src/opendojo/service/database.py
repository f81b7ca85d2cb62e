"""Opens the database (SQLite or PostgreSQL) and brings it to the newest schema."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["Database", "alembic_config", "migrate", "now_ms"]


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Database:
    """Transactions: `reading()` never waits for a writer, `writing()` commits at its end.

    SQLite has one writer at a time, so a writing transaction takes its lock at once (BEGIN
    IMMEDIATE): none can find on its first write that what it read is old.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        if address.startswith("sqlite"):
            self._read, self._write = _sqlite(address, "BEGIN"), _sqlite(address, "BEGIN IMMEDIATE")
        else:
            self._read = self._write = create_engine(address, pool_size=20, pool_pre_ping=True)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that is rolled back at its end."""
        with Session(self._read, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that commits at its end, or leaves nothing behind where that raises."""
        with Session(self._write, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._read.dispose()
        self._write.dispose()


def _sqlite(address: str, begin: str) -> Any:
    engine = create_engine(address, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


def migrate(address: str, revision: str = "head") -> None:
    """Bring a database's schema to a revision; the data stay."""
    from alembic import command

    command.upgrade(alembic_config(address), revision)


def alembic_config(address: str) -> Config:
    """Alembic's settings for that database."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["address"] = address
    return config
