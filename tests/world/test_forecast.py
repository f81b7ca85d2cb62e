from __future__ import annotations

import math

import pytest
import torch
from plan_scenes import agents, bend, street

from opendojo.world.draw.scene import Kind
from opendojo.world.forecast import Forecaster, Others

TOWN = torch.zeros(1, dtype=torch.int64)


def test_goes_on_along_its_lane_and_the_next() -> None:
    # lane A from x = -20; at s = 130 it is 10 m before the junction, which it passes at 10 m/s
    one = {"x": 110.0, "y": 0.5, "speed": 10.0, "lane": 0, "s": 130.0, "d": 0.5}
    others = Forecaster(street()).others(TOWN, agents([one]))
    assert others.x_m[0, :, 0].tolist() == pytest.approx([110.0 + k for k in range(41)], abs=1e-3)
    assert others.y_m[0, :, 0].tolist() == pytest.approx([0.5] * 41, abs=1e-4)
    assert others.mask[0, :, 0].all()
    assert not others.mask[0, :, 1:].any()


def test_follows_a_bend_at_constant_speed() -> None:
    # the quarter circle of 20 m begins at s = 60: after 4 s at 5 m/s it is 1 rad along it
    one = {"x": 40.0, "speed": 5.0, "lane": 0, "s": 60.0}
    others = Forecaster(bend(20.0)).others(TOWN, agents([one]))
    assert float(others.x_m[0, 40, 0]) == pytest.approx(40.0 + 20.0 * math.sin(1.0), abs=0.05)
    assert float(others.y_m[0, 40, 0]) == pytest.approx(20.0 * (1.0 - math.cos(1.0)), abs=0.05)
    assert float(others.sin[0, 40, 0]) == pytest.approx(math.sin(1.0), abs=0.02)


@pytest.mark.parametrize(("lane", "kind"), [(-1, Kind.CAR), (0, Kind.PEDESTRIAN)])
def test_who_follows_no_lane_goes_straight_on(lane: int, kind: Kind) -> None:
    one = {"x": 3.0, "y": 4.0, "yaw": math.pi / 2, "speed": 2.0, "lane": lane, "kind": int(kind)}
    others = Forecaster(street()).others(TOWN, agents([one]))
    assert float(others.x_m[0, 40, 0]) == pytest.approx(3.0, abs=1e-4)
    assert float(others.y_m[0, 40, 0]) == pytest.approx(12.0, abs=1e-4)


def test_takes_the_straightest_way() -> None:
    towns = street()
    assert Forecaster(towns).straight[0, :3].tolist() == [1, 2, -1]


def test_the_nearest_are_kept_whatever_the_number_of_slots() -> None:
    rows = [{"x": x, "speed": 1.0} for x in (50.0, -10.0, 200.0, 10.0)]
    for slots in (4, 9):
        others = Forecaster(street()).others(TOWN, agents(rows, slots=slots))
        near = others.nearest(torch.zeros(1), torch.zeros(1), 3, 60.0)
        assert near.x_m[0, 0, :3].tolist() == [-10.0, 10.0, 50.0]
        assert near.mask[0, 0].tolist() == [True, True, True]
        far = others.nearest(torch.zeros(1), torch.zeros(1), 3, 40.0)
        assert far.mask[0, 5].tolist() == [True, True, False]


def test_what_traffic_did() -> None:
    states = [agents([{"x": float(k), "yaw": 0.1 * k, "speed": 1.0}]) for k in range(3)]
    others = Others.from_states(states)
    assert others.x_m[0, :, 0].tolist() == [0.0, 1.0, 2.0]
    assert others.at([2]).cos[0, 0, 0] == pytest.approx(math.cos(0.2))
