"""Runs one attempt and writes down how it went; started by path, needs the standard library only.

It outlives the server. `run.lock` is held by it and all it starts, so the lock is free only when
nothing of the attempt is left; `claim` is made once, so an attempt never runs twice. `record.json`
is replaced in one piece every second, and at the end with the exit code.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH110, PTH112, PTH113, PTH114, PTH118, PTH120, PTH123, PTH208
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
BAD_DATA = 3
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
    if (missing := bring(task)) is not None:
        with open("log", "a") as log:
            log.write(f"opendojo: the input {missing} is not there\n")
        write_record({"begun_ms": time.time_ns() // 1_000_000, "wall_ms": 0, "cpu_ms": 0,
                      "exit": BAD_DATA})  # fmt: skip
        return 0
    return Run(task, run_lock).follow()


def bring(task):
    """Copy the inputs into the job's folder; the first one that is not there, or None.

    Whatever lies behind a link is not copied: a link could lead to another job's files.
    """
    import shutil

    work = os.path.realpath(task["work"])
    for root, path, name in task.get("inputs", ()):
        target, root = os.path.join(work, name), os.path.realpath(root)
        source = os.path.realpath(os.path.join(root, path))
        folder = os.path.dirname(target)
        if os.path.lexists(target):
            continue  # an earlier attempt's
        if not inside(source, root) or not os.path.exists(source):
            return name
        if not inside(os.path.realpath(folder), work):
            return name
        os.makedirs(folder, exist_ok=True)
        part = os.path.join(work, ".input")
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        if os.path.isdir(source):
            shutil.copytree(source, part, ignore=odd)
        else:
            shutil.copy2(source, part)
        os.rename(part, target)
    return None


def inside(path, root):
    """Is a resolved path the folder or in it."""
    return path == root or path.startswith(root + os.sep)


def odd(folder, names):
    """Names that are neither folders nor plain files."""
    paths = {name: os.path.join(folder, name) for name in names}
    return [
        name for name, path in paths.items()
        if os.path.islink(path) or not (os.path.isdir(path) or os.path.isfile(path))
    ]  # fmt: skip


def write_record(record):
    """Replace the record in one piece."""
    with open(".record", "w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(".record", "record.json")


class Run:
    """The children and their record; a gang's end together where one of them fails."""

    def __init__(self, task, run_lock):
        self.task, self.stop_s, self.cpu_ms, self.failed = task, None, 0, 0
        self.children = []
        self.begun_ms, self.begun_s = time.time_ns() // 1_000_000, time.monotonic()
        self.write(None)
        signal.signal(signal.SIGTERM, self.ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        workers = task.get("workers", 1)
        port = free_port() if workers > 1 else 0
        with open("log", "ab") as log, open("group", "w") as group:
            for rank in range(workers):
                self.children.append(subprocess.Popen(
                    task["argv"], cwd=task["work"],
                    env=task["env"] | (place(rank, workers, port) if workers > 1 else {}),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    pass_fds=(run_lock,),
                ))  # fmt: skip
                group.write(f"{self.children[-1].pid}\n")
                group.flush()

    def ask(self, *_):
        """SIGTERM: the children may write a checkpoint, then they are killed."""
        if self.stop_s is None:
            self.stop_s = time.monotonic() + GRACE_S

    def signal(self, number):
        """Send to all of the children's groups."""
        for child in self.children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, number)

    def follow(self):
        """Wait for the end, with a record every second; the groups are gone when this returns."""
        asked, beat_s = False, self.begun_s + BEAT_S
        while left := self.left():
            with contextlib.suppress(subprocess.TimeoutExpired):
                left[0].wait(timeout=0.05)
            now_s = time.monotonic()
            if now_s >= beat_s:
                self.write(None)
                beat_s = now_s + BEAT_S
            if now_s - self.begun_s > self.task["limit_s"] or self.failed:
                self.ask()
            if self.stop_s is not None and not asked:
                self.signal(signal.SIGTERM)
                asked = True
            if self.stop_s is not None and now_s > self.stop_s:
                self.signal(signal.SIGKILL)
        self.signal(signal.SIGKILL)
        self.write(self.failed if self.failed >= 0 else 128 - self.failed)
        return 0

    def left(self):
        """Children that still run; notes the first failure."""
        left = []
        for child in self.children:
            code = child.poll()
            if code is None:
                left.append(child)
            self.failed = self.failed or code or 0
        return left

    def used_ms(self):
        """Processor time of what has ended and of what runs in the child's session."""
        told = os.times()
        used = told.children_user + told.children_system
        if own := {child.pid for child in self.children if child.returncode is None}:
            for name in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    with open(f"/proc/{name}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                    if int(fields[3]) in own:
                        used += sum(map(int, fields[11:15])) / TICKS_PER_S
        return int(used * 1000)

    def write(self, code):
        """Replace the record in one piece."""
        self.cpu_ms = max(self.cpu_ms, self.used_ms())
        wall_ms = int((time.monotonic() - self.begun_s) * 1000)
        write_record({"begun_ms": self.begun_ms, "wall_ms": wall_ms, "cpu_ms": self.cpu_ms,
                      "exit": code})  # fmt: skip


def free_port():
    """A port that nobody has now; whoever takes it first fails the gang, which is tried again."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def place(rank, workers, port):
    """What a worker needs to find the others, under the names that PyTorch reads."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers),
            "LOCAL_WORLD_SIZE": str(workers), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port)}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
