"""Windows: which instants of a clip training reads together, and where they are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from opendojo.store import Episode, Store

__all__ = ["Split", "WindowSpec", "WindowTable"]

Split = Literal["train", "held-out", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """What one sample holds."""

    frames: int = 8
    """Instants in a window."""
    rate_hz: float | None = 10.0
    """Instants per second; the stored ones nearest in time are taken. None takes each stored one,
    whatever its clip's rate."""
    path_points: int = 16
    """Points of the ego path that is the label of each instant."""
    path_horizon_s: float = 4.0
    """Time of the path's last point after its instant; the points are evenly spaced in time."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"a window needs at least one frame, not {self.frames}")
        if self.rate_hz is not None and self.rate_hz <= 0:
            raise ValueError(f"rate_hz must be above 0 (or None), not {self.rate_hz}")
        if self.path_points < 1 or self.path_horizon_s <= 0:
            raise ValueError("a path needs at least one point and a horizon above 0 s")

    @property
    def path_times_s(self) -> npt.NDArray[np.float64]:
        """Time of each path point after its instant, float64 [path_points]."""
        steps = np.arange(1, self.path_points + 1, dtype=np.float64)
        return steps * np.float64(self.path_horizon_s / self.path_points)

    def span(self, rate_hz: float) -> int:
        """Stored instants that a window of a clip of that rate covers."""
        if self.rate_hz is None:
            return self.frames
        return int((self.frames - 1) * rate_hz / self.rate_hz + 0.5) + 1


def split_at(episode: Episode, spec: WindowSpec, gop_frames: int, held_out_share: float) -> int:
    """The instant from which an episode is held out; training sees nothing from there on.

    The last `held_out_share` of it, and at least one window; an episode too short for a window on
    either side is all training's.
    """
    span = spec.span(episode.rate_hz)
    last_start = (episode.instants - span) // gop_frames * gop_frames
    cut = min(int(episode.instants * (1.0 - held_out_share)), last_start)
    return cut if cut >= span and held_out_share > 0 else episode.instants


class WindowTable:
    """Every window of a split over several stores, numbered; each is found by bisection."""

    def __init__(
        self,
        stores: Sequence[Store],
        spec: WindowSpec,
        split: Split,
        held_out_share: float,
        repeats: Sequence[int],
    ) -> None:
        self.episodes: list[tuple[int, Episode]] = []
        """Store number and episode, for those with at least one window."""
        self.cuts: list[int] = []
        """For each of them, the instant at which what the split may see ends."""
        counts: list[int] = []
        self._first: list[int] = []
        self._gop = [store.spec.gop_frames for store in stores]
        for number, store in enumerate(stores):
            gop = store.spec.gop_frames
            for episode in store.episodes:
                cut = split_at(episode, spec, gop, held_out_share)
                begin, end = {
                    "train": (0, cut),
                    "held-out": (-(-cut // gop) * gop, episode.instants),
                    "all": (0, episode.instants),
                }[split]
                windows = (end - begin - spec.span(episode.rate_hz)) // gop + 1
                if windows > 0:
                    self.episodes += [(number, episode)] * repeats[number]
                    self.cuts += [end] * repeats[number]
                    self._first += [begin] * repeats[number]
                    counts += [windows] * repeats[number]
        self._ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def find(self, window: int) -> tuple[int, int]:
        """Place in `episodes` and first instant of a window."""
        place = int(np.searchsorted(self._ends, window, side="right"))
        before = int(self._ends[place - 1]) if place else 0
        gop = self._gop[self.episodes[place][0]]
        return place, self._first[place] + (window - before) * gop
