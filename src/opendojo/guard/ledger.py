"""What the guard did: checks made, share guarded, suspicions, verdicts, time lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event", "Ledger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something found, and what came of it."""

    step: int
    where: str
    """Operator and its number in the step, or the name of a tensor."""
    what: str
    """`product`, `duplicate`, `saved`, `rest`, `optimizer`, `replica`."""
    ratio: float
    """Difference over bound; infinite where bits differ that must be equal."""
    verdict: str = "open"
    """`transient`, `intermittent`, `permanent`, `restored`, `cleared`, or `open`."""
    rank: int = 0

    def line(self) -> str:
        """One line for a tired engineer."""
        said = _SAID.get(self.verdict, "not settled yet: the step was not taken")
        return f"guard: step {self.step}, rank {self.rank}: wrong numbers from {self.where}: {said}"


_SAID = {
    "transient": "gone when done again; the step was redone and the run goes on",
    "intermittent": "comes and goes; the step was redone, but have this device tested",
    "permanent": "wrong every time; take this device out of service",
    "restored": "memory had changed; weights were put back and the steps since redone",
    "cleared": "no fault: rounding, confirmed in float64",
}


@dataclass
class Ledger:
    """Counts of a run."""

    steps: int = 0
    checks: int = 0
    duplicates: int = 0
    replays: int = 0
    cleared: int = 0
    """Checksums beyond their bound whose product float64 found right: suspicions, no faults."""
    overflows: int = 0
    """Products that left their format's range rightly, as fp16 does under loss scaling."""
    flops: float = 0.0
    """Of all products seen."""
    guarded_flops: float = 0.0
    """Of those whose operator is checked whenever its turn comes (rate 1 in `every`)."""
    checked_flops: float = 0.0
    """Of those that were checked."""
    unguarded: Counter[str] = field(default_factory=Counter)
    """FLOPs by operator that no check covers."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Calls of operators whose arithmetic is not known: custom ones and compiled regions."""
    worst: float = 0.0
    """Largest ratio of difference and bound among checks that held."""
    events: list[Event] = field(default_factory=list)
    lost_s: float = 0.0
    """Time spent on replays and recovery."""

    @property
    def guarded_share(self) -> float:
        """Guarded share of the FLOPs of products; 1 where there was none."""
        return self.guarded_flops / self.flops if self.flops else 1.0

    def document(self) -> dict[str, Any]:
        """For reports and JSON."""
        verdicts = Counter(event.verdict for event in self.events)
        return {
            "steps": self.steps,
            "checks": self.checks,
            "duplicates": self.duplicates,
            "guarded_share_of_flops": self.guarded_share,
            "checked_share_of_flops": self.checked_flops / self.flops if self.flops else 1.0,
            "unguarded_flops": dict(self.unguarded),
            "unknown_operators": dict(self.unknown),
            "worst_ratio_that_held": self.worst,
            "suspicions": len(self.events) + self.cleared,
            "cleared_in_float64": self.cleared,
            "overflows": self.overflows,
            "verdicts": dict(verdicts),
            "located": sorted({event.where for event in self.events}),
            "replays": self.replays,
            "lost_s": self.lost_s,
        }

    def text(self) -> str:
        """The guard section of a report, as plain lines."""
        lines = [
            f"guard: {self.steps} steps, {self.checks} checks, {self.duplicates} duplicates",
            f"guarded share of FLOPs {self.guarded_share:.2%}, "
            f"checked {self.checked_flops / self.flops if self.flops else 1.0:.2%}",
        ]
        for name, flops in self.unguarded.most_common(5):
            lines.append(f"not guarded: {name}, {flops / max(self.flops, 1):.2%} of FLOPs")
        for name, calls in self.unknown.most_common(5):
            lines.append(f"cannot be seen into: {name}, {calls} calls")
        lines.append(
            f"{len(self.events) + self.cleared} suspicions, {self.cleared} of them rounding, "
            f"{self.lost_s:.2f} s lost"
        )
        lines += [event.line() for event in self.events[-10:]]
        return "\n".join(lines)

    def prometheus(self) -> str:
        """Metrics in Prometheus' text format."""
        told = {
            "steps_total": self.steps,
            "checks_total": self.checks,
            "duplicates_total": self.duplicates,
            "replays_total": self.replays,
            "suspicions_total": len(self.events),
            "guarded_share": self.guarded_share,
            "lost_seconds_total": self.lost_s,
        }
        lines = [f"opendojo_guard_{name} {value}" for name, value in told.items()]
        for verdict, count in Counter(event.verdict for event in self.events).items():
            lines.append(f'opendojo_guard_verdicts_total{{verdict="{verdict}"}} {count}')
        return "\n".join(lines) + "\n"
