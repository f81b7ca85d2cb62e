"""Roads: functions of their seed that a vehicle can drive and a straight line cannot."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from opendojo.world.road import LATERAL_MPS2, PAVED_M, RAMP_M, draw_road

SEEDS = [*range(12), 1_000_000, 2**62]
_road = functools.cache(functools.partial(draw_road, length_m=520.0))


def test_a_road_is_a_function_of_its_seed():
    one, again, other = draw_road(5, 300.0), draw_road(5, 300.0), draw_road(6, 300.0)
    assert np.array_equal(one.x_m, again.x_m) and np.array_equal(one.y_m, again.y_m)
    assert np.array_equal(one.grid.station, again.grid.station)
    assert not np.array_equal(one.y_m, other.y_m)


def test_a_longer_road_begins_as_the_shorter_one():
    short, long = draw_road(7, 200.0), draw_road(7, 500.0)
    assert np.array_equal(short.x_m[:180], long.x_m[:180])
    assert np.array_equal(short.curvature[:180], long.curvature[:180])


@pytest.mark.parametrize("seed", SEEDS)
def test_shape_and_speeds_are_what_was_promised(seed: int):
    road = _road(seed)
    assert road.length_m >= 520.0
    step = np.hypot(np.diff(road.x_m), np.diff(road.y_m))
    assert np.abs(step - 1.0).max() < 1e-3
    bend = np.abs(road.curvature)
    assert bend.max() <= 1 / 35 + 1e-9
    # a clothoid's curvature changes with the way, never at once; the last station is straight
    jump = np.abs(np.diff(road.curvature[:-1]))
    assert jump.max() <= 2 / 35 / RAMP_M + 1e-9
    # the first curve comes early, and is no slight one
    assert np.argmax(bend > 1 / 75) < 45
    assert 8.0 <= road.limit_mps <= 13.0
    for pace in (road.ahead_mps, road.oncoming_mps):
        assert (pace <= road.limit_mps + 1e-9).all() and pace.min() > 5.0
        assert (pace**2 * bend).max() <= LATERAL_MPS2 + 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_a_road_keeps_clear_of_itself(seed: int):
    road = _road(seed)
    points = np.stack([road.x_m, road.y_m], 1)[::4]
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    along = np.abs(np.arange(len(points))[:, None] - np.arange(len(points))) * 4.0
    assert apart[along > 80.0].min() > 2 * PAVED_M + 10.0


def test_speed_ahead_of_a_curve_falls_no_faster_than_brakes_allow():
    hardest = []
    for seed in range(12):
        road = _road(seed)
        for pace in (road.ahead_mps, road.oncoming_mps[::-1]):
            hardest.append((-np.diff(pace**2) / 2.0).max())
    assert max(hardest) <= 1.2 + 1e-6
    assert sum(h > 0.5 for h in hardest) >= 12  # there are curves to slow down for
