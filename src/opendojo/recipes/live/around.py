"""What lies around the ego, as labels of the bird's-eye heads: cells of the network's grid.

The ground is read from the town's atlas, the same that the cameras see; other road users are
those of the world's state, also where something hides them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.evaluate.floors import in_vehicle_axes
from opendojo.model.heads import cell_centres
from opendojo.model.sizes import NetConfig
from opendojo.world import World
from opendojo.world.draw.scene import Kind
from opendojo.world.town.atlas import CELL_M, Ground

__all__ = ["Around", "Surveyor"]

_UNPAINTED = -1
"""Entry of `Atlas.lines` of a cell without paint: all four bytes 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Labels of n worlds at one instant."""

    occupancy: Tensor
    """bool [n, 2, gy, gx]: cells that vehicles touch; that people and cyclists touch."""
    road: Tensor
    """bool [n, 3, gy, gx]: the middle is on the road; paint of lines; crossings."""
    agents: Tensor
    """float32 [n, a, 6]: x, y (m), yaw (rad), length, width (m), speed (m/s)."""
    agents_mask: Tensor
    """bool [n, a]: the slot holds somebody."""


class Surveyor:
    """Reads labels off worlds."""

    def __init__(self, net: NetConfig) -> None:
        self._centres_m = cell_centres(net)
        gy, gx = self._centres_m.shape[:2]
        self._half_m = tuple(
            0.5 * (high - low) / count
            for (low, high), count in ((net.grid_x_m, gx), (net.grid_y_m, gy))
        )

    def around(self, world: World) -> Around:
        """The labels of every world now."""
        agents = world.state.agents
        place = in_vehicle_axes(world.state.ego, agents.x_m, agents.y_m)
        yaw = agents.yaw_rad - world.state.ego.yaw_rad[:, None]
        yaw = torch.atan2(yaw.sin(), yaw.cos())
        numbers = [*place.unbind(-1), yaw, agents.length_m, agents.width_m, agents.speed_mps]
        rows = torch.stack(numbers, -1).float()
        soft = (agents.kind == int(Kind.PEDESTRIAN)) | (agents.kind == int(Kind.CYCLIST))
        touched = self._touched(rows)
        kinds = [agents.mask & ~soft, agents.mask & soft]
        occupancy = [(touched & kind[..., None, None]).any(1) for kind in kinds]
        return Around(
            occupancy=torch.stack(occupancy, 1),
            road=self._road(world),
            agents=rows,
            agents_mask=agents.mask.clone(),
        )

    def _touched(self, agents: Tensor) -> Tensor:
        """Whether an agent's box, wider by half a cell, holds a cell's middle: [n, a, gy, gx]."""
        x, y, yaw, length, width = (v[..., None, None] for v in agents[..., :5].unbind(-1))
        dx, dy = self._centres_m[..., 0] - x, self._centres_m[..., 1] - y
        cos, sin = yaw.cos(), yaw.sin()
        along, across = (cos * dx + sin * dy).abs(), (cos * dy - sin * dx).abs()
        return (along < 0.5 * length + self._half_m[0]) & (across < 0.5 * width + self._half_m[1])

    def _road(self, world: World) -> Tensor:
        ego, towns, town = world.state.ego, world.towns, world.town
        x, y = self._centres_m.flatten(0, 1).unbind(-1)
        cos, sin = ego.yaw_rad.cos()[:, None], ego.yaw_rad.sin()[:, None]

        def at(dx: float, dy: float) -> tuple[Tensor, Tensor]:
            a, b = x + dx * self._half_m[0], y + dy * self._half_m[1]
            return ego.x_m[:, None] + cos * a - sin * b, ego.y_m[:, None] + sin * a + cos * b

        shape = (-1, *self._centres_m.shape[:2])
        drivable = towns.edge_m(town, *at(0.0, 0.0)) > 0.0
        painted, crossing = torch.zeros_like(drivable), torch.zeros_like(drivable)
        for dx, dy in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)):
            lines, ground = _paint(world, *at(dx, dy))
            painted |= lines != _UNPAINTED
            crossing |= (ground & 15) == int(Ground.CROSSING)
        return torch.stack([plane.view(shape) for plane in (drivable, painted, crossing)], 1)


def _paint(world: World, x_m: Tensor, y_m: Tensor) -> tuple[Tensor, Tensor]:
    """Entries of the atlas's `lines` and `ground` at points [n, m]."""
    atlas, town = world.towns.atlas, world.town
    rows, columns = atlas.ground.shape[1:]
    column = ((x_m - atlas.x0_m[town][:, None]) / CELL_M).floor().clamp(0, columns - 1)
    row = ((y_m - atlas.y0_m[town][:, None]) / CELL_M).floor().clamp(0, rows - 1)
    place = town[:, None], row.to(torch.int64), column.to(torch.int64)
    return atlas.lines[place], atlas.ground[place]
