"""The dials of an ingest: how much of the machine it takes and how long it waits."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["IngestOptions", "cores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """How an ingest runs; none of it changes what is stored, except `skip_loop_filter`."""

    threads: int | None = None
    """Threads that decode each source; the pictures are the same. By default 1, and more where
    fewer clips are left than there are cores."""
    skip_loop_filter: bool = False
    """Decode H.264 and HEVC sources without deblocking: some 1.2 times as fast, with a drift that
    is measured on the first frames of every clip and told in the report."""
    drift_frames: int = 48
    """Frames of each clip over which that drift is measured."""
    hang_s: float = 60.0
    """A worker that comes no frame further for so long is ended, and its clip rejected."""
    memory_mb: int = 8192
    """Address space that a process which reads recordings may take, in MiB; 0 sets no bound."""
    cluster: str = ""
    """Stage on a Ray cluster: its address such as `ray-head:6379`, or `local` to start one here.
    Every node must see the recordings and the store at the same paths."""

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 64:
            raise ValueError(f"threads must be 1 to 64, not {self.threads}")
        if self.drift_frames < 1:
            raise ValueError(f"drift_frames must be 1 or more, not {self.drift_frames}")
        if not self.hang_s > 0:
            raise ValueError(f"hang_s must be above 0 seconds, not {self.hang_s}")
        if self.memory_mb and self.memory_mb < 1024:
            raise ValueError(f"memory_mb must be 1024 or more, or 0, not {self.memory_mb}")


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS pins no process
