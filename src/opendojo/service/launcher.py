"""The seam to what runs the jobs: `ensure`, `poll`, `stop`, all safe to repeat; and its fake."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from opendojo.service.ledger import Report

__all__ = ["FakeLauncher", "Launcher", "Status", "Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One attempt of a job, as a launcher needs it."""

    id: str
    """The attempt's id: a launcher runs it once at most, however often it is told."""
    command: tuple[str, ...]
    """Words after `opendojo`."""
    chips: int
    limit_s: int
    work: Path
    """The job's folder, the same for all of its attempts: checkpoints are found again."""
    folder: Path
    """The attempt's own folder, with its log."""
    account: str = ""
    rank: int = 0
    workers: int = 1
    """Processes of a gang: they begin together, and end together where one fails."""
    inputs: tuple[tuple[str, str, str], ...] = ()
    """Folder of an earlier job, path in it, name in `work`: copied before the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What became of an attempt.

    absent: nothing known yet. lost: it stopped without a record of its end.
    """

    phase: Literal["absent", "running", "ended", "lost"]
    report: Report | None = None
    exit_code: int | None = None


class Launcher(Protocol):
    """Starts and stops attempts."""

    def ensure(self, task: Task) -> None:
        """Start the attempt unless it ever was; returns at once."""
        ...

    def poll(self, task: Task) -> Status:
        """Where the attempt is."""
        ...

    def stop(self, task: Task) -> None:
        """Ask it to end: a request first, force after a grace; one never started never will."""
        ...


@dataclass(slots=True)
class FakeLauncher:
    """Runs nothing: tests turn its clock and end its attempts."""

    statuses: dict[str, Status] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    """How often each attempt was really begun: more than 1 would be a fault of the fake."""
    now_ms: int = 1_000_000

    def ensure(self, task: Task) -> None:
        """Begin the attempt."""
        if task.id not in self.statuses:
            self.runs[task.id] = self.runs.get(task.id, 0) + 1
            report = Report(begun_ms=self.now_ms)
            self.statuses[task.id] = Status(phase="running", report=report)

    def poll(self, task: Task) -> Status:
        """As `end` and `advance` left it."""
        return self.statuses.get(task.id, Status(phase="absent"))

    def stop(self, task: Task) -> None:
        """End it as SIGTERM would."""
        if self.poll(task).phase in ("absent", "running"):
            self.end(task.id, 143)

    def advance(self, step_ms: int) -> None:
        """Let time pass for all that runs."""
        self.now_ms += step_ms
        for name, status in self.statuses.items():
            if status.phase == "running" and status.report is not None:
                wall = status.report.wall_ms + step_ms
                cpu = status.report.cpu_ms + step_ms // 2
                report = replace(status.report, wall_ms=wall, cpu_ms=cpu)
                self.statuses[name] = replace(status, report=report)

    def end(self, attempt: str, exit_code: int | None) -> None:
        """End an attempt with a code; None loses it."""
        old = self.statuses.get(attempt, Status(phase="absent"))
        report = old.report or Report(begun_ms=self.now_ms)
        phase = "lost" if exit_code is None else "ended"
        self.statuses[attempt] = Status(phase=phase, report=report, exit_code=exit_code)
