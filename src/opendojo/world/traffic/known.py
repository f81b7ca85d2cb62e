"""The tables of `Ways`, made in numpy from those of `Towns`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from opendojo.world.town.towns import Towns

__all__ = ["BRAKE_MPS2", "SLACK_M", "STRETCHES", "Known"]

Array = npt.NDArray[Any]

BRAKE_MPS2 = 1.5
"""How hard drivers brake ahead of a bend."""
LATERAL_MPS2 = 2.0
"""Acceleration that drivers bear in a bend."""
SLACK_M = 0.5
"""By this much the stretches where lanes meet are lengthened at either end."""
HOLD_M = 1.0
"""Traffic that gives way without a stop line halts this far ahead of the other's path."""
BESIDE_M = 2.3
"""Lanes whose middles are nearer than this cannot be used side by side."""
SPOT_STEP_M = 8.0
CURB_M = 0.6
"""People wait this far from the lanes that they cross."""


STRETCHES = ("from_m", "to_m", "other_from_m", "other_to_m")


class Known:
    """Derives the tables; `knot`, `first_row`, `side`, `columns` and `row` are the meetings."""

    def __init__(self, towns: Towns) -> None:
        def array(name: str) -> Array:
            return getattr(towns, name).cpu().numpy()

        self.first, self.length = array("first"), array("length_m").astype(np.float64)
        self.limit, self.junction = array("limit_mps").astype(np.float64), array("junction")
        self.stop, self.next = array("stop_m"), array("next")
        self.x, self.y, self.curvature = array("x_m"), array("y_m"), array("curvature")
        self.count = array("lanes")
        self.other = array("conflict_lane")
        self.stretch = [array(f"conflict_{name}") for name in STRETCHES]
        self.yields = array("conflict_yields")
        self.walk_length, self.walk_count = array("walk_length_m"), array("walks")
        self.walk_lane = array("walk_conflict_lane")
        self.walk_from, self.walk_to = array("walk_conflict_from_m"), array("walk_conflict_to_m")
        self.row = self._meetings()
        self.hold, self.clear, self.last = self._holds()

    def lanes(self) -> list[tuple[int, int]]:
        """(town, lane) of all lanes."""
        return [(g, i) for g, n in enumerate(self.count) for i in range(int(n))]

    def rows(self, g: int, i: int) -> slice:
        """The stations of a lane."""
        return slice(int(self.first[g, i]), int(self.first[g, i]) + int(self.length[g, i]) + 2)

    def paces(self) -> Array:
        """Highest sensible speed at each station [t]: limit, bend, and braking for what follows.

        v(s)^2 = min over t >= s of v_bend(t)^2 + 2 b (t - s).
        """
        pace = np.zeros(len(self.x))
        for g, i in self.lanes():
            rows = self.rows(g, i)
            bend = LATERAL_MPS2 / np.maximum(np.abs(self.curvature[rows]), 1e-4)
            square = np.minimum(bend, self.limit[g, i] ** 2)
            ramp = 2.0 * BRAKE_MPS2 * np.arange(len(square))
            least = np.minimum.accumulate((square + ramp)[::-1])[::-1] - ramp
            pace[rows] = np.sqrt(least)
        return pace

    def _meetings(self) -> Array:
        """The flat square tables of the towns; fills the other fields."""
        self.columns: list[list[float]] = [[v] for v in (0.0, -1e9, 0.0, -1e9, 0.0, 0.0, 0.0)]
        self.knot = np.zeros(self.length.shape, np.int64)
        self.first_row, self.side = [], []
        tables, at = [], 0
        for g in range(len(self.count)):
            pairs = self._pairs(g)
            knots = sorted({i for i, _ in pairs})
            side = len(knots) + 1
            place = {lane: k for k, lane in enumerate(knots)}
            self.knot[g] = side - 1
            for lane, k in place.items():
                self.knot[g, lane] = k
            table = np.zeros((side, side), np.int64)
            for (i, j), values in pairs.items():
                table[place[i], place[j]] = len(self.columns[0])
                for column, value in zip(self.columns, values, strict=True):
                    column.append(value)
            tables.append(table.reshape(-1))
            self.first_row.append(at)
            self.side.append(side)
            at += side * side
        return np.concatenate(tables)

    def _pairs(self, g: int) -> dict[tuple[int, int], tuple[float, ...]]:
        """from, to, other from, other to, yields, fork, merge of each pair of lanes that meet."""
        pairs: dict[tuple[int, int], tuple[float, ...]] = {}
        for i in range(int(self.count[g])):
            for c in np.flatnonzero(self.other[g, i] >= 0):
                j = int(self.other[g, i, c])
                low, high, other_low, other_high = (float(v[g, i, c]) for v in self.stretch)
                fork = self._near(self.begin(g, i), self.begin(g, j))
                merge = not fork and self._near(self.end(g, i), self.end(g, j))
                pairs[i, j] = (
                    low - SLACK_M, high + SLACK_M, other_low - SLACK_M, other_high + SLACK_M,
                    float(self.yields[g, i, c]), float(fork), float(merge),
                )  # fmt: skip
        for i, j, merge in self._unnamed(g, pairs):
            beside = self._beside(g, i, j, merge)
            li, lj = self.length[g, i], self.length[g, j]
            if merge:
                values = (li - beside - SLACK_M, li, lj - beside - SLACK_M, lj)
            else:
                values = (0.0, beside + SLACK_M, 0.0, beside + SLACK_M)
            pairs[i, j] = (*values, float(merge and i > j), float(not merge), float(merge))
        return pairs

    def _unnamed(self, g: int, pairs: dict[tuple[int, int], Any]) -> list[tuple[int, int, bool]]:
        """Lanes with one predecessor, or one successor, whose meeting the town does not name."""
        into: dict[int, list[int]] = {}
        found: set[tuple[int, int, bool]] = set()
        for i in range(int(self.count[g])):
            follow = [int(v) for v in self.next[g, i] if v >= 0]
            found |= {(a, b, False) for a in follow for b in follow if a != b}
            for v in follow:
                into.setdefault(v, []).append(i)
        for come in into.values():
            found |= {(a, b, True) for a in come for b in come if a != b}
        return sorted(key for key in found if key[:2] not in pairs)

    def _beside(self, g: int, i: int, j: int, merge: bool) -> float:
        """How far from their common end two lanes are too near to each other."""
        a, b = self._line(g, i), self._line(g, j)
        if merge:
            a, b = a[::-1], b[::-1]
        k = min(len(a), len(b))
        apart = np.hypot(*(a[:k] - b[:k]).T) > BESIDE_M
        return float(np.argmax(apart)) if apart.any() else float(k - 1)

    def _line(self, g: int, i: int) -> Array:
        rows = self.rows(g, i)
        return np.stack([self.x[rows], self.y[rows]], 1)[:-1]

    def begin(self, g: int, i: int) -> Array:
        """Where a lane begins, [2]."""
        return self._line(g, i)[0]

    def end(self, g: int, i: int) -> Array:
        """Where a lane ends, [2]."""
        rows, part = self.rows(g, i), self.length[g, i] % 1.0
        a = np.array([self.x[rows][-2], self.y[rows][-2]])
        b = np.array([self.x[rows][-1], self.y[rows][-1]])
        return a + (b - a) * part

    @staticmethod
    def _near(a: Array, b: Array) -> bool:
        return bool(np.hypot(*(a - b)) < 0.5)

    def _holds(self) -> tuple[Array, Array, Array]:
        """[g, L] each: where to halt ahead of all that a lane meets, where all is behind that may
        have to be waited for, and where everything is."""
        hold, clear, last = (np.zeros(self.length.shape) for _ in range(3))
        low, high = np.array(self.columns[0]), np.array(self.columns[1])
        fork = np.array(self.columns[5]) > 0
        for g in range(len(self.count)):
            side = self.side[g]
            table = self.row[self.first_row[g] :][: side * side].reshape(side, side)
            for i in np.flatnonzero(self.knot[g] < side - 1):
                met = table[self.knot[g, i]]
                met = met[met > 0]
                last[g, i] = high[met].max()
                met = met[~fork[met]]
                if len(met):
                    hold[g, i] = max(0.0, low[met].min() - HOLD_M + SLACK_M)
                    clear[g, i] = high[met].max()
        return hold, clear, last

    def spots(self) -> tuple[list[int], list[int], list[int], list[float], list[float]]:
        """Where vehicles may appear: first row and count by town; lane, s, and free way of each."""
        first, count, lanes, s_m, way_m = [], [], [], [], []
        for g in range(len(self.count)):
            first.append(len(lanes))
            for i in range(int(self.count[g])):
                if self.junction[g, i]:
                    continue
                end = min(self.length[g, i], self.stop[g, i])
                met = self.knot[g, i] < self.side[g] - 1
                end = min(end, self.hold[g, i]) if met else end
                for s in np.arange(6.0, end - 14.0, SPOT_STEP_M):
                    lanes.append(i)
                    s_m.append(float(s))
                    way_m.append(float(end - s))
            count.append(len(lanes) - first[-1])
        return first, count, lanes or [0], s_m or [0.0], way_m or [0.0]

    def walk_spots(self) -> tuple[list[int], list[int], list[int], list[float], list[float]]:
        """Where people on foot may appear: either end of every walk."""
        first, count, walks, s_m = [], [], [], []
        for number, lengths in zip(self.walk_count, self.walk_length, strict=True):
            first.append(len(walks))
            for w in range(int(number)):
                walks += [w, w]
                s_m += [0.0, float(lengths[w])]
            count.append(len(walks) - first[-1])
        return first, count, walks or [0], s_m or [0.0], [0.0] * max(1, len(s_m))

    def curbs(self) -> tuple[Array, Array]:
        """[g, W] each: where people wait at the road's low and high side, along the walk."""
        there = self.walk_lane >= 0
        low = np.where(there, self.walk_from, np.inf).min(2, initial=np.inf)
        high = np.where(there, self.walk_to, -np.inf).max(2, initial=-np.inf)
        low = np.where(np.isfinite(low), low, self.walk_length)
        high = np.where(np.isfinite(high), high, 0.0)
        return np.maximum(low - CURB_M, 0.0), np.minimum(high + CURB_M, self.walk_length)
