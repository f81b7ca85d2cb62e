"""Polygons and polylines on lattices of points: what is covered, and which piece is nearest.

Everything is vectorised over all shapes at once. `Cover` takes polygons as one heap of directed
edges: each polygon is turned to run counter-clockwise, so a point lies in the union exactly where
the edges wind about it at all, and one cumulative sum along the rows of a lattice answers for every
shape and every point. `nearest` walks the rows that a piece may reach, and on each row the few
points that it may reach, so its time goes with the area within reach, not with the lattice's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Cover", "Lattice", "Pieces", "nearest", "polyline"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.floating]
Polygon = tuple[Floats, Floats]

_STRIP_M = 1.0
"""Height of the strips in which edges are looked up."""
_SEAM_M = 0.03
"""Gaps narrower than this between two polygons are not boundary."""
_SAMPLE_M = 0.5
"""A stretch of an edge that another polygon covers, or leaves free, is not missed if longer."""
_STRAIGHT = 1e-7
"""Sine of the bend below which two pieces are one."""
_TOUCH_M = 1e-4
_SLACK_M = 1e-3
_CHUNK = 1 << 16
"""About so many pairs of a point and a piece are looked at at once: they stay in cache."""
_NONE = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Points (x0 + c step, y0 + r step), c < columns, r < rows."""

    x0_m: float
    y0_m: float
    step_m: float
    rows: int
    columns: int

    def shifted(self, dx_m: float, dy_m: float) -> Lattice:
        """The same lattice elsewhere."""
        return Lattice(
            x0_m=self.x0_m + dx_m,
            y0_m=self.y0_m + dy_m,
            step_m=self.step_m,
            rows=self.rows,
            columns=self.columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Straight pieces [p] of polylines, in order along each."""

    x_m: Floats
    y_m: Floats
    """Where a piece starts."""
    cos: Floats
    sin: Floats
    length_m: Floats
    owner: Ints
    """The polyline that it is of."""
    starts: Bools
    ends: Bools
    """Whether nothing precedes, follows it."""


def polyline(x_m: Floats, y_m: Floats, owner: Ints) -> Pieces:
    """The pieces of polylines laid end to end: vertices [v], each with its polyline; equal
    neighbours are skipped and pieces in one line are joined."""
    same = owner[1:] == owner[:-1]
    far = np.hypot(np.diff(x_m), np.diff(y_m)) > 1e-6
    keep = np.concatenate([[True], far | ~same])
    x_m, y_m, owner = x_m[keep], y_m[keep], owner[keep]
    same = owner[1:] == owner[:-1]
    dx, dy = np.diff(x_m), np.diff(y_m)
    length = np.maximum(np.hypot(dx, dy), 1e-9)
    cos, sin = dx / length, dy / length
    within = same[1:] & same[:-1]
    onward = cos[1:] * cos[:-1] + sin[1:] * sin[:-1] > 0.0
    bend = np.abs(sin[1:] * cos[:-1] - cos[1:] * sin[:-1])
    keep = np.concatenate([[True], ~(within & onward & (bend < _STRAIGHT)), [True]])
    x_m, y_m, owner = x_m[keep], y_m[keep], owner[keep]
    same = owner[1:] == owner[:-1]
    dx, dy = np.diff(x_m)[same], np.diff(y_m)[same]
    length = np.hypot(dx, dy)
    new = np.concatenate([[True], ~same, [True]])
    return Pieces(
        x_m=x_m[:-1][same],
        y_m=y_m[:-1][same],
        cos=dx / length,
        sin=dy / length,
        length_m=length,
        owner=owner[:-1][same],
        starts=new[:-2][same],
        ends=new[2:][same],
    )


def _ranges(low: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Row i of a table stands for low[i], low[i] + 1, ... (count[i] numbers): rows and numbers."""
    row = np.repeat(np.arange(len(count)), count)
    first = np.cumsum(count) - count
    return row, np.arange(len(row)) + np.repeat(low - first, count)


class Cover:
    """The union of simple polygons, each of either direction.

    Args:
        polygons: x and y of the corners of each.
    """

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        x1, y1, x2, y2 = [], [], [], []
        for x, y in polygons:
            x_next, y_next = np.roll(x, -1), np.roll(y, -1)
            turned = float(np.sum(x * y_next - x_next * y)) < 0.0
            x1.append(x_next if turned else x)
            y1.append(y_next if turned else y)
            x2.append(x if turned else x_next)
            y2.append(y if turned else y_next)
        none = [np.zeros(0)]
        self._x1, self._y1 = np.concatenate(x1 or none), np.concatenate(y1 or none)
        self._x2, self._y2 = np.concatenate(x2 or none), np.concatenate(y2 or none)
        long = np.hypot(self._x2 - self._x1, self._y2 - self._y1) > 1e-9
        self._x1, self._y1 = self._x1[long], self._y1[long]
        self._x2, self._y2 = self._x2[long], self._y2[long]
        self._file()

    def _file(self) -> None:
        """Sort the edges that are not level into strips."""
        low, high = np.minimum(self._y1, self._y2), np.maximum(self._y1, self._y2)
        sloped = np.flatnonzero(high > low)
        base = float(np.floor(low.min() / _STRIP_M)) if len(low) else 0.0
        first = (np.floor(low[sloped] / _STRIP_M) - base).astype(np.int64)
        last = (np.floor(high[sloped] / _STRIP_M) - base).astype(np.int64)
        edge, strip = _ranges(first, last - first + 1)
        order = np.argsort(strip, kind="stable")
        self._base, self._strips = base, int(strip.max()) + 1 if len(strip) else 0
        self._entries = sloped[edge[order]]
        self._begin = np.searchsorted(strip[order], np.arange(self._strips + 1))

    def at(self, x_m: Floats, y_m: Floats) -> Bools:
        """Whether points [q] are covered."""
        strip = (np.floor(y_m / _STRIP_M) - self._base).astype(np.int64)
        known = (strip >= 0) & (strip < self._strips)
        strip = np.where(known, strip, 0)
        if not self._strips:
            return known
        count = np.where(known, self._begin[strip + 1] - self._begin[strip], 0)
        point, entry = _ranges(self._begin[strip], count)
        edge = self._entries[entry]
        over = (self._y1[edge] <= y_m[point]) != (self._y2[edge] <= y_m[point])
        point, edge = point[over], edge[over]
        x1, y1, y2 = self._x1[edge], self._y1[edge], self._y2[edge]
        x = x1 + (y_m[point] - y1) / (y2 - y1) * (self._x2[edge] - x1)
        turns = np.where(x < x_m[point], np.where(y2 < y1, 1.0, -1.0), 0.0)
        return np.bincount(point, turns, len(x_m)) > 0.5

    def on(self, lattice: Lattice) -> Bools:
        """Whether the points of a lattice are covered: [rows, columns]."""
        step, rows, columns = lattice.step_m, lattice.rows, lattice.columns
        v1, v2 = (self._y1 - lattice.y0_m) / step, (self._y2 - lattice.y0_m) / step
        # rows with v1 <= r < v2, or v2 <= r < v1
        first = np.clip(np.ceil(np.minimum(v1, v2)), 0, rows).astype(np.int64)
        last = np.clip(np.ceil(np.maximum(v1, v2)), 0, rows).astype(np.int64)
        edge, row = _ranges(first, last - first)
        slope = (self._x2 - self._x1)[edge] / (self._y2 - self._y1)[edge]
        x = self._x1[edge] + (row * step + lattice.y0_m - self._y1[edge]) * slope
        column = np.floor((x - lattice.x0_m) / step).astype(np.int64) + 1
        column = np.clip(column, 0, columns)
        turns = np.zeros((rows, columns + 1), np.int8)
        sign = np.where(self._y2 < self._y1, 1, -1).astype(np.int8)
        np.add.at(turns.reshape(-1), row * (columns + 1) + column, sign[edge])
        return np.cumsum(turns[:, :-1], axis=1, dtype=np.int8) > 0

    def outline(self) -> Pieces:
        """The boundary of the union: the stretches of edges that have nothing on their right."""
        dx, dy = self._x2 - self._x1, self._y2 - self._y1
        length = np.hypot(dx, dy)
        cos, sin = dx / length, dy / length

        def free(edge: Ints, t: Floats) -> Bools:
            x = self._x1[edge] + t * cos[edge] + _SEAM_M * sin[edge]
            y = self._y1[edge] + t * sin[edge] - _SEAM_M * cos[edge]
            return ~self.at(x, y)

        parts = np.maximum(np.ceil(length / _SAMPLE_M), 1.0).astype(np.int64)
        edge, k = _ranges(np.zeros_like(parts), parts + 1)
        rim = np.minimum(0.01, 0.25 * length[edge])
        t = rim + k / parts[edge] * (length[edge] - 2.0 * rim)
        is_free = free(edge, t)
        inner = edge[1:] == edge[:-1]
        changes = np.flatnonzero(inner & (is_free[1:] != is_free[:-1]))
        low, high = t[changes], t[changes + 1]
        for _ in range(8):
            middle = (low + high) / 2.0
            as_low = free(edge[changes], middle) == is_free[changes]
            low, high = np.where(as_low, middle, low), np.where(as_low, high, middle)
        begin = np.concatenate([[True], ~inner])[: len(t)]
        end = np.concatenate([~inner, [True]])[: len(t)]
        # where a free stretch that starts, or stops, at a sample really does
        from_t, to_t = np.where(begin, 0.0, t), np.where(end, length[edge], t)
        from_t[changes + 1], to_t[changes] = low, high
        first = is_free & (begin | np.concatenate([[True], ~is_free[:-1]])[: len(t)])
        last = is_free & (end | np.concatenate([~is_free[1:], [True]])[: len(t)])
        edge, from_t, to_t = edge[first], from_t[first], to_t[last]
        cos, sin = cos[edge], sin[edge]
        x1, y1 = self._x1[edge] + from_t * cos, self._y1[edge] + from_t * sin
        x2, y2 = self._x1[edge] + to_t * cos, self._y1[edge] + to_t * sin
        apart = np.hypot(x1[1:] - x2[:-1], y1[1:] - y2[:-1]) > 1e-6
        return Pieces(
            x_m=x1,
            y_m=y1,
            cos=cos,
            sin=sin,
            length_m=to_t - from_t,
            owner=edge,
            starts=np.concatenate([[True], apart])[: len(edge)],
            ends=np.concatenate([apart, [True]])[: len(edge)],
        )


def nearest(
    pieces: Pieces, lattice: Lattice, reach_m: Floats, *, rounded: bool
) -> tuple[Ints, Ints, Floats]:
    """The lattice's points within reach of a piece, each with its nearest piece and the distance.

    Points are flat indices, ascending. Points beyond the ends of a polyline are near it only if
    `rounded`. Equal distances go to the piece of the lower index.
    """
    piece, row, left, count = _runs(pieces, lattice, reach_m, rounded)
    best = np.full(lattice.rows * lattice.columns, _NONE)
    after = np.cumsum(count)
    cuts = np.searchsorted(after, np.arange(0, after[-1] if len(after) else 0, _CHUNK))
    for low, high in zip(cuts, [*cuts[1:], len(count)], strict=True):
        part = slice(low, high)
        run, column = _ranges(left[part], count[part])
        k, r = piece[part], row[part]
        x1, y = pieces.x_m[k] - lattice.x0_m, r * lattice.step_m + lattice.y0_m - pieces.y_m[k]
        cos, sin = pieces.cos[k], pieces.sin[k]
        singles = (cos, sin, y * sin - x1 * cos, y * cos + x1 * sin, pieces.length_m[k], reach_m[k])
        cos, sin, a, b, length, reach = (c.astype(np.float32)[run] for c in singles)
        u = column.astype(np.float32) * np.float32(lattice.step_m)
        along, across = u * cos + a, b - u * sin
        over = np.minimum(along, 0.0) + np.maximum(along - length, 0.0)
        far = np.sqrt(across * across + over * over)
        near = far <= reach
        if not rounded:
            near &= over <= _TOUCH_M
            before = np.flatnonzero(near & (over < -_TOUCH_M))
            near[before] = _outside(pieces, k[run[before]], along[before], across[before])
        near = np.flatnonzero(near)
        run, column, far = run[near], column[near], far[near]
        # the bits of floats >= 0 are in the floats' order
        key = (far.view(np.int32).astype(np.int64) << 32) | k[run]
        np.minimum.at(best, r[run] * lattice.columns + column, key)
    point = np.flatnonzero(best != _NONE)
    best = best[point]
    far = (best >> 32).astype(np.int32).view(np.float32).astype(np.float64)
    return point, best & 0xFFFFFFFF, far


def _outside(pieces: Pieces, k: Ints, along: Reals, across: Reals) -> Bools:
    """Whether points before piece k lie in the wedge between it and the one it follows."""
    cos = pieces.cos[k] * pieces.cos[k - 1] + pieces.sin[k] * pieces.sin[k - 1]
    sin = pieces.sin[k] * pieces.cos[k - 1] - pieces.cos[k] * pieces.sin[k - 1]
    return ~pieces.starts[k] & (along * cos - across * sin >= -_TOUCH_M)


def _runs(
    pieces: Pieces, lattice: Lattice, reach_m: Floats, rounded: bool
) -> tuple[Ints, Ints, Ints, Ints]:
    """Runs of points in a row that a piece may be nearest to: piece, row, first column, count.

    A point before a piece, or past it, is nearer to the one that it follows, or that follows it,
    but for the wedge outside a bend.
    """
    step = lattice.step_m
    cos, sin, length = pieces.cos, pieces.sin, pieces.length_m
    x1, y1 = pieces.x_m - lattice.x0_m, pieces.y_m - lattice.y0_m
    cap = reach_m if rounded else np.zeros_like(reach_m)
    last_cos, last_sin = np.roll(cos, 1), np.roll(sin, 1)
    bend = np.abs(sin * last_cos - cos * last_sin)
    bend = np.where(cos * last_cos + sin * last_sin > 0.0, bend, 1.0)
    before = np.where(pieces.starts, cap, bend * reach_m) + _SLACK_M
    past = np.where(pieces.ends, cap, 0.0) + _SLACK_M
    ends = y1 - before * sin, y1 + (length + past) * sin
    aside = reach_m * np.abs(cos) + _SLACK_M
    low = np.clip(np.ceil((np.minimum(*ends) - aside) / step), 0, lattice.rows).astype(np.int64)
    high = np.floor((np.maximum(*ends) + aside) / step) + 1
    high = np.clip(high, 0, lattice.rows).astype(np.int64)
    piece, row = _ranges(low, np.maximum(high - low, 0))
    cos, sin, reach = cos[piece], sin[piece], reach_m[piece] + _SLACK_M
    x1, y = x1[piece], row * step - y1[piece]
    a, b = y * sin - x1 * cos, y * cos + x1 * sin
    # u cos + a in [-before, length + past] and b - u sin in [-reach, reach]
    cos = np.where(np.abs(cos) < 1e-7, 1e-7, cos)
    sin = np.where(np.abs(sin) < 1e-7, 1e-7, sin)
    u1, u2 = (-before[piece] - a) / cos, ((length + past)[piece] - a) / cos
    v1, v2 = (b - reach) / sin, (b + reach) / sin
    left = np.ceil(np.maximum(np.minimum(u1, u2), np.minimum(v1, v2)) / step)
    right = np.floor(np.minimum(np.maximum(u1, u2), np.maximum(v1, v2)) / step) + 1
    left = np.clip(left, 0, lattice.columns).astype(np.int64)
    right = np.clip(right, 0, lattice.columns).astype(np.int64)
    some = np.flatnonzero(right > left)
    return piece[some], row[some], left[some], (right - left)[some]
