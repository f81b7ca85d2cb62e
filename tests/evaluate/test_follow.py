from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from opendojo.evaluate import FollowConfig, follow

TIMES_S = torch.arange(1, 17) * 0.25
WHEELBASE_M = 2.7


def arc(curvature: float, speed_mps: float) -> Tensor:
    s = speed_mps * TIMES_S
    if curvature == 0.0:
        return torch.stack([s, 0.0 * s], -1)[None]
    return torch.stack([(s * curvature).sin(), 1 - (s * curvature).cos()], -1)[None] / curvature


@pytest.mark.parametrize("curvature", [0.0, 0.01, -0.02, 0.05])
@pytest.mark.parametrize("speed_mps", [3.0, 8.0, 15.0])
def test_an_arc_gives_its_curvature_and_no_acceleration(curvature: float, speed_mps: float) -> None:
    control = follow(arc(curvature, speed_mps), TIMES_S, torch.tensor([speed_mps]))
    assert control[0, 0] == pytest.approx(math.atan(WHEELBASE_M * curvature), rel=0.02, abs=1e-6)
    assert control[0, 1] == pytest.approx(0.0, abs=0.05)


def test_a_plan_of_constant_acceleration_gives_that_acceleration() -> None:
    for accel in (-2.0, 1.5):
        s = 9.0 * TIMES_S + 0.5 * accel * TIMES_S**2
        path = torch.stack([s, 0.0 * s], -1)[None]
        assert follow(path, TIMES_S, torch.tensor([9.0]))[0, 1] == pytest.approx(accel, abs=0.01)


def test_a_brake_gain_leaves_all_but_braking_alone() -> None:
    config = FollowConfig(brake_gain=1.4)
    for accel, wanted in ((1.5, 1.5), (-0.4, -0.4), (-2.5, -3.3)):
        s = 16.0 * TIMES_S + 0.5 * accel * TIMES_S**2
        path = torch.stack([s, 0.0 * s], -1)[None]
        found = follow(path, TIMES_S, torch.tensor([16.0]), config)[0, 1]
        assert found == pytest.approx(wanted, abs=0.02)
    with pytest.raises(ValueError, match="brake_gain"):
        FollowConfig(brake_gain=0.5)


def test_a_plan_under_a_metre_stops() -> None:
    path = arc(0.0, 0.2)
    control = follow(path, TIMES_S, torch.tensor([6.0]))
    assert control[0, 1] == FollowConfig().stop_accel_mps2


def test_the_noise_of_a_standing_plan_does_not_swing_the_wheel() -> None:
    path = 0.05 * torch.randn(64, 16, 2, generator=torch.Generator().manual_seed(0))
    steer = follow(path, TIMES_S, torch.zeros(64))[:, 0]
    assert steer.abs().max() < 0.1


def test_rows_of_a_batch_do_not_touch() -> None:
    paths = torch.cat([arc(0.03, 8.0), arc(-0.01, 5.0)])
    both = follow(paths, TIMES_S, torch.tensor([8.0, 6.0]))
    assert torch.equal(both[:1], follow(paths[:1], TIMES_S, torch.tensor([8.0])))
    assert torch.equal(both[1:], follow(paths[1:], TIMES_S, torch.tensor([6.0])))


def test_it_keeps_a_winding_lane_in_spite_of_actuator_lag() -> None:
    """Own bicycle with 0.25 s of lag, own road: a sine of 60 m; its true path is the plan."""

    def road(x: Tensor) -> Tensor:
        return 3.0 * torch.sin(2 * math.pi * x / 60.0)

    x, y, yaw, speed, steer, accel = 0.0, 1.0, 0.3, 5.0, 0.0, 0.0
    worst = 0.0
    for step in range(300):
        ahead_x = x + 9.0 * TIMES_S
        dx, dy = ahead_x - x, road(ahead_x) - y
        cos, sin = math.cos(yaw), math.sin(yaw)
        path = torch.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1)[None]
        wanted = follow(path, TIMES_S, torch.tensor([speed]))[0]
        for _ in range(10):
            steer += 0.01 / 0.25 * (float(wanted[0]) - steer)
            accel += 0.01 / 0.25 * (float(wanted[1]) - accel)
            x += 0.01 * speed * math.cos(yaw)
            y += 0.01 * speed * math.sin(yaw)
            yaw += 0.01 * speed * math.tan(steer) / WHEELBASE_M
            speed += 0.01 * accel
        if step > 30:
            worst = max(worst, abs(y - float(road(torch.tensor(x)))))
    assert worst < 0.6
    assert speed == pytest.approx(9.0 * 1.02, rel=0.06)  # arc length over x


def test_a_bad_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="look_ahead_min_m"):
        FollowConfig(look_ahead_min_m=30.0)
