"""Gangs begin and end together; outputs of earlier jobs come in, those of others never."""

from __future__ import annotations

import sys
import time

import pytest
from service_help import add_job, add_tenant, state_of

JOB = {"command": ["demo"], "chips": 1, "limit_s": 60}


def _task(folder, *words, **more):
    from opendojo.service import Task

    return Task(id="att_1", command=words, chips=3, limit_s=60, work=folder / "work",
                folder=folder / "attempt-1", **more)  # fmt: skip


def _ended(task):
    from opendojo.service import LocalLauncher

    launcher, end = LocalLauncher((sys.executable, "-S", "-c")), time.monotonic() + 40
    launcher.ensure(task)
    while (status := launcher.poll(task)).phase in ("absent", "running"):
        assert time.monotonic() < end, status
        time.sleep(0.02)
    while launcher.waiting:
        launcher.poll(task)
        time.sleep(0.02)
    return status


MEET = """
import os, socket, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
where = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    with socket.create_server(where) as server:
        met = sorted(server.accept()[0].recv(9) for _ in range(size - 1))
    open("met", "w").write(repr(met))
else:
    while True:
        try:
            socket.create_connection(where).send(str(rank).encode())
            break
        except OSError:
            time.sleep(0.02)
"""


def test_workers_find_each_other_and_are_one_attempt(tmp_path):
    status = _ended(_task(tmp_path, MEET, workers=3))
    assert status.exit_code == 0
    assert (tmp_path / "work" / "met").read_text() == "[b'1', b'2']"


def test_one_that_fails_ends_all_with_its_code(tmp_path):
    words = """
import os, sys, time
open("pid" + os.environ["RANK"], "w").write(str(os.getpid()))
while len([f for f in os.listdir() if f.startswith("pid")]) < 3: time.sleep(0.02)
if os.environ["RANK"] == "1": sys.exit(7)
time.sleep(60)
"""
    from pathlib import Path

    status = _ended(_task(tmp_path, words, workers=3))
    assert status.exit_code == 7
    assert status.report is not None and status.report.wall_ms < 40_000
    pids = [int((tmp_path / "work" / f"pid{rank}").read_text()) for rank in range(3)]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_killed_wrapper_leaves_no_worker(tmp_path):
    import os
    import signal
    from pathlib import Path

    from opendojo.service import LocalLauncher

    task = _task(tmp_path, "import time; time.sleep(60)", workers=3)
    launcher = LocalLauncher((sys.executable, "-S", "-c"))
    launcher.ensure(task)
    group = task.folder / "group"
    while not group.exists() or len(group.read_text().split()) < 3:
        time.sleep(0.02)
    pids = group.read_text().split()
    os.kill(int((task.folder / "claim").read_text()), signal.SIGKILL)
    while launcher.poll(task).phase != "lost":
        time.sleep(0.02)
    states = [Path(f"/proc/{pid}/stat") for pid in pids]
    assert all(not one.exists() or ") Z " in one.read_text() for one in states)


def test_a_gang_starts_whole_or_not_at_all(api, database):
    tenant, secret = add_tenant(database, "a")
    first = add_job(database, tenant, chips=1)
    head = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "k"}
    odd = api.post("/v1/jobs", json=JOB | {"chips": 3, "workers": 2}, headers=head)
    assert odd.status_code == 422
    gang = api.post("/v1/jobs", json=JOB | {"chips": 2, "workers": 2}, headers=head).json()
    assert gang["workers"] == 2
    for _ in range(3):
        api.manager.tick()
    assert (state_of(database, first), state_of(database, gang["id"])) == ("running", "queued")
    assert api.get(f"/v1/jobs/{gang['id']}/why", headers=head).json()["kind"] == "room"
    api.post(f"/v1/jobs/{first}/cancel", headers=head)
    for _ in range(4):
        api.manager.tick()
    assert state_of(database, gang["id"]) == "running"
    assert len(api.manager.launcher.runs) == 2


def _wrote(api, job, **files):
    work = api.manager.folder(job) / "work"
    work.mkdir(parents=True)
    for name, text in files.items():
        (work / name).write_text(text)
    return work


def test_inputs_are_own_ended_jobs_only(api, database):
    tenant, secret = add_tenant(database, "a")
    _, other = add_tenant(database, "b")
    job = add_job(database, tenant)
    ask = JOB | {"inputs": {"in/run": f"{job}/run"}}
    head = lambda one: {"Authorization": f"Bearer {one}", "Idempotency-Key": "k"}  # noqa: E731
    for dry in ("false", "true"):
        url = f"/v1/jobs?dry_run={dry}"
        assert api.post(url, json=ask, headers=head(other)).status_code == 404
        assert api.post(url, json=ask, headers=head(secret)).status_code == 409
    api.post(f"/v1/jobs/{job}/cancel", headers=head(secret))
    made = api.post("/v1/jobs", json=ask, headers=head(secret))
    assert made.json()["inputs"] == {"in/run": f"{job}/run"}


@pytest.mark.parametrize("inputs", [{"/x": "job_00000001/a"}, {"a/../../x": "job_00000001/a"},
    {"x": "job_00000001/../job_00000002"}, {"x": "/etc/passwd"}, {"x": "job_00000001//etc"},
    {"": "job_00000001"},
    {"a": "job_00000001/a", "a/b": "job_00000001/b"}, {"a/./b": "job_00000001/a"}])  # fmt: skip
def test_inputs_stay_in_their_folders(api, database, inputs):
    _, secret = add_tenant(database, "a")
    head = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "k"}
    reply = api.post("/v1/jobs", json=JOB | {"inputs": inputs}, headers=head)
    assert reply.status_code == 422


def test_inputs_are_copies_and_links_bring_nothing_in(tmp_path):
    source = tmp_path / "old" / "work"
    (source / "run").mkdir(parents=True)
    (source / "run" / "model").write_text("trained")
    (tmp_path / "secret").write_text("another's")
    (source / "run" / "leak").symlink_to(tmp_path / "secret")
    (source / "out").symlink_to(tmp_path)
    brought = (str(source), "run", "in/run")
    words = "import os; print(sorted(os.listdir('in/run')), open('in/run/model').read()); open('in/run/model', 'w').write('new')"  # noqa: E501
    assert _ended(_task(tmp_path / "one", words, inputs=(brought,))).exit_code == 0
    assert "['model'] trained" in (tmp_path / "one" / "attempt-1" / "log").read_text()
    assert (source / "run" / "model").read_text() == "trained"
    for number, path in enumerate(("out/secret", "nothing", "run/leak")):
        folder = tmp_path / f"bad{number}"
        status = _ended(_task(folder, "print('ran')", inputs=((str(source), path, "x"),)))
        assert status.exit_code == 3
        assert "the input x is not there" in (folder / "attempt-1" / "log").read_text()
        assert not (folder / "work" / "x").exists()
