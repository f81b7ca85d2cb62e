"""A real server, killed again and again while clients submit."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

SERVER = """
import sys
from pathlib import Path
from opendojo.service.serve import Serving, serve
serve(Serving(root=Path(sys.argv[1]), port=int(sys.argv[2]), chips=4, tick_s=0.05,
      database=sys.argv[3], program=("/bin/sh", "-c", "sleep 0.05; echo ran >> ran")),
      lambda secret: None)
"""


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _storm(tmp_path, address, jobs, kills):
    """Submit, kill, wait for the end; returns the ids that were acknowledged."""
    from opendojo.service import Database
    from opendojo.service.client import Client
    from opendojo.service.database import now_ms
    from opendojo.service.tenants import make_tenant, make_token, make_user

    database = Database(address)
    with database.writing() as session:
        tenants = [make_tenant(session, f"t{i}", price_micro=1_234_567) for i in range(3)]
        users = [make_user(session, one.id, "u", "admin") for one in tenants]
        secrets = [make_token(session, u, ("read", "submit"), now_ms(), 9999)[0] for u in users]
    port, rng, acknowledged = _port(), random.Random(3), []
    words = [sys.executable, "-c", SERVER, str(tmp_path / "root"), str(port), address]
    start = lambda: subprocess.Popen(words, stderr=subprocess.DEVNULL)  # noqa: E731
    server = start()

    def submit(secret):
        client = Client(f"http://127.0.0.1:{port}", secret)
        for number in range(jobs // 3):
            told = client.submit(["demo"], key=f"k{number}", tries=3000, chips=1 + number % 2,
                                 retries=0, limit_s=60)  # fmt: skip
            acknowledged.append(told["id"])
        client.close()

    threads = [threading.Thread(target=submit, args=(secret,)) for secret in secrets]
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(0.1, 3.0))
            server.send_signal(signal.SIGKILL)
            server.wait()
            server = start()
        for thread in threads:
            thread.join()
        _wait(database, jobs)
    finally:
        server.terminate()
        server.wait()
    return database, acknowledged


def _wait(database, jobs):
    from opendojo.service.models import Job
    from opendojo.service.states import State

    end = time.monotonic() + 60 + jobs
    while True:
        with database.reading() as session:
            states = [State(row[0]) for row in session.query(Job.state)]
        if len(states) == jobs and all(state.finished for state in states):
            return
        assert time.monotonic() < end, {state: states.count(state) for state in states}
        time.sleep(0.2)


def _judge(tmp_path, database, acknowledged):
    from opendojo.service.models import Interval, Job

    with database.reading() as session:
        chips = dict(session.query(Job.id, Job.chips).all())
        states = {row[0] for row in session.query(Job.state)}
        rows = session.query(Interval).all()
    assert len(acknowledged) == len(set(acknowledged)) and set(acknowledged) == set(chips)
    assert states == {"succeeded"}
    cpu_ms = chip_ms = money = 0
    for job, count in chips.items():
        folder = tmp_path / "root" / "jobs" / job
        assert (folder / "work" / "ran").read_text() == "ran\n"
        records = [json.loads(path.read_text()) for path in folder.glob("attempt-*/record.json")]
        assert len(records) == 1
        chip_ms += count * records[0]["wall_ms"]
        cpu_ms += records[0]["cpu_ms"]
        money += count * records[0]["wall_ms"] * 1_234_567 // 3_600_000
    assert sum(row.chip_ms for row in rows) == chip_ms > 0
    assert sum(row.cpu_ms for row in rows) == cpu_ms
    assert sum(row.money_micro for row in rows) == money
    database.close()


def test_two_kills(tmp_path):
    from opendojo.service import migrate

    address = f"sqlite:///{tmp_path}/service.db"
    migrate(address)
    _judge(tmp_path, *_storm(tmp_path, address, 12, 2))


@pytest.mark.slow
def test_a_hundred_kills(tmp_path, address):
    _judge(tmp_path, *_storm(tmp_path, address, 600, 100))
