"""Jobs as processes of this machine: each in a session of its own, outliving the server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from opendojo.service.launcher import Status, Task
from opendojo.service.ledger import Report
from opendojo.store.atomic import write_json

__all__ = ["LocalLauncher", "never_claimed", "read_record", "write_order"]

_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PYTHONPATH")


class LocalLauncher:
    """Launches through `wrapper.py`; nothing it must remember is in memory.

    Jobs run as the server's own user: other tenants' files are kept apart by folders and checks,
    not by a wall. Tenants that do not trust each other need the Slurm launcher.
    """

    def __init__(self, program: Sequence[str] = (sys.executable, "-m", "opendojo.cli")) -> None:
        self.program = tuple(program)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def waiting(self) -> int:
        """Wrappers of ours that were not seen to end."""
        return len(self._children)

    def ensure(self, task: Task) -> None:
        """Start the wrapper, unless the attempt was ever claimed or its wrapper is on its way."""
        child = self._children.get(task.id)
        if (task.folder / "claim").exists() or (child is not None and child.poll() is None):
            return
        write_order(task, self.program)
        wrapper = Path(__file__).with_name("wrapper.py")
        child = self._children[task.id] = subprocess.Popen(
            [sys.executable, "-I", "-S", str(wrapper), str(task.folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=child.wait, daemon=True).start()  # no zombies

    def poll(self, task: Task) -> Status:
        """Read the record; an attempt whose lock is free and has no exit code is lost."""
        child = self._children.get(task.id)
        if child is not None and child.poll() is not None:
            del self._children[task.id]
        if not (task.folder / "claim").exists():
            return Status(phase="absent")
        held = _held(task.folder / "run.lock")  # before the record: the last one may come between
        report, code = read_record(task.folder)
        if code is not None:
            return Status(phase="ended", report=report, exit_code=code)
        if not held:
            return Status(phase="lost", report=report)
        if not _held(task.folder / "wrapper.lock"):
            _kill_orphans(task.folder)
        return Status(phase="running", report=report)

    def stop(self, task: Task) -> None:
        """SIGTERM to the wrapper; what was never claimed is claimed here, so it cannot start."""
        if never_claimed(task.folder):
            return
        if _held(task.folder / "wrapper.lock"):
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int((task.folder / "claim").read_text()), signal.SIGTERM)


def write_order(task: Task, program: Sequence[str]) -> None:
    """Make an attempt's folders and tell its wrapper what to run, in a clean environment."""
    task.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    task.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    env = {name: os.environ[name] for name in _PASSED if name in os.environ}
    if "PYTHONPATH" in env:
        folders = filter(None, env["PYTHONPATH"].split(os.pathsep))
        env["PYTHONPATH"] = os.pathsep.join(str(Path(one).absolute()) for one in folders)
    env |= {"HOME": str(task.work), "TMPDIR": str(task.work), "OPENDOJO_ATTEMPT": task.id}
    order = {"argv": [*program, *task.command], "work": str(task.work), "env": env,
             "limit_s": task.limit_s, "workers": task.workers, "inputs": task.inputs}  # fmt: skip
    write_json(task.folder / "task.json", order)


def never_claimed(folder: Path) -> bool:
    """Claim an attempt so that it can never start; False where it was claimed before."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(folder / "claim", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def _held(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def read_record(folder: Path) -> tuple[Report | None, int | None]:
    """What the wrapper last wrote: its report, and the exit code once it has one."""
    try:
        found = json.loads((folder / "record.json").read_text())
    except FileNotFoundError:
        return None, None
    begun, wall, cpu = (int(found[name]) for name in ("begun_ms", "wall_ms", "cpu_ms"))
    return Report(begun_ms=begun, wall_ms=wall, cpu_ms=cpu), found["exit"]


def _kill_orphans(folder: Path) -> None:
    """The wrapper was killed: end what it left, for its record will never be closed."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        for group in (folder / "group").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(group), signal.SIGKILL)
