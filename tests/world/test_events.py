"""Collisions and lane departures against slow geometric oracles."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from opendojo.world import VEHICLE, Ego, World, WorldConfig
from opendojo.world.bird import box_corners
from opendojo.world.events import collided
from opendojo.world.road import LANE_M, PAVED_M


def inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Which points lie within a convex polygon whose corners run clockwise."""
    edges = np.roll(corners, -1, 0) - corners
    offset = points[:, None] - corners
    return (edges[:, 0] * offset[..., 1] - edges[:, 1] * offset[..., 0] <= 0).all(1)


def outline(corners: np.ndarray) -> np.ndarray:
    part = np.linspace(0.0, 1.0, 400, endpoint=False)[:, None, None]
    return (corners + (np.roll(corners, -1, 0) - corners) * part).reshape(-1, 2)


def test_collision_agrees_with_dense_outlines():
    world = World([1], WorldConfig(other_cars=1))
    rng = np.random.default_rng(3)
    zero = torch.zeros(1)
    seen = []
    for _ in range(400):
        x, y = rng.uniform(-5.5, 5.5, 2)
        ego_yaw, car_yaw = rng.uniform(-math.pi, math.pi, 2)
        ego = Ego(x_m=zero, y_m=zero, yaw_rad=zero + ego_yaw, speed_mps=zero, steer_rad=zero,
                  accel_mps2=zero)  # fmt: skip
        cars = dataclasses.replace(
            world.state.cars,
            mask=torch.ones(1, 1, dtype=torch.bool),
            x_m=torch.tensor([[x]], dtype=torch.float32),
            y_m=torch.tensor([[y]], dtype=torch.float32),
            yaw_rad=torch.tensor([[car_yaw]], dtype=torch.float32),
        )
        centre = VEHICLE.centre_m * np.array([math.cos(ego_yaw), math.sin(ego_yaw)])
        a = box_corners(*centre, ego_yaw, VEHICLE.length_m, VEHICLE.width_m)
        b = box_corners(x, y, car_yaw, float(cars.length_m), float(cars.width_m))
        truth = inside(outline(a), b).any() or inside(outline(b), a).any()
        assert bool(collided(ego, cars)) == truth
        seen.append(truth)
    assert 50 < sum(seen) < 350


def test_an_absent_car_cannot_be_hit():
    world = World([1], WorldConfig(other_cars=1))
    ego = world.state.ego
    cars = dataclasses.replace(world.state.cars, x_m=ego.x_m[:, None], y_m=ego.y_m[:, None])
    there = dataclasses.replace(cars, mask=torch.ones_like(cars.mask))
    absent = dataclasses.replace(cars, mask=torch.zeros_like(cars.mask))
    assert collided(ego, there).all() and not collided(ego, absent).any()


def test_off_road_and_off_lane_begin_where_they_say():
    world = World([4], WorldConfig(other_cars=0))
    half = VEHICLE.width_m / 2

    def at(d_m: float) -> tuple[bool, bool]:
        # the road's first metres are straight along x
        ego = dataclasses.replace(
            world.state.ego, x_m=torch.tensor([2.0]), y_m=torch.tensor([d_m]),
            yaw_rad=torch.zeros(1), speed_mps=torch.zeros(1),
        )  # fmt: skip
        world.state = dataclasses.replace(world.state, ego=ego)
        world.step(torch.zeros(1, 2))
        return bool(world.off_lane), bool(world.off_road)

    assert at(-LANE_M / 2) == (False, False)
    assert at(-0.03) == (False, False)
    assert at(0.03) == (True, False)
    assert not at(-LANE_M + 0.03)[0] and at(-LANE_M - 0.03)[0]
    assert at(-(PAVED_M - half) - 0.03) == (False, True)
    assert at(-(PAVED_M - half) + 0.03) == (False, False)
    assert at(PAVED_M - half - 0.03) == (True, False)
    assert at(PAVED_M - half + 0.03) == (True, True)
