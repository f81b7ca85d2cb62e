"""A bank of towns as tensors: what traffic, routes, drivers and scores look things up in.

The stations of all lanes and walks of all towns lie end to end in flat arrays; a lane is a row of a
padded table [g, lanes] that knows where its stations begin. Between stations positions are linear
in s and so is the direction, before it is brought to length 1: `place` and `project` share this
one shape, so that each undoes the other. Padding never changes an answer, nor do other towns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from opendojo.world.draw.scene import Kind
from opendojo.world.town.atlas import EDGE_CELL_M, EDGE_STEP_M
from opendojo.world.town.bake import bake_all
from opendojo.world.town.graph import Floats, Lane, Signal, Static, Town, Walk

__all__ = ["LANE_KINDS", "Towns", "foot", "nearest_station"]

LANE_KINDS = ("road", "junction", "roundabout", "ramp")
"""Lanes' kinds; `Towns.kind` holds places in here."""

_WAYS = 4
"""The most lanes that may follow one."""
_STRIDE = 8
"""Every so manieth station is looked at in search of the nearest."""
_STATICS = {"building": Kind.BUILDING, "tree": Kind.TREE, "pole": Kind.POLE}
_HEAD_M = 0.4
_LOW_M, _HIGH_M = 2.6, 5.0
"""Undersides of signal heads beside the road and above it."""
_POLE_M = 0.15

Item = TypeVar("Item", Lane, Walk, Signal)


class Towns:
    """Towns [g] as tensors on a device.

    Tables of lanes are [g, lanes], those of walks [g, walks], of signals [g, signals], of statics
    [g, statics]; conflicts have one dim more, and -1 for the lane where there is none. Numbers are
    float32, indices int64.

    Args:
        towns: the maps; no two the same, to save memory.
        device: where the tensors live.
    """

    def __init__(self, towns: Sequence[Town], device: torch.device | str = "cpu") -> None:
        self.towns = tuple(towns)
        self.device = torch.device(device)
        self.left_hand = torch.tensor([town.left_hand for town in towns], device=self.device)
        self.atlas = bake_all(towns, self.device)
        self._stations()
        self._lanes()
        self._walks()
        self._signals()
        self._statics()

    def _stations(self) -> None:
        """All stations of all lanes and walks, and the rows where each lane and walk begins."""
        runs: list[Lane | Walk] = []
        for town in self.towns:
            runs += [*town.lanes, *town.walks]
        count = np.array([len(run.x_m) for run in runs])
        first = np.cumsum(count) - count
        rows = iter(first.tolist())
        self._first = [
            ([next(rows) for _ in town.lanes], [next(rows) for _ in town.walks])
            for town in self.towns
        ]
        yaw = np.concatenate([run.yaw_rad for run in runs])
        bends = [
            run.curvature if isinstance(run, Lane) else np.gradient(run.yaw_rad) for run in runs
        ]
        self.x_m = self._float(np.concatenate([run.x_m for run in runs]))
        self.y_m = self._float(np.concatenate([run.y_m for run in runs]))
        self.yaw_rad = self._float(yaw)
        self.cos, self.sin = self._float(np.cos(yaw)), self._float(np.sin(yaw))
        self.curvature = self._float(np.concatenate(bends))
        self._frames = torch.stack([self.x_m, self.y_m, self.cos, self.sin], 1)

    def _lanes(self) -> None:
        every = [town.lanes for town in self.towns]
        self.lanes = torch.tensor([len(lanes) for lanes in every], device=self.device)
        self.first = self._long(_padded([rows for rows, _ in self._first], 0))
        self.length_m = self._table(every, lambda lane: lane.length_m, 1.0)
        self._longest_m = float(self.length_m.max())
        self.width_m = self._table(every, lambda lane: lane.width_m, 1.0)
        self.limit_mps = self._table(every, lambda lane: lane.limit_mps, 1.0)
        self.stop_m = self._table(every, lambda lane: lane.stop_m, math.inf)
        self.left = self._long(_of(every, lambda lane: lane.left, -1))
        self.right = self._long(_of(every, lambda lane: lane.right, -1))
        self.signal = self._long(_of(every, lambda lane: lane.signal, -1))
        self.kind = self._long(_of(every, lambda lane: LANE_KINDS.index(lane.kind), -1))
        self.junction = (self.kind == 1) | (self.kind == 2)
        """Whether a lane is of a junction or of a roundabout."""
        self.bend_rad = self._table(every, lambda lane: lane.yaw_rad[-1] - lane.yaw_rad[0], 0.0)
        """The turn that a lane makes, positive to the left."""
        self.ahead_m = self._float(_padded([_ahead(town) for town in self.towns], 0.0))
        """The way from a lane's start to the town's end, by the longest way; at most 10 km."""
        self.fork = self._long(_padded([_forks(town) for town in self.towns], 0))
        """Of lanes into which a road parts, outside junctions: 1 if it leaves the main one to the
        left, 2 if it is the main one, 3 if it leaves to the right; 0 for all other lanes."""
        ways = [[list(lane.next) for lane in lanes] for lanes in every]
        self.next = self._long(_deep(ways, -1, _WAYS))
        starts = [
            town.starts or [i for i, lane in enumerate(town.lanes) if lane.kind == "road"]
            for town in self.towns
        ]
        self.starts = self._long(_padded(starts, -1))
        """Lanes where routes may begin: int64 [g, starts], -1 where there are no more."""
        self._conflicts("conflict_", every)

    def _walks(self) -> None:
        every = [town.walks for town in self.towns]
        self.walks = torch.tensor([len(walks) for walks in every], device=self.device)
        self.walk_first = self._long(_padded([rows for _, rows in self._first], 0))
        self.walk_length_m = self._table(every, lambda walk: walk.length_m, 1.0)
        self.walk_width_m = self._table(every, lambda walk: walk.width_m, 1.0)
        self.walk_signal = self._long(_of(every, lambda walk: walk.signal, -1))
        self._conflicts("walk_conflict_", every)

    def _conflicts(self, name: str, every: Sequence[Sequence[Lane] | Sequence[Walk]]) -> None:
        """Tables `name` + field of conflicts [g, lanes or walks, conflicts]."""
        for field, rest in (
            ("lane", -1),
            ("from_m", 0.0),
            ("to_m", 0.0),
            ("other_from_m", 0.0),
            ("other_to_m", 0.0),
            ("yields", False),
        ):
            rows = [[[getattr(c, field) for c in i.conflicts] for i in items] for items in every]
            table = torch.tensor(_deep(rows, rest, 0), device=self.device)
            setattr(self, name + field, table.float() if table.is_floating_point() else table)

    conflict_lane: Tensor
    conflict_from_m: Tensor
    conflict_to_m: Tensor
    conflict_other_from_m: Tensor
    conflict_other_to_m: Tensor
    conflict_yields: Tensor
    walk_conflict_lane: Tensor
    walk_conflict_from_m: Tensor
    walk_conflict_to_m: Tensor
    walk_conflict_other_from_m: Tensor
    walk_conflict_other_to_m: Tensor
    walk_conflict_yields: Tensor

    def _signals(self) -> None:
        every = [town.signals for town in self.towns]
        self.signals = torch.tensor([len(signals) for signals in every], device=self.device)
        self.period_s = self._table(every, lambda signal: signal.period_s, 1.0)
        self.green_from_s = self._table(every, lambda signal: signal.green_from_s, -1.0)
        self.green_to_s = self._table(every, lambda signal: signal.green_to_s, -1.0)
        self.yellow_s = self._table(every, lambda signal: signal.yellow_s, 0.0)

    def _statics(self) -> None:
        """What stands, then the signals' heads and poles."""
        rows = [self._boxes(g) for g in range(len(self.towns))]
        numbers = _deep(rows, 0.0, 10)
        kind, x, y, yaw, length, width, base, top, signal, used = np.moveaxis(numbers, 2, 0)
        self.static_mask = torch.tensor(used > 0.0, device=self.device)
        self.static_kind = self._long(kind)
        self.static_x_m, self.static_y_m = self._float(x), self._float(y)
        self.static_yaw_rad = self._float(yaw)
        self.static_length_m, self.static_width_m = self._float(length), self._float(width)
        self.static_base_m, self.static_top_m = self._float(base), self._float(top)
        self.static_signal = self._long(np.where(used > 0.0, signal, -1.0))
        """The signal that a box of kind SIGNAL shows; -1 for other boxes."""

    def _boxes(self, g: int) -> list[list[float]]:
        """The boxes of a town: kind, x, y, yaw, length, width, base, top, signal, 1."""
        town = self.towns[g]
        rows = [_box(_STATICS[s.kind], s) for s in town.statics]
        for index, signal in enumerate(town.signals):
            for x, y, yaw in signal.heads:
                over = self._edge(g, np.array([x]), np.array([y]))[0] > 0.0
                base = _HIGH_M if over else _LOW_M
                size = [_HEAD_M, _HEAD_M, base, base + 1.0]
                rows.append([Kind.SIGNAL, x, y, yaw, *size, index, 1.0])
                pole_x, pole_y = self._roadside(g, x, y, yaw) if over else (x, y)
                top = base + 1.0 if over else base
                rows.append([Kind.POLE, pole_x, pole_y, yaw, _POLE_M, _POLE_M, 0.0, top, -1, 1.0])
        return rows

    def _edge(self, g: int, x_m: Floats, y_m: Floats) -> Floats:
        town = torch.tensor([g], device=self.device)
        x, y = self._float(x_m)[None], self._float(y_m)[None]
        return self.edge_m(town, x, y)[0].cpu().numpy()

    def _roadside(self, g: int, x_m: float, y_m: float, yaw: float) -> tuple[float, float]:
        """The nearest place beside the road, square to where a head above it looks."""
        step = np.repeat(np.arange(0.5, 30.0, 0.5), 2)
        step[1::2] *= -1.0
        x, y = x_m - math.sin(yaw) * step, y_m + math.cos(yaw) * step
        free = int(np.argmax(self._edge(g, x, y) < -0.3))
        return float(x[free]), float(y[free])

    def _float(self, values: Floats) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def _long(self, values: Floats) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)

    def _table(
        self, every: Sequence[Sequence[Item]], of: Callable[[Item], float], rest: float
    ) -> Tensor:
        return self._float(_of(every, of, rest))

    def place(
        self, town: Tensor, lane: Tensor, s_m: Tensor, d_m: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, y and the lane's direction (cosine, sine) at points (s, d) of lanes.

        town [n]; lane, s_m, d_m [n, m]. Before its start and past its end a lane goes straight on;
        lanes of -1 give some point.
        """
        first, length = self._rows(town, lane)
        return self._at(first, length, s_m, d_m)

    def walk_place(
        self, town: Tensor, walk: Tensor, s_m: Tensor, d_m: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`place` for walks."""
        walk = walk.clamp(min=0)
        first, length = (
            self.walk_first[town[:, None], walk],
            self.walk_length_m[town[:, None], walk],
        )
        return self._at(first, length, s_m, d_m)

    def _rows(self, town: Tensor, lane: Tensor) -> tuple[Tensor, Tensor]:
        lane = lane.clamp(min=0)
        return self.first[town[:, None], lane], self.length_m[town[:, None], lane]

    def _at(
        self, first: Tensor, length_m: Tensor, s_m: Tensor, d_m: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        low = torch.minimum(torch.floor(s_m).clamp(min=0.0), torch.floor(length_m))
        part = s_m - low
        row = first + low.to(torch.int64)
        here, onward = self._frames[row], self._frames[row + 1]
        x, y, cos, sin = here.unbind(-1)
        px, py, tx, ty = (onward - here).unbind(-1)
        inside = part.clamp(0.0, 1.0)
        cos, sin = _unit(cos + tx * inside, sin + ty * inside)
        x, y = x + px * part - sin * d_m, y + py * part + cos * d_m
        return x, y, cos, sin

    def curvature_at(self, town: Tensor, lane: Tensor, s_m: Tensor) -> Tensor:
        """The curvature of lanes' middle lines, 1/m; held on beyond the ends."""
        first, length = self._rows(town, lane)
        low = torch.minimum(torch.floor(s_m).clamp(min=0.0), torch.floor(length))
        return _mixed(self.curvature, first + low.to(torch.int64), (s_m - low).clamp(0.0, 1.0))

    def project(
        self, town: Tensor, lane: Tensor, x_m: Tensor, y_m: Tensor
    ) -> tuple[Tensor, Tensor]:
        """s and d of points on given lanes, all [n, m]: the nearest foot.

        Beyond a lane's ends s goes on along the tangent there: negative, or more than the length.
        Lanes of -1 give some numbers.
        """
        first, length = self._rows(town, lane)
        last = torch.floor(length).to(torch.int64)
        count = int(self._longest_m) // _STRIDE + 2
        coarse = torch.arange(count, device=self.device)[:, None, None] * _STRIDE
        station = nearest_station(self._frames, first, coarse, last, x_m, y_m)
        offset = torch.arange(-_STRIDE, _STRIDE + 1, device=self.device)
        around = station + offset[:, None, None]
        station = nearest_station(self._frames, first, around, last, x_m, y_m)
        return foot(self._frames, first, station, last, x_m, y_m)[:2]

    def signal_state(self, town: Tensor, time_s: Tensor) -> Tensor:
        """What every signal shows at a time [n]: int64 [n, signals], 0 red, 1 yellow, 2 green."""
        period = self.period_s[town]
        phase = time_s[:, None] - torch.floor(time_s[:, None] / period) * period
        since = phase - self.green_to_s[town]
        green = (phase >= self.green_from_s[town]) & (since < 0.0)
        yellow = (since >= 0.0) & (since < self.yellow_s[town])
        return green * 2 + yellow * 1

    def lane_at(self, town: Tensor, x_m: Tensor, y_m: Tensor) -> Tensor:
        """The lane that points [n, m] lie on, to half a metre; -1 for none."""
        row, column, _, _ = self._cell(town, x_m, y_m)
        return self.atlas.lane[town[:, None], row, column].to(torch.int64)

    def edge_m(self, town: Tensor, x_m: Tensor, y_m: Tensor) -> Tensor:
        """The distance of points [n, m] from the road's edge, positive on the road; within 8 m."""
        row, column, down, right = self._cell(town, x_m, y_m)
        packed = self.atlas.edge[town[:, None], row, column]
        a, b, c, d = (((packed >> shift) & 255).float() for shift in (0, 8, 16, 24))
        upper, lower = a + (b - a) * right, c + (d - c) * right
        return (upper + (lower - upper) * down - 128.0) * EDGE_STEP_M

    def _cell(
        self, town: Tensor, x_m: Tensor, y_m: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Row and column of the coarse cells that points are in, and where in them, 0 to 1."""
        _, rows, columns = self.atlas.edge.shape
        u = (x_m - self.atlas.x0_m[town][:, None]) * (1.0 / EDGE_CELL_M)
        v = (y_m - self.atlas.y0_m[town][:, None]) * (1.0 / EDGE_CELL_M)
        column, row = torch.floor(u).clamp(0, columns - 1), torch.floor(v).clamp(0, rows - 1)
        down, right = (v - row).clamp(0.0, 1.0), (u - column).clamp(0.0, 1.0)
        return row.to(torch.int64), column.to(torch.int64), down, right


_NEVER = torch.iinfo(torch.int32).max


def nearest_station(
    frames: Tensor, first: Tensor, station: Tensor, last: Tensor, x_m: Tensor, y_m: Tensor
) -> Tensor:
    """The nearest to each point [n, m] of stations [k, n, m] of a line, the first of equals.

    Arguments are as those of `foot`; stations before the first and past the last stand for them.
    """
    # the library finds the least of int32 several times faster than of int64
    station = torch.minimum(station.clamp(min=0), last).to(torch.int32)
    row = first.to(torch.int32) + station
    place = frames.index_select(0, row.view(-1)).view(*row.shape, 4)
    dx, dy = place[..., 0] - x_m, place[..., 1] - y_m
    far = dx * dx + dy * dy
    return torch.where(far == far.amin(0), station, _NEVER).amin(0).to(torch.int64)


def foot(
    frames: Tensor, first: Tensor, station: Tensor, last: Tensor, x_m: Tensor, y_m: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """s, d and direction of points at the foot beside a station, on lines of stations.

    With P the station's place, T its direction, dP and dT what they gain on the way to the next,
    and r from P to the point, the foot at P + u dP is square to T + u dT:
    (r - u dP) . (T + u dT) = 0, so A = u (B + u C) with A = r . T, B = dP . T - r . dT,
    C = dP . dT, and u = 2 A / (B + sqrt(B^2 + 4 A C)).

    Args:
        frames: x, y, cos, sin of flat stations, float32 [stations, 4].
        first: the row of each line's first station; station: the nearest one, counted from there;
            last: the last that starts a piece. All int64 of the points' shape.
        x_m: the points.
        y_m: the points.
    """

    def solved(start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here, onward = frames[first + start], frames[first + start + 1]
        x, y, cos, sin = here.unbind(-1)
        px, py, tx, ty = (onward - here).unbind(-1)
        rx, ry = x_m - x, y_m - y
        a = rx * cos + ry * sin
        b = ((px * cos + py * sin) - (rx * tx + ry * ty)).clamp(min=0.1)
        root = torch.sqrt((b * b + 4.0 * a * (px * tx + py * ty)).clamp(min=0.0))
        return 2.0 * a / (b + root), here, onward

    zero = torch.zeros_like(station)
    u, _, _ = solved(station)  # the foot is on the piece after the station or on the one before
    start = torch.minimum(torch.maximum(torch.where(u < 0.0, station - 1, station), zero), last)
    u, here, onward = solved(start)
    u = torch.where(start > zero, u.clamp(min=0.0), u)
    u = torch.where(start < last, u.clamp(max=1.0), u)
    x, y, cos, sin = here.unbind(-1)
    px, py, tx, ty = (onward - here).unbind(-1)
    part = u.clamp(0.0, 1.0)
    cos, sin = _unit(cos + tx * part, sin + ty * part)
    return start + u, (y_m - (y + py * u)) * cos - (x_m - (x + px * u)) * sin, cos, sin


def _mixed(column: Tensor, row: Tensor, part: Tensor) -> Tensor:
    here = column[row]
    return here + (column[row + 1] - here) * part


def _unit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    length = torch.sqrt(x * x + y * y)
    return x / length, y / length


def _box(kind: Kind, s: Static) -> list[float]:
    place = [s.x_m, s.y_m, s.yaw_rad]
    return [kind, *place, s.length_m, s.width_m, s.base_m, s.top_m, -1.0, 1.0]


def _ahead(town: Town) -> list[float]:
    """How far each lane leads on, at most 10 km."""
    length = np.array([lane.length_m for lane in town.lanes])
    ways = _deep([[list(lane.next) for lane in town.lanes]], -1, 1)[0]
    ahead = np.zeros(len(length))
    while True:
        onward = np.where(ways >= 0, ahead[np.maximum(ways, 0)], 0.0).max(1)
        longer = np.minimum(length + onward, 10_000.0)
        if (longer == ahead).all():
            return ahead.tolist()
        ahead = longer


def _forks(town: Town) -> list[int]:
    """`Towns.fork` of a town's lanes. The main one is a road, if any is, and bends least."""
    forks = [0] * len(town.lanes)
    for lane in town.lanes:
        ways = [town.lanes[i] for i in lane.next]
        if len(ways) < 2 or any(way.kind in ("junction", "roundabout") for way in ways):
            continue
        bends = [abs(way.yaw_rad[-1] - way.yaw_rad[0]) for way in ways]
        main = min(range(len(ways)), key=lambda k: (ways[k].kind != "road", bends[k]))
        x, y, yaw = (c[-1] for c in (ways[main].x_m, ways[main].y_m, ways[main].yaw_rad))
        for k, way in enumerate(ways):
            left = (way.y_m[-1] - y) * math.cos(yaw) - (way.x_m[-1] - x) * math.sin(yaw)
            forks[lane.next[k]] = 2 if k == main else 1 if left > 0.0 else 3
    return forks


def _of(every: Sequence[Sequence[Item]], of: Callable[[Item], float], rest: float) -> Floats:
    """A number of each item, padded: [g, items]."""
    return _padded([[of(item) for item in items] for items in every], rest)


def _padded(rows: Sequence[Sequence[float]], rest: float) -> Floats:
    """Rows [g] of unequal lengths as a table, at least one wide."""
    table = np.full((len(rows), max(1, *(len(row) for row in rows))), rest)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def _deep(rows: Sequence[Sequence[Sequence[float]]], rest: float, width: int) -> Floats:
    """Rows of rows [g, items] of unequal lengths as a table, at least `width` deep, and 1."""
    deep = max([1, width, *(len(part) for row in rows for part in row)])
    table = np.full((len(rows), max(1, *(len(row) for row in rows)), deep), rest)
    for i, row in enumerate(rows):
        for j, part in enumerate(row):
            table[i, j, : len(part)] = part
    return table
