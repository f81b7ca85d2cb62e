"""How vehicles move in one step: a bicycle for the ego, lane keepers for the others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from opendojo.world.config import VEHICLE
from opendojo.world.exact import sin_cos, wrapped
from opendojo.world.roads import Located, Roads
from opendojo.world.state import Cars, Ego

__all__ = ["follow", "idm", "move_cars", "move_ego"]

# The Intelligent Driver Model (Treiber, Hennecke, Helbing 2000); values within the usual ranges.
_ACCEL_MPS2, _BRAKE_MPS2 = 1.5, 2.5
_HEADWAY_S, _STANDSTILL_M = 1.4, 2.5
_HARDEST_MPS2 = 6.0


def move_ego(ego: Ego, control: Tensor, step_s: float, halves: int = 2) -> Ego:
    """A kinematic bicycle about the rear axle; `control` is float32 [n, 2], steer and accel.

    Wrong near the limit of grip, which it does not know.
    """
    dt = step_s / halves
    share = 1.0 - math.exp(-dt / VEHICLE.lag_s)
    turn = VEHICLE.max_steer_rate * dt
    wanted_steer = control[:, 0].clamp(-VEHICLE.max_steer_rad, VEHICLE.max_steer_rad)
    wanted_accel = control[:, 1].clamp(VEHICLE.min_accel_mps2, VEHICLE.max_accel_mps2)
    x, y, yaw, speed = ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps
    steer, accel = ego.steer_rad, ego.accel_mps2
    for _ in range(halves):
        steer = steer + ((wanted_steer - steer) * share).clamp(-turn, turn)
        accel = accel + (wanted_accel - accel) * share
        faster = (speed + accel * dt).clamp(min=0.0)
        way = (speed + faster) * (0.5 * dt)
        sin, cos = sin_cos(steer)
        turned = way * (sin / cos) * (1.0 / VEHICLE.wheelbase_m)
        sin, cos = sin_cos(yaw + turned * 0.5)
        x, y, yaw, speed = x + cos * way, y + sin * way, wrapped(yaw + turned), faster
    return Ego(x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed, steer_rad=steer, accel_mps2=accel)


def idm(speed_mps: Tensor, desired_mps: Tensor, gap_m: Tensor, closing_mps: Tensor) -> Tensor:
    """Acceleration by the IDM, delta = 4; `gap_m` is inf where nobody is ahead."""
    ratio = speed_mps / desired_mps.clamp(min=0.1)
    ratio = ratio * ratio
    brake = closing_mps * speed_mps * (0.5 / math.sqrt(_ACCEL_MPS2 * _BRAKE_MPS2))
    wanted_m = _STANDSTILL_M + (speed_mps * _HEADWAY_S + brake).clamp(min=0.0)
    near = wanted_m / gap_m.clamp(min=0.1)
    accel = _ACCEL_MPS2 * (1.0 - ratio * ratio - near * near)
    return accel.clamp(-_HARDEST_MPS2, _ACCEL_MPS2)


def follow(
    cars: Cars, s_m: Tensor, d_m: Tensor, half_length_m: Tensor, half_width_m: Tensor, way: Tensor
) -> tuple[Tensor, Tensor]:
    """Gap to the nearest car ahead of followers [n, f] and its speed along the road [n, f].

    `way` is +1 for followers that drive along s, -1 against it. A car is ahead when it is further
    on and the two would touch if the follower went straight along the road. Nobody: gap inf.
    """
    ahead = (cars.s_m[:, None] - s_m[:, :, None]) * way[:, :, None]
    gap = ahead - cars.length_m[:, None] * 0.5 - half_length_m[:, :, None]
    beside = (cars.d_m[:, None] - d_m[:, :, None]).abs()
    touches = beside < cars.width_m[:, None] * 0.5 + half_width_m[:, :, None] + 0.2
    gap = gap.masked_fill(~(touches & (ahead > 0.0) & cars.mask[:, None]), math.inf)
    along = torch.where(cars.oncoming, -cars.speed_mps, cars.speed_mps)[:, None] * way[:, :, None]
    if gap.shape[2] == 0:
        return torch.full_like(s_m, math.inf), torch.zeros_like(s_m)
    best, index = gap.min(2)
    return best, along.gather(2, index[:, :, None])[:, :, 0]


def move_cars(cars: Cars, ego: Ego, ego_at: Located, roads: Roads, step_s: float) -> Cars:
    """Each car follows its lane and whoever is ahead of it there, the ego too; [n, a]."""
    way = torch.where(cars.oncoming, -1.0, 1.0)
    gap, leader_mps = follow(cars, cars.s_m, cars.d_m, cars.length_m * 0.5, cars.width_m * 0.5, way)
    ego_gap, ego_mps = _ego_ahead(cars, ego, ego_at, way)
    leader_mps = torch.where(ego_gap < gap, ego_mps, leader_mps)
    gap = torch.minimum(gap, ego_gap)
    pace = torch.where(
        cars.oncoming, roads.at(roads.oncoming_mps, cars.s_m), roads.at(roads.ahead_mps, cars.s_m)
    )
    desired = torch.minimum(cars.desired_mps, pace)
    accel = idm(cars.speed_mps, desired, gap, cars.speed_mps - leader_mps)
    speed = (cars.speed_mps + accel * step_s).clamp(min=0.0)
    s = cars.s_m + (cars.speed_mps + speed) * (0.5 * step_s) * way
    x, y, yaw = roads.place(s, cars.d_m)
    return Cars(
        mask=cars.mask & (s > -40.0) & (s < roads.length_m),
        x_m=x, y_m=y, yaw_rad=torch.where(cars.oncoming, wrapped(yaw + math.pi), yaw),
        speed_mps=speed, s_m=s, d_m=cars.d_m, length_m=cars.length_m, width_m=cars.width_m,
        height_m=cars.height_m, desired_mps=cars.desired_mps,
    )  # fmt: skip


def _ego_ahead(cars: Cars, ego: Ego, ego_at: Located, way: Tensor) -> tuple[Tensor, Tensor]:
    """Gap from each car to the ego, inf where it is not in the way, and the ego's speed along."""
    ahead = (ego_at.s_m - cars.s_m) * way
    gap = ahead - (cars.length_m + VEHICLE.length_m) * 0.5
    beside = (ego_at.d_m - cars.d_m).abs()
    touches = beside < (cars.width_m + VEHICLE.width_m) * 0.5 + 0.2
    sin, cos = sin_cos(ego.yaw_rad)
    along = ego.speed_mps[:, None] * (cos[:, None] * ego_at.cos + sin[:, None] * ego_at.sin)
    return gap.masked_fill(~(touches & (ahead > 0.0)), math.inf), along * way
