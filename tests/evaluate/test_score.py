from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opendojo.evaluate.score import Trace, comfort_share, slopes, worth


def trace(steps: int = 101, speed_mps: float = 5.0, route_m: float = 100.0) -> Trace:
    """One drive straight ahead at constant speed, ten steps a second."""
    time_s = np.arange(steps) / 10.0
    way = (speed_mps * time_s)[:, None]
    no = np.zeros((steps, 1), bool)
    return Trace(
        time_s=time_s,
        x_m=way,
        y_m=0.0 * way,
        yaw_rad=0.0 * way,
        speed_mps=np.full_like(way, speed_mps),
        progress_m=way,
        off_road=no,
        collided=no.copy(),
        off_lane=no.copy(),
        ran_red=no.copy(),
        impact_mps=0.0 * way,
        route_m=np.array([route_m]),
    )


def test_half_the_route_in_time_is_half_the_score() -> None:
    route = worth(trace(), 0, seed=7)
    assert route.score == pytest.approx(50.0)
    assert (route.seed, route.success, route.seconds) == (7, False, 10.0)
    assert route.mean_speed_mps == pytest.approx(5.0)


def test_completion_is_success_and_what_follows_is_not_scored() -> None:
    drive = trace(steps=401)
    drive.collided[250:] = True
    route = worth(drive, 0, seed=0)
    assert route.success and route.score == 100.0 and route.seconds == pytest.approx(20.0)


def test_a_collision_ends_the_route_and_keeps_six_tenths() -> None:
    drive = trace(steps=401)
    drive.collided[100:] = True
    route = worth(drive, 0, seed=0)
    assert route.collided and not route.success
    assert route.score == pytest.approx(100 * 0.5 * 0.6)


def test_a_collision_at_the_end_of_the_route_still_costs() -> None:
    drive = trace(steps=401)
    drive.collided[200:] = True
    route = worth(drive, 0, seed=0)
    assert not route.success and route.score == pytest.approx(60.0)


def test_leaving_the_road_ends_the_route_at_its_completion() -> None:
    drive = trace(steps=401)
    drive.off_road[60:] = True
    route = worth(drive, 0, seed=0)
    assert route.off_road and route.score == pytest.approx(30.0)


def test_time_off_the_lane_is_subtracted() -> None:
    drive = trace(steps=100)
    drive.off_lane[:25] = True
    route = worth(drive, 0, seed=0)
    assert route.off_lane_share == pytest.approx(0.25)
    assert route.score == pytest.approx(100 * route.completion * 0.75)


def test_rolling_backwards_is_no_completion() -> None:
    drive = trace(speed_mps=-2.0)
    assert worth(drive, 0, seed=0).score == 0.0


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(3, 40), st.sampled_from([7, 15]))
def test_slopes_are_exact_on_quadratics(a: float, b: float, n: int, window: int) -> None:
    t = np.arange(n) * 0.1
    assert slopes(a * t * t + b * t + 1.0, 0.1, window) == pytest.approx(2 * a * t + b, abs=1e-6)


def test_comfort_limits_bite_one_by_one() -> None:
    t = np.arange(100) / 10.0
    steady, straight = np.full(100, 8.0), np.zeros(100)
    assert comfort_share(t, steady, straight) == 1.0
    assert comfort_share(t, 2.3 * t, straight) == 1.0
    assert comfort_share(t, 2.5 * t, straight) == 0.0
    assert comfort_share(t, 60.0 - 4.2 * t, straight) == 0.0
    assert comfort_share(t, steady, 0.60 * t) == 1.0  # 4.8 m/s2 to the side
    assert comfort_share(t, steady, 0.62 * t) == 0.0
    assert comfort_share(t, 0.1 * steady, 1.0 * t) == 0.0  # yaw rate
    jolting = 8.0 + 0.5 * np.sin(2 * np.pi * t / 0.8)
    assert comfort_share(t, jolting, straight) < 1.0


def test_a_jump_in_the_angle_at_pi_is_no_turn() -> None:
    t = np.arange(50) / 10.0
    yaw = np.angle(np.exp(1j * (3.0 + 0.1 * t)))
    assert comfort_share(t, np.full(50, 5.0), yaw) == 1.0


def test_a_trace_ends_at_its_first_event() -> None:
    drive = trace(steps=401)
    assert drive.end(0) == 200
    assert replace(drive, route_m=np.array([1e6])).end(0) == 400


def test_each_red_light_that_is_run_keeps_seven_tenths_and_costs_the_success() -> None:
    made = trace(steps=201)
    made.ran_red[[50, 120], 0] = True
    route = worth(made, 0, 7)
    assert route.red_lights == 2 and route.completion == 1.0 and not route.success
    assert route.score == pytest.approx(100.0 * 0.7**2)


def test_the_impact_is_that_of_the_collision_that_ended_the_drive() -> None:
    made = trace()
    made.impact_mps[50:, 0] = [6.5, *[9.0] * 50]
    assert worth(made, 0, 7).impact_mps == 0.0
    made.collided[50, 0] = True
    assert worth(made, 0, 7).impact_mps == 6.5


def test_the_dojo_score_of_a_route_is_its_windows_mean_times_completion() -> None:
    route = worth(trace(), 0, 7, {"windows_score": 0.8, "nc": 1.0})
    assert route.completion == pytest.approx(0.5) and route.terms["score"] == pytest.approx(0.4)
    assert worth(trace(), 0, 7).terms == {}
