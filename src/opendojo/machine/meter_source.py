"""The seam between a meter and what it reads: a source is begun, sampled and ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["STILL_S", "Reading", "Source"]

STILL_S = 1.0
"""No processor or board that runs draws nothing: a counter that stands still this long is dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one source says about a stretch."""

    joules: float
    """Best figure."""
    low: float
    """Lower end of the range."""
    high: float
    """Upper end of the range."""
    method: str
    """One word."""
    measured: bool
    """Whether a meter was read for all of it."""
    scope: str
    """What is counted."""
    excludes: tuple[str, ...] = ()
    """What is not."""
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the figure rests on."""

    def as_dict(self) -> dict[str, Any]:
        """The figures, for a record."""
        return {
            "joules": self.joules,
            "low": self.low,
            "high": self.high,
            "method": self.method,
            "measured": self.measured,
        }


class Source(Protocol):
    """Something that counts energy. Times are seconds of a clock that never jumps."""

    @property
    def period_s(self) -> float:
        """How often it must be sampled, at least."""
        ...

    def begin(self, now_s: float) -> None:
        """Begin a stretch."""
        ...

    def sample(self, now_s: float) -> None:
        """Read the counters now."""
        ...

    def end(self, now_s: float) -> Reading | None:
        """What was drawn since `begin`; None where the source failed. The stretch goes on."""
        ...
