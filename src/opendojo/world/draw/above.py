"""What lies around the ego, seen from above: lanes, what is drivable and taken, its own future.

All in the vehicle's axes: x ahead, y left, origin below the middle of the rear axle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opendojo.world.draw.optics import local_boxes, turned
from opendojo.world.draw.scene import Scene
from opendojo.world.exact import sin_cos, wrapped
from opendojo.world.town.atlas import EDGE_CELL_M, Atlas
from opendojo.world.town.graph import Town

__all__ = ["LanePieces", "NearLanes", "ego_future", "occupancy"]

_OVERHEAD_M = 2.0
"""What begins higher up than this occupies no ground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearLanes:
    """Pieces of lanes around n egos, nearest first."""

    points_m: Tensor
    """float32 [n, m, p, 2]: x, y in the vehicle's frame, in the direction of travel."""
    lane: Tensor
    """int64 [n, m]: index of the town's lane; -1 where there is no further piece."""


class LanePieces:
    """Middle lines of towns' lanes cut into short pieces, to be found around an ego."""

    def __init__(
        self,
        towns: Sequence[Town],
        device: torch.device,
        *,
        piece_m: float = 20.0,
        points: int = 11,
    ) -> None:
        """Cut every lane into equal pieces of at most `piece_m` with `points` points each."""
        cut = [_pieces(town, piece_m, points) for town in towns]
        most = max(len(lanes) for _, lanes in cut)
        at = np.full((len(towns), most, points, 2), np.inf)
        lane = np.full((len(towns), most), -1)
        for g, (lines, lanes) in enumerate(cut):
            at[g, : len(lanes)], lane[g, : len(lanes)] = lines, lanes
        self._at = torch.tensor(at, dtype=torch.float32, device=device)
        self._lane = torch.tensor(lane, dtype=torch.int64, device=device)

    def near(
        self,
        town: Tensor,
        x_m: Tensor,
        y_m: Tensor,
        yaw_rad: Tensor,
        *,
        most: int = 32,
        reach_m: float = 60.0,
    ) -> NearLanes:
        """The `most` pieces that are nearest by their nearest points, within `reach_m`.

        Args:
            town: int64 [n].
            x_m: With the other two float32 [n], the egos' poses.
            y_m: See above.
            yaw_rad: See above.
            most: How many to give, at most.
            reach_m: Pieces farther away are left out.
        """
        at = self._at[town]
        x, y = at[..., 0] - x_m[:, None, None], at[..., 1] - y_m[:, None, None]
        far = (x * x + y * y).amin(-1)
        most = min(most, far.shape[1])
        far, index = far.sort(dim=1, stable=True)
        far, index = far[:, :most], index[:, :most]
        rows = torch.arange(len(town), device=town.device)[:, None]
        x, y = turned(x[rows, index], y[rows, index], yaw_rad[:, None, None], back=True)
        found = far <= reach_m * reach_m
        points = torch.stack([x, y], -1)
        return NearLanes(
            points_m=torch.where(found[..., None, None], points, 0.0),
            lane=torch.where(found, self._lane[town][rows, index], -1),
        )


def _pieces(town: Town, piece_m: float, points: int) -> tuple[np.ndarray, list[int]]:
    lines, lanes = [], []
    for index, lane in enumerate(town.lanes):
        count = max(1, math.ceil(lane.length_m / piece_m))
        station = np.arange(len(lane.x_m), dtype=np.float64)
        for part in range(count):
            ends = part * lane.length_m / count, (part + 1) * lane.length_m / count
            s = np.linspace(*ends, points)
            x, y = np.interp(s, station, lane.x_m), np.interp(s, station, lane.y_m)
            lines.append(np.stack([x, y], -1))
            lanes.append(index)
    return np.array(lines), lanes


def occupancy(scene: Scene, atlas: Atlas, *, cells: int = 64, cell_m: float = 1.0) -> Tensor:
    """What lies around the ego, seen from above: bool [n, 2, cells, cells].

    Row 0 is farthest ahead, column 0 farthest left, the ego's origin in the very middle. Plane 0:
    the cell's middle is on the road. Plane 1: a box that begins below 2 m touches the cell.
    """
    device = scene.x_m.device
    ahead = (0.5 * cells - 0.5 - torch.arange(cells, device=device)) * cell_m
    x, y = ahead[:, None].expand(cells, cells), ahead[None].expand(cells, cells)
    east, north = turned(x, y, scene.yaw_rad[:, None, None])
    east, north = east + scene.x_m[:, None, None], north + scene.y_m[:, None, None]
    drivable = _edge_steps(atlas, scene.town, east, north) > 0.0
    taken = torch.zeros_like(drivable)
    at_x, at_y, yaw = local_boxes(scene)
    sin, cos = sin_cos(yaw)
    boxes = scene.boxes
    solid = boxes.mask & (boxes.base_m < _OVERHEAD_M)
    half_l, half_w, half = 0.5 * boxes.length_m, 0.5 * boxes.width_m, 0.5 * cell_m
    wide = (slice(None), None, None)
    # two rectangles touch unless one of their four axes parts them
    for k in range(solid.shape[1]):
        a, b, c, s = (v[:, k][wide] for v in (half_l, half_w, cos, sin))
        dx, dy = x - at_x[:, k][wide], y - at_y[:, k][wide]
        u, v = dx * c + dy * s, dy * c - dx * s
        big, small, diagonal = c.abs(), s.abs(), half * (c.abs() + s.abs())
        hit = (dx.abs() < half + a * big + b * small) & (dy.abs() < half + a * small + b * big)
        hit &= (u.abs() < a + diagonal) & (v.abs() < b + diagonal)
        taken |= hit & solid[:, k][wide]
    return torch.stack([drivable, taken], 1)


def _edge_steps(atlas: Atlas, town: Tensor, x_m: Tensor, y_m: Tensor) -> Tensor:
    """Distance from the road's edge at points [n, ...] in steps of `Atlas.edge`."""
    wide = (slice(None), *[None] * (x_m.ndim - 1))
    height, width = atlas.edge.shape[1:]
    across = (x_m - atlas.x0_m[town][wide]) / EDGE_CELL_M
    up = (y_m - atlas.y0_m[town][wide]) / EDGE_CELL_M
    column, row = across.floor().clamp(0, width - 1), up.floor().clamp(0, height - 1)
    fx, fy = (across - column).clamp(0.0, 1.0), (up - row).clamp(0.0, 1.0)
    entry = atlas.edge[town[wide], row.to(torch.int64), column.to(torch.int64)]
    a, b, c, d = (((entry >> shift) & 255).to(torch.float32) for shift in (0, 8, 16, 24))
    low, high = a + (b - a) * fx, c + (d - c) * fx
    return low + (high - low) * fy - 128.0


def ego_future(x_m: Tensor, y_m: Tensor, yaw_rad: Tensor) -> Tensor:
    """Poses to come in the vehicle's frame now: float32 [n, t, 3], x, y, yaw.

    Args:
        x_m: With the other two float32 [n, t + 1]: now, then t later instants.
        y_m: See above.
        yaw_rad: See above.
    """
    x, y = x_m[:, 1:] - x_m[:, :1], y_m[:, 1:] - y_m[:, :1]
    x, y = turned(x, y, yaw_rad[:, :1], back=True)
    return torch.stack([x, y, wrapped(yaw_rad[:, 1:] - yaw_rad[:, :1])], -1)
