from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra `service` is not installed")
pytest.importorskip("fastapi", reason="the extra `service` is not installed")


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres():
    """A server of our own on a socket; skipped where there are no binaries."""
    binaries = _postgres_bin()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="odpg-", dir="/tmp"))
    prefix: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "nobody")
        prefix = ["setpriv", "--reuid=nobody", "--clear-groups"]
    run = lambda *words: subprocess.run(  # noqa: E731
        [*prefix, *words], check=True, capture_output=True, cwd=folder
    )
    try:
        run(binaries / "initdb", "-D", folder / "db", "-U", "dojo", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        where = ("-D", folder / "db", "-l", folder / "log")
        run(binaries / "pg_ctl", *where, "-w", "-o", options, "start")
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {getattr(error, 'stderr', error)!r:.200}")
    yield folder
    run(binaries / "pg_ctl", "-D", folder / "db", "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    """A fresh database of either kind, at the newest schema."""
    from opendojo.service import migrate

    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path}/service.db"
    else:
        import psycopg

        folder = request.getfixturevalue("postgres")
        name = f"t{abs(hash(tmp_path))}"
        with psycopg.connect(f"host={folder} user=dojo dbname=postgres", autocommit=True) as link:
            link.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        made = f"postgresql+psycopg://dojo@/{name}?host={folder}"
    migrate(made)
    return made


@pytest.fixture
def database(address):
    from opendojo.service import Database

    opened = Database(address)
    yield opened
    opened.close()
