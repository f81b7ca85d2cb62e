"""The bicycle and the car followers against what physics and the papers say."""

from __future__ import annotations

import dataclasses
import math

import torch

from opendojo.world import VEHICLE, World, WorldConfig
from opendojo.world.motion import idm, move_ego
from opendojo.world.state import Ego


def ego_at(speed_mps: float, steer_rad: float = 0.0) -> Ego:
    zero = torch.zeros(1)
    return Ego(
        x_m=zero, y_m=zero, yaw_rad=zero, speed_mps=zero + speed_mps,
        steer_rad=zero + steer_rad, accel_mps2=zero,
    )  # fmt: skip


def test_constant_steering_drives_a_circle_of_wheelbase_over_tangent():
    steer = 0.2
    radius = VEHICLE.wheelbase_m / math.tan(steer)
    ego, reached = ego_at(5.0, steer), []
    for _ in range(200):
        ego = move_ego(ego, torch.tensor([[steer, 0.0]]), 0.1)
        reached.append(math.hypot(float(ego.x_m), float(ego.y_m) - radius))
    assert max(abs(r - radius) for r in reached) < 0.02
    turned = (float(ego.yaw_rad) - 5.0 * 20.0 / radius) / (2 * math.pi)
    assert abs(turned - round(turned)) < 1e-3


def test_steering_is_limited_in_rate_and_angle():
    ego, before = ego_at(5.0), 0.0
    for _ in range(30):
        ego = move_ego(ego, torch.tensor([[2.0, 0.0]]), 0.1)
        steer = float(ego.steer_rad)
        assert steer - before <= VEHICLE.max_steer_rate * 0.1 + 1e-6
        before = steer
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


def test_idm_settles_at_the_gap_of_its_formula():
    # in equilibrium at v: gap = (s0 + v T) / sqrt(1 - (v / v0)^4)
    speed, lead_s, follow_s = torch.tensor([10.0]), 40.0, 0.0
    for _ in range(2000):
        gap = torch.tensor([lead_s - follow_s])
        accel = idm(speed, torch.tensor([12.0]), gap, speed - 8.0)
        follow_s += float(speed) * 0.1
        speed = (speed + accel * 0.1).clamp(min=0.0)
        lead_s += 0.8
    expected = (2.5 + 8.0 * 1.4) / math.sqrt(1 - (8 / 12) ** 4)
    assert abs(lead_s - follow_s - expected) < 0.1


def test_cars_keep_their_distance_and_stop_behind_an_ego_that_stands():
    world = World(range(6), WorldConfig(other_cars=6))
    # the ego waits on the road, the cars of its lane are put behind it
    cars = world.state.cars
    behind = torch.where(cars.oncoming, cars.s_m, -cars.s_m)
    x, y, yaw = world.roads.place(behind, cars.d_m)
    yaw = torch.where(cars.oncoming, cars.yaw_rad, yaw)
    moved = dataclasses.replace(cars, s_m=behind, x_m=x, y_m=y, yaw_rad=yaw)
    moved = dataclasses.replace(moved, mask=cars.mask & (behind > -35.0))
    still = dataclasses.replace(world.state.ego, speed_mps=torch.zeros(6))
    world.state = dataclasses.replace(world.state, cars=moved, ego=still)
    for _ in range(150):
        world.step(torch.tensor([[0.0, -6.0]]).expand(6, 2))
        assert not world.collided.any()
    cars = world.state.cars
    following = cars.mask & ~cars.oncoming
    assert following.any()
    assert (cars.speed_mps[following] < 0.3).all()


def test_a_car_leaves_at_the_end_of_the_road():
    world = World([2], WorldConfig(route_m=30.0))
    assert world.state.cars.mask.any()
    for _ in range(360):
        world.step(torch.tensor([[0.0, -6.0]]))
    cars = world.state.cars
    assert (cars.s_m[cars.mask] <= world.roads.length_m).all()
    assert not (cars.mask & cars.oncoming & (cars.s_m < -40.0)).any()
    assert not (cars.mask & ~cars.oncoming).any()
