"""What has gone wrong in a world: off the road, into somebody."""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.world.body import VEHICLE
from opendojo.world.exact import sin_cos
from opendojo.world.traffic.agents import Agents
from opendojo.world.vehicle import Ego

__all__ = ["body_points", "collided"]


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


def collided(ego: Ego, agents: Agents) -> Tensor:
    """bool [n]: the ego's box overlaps another road user's (separating axes, in the plane)."""
    x, y = body_points(ego)
    dx, dy = agents.x_m - x[:, :1], agents.y_m - y[:, :1]
    sin_e, cos_e = (v[:, None] for v in sin_cos(ego.yaw_rad))
    sin_c, cos_c = sin_cos(agents.yaw_rad)
    # |cosine| and |sine| of the angle between the boxes
    cos = (cos_e * cos_c + sin_e * sin_c).abs()
    sin = (cos_e * sin_c - sin_e * cos_c).abs()
    el, ew = VEHICLE.length_m / 2.0, VEHICLE.width_m / 2.0
    cl, cw = agents.length_m * 0.5, agents.width_m * 0.5
    apart = (dx * cos_e + dy * sin_e).abs() > cl * cos + cw * sin + el
    apart |= (dy * cos_e - dx * sin_e).abs() > cl * sin + cw * cos + ew
    apart |= (dx * cos_c + dy * sin_c).abs() > cos * el + sin * ew + cl
    apart |= (dy * cos_c - dx * sin_c).abs() > sin * el + cos * ew + cw
    return (~apart & agents.mask).any(1)
