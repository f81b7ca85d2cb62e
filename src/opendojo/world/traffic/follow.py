"""How hard to accelerate: the Intelligent Driver Model, and braking to halt at a place."""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.world.traffic.state import Drivers

__all__ = ["HARDEST_MPS2", "follow", "free", "halt", "near"]

HARDEST_MPS2 = 8.0
"""No driver brakes harder."""
_FREE_BRAKE_MPS2 = 3.0
"""No driver brakes harder than this only because of being too fast."""


def free(speed_mps: Tensor, desired_mps: Tensor, accel_mps2: Tensor) -> Tensor:
    """Acceleration on a free road: a (1 - (v / v0)^4)."""
    ratio = speed_mps / desired_mps.clamp(min=0.1)
    ratio = ratio * ratio
    return torch.clamp(accel_mps2 * (1.0 - ratio * ratio), min=-_FREE_BRAKE_MPS2)


def near(drivers: Drivers, speed_mps: Tensor, gap_m: Tensor, other_mps: Tensor) -> Tensor:
    """How the IDM minds another vehicle ahead: (s* / gap)^2, for pairs [n, v, j].

    s* = s0 + max(0, v T + v (v - v_other) / (2 sqrt(a b))); the gap is from bumper to bumper.
    """
    root = (drivers.accel_mps2 * drivers.brake_mps2).sqrt()
    slope = (speed_mps * 0.5 / root)[:, :, None]
    steady = (speed_mps * drivers.headway_s)[:, :, None]
    wanted = (slope * (speed_mps[:, :, None] - other_mps) + steady).clamp_(min=0.0)
    wanted = wanted.add_(drivers.standstill_m[:, :, None])
    ratio = wanted.div_(gap_m.clamp(min=0.1))
    return ratio * ratio


def follow(free_mps2: Tensor, near_most: Tensor, drivers: Drivers) -> Tensor:
    """The IDM's acceleration from its two parts, within what a vehicle can do; [n, v]."""
    accel = free_mps2 - drivers.accel_mps2 * near_most
    return torch.maximum(accel, accel.new_full((), -HARDEST_MPS2))


def halt(speed_mps: Tensor, way_m: Tensor, begin_mps2: Tensor) -> Tensor:
    """The acceleration that is allowed where a vehicle must halt within `way_m`; inf: any.

    Braking begins once v^2 / (2 way) reaches `begin_mps2`, and is that hard from then on.
    """
    need = speed_mps * speed_mps * 0.5 / way_m.clamp(min=0.05)
    allowed = torch.where(need >= begin_mps2, -need, torch.inf)
    allowed = torch.where(way_m < 0.3, torch.clamp(allowed, max=-2.0), allowed)
    return allowed.clamp(min=-HARDEST_MPS2)
