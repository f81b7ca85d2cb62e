"""Real processes: they outlive the server, are billed by their record, never run twice."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def _task(folder: Path, *words: str, limit_s: int = 60):
    from opendojo.service import Task

    return Task(id="att_1", command=words, chips=1, limit_s=limit_s, work=folder / "work",
                folder=folder / "attempt-1")  # fmt: skip


def _until(launcher, task, phases, within_s=30.0):
    end = time.monotonic() + within_s
    while (status := launcher.poll(task)).phase not in phases:
        assert time.monotonic() < end, status
        time.sleep(0.02)
    return status


def _python():
    from opendojo.service import LocalLauncher

    return LocalLauncher((sys.executable, "-S", "-c"))


def test_two_servers_launch_one_attempt_once(tmp_path):
    task = _task(tmp_path, "open('ran', 'a').write('x'); import time; time.sleep(0.3)")
    one, two = _python(), _python()
    for launcher in (one, two, one, two):
        launcher.ensure(task)
    assert _until(two, task, {"ended"}).exit_code == 0
    two.ensure(task)
    while one.waiting or two.waiting:
        one.poll(task), two.poll(task)
        time.sleep(0.02)
    assert (tmp_path / "work" / "ran").read_text() == "x"


def test_stop_before_and_after_the_start(tmp_path):
    launcher = _python()
    task = _task(tmp_path / "a", "import time; time.sleep(60)")
    launcher.stop(task)
    launcher.ensure(task)
    assert launcher.poll(task).phase == "lost"
    task = _task(tmp_path / "b", "import time; time.sleep(60)")
    launcher.ensure(task)
    _until(launcher, task, {"running"})
    while not (task.folder / "group").exists():
        time.sleep(0.02)
    launcher.stop(task)
    status = _until(launcher, task, {"ended"})
    assert status.exit_code == 143
    assert status.report is not None and status.report.wall_ms < 60_000


def test_a_killed_wrapper_is_lost_and_leaves_nothing(tmp_path):
    launcher = _python()
    task = _task(tmp_path, "import time; time.sleep(60)")
    launcher.ensure(task)
    while not (task.folder / "group").exists():
        time.sleep(0.02)
    os.kill(int((task.folder / "claim").read_text()), signal.SIGKILL)
    assert _until(launcher, task, {"lost"}).exit_code is None


def test_time_limit_and_clean_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENDOJO_SECRET", "the server's")
    launcher = _python()
    task = _task(tmp_path, "import os, time; print(sorted(os.environ), flush=True); time.sleep(60)",
                 limit_s=1)  # fmt: skip
    launcher.ensure(task)
    assert _until(launcher, task, {"ended"}).exit_code == 143
    assert "SECRET" not in (task.folder / "log").read_text()
