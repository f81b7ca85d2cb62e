"""The vocabulary: ways a car could drive on from its present speed, none of them impossible.

A candidate joins a longitudinal profile, an acceleration over time, with a profile of how tightly
it turns, a share u of what its speed allows. A kinematic bicycle rolls them out in steps as long as
the path's, over each of which the curvature is constant and the way an exact arc:

    v' = max(v + a dt, 0),    k = u(t) curvature_cap(v)

The cap keeps both the wheel's angle and the lateral acceleration within their limits, falls
smoothly as the speed rises, and u takes at least `RAMP_S` from nothing to full, so that the wheel
turns no faster than its motor can. Tables are fixed; only the present speed enters. The first
candidate goes straight on at the present speed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from opendojo.model.sizes import NetConfig

__all__ = [
    "LATERAL_MPS2",
    "RADIUS_M",
    "WHEELBASE_M",
    "Trajectories",
    "Vocabulary",
    "curvature_cap",
]

WHEELBASE_M = 2.7
MAX_STEER_RAD = 0.5
MAX_STEER_RATE = 0.7
"""Of the world's vehicle; a test compares."""
RADIUS_M = 4.95
"""Tightest turn of the rear axle, at no speed: tan(0.5) / 2.7 per m."""
LATERAL_MPS2 = 4.8
"""Lateral acceleration that no candidate exceeds: just inside NAVSIM's limit of comfort, 4.89."""

ACCELS_MPS2 = (0.0, 0.5, 1.0, 1.6, 2.3, -0.5, -1.0, -1.7, -2.6, -3.8, -6.0)
"""Accelerations held to the end, down to the vehicle's hardest braking."""
CHANGES_MPS2 = ((1.5, 0.0), (-1.5, 0.0), (-3.0, 0.0), (0.0, -2.0), (-2.5, 1.2))
"""Accelerations before and after `CHANGE_S`."""
CHANGE_S = 1.5
RAMP_S = (0.5, 2.5)
"""When a turn that begins or ends does so: u goes from one value to the other between these."""
_SPREAD = 2.2
"""How much denser levels of curvature lie near straight on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectories:
    """Candidates in the vehicle's axes at the path's times, float32 [..., K, P] each."""

    x_m: Tensor
    """Of the rear axle, forward."""
    y_m: Tensor
    """Left."""
    yaw_rad: Tensor
    """From the present heading, left."""
    speed_mps: Tensor

    @property
    def places_m(self) -> Tensor:
        """[..., K, P, 2]."""
        return torch.stack([self.x_m, self.y_m], -1)

    def taken(self, index: Tensor) -> Trajectories:
        """The candidates `index` int64 [..., m] of each row."""
        points = self.x_m.shape[-1]
        rows = index[..., None].expand(*index.shape, points)
        return Trajectories(
            **{f.name: getattr(self, f.name).gather(-2, rows) for f in fields(self)}
        )


def curvature_cap(speed_mps: Tensor) -> Tensor:
    """Tightest curvature at a speed, 1/m: (RADIUS_M^2 + (v^2 / LATERAL_MPS2)^2)^(-1/2).

    So v^2 k < LATERAL_MPS2 and k <= 1 / RADIUS_M at any speed.
    """
    return (RADIUS_M**2 + (speed_mps * speed_mps / LATERAL_MPS2).square()).rsqrt()


class Vocabulary(nn.Module):
    """All pairs of longitudinal and turning profiles; K of them."""

    accel_mps2: Tensor
    turn: Tensor

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.points = config.path_points
        self.step_s = config.path_horizon_s / config.path_points
        middle_s = (torch.arange(self.points) + 0.5) * self.step_s
        self.register_buffer("accel_mps2", _accelerations(middle_s), persistent=False)
        self.register_buffer("turn", _turns(middle_s, config.widths.levels), persistent=False)

    def __len__(self) -> int:
        return len(self.accel_mps2) * len(self.turn)

    def forward(self, speed_mps: Tensor) -> Trajectories:
        """Roll every candidate from the present speeds float32 [...]: [..., K, P]."""
        before, speed = self._speeds(speed_mps.float().clamp(min=0.0))
        some = _rolled(before[..., None, :], speed[..., None, :], self.turn, self.step_s)
        return Trajectories(**{f.name: getattr(some, f.name).flatten(-3, -2) for f in fields(some)})

    def some(self, speed_mps: Tensor, index: Tensor) -> Trajectories:
        """Roll candidates `index` int64 [..., m] alone: [..., m, P]."""
        before, speed = self._speeds(speed_mps.float().clamp(min=0.0))
        profile = (index // len(self.turn))[..., None].expand(*index.shape, self.points)
        before, speed = before.gather(-2, profile), speed.gather(-2, profile)
        return _rolled(before, speed, self.turn[index % len(self.turn)], self.step_s)

    def mirrored(self) -> Tensor:
        """For each candidate the one that turns the other way alike, int64 [K]."""
        same = (self.turn[:, None] == -self.turn).all(-1).int()
        turns = same.argmax(-1)
        profiles = torch.arange(len(self.accel_mps2), device=turns.device)[:, None]
        return (profiles * len(turns) + turns).flatten()

    def _speeds(self, speed_mps: Tensor) -> tuple[Tensor, Tensor]:
        """Speeds before and after each step, [..., L, P] each; none below standing."""
        now = speed_mps[..., None].expand(*speed_mps.shape, len(self.accel_mps2))
        rows = [now]
        for accel in self.accel_mps2.unbind(-1):
            now = (now + accel * self.step_s).clamp(min=0.0)
            rows.append(now)
        return torch.stack(rows[:-1], -1), torch.stack(rows[1:], -1)


def _rolled(before: Tensor, speed: Tensor, turn: Tensor, step_s: float) -> Trajectories:
    """Arcs at speeds before and after each step, with shares of the tightest curvature [..., P]."""
    mean = 0.5 * (before + speed)
    way = mean * step_s
    turned = way * turn * curvature_cap(mean)
    yaw = turned.cumsum(-1)
    middle = yaw - 0.5 * turned
    chord = way * (1.0 - turned * turned * (1.0 / 24.0))
    x, y = (chord * middle.cos()).cumsum(-1), (chord * middle.sin()).cumsum(-1)
    return Trajectories(x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed.expand_as(x))


def _accelerations(middle_s: Tensor) -> Tensor:
    """Accelerations of each step, [L, P]."""
    late = middle_s >= CHANGE_S
    held = [torch.full_like(middle_s, accel) for accel in ACCELS_MPS2]
    changed = [torch.where(late, after, before) for before, after in CHANGES_MPS2]
    return torch.stack([*held, *changed])


def _turns(middle_s: Tensor, levels: int) -> Tensor:
    """Shares of the tightest curvature at each step, [C, P]: held, beginning and ending turns."""
    share = torch.arange(1, levels + 1) / levels
    level = torch.sinh(share * _SPREAD) / torch.sinh(torch.tensor(_SPREAD))
    both = torch.cat([level, -level])[:, None]
    begins = ((middle_s - RAMP_S[0]) / (RAMP_S[1] - RAMP_S[0])).clamp(0.0, 1.0)
    straight = torch.zeros(1, len(middle_s))
    held = both.expand(-1, len(middle_s))
    return torch.cat([straight, held, both * begins, both * (1.0 - begins)])
