"""The ego's bicycle against circles, limits and clocks worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from opendojo.world.body import VEHICLE
from opendojo.world.vehicle import MAX_LATENCY_S, Ego, move_ego, still_ego


def ego_at(speed_mps: float, steer_rad: float = 0.0, latency_s: float = 0.0, n: int = 1) -> Ego:
    zero = torch.zeros(n)
    ego = still_ego(zero, zero, zero, step_s=0.1, latency_s=latency_s)
    return dataclasses.replace(ego, speed_mps=zero + speed_mps, steer_rad=zero + steer_rad)


def test_constant_steering_drives_a_circle_of_wheelbase_over_tangent():
    steer = 0.2
    radius = VEHICLE.wheelbase_m / math.tan(steer)
    ego, off = ego_at(5.0, steer), []
    for _ in range(200):
        ego = move_ego(ego, torch.tensor([[steer, 0.0]]), 0.1)
        off.append(abs(math.hypot(float(ego.x_m), float(ego.y_m) - radius) - radius))
    assert max(off) < 0.02
    turned = (float(ego.yaw_rad) - 5.0 * 20.0 / radius) / (2 * math.pi)
    assert abs(turned - round(turned)) < 1e-3


def test_grip_bounds_the_lateral_acceleration():
    steer, speed = 0.3, 20.0  # would be 46 m/s2
    ego = dataclasses.replace(ego_at(speed, steer), grip=torch.tensor([0.5]))
    after = move_ego(ego, torch.tensor([[steer, 0.0]]), 0.1)
    rate = float(after.yaw_rad - ego.yaw_rad) / 0.1
    assert abs(rate * speed - 0.5 * 9.81) < 1e-3
    slow = dataclasses.replace(ego_at(3.0, steer), grip=torch.tensor([0.5]))
    free = move_ego(slow, torch.tensor([[steer, 0.0]]), 0.1)
    assert abs(float(free.yaw_rad) - 0.3 * math.tan(steer) / VEHICLE.wheelbase_m) < 1e-5


def test_steering_is_limited_in_rate_and_angle():
    ego, before = ego_at(5.0), 0.0
    for _ in range(30):
        ego = move_ego(ego, torch.tensor([[2.0, 0.0]]), 0.1)
        assert float(ego.steer_rad) - before <= VEHICLE.max_steer_rate * 0.1 + 1e-6
        before = float(ego.steer_rad)
    assert abs(before - VEHICLE.max_steer_rad) < 1e-3


def test_braking_ends_at_rest_and_never_backs():
    ego, way = ego_at(8.0), []
    for _ in range(40):
        ego = move_ego(ego, torch.tensor([[0.0, -50.0]]), 0.1)
        way.append(float(ego.x_m))
    assert float(ego.speed_mps) == 0.0
    assert way == sorted(way)
    # v^2 / 2a, and the lag's share of the way
    assert abs(way[-1] - (64 / 12 + 8 * VEHICLE.lag_s)) < 0.5


@pytest.mark.parametrize("latency_s", [0.0, 0.05, 0.1, 0.15, 0.2])
def test_a_control_arrives_after_the_latency(latency_s):
    ego, accel = ego_at(5.0, latency_s=latency_s), []
    for _ in range(4):
        ego = move_ego(ego, torch.tensor([[0.0, 2.0]]), 0.1)
        accel.append(float(ego.accel_mps2))
    halves = [round((0.1 * (k + 1) - latency_s) / 0.05) for k in range(4)]
    keep = math.exp(-0.05 / VEHICLE.lag_s)
    for had, count in zip(accel, halves, strict=True):
        assert abs(had - 2.0 * (1.0 - keep ** max(count, 0))) < 1e-6
    assert latency_s <= MAX_LATENCY_S


def test_every_row_moves_as_it_would_alone():
    generator = torch.Generator().manual_seed(1)
    speed = torch.rand(33, generator=generator) * 20.0
    latency = torch.rand(33, generator=generator) * 0.2
    ego = dataclasses.replace(ego_at(0.0, n=33), speed_mps=speed, latency_s=latency)
    controls = torch.randn(10, 33, 2, generator=generator)
    batch, alone = ego, ego.rows(7, 8)
    for control in controls:
        batch, alone = move_ego(batch, control, 0.1), move_ego(alone, control[7:8], 0.1)
    for field in dataclasses.fields(Ego):
        assert torch.equal(getattr(batch, field.name)[7:8], getattr(alone, field.name))


def test_proposals_are_repeated_egos():
    ego = dataclasses.replace(ego_at(0.0, n=3), speed_mps=torch.tensor([1.0, 2.0, 3.0]))
    many = ego.repeated(2)
    assert many.speed_mps.tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert many.queue.shape == (6, 2, 2)
    x, y = many.middle()
    assert torch.allclose(x, torch.full((6,), VEHICLE.centre_m))
    assert torch.equal(y, torch.zeros(6))
