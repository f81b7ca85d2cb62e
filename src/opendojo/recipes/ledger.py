"""What each stage of a run cost, over all the attempts it took."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opendojo.machine import Energy, Meter
from opendojo.store.atomic import write_json

__all__ = ["Entry", "Ledger"]


@dataclasses.dataclass(slots=True)
class Entry:
    """A stage's sums so far."""

    frames: int = 0
    """Frames that went through."""
    energy: Energy | None = None
    """With the seconds by the clock and of the processors."""

    def rates(self) -> dict[str, float]:
        """Seconds, frames per second, frames per core-second; 0 where nothing was done."""
        seconds = self.energy.wall_s if self.energy else 0.0
        core_s = self.energy.core_s if self.energy else 0.0
        return {
            "seconds": seconds,
            "core_s": core_s,
            "frames_per_s": self.frames / seconds if seconds else 0.0,
            "frames_per_core_s": self.frames / core_s if core_s else 0.0,
        }


class Ledger:
    """Adds up measurements in a file, so that an interrupted run's report tells of all of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[Entry]:
        """Measure a block; it says in `frames` how many went through. Kept if any did."""
        entry, meter = Entry(), Meter()
        try:
            yield entry
        finally:
            if entry.frames:
                spent = meter.stop()
                before = self.entry(stage)
                entry.frames += before.frames
                entry.energy = spent if before.energy is None else before.energy + spent
                self._rows[stage] = dataclasses.asdict(entry)
                write_json(self._path, self._rows)

    def entry(self, stage: str) -> Entry:
        """A stage's sums so far; zeros for one that has not run."""
        row = self._rows.get(stage)
        if row is None:
            return Entry()
        energy = dict(row["energy"])
        energy["excludes"] = tuple(energy["excludes"])
        return Entry(frames=row["frames"], energy=Energy(**energy))
