"""Where each picture column's vertical plane meets the upright boxes that cars are made of.

The cameras are level, so a column of pixels is a vertical plane and a ray in the ground plane; a
slab test against each box gives the depths at which it enters and leaves (Kay and Kajiya 1986).
Depth is along the optical axis: a point at depth t and height z is seen at row
cy + fy (mount_z - z) / t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world.exact import sin_cos
from opendojo.world.lens import Lens
from opendojo.world.state import Cars, Ego

__all__ = ["BELT", "BODY", "CABIN", "SHADOW", "Hits", "cast", "outlines"]

SHADOW, BODY, CABIN = 0, 1, 2
"""The prisms of a car: its shadow's outline, the body up to the belt, the cabin above it."""
BELT = 0.6
"""Height of the belt as a share of a car's height."""
_SHADOW_REACH_M = 0.25
_CABIN_INSET_M = 0.12
_NEAREST_M = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """The h meetings of a column with a car's shadow, and how it meets the prisms, [h, 3]."""

    world: Tensor
    camera: Tensor
    car: Tensor
    column: Tensor
    """Indices, int64 [h]."""
    layer: Tensor
    """How many farther cars the same column meets, int64 [h]: paint layer 0 first."""
    enter: Tensor
    leave: Tensor
    """Depths, float32 [h, 3]; a miss has leave <= enter."""
    across: Tensor
    """Where on the face that is entered, from its middle, as a share of half its width."""
    end: Tensor
    """Which face is entered: -1 the rear, +1 the front, 0 a side."""
    light: Tensor
    """Cosine of the face's normal with the sun, times the sun's strength, signed."""

    def some(self, chosen: Tensor) -> Hits:
        """Some of the meetings, by index."""
        return Hits(**{name: getattr(self, name)[chosen] for name in Hits.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slabs:
    """Depths at which rays pass the planes of boxes."""

    enter_l: Tensor
    leave_l: Tensor
    enter_w: Tensor
    leave_w: Tensor

    @property
    def enter(self) -> Tensor:
        return torch.maximum(self.enter_l, self.enter_w)

    @property
    def leave(self) -> Tensor:
        return torch.minimum(self.leave_l, self.leave_w)


def cast(lens: Lens, ego: Ego, cars: Cars, sun: Tensor, rays: tuple[Tensor, Tensor]) -> Hits:
    """Meet the boxes of `cars` [n, a] with columns whose directions are `rays`.

    `rays` holds x and y, [c, columns]; `sun` is `Look.sun`.
    """
    sin, cos = (v[:, None] for v in sin_cos(ego.yaw_rad))
    dx, dy = cars.x_m - ego.x_m[:, None], cars.y_m - ego.y_m[:, None]
    x, y = (dx * cos + dy * sin)[:, None], (dy * cos - dx * sin)[:, None]
    car_sin, car_cos = sin_cos(cars.yaw_rad)
    c, s = car_cos * cos + car_sin * sin, car_sin * cos - car_cos * sin
    # camera and rays in each car's axes, [n, c, a] and [n, c, a, columns]
    ox, oy = lens.mount_x_m[:, None] - x, lens.mount_y_m[:, None] - y
    ox, oy = ox * c[:, None] + oy * s[:, None], oy * c[:, None] - ox * s[:, None]
    along, left = _turned(
        rays[0][:, None], rays[1][:, None], c[:, None, :, None], s[:, None, :, None]
    )
    middle, half_l, half_w = outlines(cars)
    shadow_l, shadow_w = half_l[:, None, :, None, SHADOW], half_w[:, None, :, None, SHADOW]
    slabs = _meet(ox[..., None], oy[..., None], along, left, shadow_l, shadow_w)
    leave = slabs.leave
    met = (leave > slabs.enter.clamp_(min=_NEAREST_M)) & cars.mask[:, None, :, None]
    world, camera, car, column = met.nonzero(as_tuple=True)

    # from here on only what was met, [h, prisms]
    along, left = along[world, camera, car, column, None], left[world, camera, car, column, None]
    ox = ox[world, camera, car, None] - middle[world, car]
    oy = oy[world, camera, car, None]
    half_l, half_w = half_l[world, car], half_w[world, car]
    slabs = _meet(ox, oy, along, left, half_l, half_w)
    by_end = slabs.enter_l > slabs.enter_w
    enter = slabs.enter
    across = torch.where(by_end, (oy + enter * left) / half_w, (ox + enter * along) / half_l)
    back, side = torch.where(along > 0, -1.0, 1.0), torch.where(left > 0, -1.0, 1.0)
    sun_x = (sun[:, :1] * car_cos + sun[:, 1:] * car_sin)[world, car, None]
    sun_y = (sun[:, 1:] * car_cos - sun[:, :1] * car_sin)[world, car, None]
    picture_column = (world * len(lens.fy_px) + camera) * rays[0].shape[1] + column
    return Hits(
        world=world, camera=camera, car=car, column=column,
        layer=_layers(picture_column, enter[:, SHADOW]),
        enter=enter.clamp(min=_NEAREST_M), leave=slabs.leave, across=across,
        end=torch.where(by_end, back, 0.0),
        light=torch.where(by_end, back * sun_x, side * sun_y),
    )  # fmt: skip


def outlines(cars: Cars) -> tuple[Tensor, Tensor, Tensor]:
    """Middle ahead of the car's centre, half length, half width of each prism, [n, a, 3]."""
    half_l, half_w = cars.length_m * 0.5, cars.width_m * 0.5
    tall = cars.height_m > 1.65
    zero = torch.zeros_like(half_l)
    cabin_l = half_l * torch.where(tall, 0.80, 0.56)
    middle = torch.where(tall, half_l * -0.19, half_l * -0.16)
    return (
        torch.stack([zero, zero, middle], 2),
        torch.stack([half_l + _SHADOW_REACH_M, half_l, cabin_l], 2),
        torch.stack([half_w + _SHADOW_REACH_M, half_w, half_w - _CABIN_INSET_M], 2),
    )


def _turned(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Directions in axes turned by an angle, none of their parts quite zero."""
    parts = (x * cos).add_(y * sin), (y * cos).sub_(x * sin)
    along, left = (part.masked_fill_(part.abs() < 1e-6, 1e-6) for part in parts)
    return along, left


def _meet(
    ox: Tensor, oy: Tensor, along: Tensor, left: Tensor, half_l: Tensor, half_w: Tensor
) -> _Slabs:
    """Slabs of boxes met from (ox, oy), in their own axes, in the directions (along, left)."""
    by_l, by_w = 1.0 / along, 1.0 / left
    mid_l, mid_w = -ox * by_l, -oy * by_w
    far_l, far_w = half_l * by_l.abs_(), half_w * by_w.abs_()
    return _Slabs(
        enter_l=mid_l - far_l, leave_l=mid_l + far_l, enter_w=mid_w - far_w, leave_w=mid_w + far_w
    )


def _layers(column: Tensor, depth: Tensor) -> Tensor:
    """Rank by falling depth among those of the same column."""
    order = depth.argsort(dim=0, descending=True, stable=True)
    order = order[column[order].argsort(dim=0, stable=True)]
    ordered = column[order].contiguous()
    rank = torch.arange(len(order), device=column.device) - torch.searchsorted(ordered, ordered)
    return torch.empty_like(rank).scatter_(0, order, rank)
