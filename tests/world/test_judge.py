"""Every term on scenes whose answers are worked out by hand, on both sides of its threshold.

The ego: 4.6 x 1.85 m; from the rear axle the front bumper is 3.65 m ahead, the rear one 0.95 m
behind, the middle 1.35 m ahead, the sides 0.925 m away.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from plan_scenes import course_of, one_other, straight_plan, street

from opendojo.evaluate.score import slopes as slow_slopes
from opendojo.world.draw.scene import Kind
from opendojo.world.forecast import Others
from opendojo.world.judge import Before, Judge, Plans, collisions, time_to_collision
from opendojo.world.judge_terms import (
    Terms,
    alike,
    comfortable,
    keeps_direction,
    keeps_lane,
    motion,
    progress_m,
    progress_share,
    slopes,
    unwrapped,
)
from opendojo.world.town.towns import Towns

TIME = torch.arange(41) * 0.1
LANE = torch.zeros(1, 1, 41, dtype=torch.bool)
"""Not straddling."""


@pytest.fixture(scope="module")
def towns() -> Towns:
    return street()


def judge(
    towns: Towns,
    plans: Plans,
    others: Others | None = None,
    time_s: float = 5.0,
    expert: tuple[float, float] = (40.0, 1.0),
    before: Before | None = None,
) -> Terms:
    """Terms on the street; the route begins at x = 5 - 20 at the latest, so s is looked up."""
    routes, course = course_of(towns)
    far = one_other(0.0, 500.0) if others is None else others
    s = routes.locate(plans.x_m[:, 0, :1], plans.y_m[:, 0, :1]).s_m[:, 0]
    held = (torch.tensor([expert[0]]), torch.tensor([expert[1]]))
    return Judge(towns).terms(
        course, plans, far, torch.tensor([time_s]), s, expert=held, before=before
    )


# NC


@pytest.mark.parametrize(
    ("rear_m", "kind", "score", "impact", "at_s"),
    [
        # the bumper is at 3.65 + 10 t: past 18 m from t = 1.435 s on, so at instant 15
        (18.0, Kind.CAR, 0.0, 10.0, 1.5),
        (18.0, Kind.PEDESTRIAN, 0.0, 10.0, 1.5),
        (18.0, Kind.POLE, 0.5, 10.0, 1.5),
        # it ends at 43.65
        (43.6, Kind.CAR, 0.0, 10.0, 4.0),
        (43.7, Kind.CAR, 1.0, 0.0, math.inf),
    ],
)
def test_running_into_what_stands_is_at_fault(
    rear_m: float, kind: Kind, score: float, impact: float, at_s: float
) -> None:
    found = collisions(straight_plan(10.0), one_other(rear_m + 2.0, 0.0, kind=kind), LANE)
    assert [float(v) for v in found] == pytest.approx([score, impact, at_s])


def test_being_hit_from_behind_is_not_at_fault() -> None:
    # the other's front, -8 + 15 t, meets the rear bumper, -0.95 + 5 t, at t = 0.705
    others = one_other(-10.0 + 15.0 * TIME, 0.0, 15.0)
    assert float(collisions(straight_plan(5.0), others, LANE)[0]) == 1.0
    # the same, were the other's place ahead: front at fault; 5 m/s against 15 m/s: impact 10
    others = one_other(12.0 - 5.0 * TIME, 0.0, 5.0, yaw=math.pi)
    score, impact, _ = collisions(straight_plan(5.0), others, LANE)
    assert float(score) == 0.0
    assert float(impact) == pytest.approx(10.0, abs=1e-4)


@pytest.mark.parametrize(("speed", "score"), [(0.0, 1.0), (0.04, 1.0), (0.1, 0.0)])
def test_an_ego_that_stands_is_not_at_fault(speed: float, score: float) -> None:
    others = one_other(12.0 - 5.0 * TIME, 0.0, 5.0, yaw=math.pi)
    assert float(collisions(straight_plan(speed), others, LANE)[0]) == score


@pytest.mark.parametrize(("straddles", "score"), [(False, 1.0), (True, 0.0)])
def test_a_side_hit_is_at_fault_only_when_straddling(straddles: bool, score: float) -> None:
    # it drifts in from the left beside the ego: the bodies touch below 0.925 + 0.9 m, at t = 1.2
    others = one_other(1.35 + 5.0 * TIME, 3.0 - TIME, 5.0)
    found = collisions(straight_plan(5.0), others, torch.full_like(LANE, straddles))
    assert float(found[0]) == score


def test_a_contact_at_the_first_instant_is_left_out() -> None:
    assert float(collisions(straight_plan(5.0), one_other(4.0, 0.0), LANE)[0]) == 1.0


# TTC


@pytest.mark.parametrize(("rear_m", "score"), [(17.7, 0.0), (17.85, 1.0)])
def test_braking_too_late_shows_in_time_to_collision(rear_m: float, score: float) -> None:
    # v = 10 - 4 t stops after 12.5 m, the bumper at 16.15: no collision. The bumper moved on by
    # 0.9 s is at 3.65 + 10 t - 2 t^2 + 0.9 (10 - 4 t), most at t = 1.6: 17.77 m
    plans = straight_plan((10.0 - 4.0 * TIME).clamp(min=0.0))
    others = one_other(rear_m + 2.0, 0.0)
    assert float(collisions(plans, others, LANE)[0]) == 1.0
    assert float(time_to_collision(plans, others, LANE)) == score


@pytest.mark.parametrize(("wary", "score"), [(False, 1.0), (True, 0.0)])
def test_somebody_beside_counts_only_for_the_wary(wary: bool, score: float) -> None:
    # the bodies touch below 1.825 m: by then, the ego moved on by 0.9 m at most, it is seen from
    # the rear axle at atan(1.8 / 2.25) = 39 degrees or more
    others = one_other(1.35 + TIME, 3.0 - TIME, 1.0)
    found = time_to_collision(straight_plan(1.0), others, torch.full_like(LANE, wary))
    assert float(found) == score


def test_a_standing_ego_has_no_time_to_collision() -> None:
    others = one_other(12.0 - 5.0 * TIME, 0.0, 5.0, yaw=math.pi)
    assert float(time_to_collision(straight_plan(0.0), others, LANE)) == 1.0
    assert float(time_to_collision(straight_plan(0.1), others, LANE)) == 0.0


# DAC, DDC, TLC, LK on the street


@pytest.mark.parametrize(
    ("y", "score"),
    [(-0.9, 1.0), (-1.3, 0.0), (7.2, 1.0), (7.7, 0.0)],
    # the right side is at y - 0.925, the edge at -2; the left one at y + 0.925, the edge at 8.4
)
def test_a_corner_off_the_road(towns: Towns, y: float, score: float) -> None:
    assert float(judge(towns, straight_plan(8.0, y=y)).dac) == score


@pytest.mark.parametrize(
    ("y", "x", "speed", "score"),
    [
        (0.0, 0.0, 10.0, 1.0),
        (3.2, 0.0, 10.0, 1.0),  # the neighbour runs the same way
        (6.4, 0.0, 1.9, 1.0),  # against the traffic, 1.9 m in a second
        (6.4, 0.0, 2.1, 0.5),
        (6.4, 0.0, 5.9, 0.5),
        (6.4, 0.0, 6.1, 0.0),
    ],
)
def test_way_off_the_routes_lanes(
    towns: Towns, y: float, x: float, speed: float, score: float
) -> None:
    assert float(judge(towns, straight_plan(speed, x=x, y=y)).ddc) == score


def test_direction_is_asked_second_by_second() -> None:
    off = torch.zeros(1, 1, 41, dtype=torch.bool)
    off[..., 10:15] = True
    moved = torch.full((1, 1, 41), 1.0)
    # 5 m of 10 m/s off the lanes within a second
    assert float(keeps_direction(moved, off)) == 0.5
    off[..., 30:35] = True  # another 5 m, two seconds later, do not add
    assert float(keeps_direction(moved, off)) == 0.5
    off[..., 16:18] = True  # but 2 m within the same second do
    assert float(keeps_direction(moved, off)) == 0.0


@pytest.mark.parametrize(
    ("x", "time_s", "score"),
    [
        (114.5, 30.0, 1.0),  # red; the bumper at 118.15, the line at 118.3
        (114.8, 30.0, 0.0),  # 118.45
        (114.8, 5.0, 1.0),  # green
        (114.8, 21.0, 0.0),  # yellow, then red from 23 s on
        (114.8, 16.0, 1.0),  # green, then yellow
        (119.4, 30.0, 1.0),  # the rear bumper at 118.45, past the line
        (119.1, 30.0, 0.0),
    ],
)
def test_over_the_line_at_red(towns: Towns, x: float, time_s: float, score: float) -> None:
    assert float(judge(towns, straight_plan(0.0, x=x), time_s=time_s).tlc) == score


def test_the_line_spans_the_road(towns: Towns) -> None:
    assert float(judge(towns, straight_plan(10.0, x=100.0, y=3.2), time_s=30.0).tlc) == 0.0


@pytest.mark.parametrize(
    ("off", "junction", "score"),
    [
        (range(5, 24), (), 1.0),  # 19 instants
        (range(5, 25), (), 0.0),  # 20: two seconds
        ([*range(15), *range(16, 31)], (), 1.0),  # 15 and 15, broken by one
        (range(41), range(10, 41), 1.0),  # 10 before a junction
        # in a junction nothing counts and nothing breaks: 10 before it and 10 after make 20
        (range(41), range(10, 31), 0.0),
        (range(40), range(10, 31), 1.0),
    ],
)
def test_off_the_middle_line(off: range, junction: range, score: float) -> None:
    d, inside = torch.full((1, 1, 41), 0.49), torch.zeros(1, 1, 41, dtype=torch.bool)
    d[..., list(off)] = -0.51
    inside[..., list(junction)] = True
    assert float(keeps_lane(d, inside)) == score


def test_lane_keeping_on_the_street(towns: Towns) -> None:
    found = [float(judge(towns, straight_plan(10.0, y=y)).lk) for y in (0.45, 0.55, 3.2)]
    assert found == [1.0, 0.0, 0.0]


# EP


@pytest.mark.parametrize(
    ("moved", "multiplier", "expert_m", "expert_multiplier", "share"),
    [
        (20.0, 1.0, 40.0, 1.0, 0.5),
        (50.0, 1.0, 40.0, 1.0, 1.0),  # further than the expert
        (20.0, 0.5, 40.0, 1.0, 0.5),  # a violation does not count twice
        (20.0, 1.0, 40.0, 0.5, 1.0),  # held to the expert's 20
        (4.0, 1.0, 40.0, 1.0, 0.1),  # creeping
        (0.0, 1.0, 4.9, 1.0, 1.0),  # the expert stood too
        (0.0, 1.0, 5.1, 1.0, 0.0),
        (4.0, 1.0, 30.0, 0.0, 0.0),  # it moved, if badly: NAVSIM would give 1
        (20.0, 0.0, 30.0, 0.0, 0.0),
    ],
)
def test_progress(
    moved: float, multiplier: float, expert_m: float, expert_multiplier: float, share: float
) -> None:
    expert = (torch.tensor([expert_m]), torch.tensor([expert_multiplier]))
    found = progress_share(torch.tensor([[moved]]), torch.tensor([[multiplier]]), expert)
    assert float(found) == pytest.approx(share)


def test_progress_among_proposals() -> None:
    found = progress_share(torch.tensor([[40.0, 30.0, 2.0]]), torch.tensor([[0.0, 1.0, 1.0]]), None)
    assert found[0].tolist() == pytest.approx([1.0, 1.0, 2.0 / 30.0])


def test_a_leap_is_no_progress() -> None:
    s = torch.full((41,), 1.0).cumsum(0)
    assert float(progress_m(s[None, None])) == pytest.approx(40.0)
    s[20:] += 50.0
    # the leap counts as the step before it and 0.1 m more
    assert float(progress_m(s[None, None])) == pytest.approx(40.1)
    assert float(progress_m(-s[None, None])) == 0.0


# C, HC, EC


def comfort(speed: torch.Tensor, yaw: torch.Tensor) -> float:
    return float(comfortable(motion(speed[None, None], yaw[None, None])))


@pytest.mark.parametrize(
    ("accel", "yaw_rate", "score"),
    [
        (2.35, 0.0, 1.0), (2.45, 0.0, 0.0), (-4.0, 0.0, 1.0), (-4.1, 0.0, 0.0),
        # at 10 m/s: 4.8 and 5.0 m/s2 sideways
        (0.0, 0.48, 1.0), (0.0, 0.50, 0.0), (0.0, -0.48, 1.0), (0.0, -0.50, 0.0),
    ],
)  # fmt: skip
def test_comfort_of_steady_motion(accel: float, yaw_rate: float, score: float) -> None:
    speed = (10.0 if accel == 0.0 else 20.0) + accel * TIME
    assert comfort(speed, 3.0 + yaw_rate * TIME) == score


@pytest.mark.parametrize(("rate", "score"), [(0.94, 1.0), (0.96, 0.0)])
def test_comfort_limits_the_yaw_rate(rate: float, score: float) -> None:
    assert comfort(torch.full((41,), 3.0), rate * TIME) == score


@pytest.mark.parametrize(("jerk", "score"), [(3.9, 1.0), (4.2, 0.0)])
def test_comfort_limits_the_jerk(jerk: float, score: float) -> None:
    # over 1.5 s the acceleration goes from 2.3 - 1.5 jerk (-3.55, -4.0) to 2.3
    t = TIME[:16]
    speed = 20.0 + (2.3 - 1.5 * jerk) * t + 0.5 * jerk * t * t
    assert comfort(speed, torch.zeros(16)) == score


@pytest.mark.parametrize(("accel", "score"), [(1.9, 1.0), (2.0, 0.0)])
def test_comfort_limits_the_yaw_acceleration(accel: float, score: float) -> None:
    # over 0.9 s the yaw rate goes from -0.45 accel to 0.45 accel, within 0.9
    t = TIME[:10] - 0.45
    assert comfort(torch.full((10,), 1.0), 0.5 * accel * t * t) == score


def test_slopes_agree_with_the_slow_ones() -> None:
    values = torch.rand(3, 2, 41, generator=torch.Generator().manual_seed(1))
    for window in (7, 15):
        slow = np.stack([slow_slopes(v, 0.1, window) for v in values.double().view(6, 41).numpy()])
        np.testing.assert_allclose(slopes(values, 0.1, window).view(6, 41), slow, atol=1e-4)


def test_headings_are_unwrapped() -> None:
    wrapped_yaw = (3.0 + 0.1 * torch.arange(9) + math.pi) % (2.0 * math.pi) - math.pi
    assert torch.allclose(unwrapped(wrapped_yaw), 3.0 + 0.1 * torch.arange(9), atol=1e-5)


@pytest.mark.parametrize(("accel", "score"), [(-3.0, 1.0), (-5.0, 0.0)])
def test_history_counts(towns: Towns, accel: float, score: float) -> None:
    # the past braked at `accel` down to 8 m/s, and the plan goes on for a while
    past = 8.0 - accel * torch.arange(15, 0, -1) * 0.1
    speed = (8.0 + accel * TIME).clamp(min=0.0)
    if accel == -5.0:
        speed = torch.full((41,), 8.0)
    before = Before(speed_mps=past[None], yaw_rad=torch.zeros(1, 15))
    terms = judge(towns, straight_plan(speed), before=before)
    if accel == -5.0:
        assert float(terms.c) == 1.0
        assert float(terms.hc) == score
    else:
        plain = comfortable(motion(torch.cat([past, speed])[None, None], torch.zeros(1, 1, 56)))
        assert float(terms.hc) == float(plain)


@pytest.mark.parametrize(
    ("accel", "yaw_rate", "score"),
    [(0.65, 0.0, 1.0), (0.75, 0.0, 0.0), (0.0, 0.065, 1.0), (0.0, 0.075, 0.0), (0.0, 0.11, 0.0)],
)
def test_successive_plans_agree(accel: float, yaw_rate: float, score: float) -> None:
    # the old plan went straight on at 10 m/s; turning at r means 10 r m/s2, beyond 0.7 from 0.07 on
    still = torch.zeros(1, 1, 41)
    old = motion(still + 10.0, still)
    new = motion(10.0 + accel * TIME[None, None], yaw_rate * TIME[None, None])
    assert float(alike(new, old, 5)) == score


def test_slow_turning_is_limited_by_the_yaw_rate() -> None:
    # at 1 m/s: 0.09 and 0.11 rad/s, 0.1 m/s2
    still = torch.zeros(1, 1, 41)
    old = motion(still + 1.0, still)
    found = [float(alike(motion(still + 1.0, r * TIME[None, None]), old, 5)) for r in (0.09, 0.11)]
    assert found == [1.0, 0.0]


def test_the_shift_lines_plans_up() -> None:
    # one speed profile, seen half a second later
    time = torch.arange(46) * 0.1
    speed = 10.0 + 1.5 * (time - 2.0).clamp(min=0.0)
    still = torch.zeros(1, 1, 41)
    old, new = (motion(speed[None, None, i : i + 41], still) for i in (0, 5))
    assert float(alike(new, old, 5)) == 1.0
    assert float(alike(new, old, 0)) == 0.0


# the composite, and drivers that would cheat it


def test_the_composite_by_hand() -> None:
    names = [f.name for f in dataclasses.fields(Terms)]
    one = {name: torch.ones(1, 1) for name in names}
    assert float(Terms(**one).score) == 1.0
    # 1 x 1 x 0.5 x 1 x (5 x 0.4 + 5 x 0 + 2 + 2 + 0) / 16 = 0.1875
    some = {"ddc": 0.5, "ep": 0.4, "ttc": 0.0, "ec": 0.0}
    mixed = one | {name: torch.tensor([[value]]) for name, value in some.items()}
    assert float(Terms(**mixed).score) == pytest.approx(0.1875)
    assert float(Terms(**(one | {"tlc": torch.zeros(1, 1)})).score) == 0.0


def test_cheating_drivers_gain_nothing(towns: Towns) -> None:
    honest = judge(towns, straight_plan(10.0), expert=(40.0, 1.0))
    assert float(honest.score) == pytest.approx(1.0, abs=1e-3)
    # creeps: 2 m of 40 m: (5 x 0.05 + 11) / 16 = 0.703
    assert float(judge(towns, straight_plan(0.5)).score) == pytest.approx(0.703, abs=2e-3)
    # straddles two lanes: (16 - 2) / 16
    assert float(judge(towns, straight_plan(10.0, y=1.6)).score) == pytest.approx(0.875, abs=1e-3)
    # stands: 11 / 16
    assert float(judge(towns, straight_plan(0.0)).score) == pytest.approx(0.6875)
    # drives on the wrong side, or past the light at red
    assert float(judge(towns, straight_plan(10.0, y=6.4)).score) == 0.0
    assert float(judge(towns, straight_plan(10.0, x=90.0), time_s=30.0).score) == 0.0


def test_leaping_gains_nothing(towns: Towns) -> None:
    slow = straight_plan(5.0)
    leap = dataclasses.replace(slow, x_m=slow.x_m + 30.0 * (TIME > 2.0))
    honest, cheat = judge(towns, slow), judge(towns, leap)
    assert float(cheat.progress_m) == pytest.approx(float(honest.progress_m), abs=0.15)
    assert float(cheat.score) <= float(honest.score) + 0.02
    # with the speed that such a leap would take it is uncomfortable as well
    speed = torch.where((TIME > 1.95) & (TIME < 2.15), 300.0, 5.0)
    told = judge(towns, dataclasses.replace(leap, speed_mps=speed[None, None]))
    assert float(told.score) < float(honest.score) - 0.1


@pytest.mark.parametrize("expert_m", [4.0, 6.0, 12.0, 40.0])
def test_standing_in_a_slow_scene_gains_nothing(towns: Towns, expert_m: float) -> None:
    """Whatever the expert's way, who drives as it does scores at least as much as who stands."""
    honest = judge(towns, straight_plan(expert_m / 4.0), expert=(expert_m, 1.0))
    stands = judge(towns, straight_plan(0.0), expert=(expert_m, 1.0))
    assert float(stands.score) <= float(honest.score) + 1e-6
    if expert_m > 5.0:
        assert float(stands.score) < float(honest.score) - 0.3
