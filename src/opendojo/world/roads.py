"""The roads of a batch as tensors: the one description behind pictures, metrics and drivers.

A point is located in two looks: a coarse grid names the station nearest by, and that station's
frame, bent by the station's curvature, gives arc length and offset. On the road the arc is within
2 cm of the clothoid across and 10 cm along, at worst; mostly within 3 mm and 1 cm.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opendojo.world.exact import sin_cos
from opendojo.world.road import CELL_M, Road

__all__ = ["Frames", "Located", "Roads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Points in the road's own coordinates; all of the points' shape."""

    s_m: Tensor
    """Arc length."""
    d_m: Tensor
    """Offset, positive to the left of the centre line."""
    cos: Tensor
    sin: Tensor
    """Direction of the road at the point's foot, in the frame the points came in; its length is 1
    to within a hundredth near the road."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """A frame at each station of each road, in some plane of each world: float32 [n, stations]."""

    along: Tensor
    """The station's place along its own tangent."""
    left: Tensor
    """The station's place along its own left."""
    cos: Tensor
    sin: Tensor
    curvature: Tensor
    s_m: Tensor

    def seen_from(self, x_m: Tensor, y_m: Tensor, yaw_rad: Tensor) -> Frames:
        """These frames in the axes of one vehicle a world, at poses [n]."""
        sin, cos = sin_cos(yaw_rad)
        x, y, sin, cos = x_m[:, None], y_m[:, None], sin[:, None], cos[:, None]
        return Frames(
            along=self.along - (x * self.cos + y * self.sin),
            left=self.left - (y * self.cos - x * self.sin),
            cos=self.cos * cos + self.sin * sin,
            sin=self.sin * cos - self.cos * sin,
            curvature=self.curvature,
            s_m=self.s_m,
        )

    def locate(self, station: Tensor, x_m: Tensor, y_m: Tensor) -> Located:
        """Points of this plane on the road, each by a station near it.

        `station` is int32 of any shape that broadcasts to the points' (see `Roads.station`); a
        station some metres off the nearest serves as well.

        With a the way along the station's tangent, b to its left, k its curvature and
        r^2 = (k a)^2 + (1 - k b)^2:
        d = (2 b - k (a^2 + b^2)) / (1 + r) and tan(k s) = k a / (1 - k b).
        """
        flat = station.reshape(-1)

        def at(column: Tensor) -> Tensor:
            return column.view(-1).index_select(0, flat).view(station.shape)

        cos, sin, k = at(self.cos), at(self.sin), at(self.curvature)
        a = (x_m * cos).add_(y_m * sin).sub_(at(self.along))
        b = (y_m * cos).sub_(x_m * sin).sub_(at(self.left))
        u = (k * b).neg_().add_(1.0).clamp_(min=0.2)
        ka = k * a
        r = (ka * ka).add_(u * u).sqrt_().add_(1.0)
        d = (a * a).add_(b * b).mul_(k).neg_().add_(b).add_(b).div_(r)
        q = ka.div_(u)
        # arctan q = q (1 - q^2 / 3 ...), and |q| stays below 0.15 near the road
        s = (q * q).mul_(-1.0 / 3.0).add_(1.0).mul_(a).div_(u).add_(at(self.s_m))
        return Located(s_m=s, d_m=d, cos=cos - sin * q, sin=(cos * q).add_(sin))


class Roads:
    """The roads of a batch, ragged grids laid end to end.

    Args:
        roads: one a world; all of the same number of stations.
        device: where the tensors live.
    """

    def __init__(self, roads: Sequence[Road], device: torch.device) -> None:
        def column(name: str) -> Tensor:
            rows = np.stack([getattr(road, name) for road in roads])
            return torch.tensor(rows, dtype=torch.float32, device=device)

        stations = len(roads[0].x_m)
        x, y = np.stack([r.x_m for r in roads]), np.stack([r.y_m for r in roads])
        yaw = np.stack([r.yaw_rad for r in roads])
        cos, sin = np.cos(yaw), np.sin(yaw)
        s_m = np.broadcast_to(np.arange(stations), x.shape)
        values = [x * cos + y * sin, y * cos - x * sin, cos, sin]
        values += [np.stack([r.curvature for r in roads]), s_m]
        tensors = [torch.tensor(v, dtype=torch.float32, device=device) for v in values]
        names = ("along", "left", "cos", "sin", "curvature", "s_m")
        self.frames = Frames(**dict(zip(names, tensors, strict=True)))
        self.length_m = float(stations - 1)
        self.x_m, self.y_m = column("x_m"), column("y_m")
        self.yaw_rad, self.curvature = column("yaw_rad"), column("curvature")
        self.ahead_mps, self.oncoming_mps = column("ahead_mps"), column("oncoming_mps")
        limits = [r.limit_mps for r in roads]
        self.limit_mps = torch.tensor(limits, dtype=torch.float32, device=device)
        self._bake(roads, stations, device)

    def _bake(self, roads: Sequence[Road], stations: int, device: torch.device) -> None:
        """The grids, widened at their far edges to one size."""
        grids = [road.grid for road in roads]
        height, width = np.max([g.station.shape for g in grids], 0)
        cells = np.empty((len(grids), height, width), np.int32)
        for i, grid in enumerate(grids):
            missing = height - grid.station.shape[0], width - grid.station.shape[1]
            padded = np.pad(grid.station, [(0, missing[0]), (0, missing[1])], "edge")
            cells[i] = padded + i * stations
        self._cells = torch.tensor(cells, device=device)
        low = np.array([(g.x_m, g.y_m) for g in grids], np.float32)
        self._low_x, self._low_y = torch.tensor(low, device=device).T[:, :, None]

    def station(self, x_m: Tensor, y_m: Tensor) -> Tensor:
        """The stations near points [n, m] of the worlds, as int32 rows of `frames` laid flat."""
        n, height, width = self._cells.shape
        column = (x_m - self._low_x).mul_(1.0 / CELL_M).clamp_(0.0, width - 1.0).to(torch.int32)
        row = (y_m - self._low_y).mul_(1.0 / CELL_M).clamp_(0.0, height - 1.0).to(torch.int32)
        cell = row.mul_(width).add_(column)
        cell.add_(
            torch.arange(n, dtype=torch.int32, device=cell.device)[:, None] * (height * width)
        )
        return self._cells.reshape(-1).index_select(0, cell.view(-1)).view(cell.shape)

    def stations_of(self, first: int, last: int) -> Roads:
        """Roads whose `station` takes points of some of the worlds; its answers are the same."""
        part = copy.copy(self)
        part._cells = self._cells[first:last]
        part._low_x, part._low_y = self._low_x[first:last], self._low_y[first:last]
        return part

    def locate(self, x_m: Tensor, y_m: Tensor) -> Located:
        """Points [n, m] of the worlds in their roads' coordinates."""
        return self.frames.locate(self.station(x_m, y_m), x_m, y_m)

    def at(self, column: Tensor, s_m: Tensor) -> Tensor:
        """A column [n, stations] interpolated at arc lengths [n, m], held on beyond the ends."""
        low, part = self._split(s_m)
        part = part.clamp(0.0, 1.0)
        return _between(column, low, part)

    def place(self, s_m: Tensor, d_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """World x, y and heading of the road's points at (s, d) [n, m]; straight on beyond."""
        low, part = self._split(s_m)
        yaw = _between(self.yaw_rad, low, part.clamp(0.0, 1.0))
        sin, cos = sin_cos(yaw)
        x = _between(self.x_m, low, part) - sin * d_m
        y = _between(self.y_m, low, part) + cos * d_m
        return x, y, yaw

    def _split(self, s_m: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.floor(s_m).clamp(0.0, self.length_m - 1.0)
        return low.to(torch.int64), s_m - low


def _between(column: Tensor, low: Tensor, part: Tensor) -> Tensor:
    first = column.gather(1, low)
    return first + (column.gather(1, low + 1) - first) * part
