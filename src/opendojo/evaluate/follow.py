"""From a planned path to steering and acceleration: pure pursuit and a speed loop.

Pure pursuit (Coulter, CMU-RI-TR-92-01) steers along the circle through the rear axle and a point
of the path a look-ahead away: for a target (x, y) in the vehicle's axes the curvature is
2 y / (x^2 + y^2), and a bicycle of wheelbase L follows it with the wheels at atan(L curvature).

For the speed, a plan that covers the arc length s in its first T seconds at constant acceleration
from the speed v has s = v T + a T^2 / 2, so a = (2 / T) (s / T - v). Read as a controller this has
the gain 2 / T: with T = 1.25 s and an actuator lag of 0.25 s the loop's damping is 0.8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world import VEHICLE

__all__ = ["FollowConfig", "follow"]

_GENTLE_MPS2 = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowConfig:
    """Gains and limits of the tracker."""

    wheelbase_m: float = VEHICLE.wheelbase_m
    """Distance between the axles."""
    look_ahead_s: float = 0.8
    """The look-ahead is the way driven in this time ..."""
    look_ahead_min_m: float = 4.0
    """... but at least this long ..."""
    look_ahead_max_m: float = 20.0
    """... and at most this long."""
    speed_window_s: float = 1.25
    """The head of the plan that the speed follows."""
    accel_min_mps2: float = VEHICLE.min_accel_mps2
    """Hardest braking."""
    brake_gain: float = 1.0
    """How many times harder it brakes than the plan asks for, beyond gentle slowing: who brakes too
    late cannot make up for it, who brakes too early can."""
    accel_max_mps2: float = 2.4
    """Strongest acceleration; NAVSIM's comfort limit."""
    steer_max_rad: float = VEHICLE.max_steer_rad
    """Largest angle of the front wheels, either way."""
    stop_path_m: float = 1.0
    """A plan shorter than this means: stop."""
    stop_accel_mps2: float = -3.0
    """Braking when the plan means stop."""

    def __post_init__(self) -> None:
        if self.brake_gain < 1:
            raise ValueError(f"brake_gain {self.brake_gain}: must be at least 1")
        if self.wheelbase_m <= 0 or self.speed_window_s <= 0:
            raise ValueError("wheelbase_m and speed_window_s must be positive")
        if not 0 < self.look_ahead_min_m <= self.look_ahead_max_m:
            raise ValueError("look-ahead limits must satisfy 0 < look_ahead_min_m <= ..._max_m")
        if self.accel_min_mps2 >= self.accel_max_mps2:
            raise ValueError("accel_min_mps2 must lie below accel_max_mps2")


def follow(
    path_m: Tensor,
    path_times_s: Tensor,
    speed_mps: Tensor,
    config: FollowConfig | None = None,
) -> Tensor:
    """The control that follows planned paths.

    `path_m` [n, p, 2] holds positions (x forward, y left) in the vehicle's axes at the times
    `path_times_s` [p] from now, `speed_mps` [n] the present speeds. Returns [n, 2]: the angle of
    the front wheels (rad, positive left) and the acceleration (m/s2).
    """
    config = config or FollowConfig()
    points = torch.cat([torch.zeros_like(path_m[:, :1]), path_m], 1)
    arc_m = torch.cat(
        [torch.zeros_like(speed_mps)[:, None], points.diff(dim=1).norm(dim=-1).cumsum(1)], 1
    )
    reach_m = (config.look_ahead_s * speed_mps).clamp(
        config.look_ahead_min_m, config.look_ahead_max_m
    )
    target = _lerp(arc_m, points, reach_m)
    # A plan that ends before the look-ahead is divided by no less than the shortest one, or a few
    # centimetres of noise at the end of a one-metre plan would swing the wheel.
    distance2 = target.square().sum(-1).clamp(min=config.look_ahead_min_m**2)
    steer = torch.atan(config.wheelbase_m * 2.0 * target[:, 1] / distance2)
    steer = steer.clamp(-config.steer_max_rad, config.steer_max_rad)
    return torch.stack([steer, _accel(arc_m, path_times_s, speed_mps, config)], 1)


def _accel(arc_m: Tensor, times_s: Tensor, speed_mps: Tensor, config: FollowConfig) -> Tensor:
    """The acceleration [n] that covers the first `speed_window_s` of the plan as planned."""
    window_s = min(config.speed_window_s, float(times_s[-1]))
    times = torch.cat([times_s.new_zeros(1), times_s]).to(arc_m).expand_as(arc_m)
    mean_mps = _lerp(times, arc_m[..., None], arc_m.new_full((len(arc_m),), window_s))[:, 0]
    mean_mps = mean_mps / window_s
    accel = 2.0 / window_s * (mean_mps - speed_mps)
    beyond = (accel + _GENTLE_MPS2).clamp(max=0.0)
    accel = accel + (config.brake_gain - 1.0) * beyond
    accel = accel.clamp(config.accel_min_mps2, config.accel_max_mps2)
    stop = arc_m[:, -1] < config.stop_path_m
    return torch.where(stop, torch.full_like(accel, config.stop_accel_mps2), accel)


def _lerp(at: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Interpolate `values` [n, k, d], known at rising `at` [n, k], at `wanted` [n]: [n, d]."""
    right = torch.searchsorted(at.contiguous(), wanted[:, None].contiguous())
    right = right.clamp(1, at.shape[1] - 1)
    low, high = at.gather(1, right - 1), at.gather(1, right)
    weight = ((wanted[:, None] - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)
    rows = torch.arange(len(at), device=at.device)
    left_value, right_value = values[rows, right[:, 0] - 1], values[rows, right[:, 0]]
    return left_value + weight * (right_value - left_value)
