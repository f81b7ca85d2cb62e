"""Drivers and people on foot against what the papers and the rules of the road say."""

from __future__ import annotations

import dataclasses
import math

import torch

from opendojo.world.traffic.follow import follow, free, near
from opendojo.world.traffic.state import NOTHING, Vice


def lights_from(scene, lane: int, front_m: float) -> float:
    """How far the first car's front is from a place on a lane; nan on other lanes."""
    agents = scene.state.agents
    there = int(agents.lane[0, 0]) == lane
    return front_m - float(agents.s_m[0, 0]) - 2.25 if there else math.nan


def test_followers_settle_at_the_gap_of_the_idm(made, put):
    # in equilibrium at speed v: gap = (s0 + v T) / sqrt(1 - (v / v0)^4)
    scene = put(made["straight"](), [(0, 60.0, 6.0), (0, 30.0, 6.0)])
    drivers, v, v0 = scene.state.drivers, 8.0, 12.0
    s0, headway = 2.0, 1.5
    expected = (s0 + v * headway) / math.sqrt(1.0 - (v / v0) ** 4)
    speed, gap = torch.tensor([[v, 5.0]]), torch.full((1, 2, 1), 40.0)
    for _ in range(900):
        close = near(drivers, speed, gap, torch.full((1, 1), v)).amax(2)
        accel = follow(free(speed, torch.full((1, 2), v0), drivers.accel_mps2), close, drivers)
        gap = gap + (v - speed)[:, :, None] * 0.1
        speed = (speed + accel * 0.1).clamp(min=0.0)
    assert (gap - expected).abs().max() < 0.05


def test_a_car_follows_the_one_ahead_and_stops_behind_the_ego(made, put):
    scene = put(made["straight"](), [(0, 60.0, 10.0)])
    lane = torch.tensor([0])
    scene.ego = dataclasses.replace(
        scene.ego, x_m=torch.tensor([120.0]), y_m=torch.tensor([100.0]), lane=lane,
        s_m=torch.tensor([120.0]),
    )  # fmt: skip
    state = scene.step(105)
    gap = 120.0 - 2.3 - float(state.agents.s_m[0, 0]) - 2.25
    assert float(state.agents.speed_mps[0, 0]) < 0.1
    assert 1.0 < gap < 3.0


def test_a_car_brakes_for_an_ego_that_stands_across_between_lanes(made, put):
    # the atlas gives no lane for it
    scene = put(made["straight"](), [(0, 60.0, 10.0)])
    scene.ego = dataclasses.replace(
        scene.ego, x_m=torch.tensor([120.0]), y_m=torch.tensor([101.5]),
        yaw_rad=torch.tensor([1.2]),
    )  # fmt: skip
    state = scene.step(100)
    assert float(state.agents.s_m[0, 0]) + 2.25 < 120.0 - 0.9
    assert float(state.agents.accel_mps2.min()) > -8.1


def test_red_holds_a_car_at_the_line_until_green(made, put):
    scene = put(made["lit"](), [(3, 60.0, 11.0)], first_step=80)
    scene.step(68)
    assert abs(lights_from(scene, 3, 98.0)) < 0.5
    assert float(scene.state.agents.speed_mps[0, 0]) < 0.1
    scene.step(25)  # northward is green from 15 s on
    assert int(scene.state.agents.lane[0, 0]) != 3


def test_a_red_runner_enters_on_red_and_nobody_else_does(made, put):
    runner = put(made["lit"](), [(3, 40.0, 11.0)], vice=int(Vice.RED_RUNNER))
    runner.step(80)
    red = int(runner.traffic.signals(torch.tensor([60]))[0, 1]) == 0
    assert red
    assert int(runner.state.agents.lane[0, 0]) in (4, 5)


def test_who_gives_way_lets_the_other_pass_and_then_goes(made, put):
    # both would be at the crossing at once
    scene = put(made["give_way"](), [(0, 40.0, 10.0), (3, 40.0, 10.0)])
    north_braked, entered = False, {}
    for k in range(90):
        agents = scene.step().agents
        for slot, lane in ((0, 1), (1, 4)):
            if int(agents.lane[0, slot]) == lane:
                entered.setdefault(slot, k)
        north_braked |= bool(agents.speed_mps[0, 1] < 8.0)
        x, y = agents.x_m[0], agents.y_m[0]
        assert float((x[0] - x[1]).abs().maximum((y[0] - y[1]).abs())) > 2.0
    assert entered[0] + 10 < entered[1]
    assert north_braked
    assert float(scene.state.agents.speed_mps[0, 0]) > 9.0  # who has priority hardly slowed down


def test_an_empty_main_road_makes_nobody_wait(made, put):
    scene = put(made["give_way"](), [(3, 40.0, 10.0)])
    slowest = 10.0
    for _ in range(80):
        slowest = min(slowest, float(scene.step().agents.speed_mps[0, 0]))
    assert slowest > 8.0


def test_a_change_of_lane_for_gain(made, put):
    # the first is stuck behind the second, and the lane to the left is empty
    scene = put(made["straight"](), [(1, 40.0, 10.0), (1, 60.0, 4.0)])
    slow = torch.tensor([[60.0, 4.0]])
    drivers = dataclasses.replace(scene.state.drivers, top_mps=slow)
    scene.state = dataclasses.replace(scene.state, drivers=drivers)
    lanes, offsets, before = [1], [], 0.0
    for _ in range(80):
        agents = scene.step().agents
        lanes.append(int(agents.lane[0, 0]))
        offsets.append(float(agents.y_m[0, 0]))
        assert abs(offsets[-1] - before) < 0.25  # never jumps
        before = offsets[-1]
    assert lanes[-1] == 2
    assert abs(offsets[-1] - 3.5) < 0.01
    took = sum(0.01 < y < 3.49 for y in offsets)
    assert 27 <= took <= 31  # three seconds
    assert int(scene.state.other_lane[0, 0]) == NOTHING


def test_no_change_into_a_gap_that_is_taken(made, put):
    # as above, but somebody drives beside, and one comes fast from behind
    cars = [(1, 60.0, 8.0), (1, 75.0, 4.0), (2, 60.0, 8.0), (2, 48.0, 12.0)]
    scene = put(made["straight"](), cars)
    tops = torch.tensor([[60.0, 4.0, 4.0, 60.0]])
    drivers = dataclasses.replace(scene.state.drivers, top_mps=tops)
    scene.state = dataclasses.replace(scene.state, drivers=drivers)
    for _ in range(40):
        agents = scene.step().agents
        same = agents.lane[0, :, None] == agents.lane[0]
        near = (agents.s_m[0, :, None] - agents.s_m[0]).abs() < 4.5
        assert not (same & near & ~torch.eye(4, dtype=torch.bool)).any()
    assert int(scene.state.agents.lane[0, 0]) == 1


def test_people_cross_and_cars_wait_for_them(made, put):
    # far enough for the walker to trust that the car can halt
    scene = put(made["walked"](), [(0, 55.0, 10.0)], walkers=[(0, 0.0)])
    out, slowest, met = False, 10.0, False
    for _ in range(120):
        agents = scene.step().agents
        on_road = 4.2 < float(agents.s_m[0, 1]) < 7.8
        front = float(agents.s_m[0, 0]) + 2.25
        met |= on_road and 118.0 < front < 126.0
        out |= on_road
        slowest = min(slowest, float(agents.speed_mps[0, 0]))
    assert out and not met
    assert slowest < 6.0
    assert float(scene.state.agents.s_m[0, 0]) > 122.0  # and goes on afterwards


def test_people_do_not_step_before_a_car_that_cannot_halt(made, put):
    scene = put(made["walked"](), [(0, 90.0, 12.0)], walkers=[(0, 3.5)])
    for _ in range(20):
        agents = scene.step().agents
        if float(agents.s_m[0, 0]) < 118.0:
            assert float(agents.s_m[0, 1]) < 4.2
    assert float(scene.state.agents.s_m[0, 0]) > 105.0


def test_curves_are_taken_at_two_metres_a_second_squared(made, put):
    scene = put(made["ring"](), [(0, 20.0, 5.0)])
    state = scene.step(80)
    assert abs(float(state.agents.speed_mps[0, 0]) - math.sqrt(2.0 * 50.0)) < 0.5
