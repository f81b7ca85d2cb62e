"""Backup and restore between SQLite and PostgreSQL; nothing of a damaged copy is taken."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import asdict

import pytest
from service_help import add_job, add_tenant, state_of


def _all(address):
    """Every row as SQL has it, without the code under test."""
    import sqlalchemy as sa

    engine, found = sa.create_engine(address), {}
    with engine.connect() as link:
        for name in sorted(sa.inspect(link).get_table_names()):
            rows = link.execute(sa.text(f"SELECT * FROM {name}")).mappings()
            found[name] = sorted(
                json.dumps({k: _plain(v) for k, v in row.items()}, sort_keys=True) for row in rows
            )
    engine.dispose()
    return found


def _plain(value):
    """SQLite gives JSON as text and booleans as numbers."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.loads(value)
    return int(value) if isinstance(value, bool) else value


@pytest.fixture
def filled(address, database, tmp_path):
    """A service with a job that runs, one that waits, one that ended with files; its folder."""
    from opendojo.service import FakeLauncher, Manager

    root = tmp_path / "service"
    manager = Manager(database, launcher := FakeLauncher(), root, 2)
    tenant, secret = add_tenant(database, "a", price_micro=5_000_000)
    names = [add_job(database, tenant, chips=2, at_ms=1000 + n, retries=2) for n in range(3)]
    for _ in range(3):
        manager.tick()
    launcher.advance(7000)
    manager.tick()
    launcher.end(next(iter(launcher.runs)), 0)
    for _ in range(3):
        manager.tick()
    launcher.advance(5000)
    manager.tick()
    states = [state_of(database, name) for name in names]
    assert states == ["succeeded", "running", "queued"]
    work = manager.folder(names[0]) / "work" / "run"
    work.mkdir(parents=True)
    (work / "model").write_bytes(bytes(range(256)) * 5000)
    (work / "tool").write_text("#!/bin/sh\n")
    (work / "tool").chmod(0o700)
    (work / "link").symlink_to("/etc/passwd")
    (manager.folder(names[1]) / "attempt-1").mkdir(parents=True)
    (manager.folder(names[1]) / "attempt-1" / "claim").write_text("1")
    (manager.folder(names[1]) / "attempt-1" / "run.lock").write_text("")
    return root, names, secret


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_all_comes_back_and_goes_on(address, filled, new_address, tmp_path, kind):
    from sqlalchemy import delete, func
    from sqlalchemy.exc import DatabaseError

    from opendojo.service import Database, LocalLauncher, Manager
    from opendojo.service.backup import back_up, restore
    from opendojo.service.database import now_ms
    from opendojo.service.models import Attempt, Event, Interval, Job
    from opendojo.service.tenants import find_caller

    root, names, secret = filled
    told = back_up(address, root, tmp_path / "copy")
    assert (told.rows["job"], told.files) == (3, 4)
    assert told.rows == {k: len(v) for k, v in _all(address).items() if k != "alembic_version"}
    target, new_root = new_address(kind, "restored"), tmp_path / "new"
    assert asdict(restore(tmp_path / "copy", target, new_root)) == asdict(told)
    assert _all(target) == _all(address)
    copy = new_root / "jobs" / names[0] / "work" / "run"
    assert sorted(one.name for one in copy.iterdir()) == ["model", "tool"], "links stay behind"
    assert (copy / "model").read_bytes() == bytes(range(256)) * 5000
    assert (copy / "tool").stat().st_mode & 0o777 == 0o700
    database = Database(target)
    with database.reading() as session:
        assert find_caller(session, secret, now_ms()) is not None
        last = session.query(func.max(Event.id)).scalar()
    with pytest.raises(DatabaseError, match="append-only"), database.writing() as session:
        session.execute(delete(Interval))
    launcher = LocalLauncher((sys.executable, "-S", "-c", "print('went on')", "#"))
    manager = Manager(database, launcher, new_root, 2)
    manager.tick()  # what ran is lost: nobody holds its lock; it is tried again
    with database.reading() as session:
        ended = session.query(Attempt).filter_by(job_id=names[1], number=1).one()
        assert ended.ended_ms is not None and ended.exit_code is None
        assert session.query(func.max(Event.id)).scalar() > last
    for _ in range(400):
        manager.tick()
        if state_of(database, names[2]) == state_of(database, names[1]) == "succeeded":
            break
        time.sleep(0.05)
    assert [state_of(database, name) for name in names] == ["succeeded"] * 3
    while launcher.waiting:
        manager.tick()
        with database.reading() as session:
            for row in session.query(Attempt).where(Attempt.job_id.in_(names[1:])):
                launcher.poll(manager.task(session.get_one(Job, row.job_id), row))
        time.sleep(0.02)
    database.close()


def test_a_copy_is_of_one_instant(address, database, tmp_path):
    from opendojo.service.backup import back_up

    stop = threading.Event()

    def grow():
        for number in range(1000):
            if stop.is_set():
                return
            add_tenant(database, f"org-{number}")  # a row in each of four tables, or in none

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        told = [back_up(address, tmp_path, tmp_path / f"copy{n}").rows for n in range(6)]
    finally:
        stop.set()
        thread.join()
    counts = [
        {one[name] for name in ("tenant", "project", "user_account", "token")} for one in told
    ]
    assert all(len(one) == 1 for one in counts), told
    assert counts[0] != counts[-1], "nothing was written meanwhile: the test shows nothing"


def test_a_damaged_copy_is_refused_before_anything_is_written(
    address, filled, new_address, tmp_path
):
    from opendojo.service.backup import BadBackup, back_up, restore

    root, names, _ = filled
    copy = tmp_path / "copy"
    back_up(address, root, copy)
    victims = [*sorted((copy / "rows").iterdir()), copy / "files.jsonl", copy / "backup.json",
               copy / "jobs" / names[0] / "work" / "run" / "model"]  # fmt: skip
    target = new_address("sqlite", "restored")
    for victim in (one for one in victims if one.stat().st_size):
        good = victim.read_bytes()
        at = len(good) // 2
        for bad in (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], None):
            victim.unlink()
            if bad is not None:
                victim.write_bytes(bad)
            if victim.name == "backup.json" and bad is not None:
                victim.write_bytes(good[:at])
            with pytest.raises(BadBackup):
                restore(copy, target, tmp_path / "new")
            assert not (tmp_path / "restored.db").exists() and not (tmp_path / "new").exists()
        victim.write_bytes(good)
    restore(copy, target, tmp_path / "new")


def test_nothing_is_overwritten(address, filled, new_address, tmp_path):
    from opendojo.service.backup import BadBackup, back_up, restore
    from opendojo.service.database import alone

    root, _, _ = filled
    before = _all(address)
    back_up(address, root, tmp_path / "copy")
    with pytest.raises(ValueError, match="is there already"):
        back_up(address, root, tmp_path / "copy")
    with pytest.raises(ValueError, match="holds a service already"):
        restore(tmp_path / "copy", address, tmp_path / "new")
    with pytest.raises(ValueError, match="holds jobs already"):
        restore(tmp_path / "copy", new_address("sqlite", "x"), root)
    (tmp_path / "busy").mkdir()
    with (
        alone(tmp_path / "busy" / "server.lock"),
        pytest.raises(ValueError, match="another server"),
    ):
        restore(tmp_path / "copy", new_address("sqlite", "x"), tmp_path / "busy")
    with pytest.raises(ValueError, match="there is no database"):
        back_up(f"sqlite:///{tmp_path}/none.db", root, tmp_path / "other")
    with pytest.raises(BadBackup, match="is no backup"):
        restore(tmp_path, address, tmp_path / "new")
    assert _all(address) == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_copy_of_the_previous_schema_is_upgraded(bare_address, new_address, tmp_path, kind):
    from test_service_upgrade import fill_first_schema

    from opendojo.service import Database, migrate
    from opendojo.service.backup import back_up, restore
    from opendojo.service.models import Job

    migrate(bare_address, "0001")
    fill_first_schema(bare_address)
    assert back_up(bare_address, tmp_path, tmp_path / "copy").revision == "0001"
    target = new_address(kind, "restored")
    restore(tmp_path / "copy", target, tmp_path / "new")
    migrate(bare_address)
    assert _all(target) == _all(bare_address)
    database = Database(target)
    with database.reading() as session:
        assert session.get_one(Job, "job_00000001").workers == 1
    database.close()


def test_commands_back_up_restore_and_give_a_way_back_in(tmp_path, monkeypatch, capsys):
    from opendojo.cli import main
    from opendojo.service import Database, migrate
    from opendojo.service.database import address_of, now_ms
    from opendojo.service.serve import first_token
    from opendojo.service.tenants import find_caller

    def call(*words):
        code = main(["service", *words])
        return code, capsys.readouterr().out

    monkeypatch.chdir(tmp_path)

    (tmp_path / "runs" / "service").mkdir(parents=True)
    migrate(address := address_of(tmp_path / "runs" / "service"))
    database = Database(address)
    first_token(database)
    database.close()
    code, told = call("backup", "copy")
    assert code == 0 and "0 jobs" in told
    code, told = call("restore", "copy", "--root", "again", "--json")
    assert code == 0 and json.loads(told)["rows"]["tenant"] == 1
    assert call("restore", "copy", "--root", "again")[0] == 2
    (tmp_path / "copy" / "backup.json").unlink()
    assert call("restore", "copy", "--root", "more")[0] == 4
    code, token = call("token", "--root", "again", "--days", "1")
    assert code == 0
    database = Database(address_of(tmp_path / "again"))
    with database.reading() as session:
        caller = find_caller(session, token.strip(), now_ms())
        assert caller is not None and "operator" in caller.scopes
        assert find_caller(session, token.strip(), now_ms() + 86_400_000) is None
    database.close()
    assert call("token", "--root", "again", "--user", "nobody")[0] == 2
