"""Windows: which instants of a clip training reads together, and where they are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from opendojo.loader.ring import ORDER
from opendojo.store import Episode, Store

__all__ = ["Split", "WindowSpec", "WindowTable"]

Split = Literal["train", "held-out", "all"]
Ints = npt.NDArray[np.int64]

_PIECE = 1 << 16
"""Episodes looked at together."""


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

    def spans(self, rates_hz: npt.NDArray[np.float64]) -> Ints:
        """As `span`, of many rates at once: int64 [n] of float64 [n]."""
        if self.rate_hz is None:
            return np.full(len(rates_hz), self.frames, np.int64)
        return ((self.frames - 1) * rates_hz / self.rate_hz + 0.5).astype(np.int64) + 1


def split_at(instants: Ints, spans: Ints, gop_frames: int, held_out_share: float) -> Ints:
    """The instant from which each episode is held out; training sees nothing from there on.

    The last `held_out_share` of it, and at least one window; an episode too short for a window on
    either side is all training's. All int64 [n].
    """
    last_start = (instants - spans) // gop_frames * gop_frames
    cut = np.minimum((instants * (1.0 - held_out_share)).astype(np.int64), last_start)
    return np.where((cut >= spans) & (held_out_share > 0), cut, instants)


class _AllEpisodes(Sequence[tuple[int, Episode]]):
    """Store number and episode of every episode of several stores, each made when asked for."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = stores
        self.ends = np.cumsum([len(store.episodes) for store in stores], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @overload
    def __getitem__(self, place: int) -> tuple[int, Episode]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[int, Episode]]: ...
    def __getitem__(self, place: int | slice) -> tuple[int, Episode] | list[tuple[int, Episode]]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        store, number = self.locate(range(len(self))[place])
        return store, self._stores[store].episodes[number]

    def locate(self, place: int) -> tuple[int, int]:
        """Store number, and the episode's number in it."""
        store = int(np.searchsorted(self.ends, place, side="right"))
        return store, place - (int(self.ends[store - 1]) if store else 0)


class WindowTable:
    """Every window of a split over several stores, numbered; each is found by bisection.

    Costs 16 bytes per episode, nothing per window. Raises `ValueError` for a flag in `without`
    that no store knows.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        spec: WindowSpec,
        split: Split,
        held_out_share: float,
        *,
        stride_groups: int = 1,
        without: Sequence[str] = (),
    ) -> None:
        self.episodes = _AllEpisodes(stores)
        """Store number and episode, each made when asked for."""
        self._stores = stores
        self._spec = spec
        self._strides = [store.spec.gop_frames * stride_groups for store in stores]
        self._flags = _flag_bits(without)
        total = len(self.episodes)
        self._begin = np.zeros(total, np.int32)
        self.cuts = np.empty(total, np.int32)
        """For each episode, the instant at which what the split may see ends."""
        self._ends = np.empty(total, np.int64)
        self.windows: list[int] = []
        """Windows of each store."""
        first = 0
        for number, store in enumerate(stores):
            count = len(store.episodes)
            # Piece by piece: what is made on the way would outweigh what stays.
            for at in range(0, count, _PIECE):
                piece = slice(at, min(at + _PIECE, count))
                whole = slice(first + piece.start, first + piece.stop)
                begin, end = _visible(store, piece, spec, split, held_out_share)
                self._begin[whole], self.cuts[whole] = begin, end
                self._ends[whole] = self._counted(number, piece, begin, end)
            if self._flags:
                self._leave_out(number, slice(first, first + count))
            self.windows.append(int(self._ends[first : first + count].sum()))
            first += count
        np.cumsum(self._ends, out=self._ends)

    def _counted(self, number: int, piece: slice, begin: Ints, end: Ints) -> Ints:
        """Windows of each episode of a piece of a store."""
        store, stride = self._stores[number], self._strides[number]
        spans = self._spec.spans(store.episodes.rate_hz[piece])
        return np.maximum((end - begin - spans) // stride + 1, 0)

    def _leave_out(self, number: int, whole: slice) -> None:
        """Set the counts of a store's episodes right: windows over flagged groups do not count.

        Episodes are looked at in the order in which their groups lie, so that each piece of them is
        one run of groups.
        """
        store, stride = self._stores[number], self._strides[number]
        gop = store.spec.gop_frames
        episodes, begins, counts = store.episodes, self._begin[whole], self._ends[whole]
        order = np.argsort(episodes.gop_row)
        for at in range(0, len(order), _PIECE):
            piece = order[at : at + _PIECE]
            rows, instants = episodes.gop_row[piece], episodes.instants[piece]
            reach = (self._spec.spans(episodes.rate_hz[piece]) - 1) // gop
            low, high = int(rows[0]), int((rows - (-instants // gop)).max())
            flagged = (episodes.gops[low:high] & self._flags) != 0
            firsts = rows - low + begins[piece] // gop
            counts[piece] = _clean_counts(flagged, firsts, counts[piece], reach, stride // gop)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def find(self, window: int) -> tuple[int, int]:
        """Place in `episodes` and first instant of a window."""
        place = int(np.searchsorted(self._ends, window, side="right"))
        nth = window - (int(self._ends[place - 1]) if place else 0)
        store, number = self.episodes.locate(place)
        begin, stride = int(self._begin[place]), self._strides[store]
        if not self._flags:
            return place, begin + nth * stride
        span = self._spec.span(float(self._stores[store].episodes.rate_hz[number]))
        starts = np.arange(begin, int(self.cuts[place]) - span + 1, stride)
        clean = self._clean(self._stores[store], number, starts, span)
        return place, int(starts[clean][nth])

    def orders(self, windows: Ints) -> npt.NDArray[np.void]:
        """What each of these windows is, `ring.ORDER` [n]; `keep` is 0."""
        out = np.zeros(len(windows), ORDER)
        places = np.searchsorted(self._ends, windows, side="right")
        before = np.where(places > 0, self._ends[places - 1], 0)
        stores = np.searchsorted(self.episodes.ends, places, side="right")
        before_store = np.where(stores > 0, self.episodes.ends[stores - 1], 0)
        out["window"], out["store"], out["episode"] = windows, stores, places - before_store
        if self._flags:
            out["first"] = [self.find(window)[1] for window in windows.tolist()]
        else:
            strides = np.array(self._strides, np.int64)[stores]
            out["first"] = self._begin[places] + (windows - before) * strides
        out["end"] = self.cuts[places]
        return out

    def _clean(self, store: Store, number: int, starts: Ints, span: int) -> npt.NDArray[np.bool_]:
        """Which of the windows at `starts` cover no flagged group of pictures."""
        flagged = (store.episodes.gop_flags(number) & self._flags) != 0
        before = np.concatenate([[0], np.cumsum(flagged)])
        gop = store.spec.gop_frames
        return before[(starts + span - 1) // gop + 1] == before[starts // gop]


def _clean_counts(
    flagged: npt.NDArray[np.bool_], firsts: Ints, counts: Ints, reach: Ints, stride: int
) -> Ints:
    """Of `counts` windows each, `stride` groups apart from group `firsts` on, how many are clean.

    A window covers `reach` groups beyond its first; the groups are those of `flagged`. All [n].
    """
    before = np.zeros(len(flagged) + 1, np.int32)
    np.cumsum(flagged.astype(np.int32), out=before[1:])
    out = np.zeros_like(counts)
    for groups in np.unique(reach[counts > 0]).tolist():
        mine = (reach == groups) & (counts > 0)
        clean = before[groups + 1 :] == before[: -groups - 1]
        # For each group, the clean windows that start a number of strides before it.
        padded = np.zeros((-(-len(clean) // stride) + 1) * stride, np.int32)
        padded[stride : stride + len(clean)] = clean
        by_place = padded.reshape(-1, stride).T.copy()  # sums along lines are faster
        earlier = by_place.cumsum(1, dtype=np.int32).T.ravel()
        starts = firsts[mine]
        out[mine] = earlier[starts + counts[mine] * stride] - earlier[starts]
    return out


def _visible(
    store: Store, piece: slice, spec: WindowSpec, split: Split, held_out_share: float
) -> tuple[Ints, Ints]:
    """First instant and end of what a split may see of each episode of a piece of a store."""
    gop = store.spec.gop_frames
    instants = store.episodes.instants[piece]
    nothing = np.zeros_like(instants)
    if split == "all":
        return nothing, instants
    spans = spec.spans(store.episodes.rate_hz[piece])
    cut = split_at(instants, spans, gop, held_out_share)
    return (nothing, cut) if split == "train" else (-(-cut // gop) * gop, instants)


def _flag_bits(names: Sequence[str]) -> int:
    if not names:
        return 0
    from opendojo.store.quality import FLAGS

    unknown = [name for name in names if name not in FLAGS]
    if unknown:
        raise ValueError(f"no flag {unknown[0]!r}: choose of {', '.join(FLAGS)}")
    return int(np.bitwise_or.reduce([FLAGS[name] for name in names]))
