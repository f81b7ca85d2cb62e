"""The ego vehicle: a kinematic bicycle about the rear axle, behind actuators that lag.

Slip is left out: the wheels roll where they point, up to the lateral acceleration that the road's
grip allows, past which the car runs wide. Near that limit, and in a slide, the model is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from opendojo.world.body import VEHICLE
from opendojo.world.exact import sin_cos, wrapped

__all__ = ["MAX_LATENCY_S", "Ego", "move_ego", "still_ego"]

MAX_LATENCY_S = 0.2
"""Longest time between a control and its reaching the actuators."""

_G_MPS2 = 9.81


@dataclass(frozen=True, slots=True, kw_only=True)
class Ego:
    """Ego vehicles, float32 [n]: the rear axle's place, heading, and what the actuators do."""

    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    speed_mps: Tensor
    steer_rad: Tensor
    """Angle of the front wheels."""
    accel_mps2: Tensor
    queue: Tensor
    """float32 [n, q, 2]: the last q controls (steer, accel), the newest first."""
    latency_s: Tensor
    """Time from a control to the actuators, in [0, MAX_LATENCY_S]."""
    grip: Tensor
    """Friction coefficient mu of tyre on road."""

    def rows(self, first: int, last: int) -> Ego:
        """The egos of some of the worlds."""
        return Ego(**{f.name: getattr(self, f.name)[first:last] for f in fields(self)})

    def repeated(self, times: int) -> Ego:
        """Each ego `times` times in a row, [n * times]: for proposals [n, p] laid flat."""
        return Ego(
            **{f.name: getattr(self, f.name).repeat_interleave(times, 0) for f in fields(self)}
        )

    def middle(self) -> tuple[Tensor, Tensor]:
        """x and y of the body's middle, [n]."""
        sin, cos = sin_cos(self.yaw_rad)
        return self.x_m + cos * VEHICLE.centre_m, self.y_m + sin * VEHICLE.centre_m


def still_ego(
    x_m: Tensor, y_m: Tensor, yaw_rad: Tensor, *, step_s: float, latency_s: float | Tensor = 0.0
) -> Ego:
    """Egos at rest at poses [n], wheels straight, on dry road, for steps of `step_s`."""
    n, zero = x_m.shape[0], torch.zeros_like(x_m)
    depth = math.ceil(MAX_LATENCY_S / step_s - 1e-6)
    return Ego(
        x_m=x_m, y_m=y_m, yaw_rad=yaw_rad, speed_mps=zero, steer_rad=zero, accel_mps2=zero,
        queue=x_m.new_zeros((n, depth, 2)), latency_s=zero + latency_s, grip=zero + 0.9,
    )  # fmt: skip


def move_ego(ego: Ego, control: Tensor, step_s: float, halves: int = 2) -> Ego:
    """One step, in `halves` equal parts; `control` is float32 [n, 2]: steer (rad), accel (m/s2).

    With v the speed of the rear axle and k = tan(steer) / wheelbase its path's curvature, the
    heading turns by k ds, where |k| <= grip * g / v^2.
    """
    dt = step_s / halves
    share = 1.0 - math.exp(-dt / VEHICLE.lag_s)
    turn = VEHICLE.max_steer_rate * dt
    known = torch.cat([control[:, None], ego.queue], 1)
    x, y, yaw, speed = ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps
    steer, accel = ego.steer_rad, ego.accel_mps2
    for part in range(halves):
        steer_to, accel_to = _arriving(known, ego.latency_s, part * dt, step_s)
        steer = steer + ((steer_to - steer) * share).clamp(-turn, turn)
        accel = accel + (accel_to - accel) * share
        faster = (speed + accel * dt).clamp(min=0.0)
        way = (speed + faster) * (0.5 * dt)
        sin, cos = sin_cos(steer)
        most = ego.grip * _G_MPS2 / (speed * speed).clamp(min=1e-3)
        curvature = (sin / cos) * (1.0 / VEHICLE.wheelbase_m)
        curvature = torch.maximum(torch.minimum(curvature, most), -most)
        turned = way * curvature
        sin, cos = sin_cos(yaw + turned * 0.5)
        x, y, yaw, speed = x + cos * way, y + sin * way, wrapped(yaw + turned), faster
    return replace(
        ego, x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed, steer_rad=steer, accel_mps2=accel,
        queue=known[:, : ego.queue.shape[1]],
    )  # fmt: skip


def _arriving(
    known: Tensor, latency_s: Tensor, since_s: float, step_s: float
) -> tuple[Tensor, Tensor]:
    """Steer and accel that reach the actuators `since_s` after the newest control was given.

    `known` [n, 1 + q, 2] holds the newest control first, each given a step before the last.
    """
    age = torch.ceil((latency_s - since_s) * (1.0 / step_s) - 1e-3)
    age = age.clamp(0.0, known.shape[1] - 1.0).to(torch.int64)
    arriving = known.gather(1, age[:, None, None].expand(-1, 1, 2))[:, 0]
    steer = arriving[:, 0].clamp(-VEHICLE.max_steer_rad, VEHICLE.max_steer_rad)
    accel = arriving[:, 1].clamp(VEHICLE.min_accel_mps2, VEHICLE.max_accel_mps2)
    return steer, accel
