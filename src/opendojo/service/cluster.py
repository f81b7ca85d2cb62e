"""Jobs on Slurm, and as Ray Jobs; the engine places them, the wrapper keeps claim and record.

Both need the service's folder on a file system that all nodes see. A submission repeated after a
crash is harmless: the wrapper's claim lets one of them run. Gangs are one node's processors here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from opendojo.service.launcher import Status, Task
from opendojo.service.local import never_claimed, read_record, write_order

__all__ = ["RayLauncher", "SlurmLauncher"]

Call = Callable[[Sequence[str]], str]
_WRAPPER = Path(__file__).with_name("wrapper.py")
_PROGRAM = (sys.executable, "-m", "opendojo.cli")


def _call(words: Sequence[str]) -> str:
    """Run a command of the engine. Raises subprocess.CalledProcessError where it fails."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


class _Engine:
    """What both share: an attempt is found by its id, which is the engine's name of the job."""

    def __init__(self, program: Sequence[str] = _PROGRAM, call: Call = _call) -> None:
        self.program, self.call = tuple(program), call

    def ensure(self, task: Task) -> None:
        """Submit the attempt unless it was claimed or the engine has it."""
        if (task.folder / "claim").exists() or self.alive(task):
            return
        write_order(task, self.program)
        self.submit(task, (sys.executable, "-I", "-S", str(_WRAPPER), str(task.folder)))

    def poll(self, task: Task) -> Status:
        """The record first; the engine is asked only whether what has no end still runs."""
        if not (task.folder / "claim").exists():
            return Status(phase="absent")
        alive = read_record(task.folder)[1] is None and self.alive(task)
        report, code = read_record(task.folder)  # again: the end may have come between
        if code is not None:
            return Status(phase="ended", report=report, exit_code=code)
        return Status(phase="running" if alive else "lost", report=report)

    def stop(self, task: Task) -> None:
        """Claim what has not begun, end what has."""
        never_claimed(task.folder)
        if self.alive(task):
            self.end(task)

    def alive(self, task: Task) -> bool:
        """Does the engine still have it."""
        raise NotImplementedError

    def submit(self, task: Task, words: Sequence[str]) -> None:
        """Hand it to the engine."""
        raise NotImplementedError

    def end(self, task: Task) -> None:
        """Have the engine end it."""
        raise NotImplementedError


class SlurmLauncher(_Engine):
    """`sbatch`, `squeue`, `scancel`; `accounts` maps organisations to Slurm's accounts."""

    def __init__(
        self,
        program: Sequence[str] = _PROGRAM,
        call: Call = _call,
        accounts: dict[str, str] | None = None,
    ) -> None:
        super().__init__(program, call)
        self.accounts = accounts or {}

    def alive(self, task: Task) -> bool:
        """Is it in the queue in any state."""
        return bool(self.call(["squeue", "-h", f"--name={task.id}", "-o", "%i"]).strip())

    def submit(self, task: Task, words: Sequence[str]) -> None:
        """One batch job of one node; Slurm must not requeue it, attempts are ours to number."""
        script = task.folder / "slurm.sh"
        quoted = " ".join(f"'{word}'" for word in words)
        script.write_text(f"#!/bin/sh\nexec {quoted}\n")
        account = self.accounts.get(task.account)
        limit_min = -(-task.limit_s // 60) + 1
        self.call(
            ["sbatch", "--parsable", "--no-requeue", f"--job-name={task.id}", "--nodes=1",
             "--ntasks=1", f"--cpus-per-task={task.chips}", f"--time={limit_min}",
             f"--output={task.folder}/slurm.log", *([f"--account={account}"] if account else []),
             str(script)]
        )  # fmt: skip

    def end(self, task: Task) -> None:
        """SIGTERM to the wrapper, which gives the command its grace; at once if pending."""
        self.call(["scancel", "--state=PENDING", f"--name={task.id}"])
        self.call(["scancel", "--batch", "--signal=TERM", f"--name={task.id}"])


class RayLauncher(_Engine):
    """`ray job` on the cluster at `address`: one cluster per organisation, never shared."""

    def __init__(self, address: str, program: Sequence[str] = _PROGRAM, call: Call = _call) -> None:
        super().__init__(program, call)
        self.address = address

    def alive(self, task: Task) -> bool:
        """Is it pending or running."""
        try:
            told = self.call(["ray", "job", "status", f"--address={self.address}", task.id])
        except subprocess.CalledProcessError as error:
            if "does not exist" in f"{error.stdout}{error.stderr}":
                return False
            raise
        return "PENDING" in told or "RUNNING" in told

    def submit(self, task: Task, words: Sequence[str]) -> None:
        """Ray refuses a second submission of one id."""
        self.call(
            ["ray", "job", "submit", f"--address={self.address}", f"--submission-id={task.id}",
             f"--entrypoint-num-cpus={task.chips}", "--no-wait", "--", *words]
        )  # fmt: skip

    def end(self, task: Task) -> None:
        """SIGTERM, then SIGKILL after Ray's own grace."""
        self.call(["ray", "job", "stop", "--no-wait", f"--address={self.address}", task.id])
