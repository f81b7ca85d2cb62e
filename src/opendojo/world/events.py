"""What has gone wrong in a world: off the lane, off the road, into a car."""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.world.config import VEHICLE
from opendojo.world.exact import sin_cos
from opendojo.world.road import LANE_M, PAVED_M
from opendojo.world.state import Cars, Ego

__all__ = ["body_points", "collided", "off_lane", "off_road"]


def body_points(ego: Ego) -> tuple[Tensor, Tensor]:
    """World x and y, [n, 5], of the body's centre and of its four corners."""
    device = ego.x_m.device
    half = VEHICLE.length_m / 2.0
    ahead = torch.tensor([0.0, half, half, -half, -half], device=device) + VEHICLE.centre_m
    left = torch.tensor([0.0, 0.5, -0.5, 0.5, -0.5], device=device) * VEHICLE.width_m
    sin, cos = (v[:, None] for v in sin_cos(ego.yaw_rad))
    x = ego.x_m[:, None] + (cos * ahead - sin * left)
    y = ego.y_m[:, None] + (sin * ahead + cos * left)
    return x, y


def off_road(d_m: Tensor) -> Tensor:
    """bool [n]: any corner beyond the paved edge; `d_m` is [n, 5] of `body_points`."""
    return (d_m[:, 1:].abs() > PAVED_M).any(1)


def off_lane(d_m: Tensor) -> Tensor:
    """bool [n]: the body's centre is outside the right lane; `d_m` is [n, 5] of `body_points`."""
    return (d_m[:, 0] > 0.0) | (d_m[:, 0] < -LANE_M)


def collided(ego: Ego, cars: Cars) -> Tensor:
    """bool [n]: the ego's box overlaps a car's, by the separating axis theorem in the plane."""
    x, y = body_points(ego)
    dx, dy = cars.x_m - x[:, :1], cars.y_m - y[:, :1]
    sin_e, cos_e = (v[:, None] for v in sin_cos(ego.yaw_rad))
    sin_c, cos_c = sin_cos(cars.yaw_rad)
    # |cosine| and |sine| of the angle between the boxes
    cos = (cos_e * cos_c + sin_e * sin_c).abs()
    sin = (cos_e * sin_c - sin_e * cos_c).abs()
    el, ew = VEHICLE.length_m / 2.0, VEHICLE.width_m / 2.0
    cl, cw = cars.length_m * 0.5, cars.width_m * 0.5
    apart = (dx * cos_e + dy * sin_e).abs() > cl * cos + cw * sin + el
    apart |= (dy * cos_e - dx * sin_e).abs() > cl * sin + cw * cos + ew
    apart |= (dx * cos_c + dy * sin_c).abs() > cos * el + sin * ew + cl
    apart |= (dy * cos_c - dx * sin_c).abs() > sin * el + cos * ew + cw
    return (~apart & cars.mask).any(1)
