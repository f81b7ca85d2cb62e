"""Runs one attempt and writes down how it went; started by path, needs the standard library only.

It outlives the server. `run.lock` is held by it and all it starts, so the lock is free only when
nothing of the attempt is left; `claim` is made once, so an attempt never runs twice. `record.json`
is replaced in one piece every second, and at the end with the exit code.
"""

# ruff: noqa: PTH105, PTH123, PTH208
# pathlib takes longer to import than all the rest of this.

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

GRACE_S = 20.0
BEAT_S = 1.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main(folder: str) -> int:
    """Run what `task.json` in the attempt's folder says."""
    os.chdir(folder)
    run_lock = os.open("run.lock", os.O_CREAT | os.O_RDWR, 0o600)
    own_lock = os.open("wrapper.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(run_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(own_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        claim = os.open("claim", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except (BlockingIOError, FileExistsError):
        return 0
    os.write(claim, str(os.getpid()).encode())
    os.fsync(claim)
    os.close(claim)
    with open("task.json") as file:
        task = json.load(file)
    return Run(task, run_lock).follow()


class Run:
    """The child and its record."""

    def __init__(self, task, run_lock):
        self.task, self.stop_s, self.cpu_ms = task, None, 0
        self.begun_ms, self.begun_s = time.time_ns() // 1_000_000, time.monotonic()
        self.write(None)
        signal.signal(signal.SIGTERM, self.ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with open("log", "ab") as log:
            self.child = subprocess.Popen(
                task["argv"], cwd=task["work"], env=task["env"], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, pass_fds=(run_lock,),
            )  # fmt: skip
        with open("group", "w") as file:
            file.write(str(self.child.pid))

    def ask(self, *_):
        """SIGTERM: the child may write a checkpoint, then it is killed."""
        if self.stop_s is None:
            self.stop_s = time.monotonic() + GRACE_S

    def signal(self, number):
        """Send to all of the child's group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, number)

    def follow(self):
        """Wait for the end, with a record every second; the group is gone when this returns."""
        asked, beat_s = False, self.begun_s + BEAT_S
        while True:
            try:
                code = self.child.wait(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                now_s = time.monotonic()
            if now_s >= beat_s:
                self.write(None)
                beat_s = now_s + BEAT_S
            if now_s - self.begun_s > self.task["limit_s"]:
                self.ask()
            if self.stop_s is not None and not asked:
                self.signal(signal.SIGTERM)
                asked = True
            if self.stop_s is not None and now_s > self.stop_s:
                self.signal(signal.SIGKILL)
        self.signal(signal.SIGKILL)
        self.write(code if code >= 0 else 128 - code)
        return 0

    def used_ms(self):
        """Processor time of what has ended and of what runs in the child's session."""
        told = os.times()
        used = told.children_user + told.children_system
        if hasattr(self, "child") and self.child.returncode is None:
            for name in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    with open(f"/proc/{name}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                    if int(fields[3]) == self.child.pid:
                        used += sum(map(int, fields[11:15])) / TICKS_PER_S
        return int(used * 1000)

    def write(self, code):
        """Replace the record in one piece."""
        self.cpu_ms = max(self.cpu_ms, self.used_ms())
        wall_ms = int((time.monotonic() - self.begun_s) * 1000)
        record = {"begun_ms": self.begun_ms, "wall_ms": wall_ms, "cpu_ms": self.cpu_ms,
                  "exit": code}  # fmt: skip
        with open(".record", "w") as file:
            json.dump(record, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(".record", "record.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
