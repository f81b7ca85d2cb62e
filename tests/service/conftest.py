from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
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
def bare_address(request, tmp_path):
    """An empty database of either kind."""
    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path}/service.db"
    else:
        import psycopg

        folder = request.getfixturevalue("postgres")
        name = f"t{abs(hash(tmp_path))}"
        with psycopg.connect(f"host={folder} user=dojo dbname=postgres", autocommit=True) as link:
            link.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        made = f"postgresql+psycopg://dojo@/{name}?host={folder}"
    return made


@pytest.fixture
def address(bare_address):
    """A fresh database of either kind, at the newest schema."""
    from opendojo.service import migrate

    migrate(bare_address)
    return bare_address


@pytest.fixture
def database(address):
    from opendojo.service import Database

    opened = Database(address)
    yield opened
    opened.close()


@pytest.fixture
def api(database, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have the next httpx
        from fastapi.testclient import TestClient

    from opendojo.service import FakeLauncher, Manager
    from opendojo.service.app import make_app

    manager = Manager(database, FakeLauncher(), tmp_path / "data", 2)
    with TestClient(make_app(manager), raise_server_exceptions=False) as client:
        client.manager = manager  # type: ignore[attr-defined]
        yield client
