"""Labels: hindsight against the log, physics against paths that no car drives."""

from __future__ import annotations

import numpy as np
import pytest

from opendojo.clip import Log
from opendojo.flywheel.label import checked, expert_label, hindsight, physics

AHEAD_S = np.arange(1, 17) * 0.25


def straight(speed: float, accel: float = 0.0) -> np.ndarray:
    x = speed * AHEAD_S + 0.5 * accel * AHEAD_S**2
    return np.stack([x, np.zeros_like(x)], 1)


def bend(speed: float, radius: float) -> np.ndarray:
    angle = speed * AHEAD_S / radius
    return np.stack([radius * np.sin(angle), radius * (1 - np.cos(angle))], 1)


def jump() -> np.ndarray:
    path = straight(10.0)
    path[8:, 1] += 6.0
    return path


@pytest.mark.parametrize(
    ("path", "speed", "says"),
    [
        (straight(10.0), 10.0, ""),
        (straight(10.0), np.nan, ""),
        (straight(20.0, -4.5), 20.0, ""),
        (bend(10.0, 20.0), 10.0, ""),
        (straight(0.0), 0.0, ""),
        (straight(90.0), 90.0, "m/s"),
        (straight(20.0), 5.0, "starts at"),
        (straight(4.0, 12.0), 4.0, "along"),
        (bend(20.0, 20.0), 20.0, "across"),
        (jump(), 10.0, "along|across"),
        (-straight(5.0), 5.0, "backwards"),
        (straight(10.0) @ np.array([[0.0, 1.0], [-1.0, 0.0]]), 10.0, "heading"),
        (straight(10.0) * np.nan, 10.0, "finite"),
    ],
)
def test_physics(path: np.ndarray, speed: float, says: str) -> None:
    (reason,) = physics(path[None], np.ones((1, 16), bool), AHEAD_S, np.array([speed]))
    assert bool(reason) == bool(says), reason
    assert not says or any(word in reason for word in says.split("|"))


def test_only_known_points_count() -> None:
    path, mask = straight(10.0), np.ones((1, 16), bool)
    path[5] = 999.0
    mask[0, 5] = False
    assert physics(path[None], mask, AHEAD_S, np.array([10.0])) == ("",)
    assert physics(path[None], np.zeros((1, 16), bool), AHEAD_S, np.array([10.0]))[0]


def test_hindsight_labels_the_past_with_what_came() -> None:
    time_s = np.arange(0, 10, 0.1)
    angle = 0.1 * time_s
    log = Log(time_s=time_s, x_m=100 * np.sin(angle), y_m=100 * (1 - np.cos(angle)), yaw_rad=angle,
              disturbed=((time_s > 5) & (time_s < 6)).astype(float))  # fmt: skip
    label = hindsight(log, np.array([0.0, 3.0, 7.0]), AHEAD_S)
    assert label.path_m[0] == pytest.approx(bend(10.0, 100.0), abs=0.02)
    assert label.mask[0].all()
    assert label.mask[1].tolist() == (3.0 + AHEAD_S < 5.15).tolist(), "pushed: not his doing"
    assert label.confidence[0] > 0.9 > label.confidence[1] > 0
    seen = hindsight(log, np.array([0.0]), AHEAD_S, origin="video")
    assert seen.origin == "video"
    assert 0 < seen.confidence[0] < label.confidence[0]
    good = checked(label, AHEAD_S, np.full(3, 10.0))
    assert good.reason == ("", "", "")
    bad = checked(label, AHEAD_S, np.array([10.0, 30.0, 10.0]))
    assert bad.reason[1]
    assert not bad.mask[1].any()
    assert bad.confidence[1] == 0
    assert bad.mask[0].all()


def test_the_expert_is_trusted_most() -> None:
    label = expert_label(straight(8.0)[None].astype(np.float32))
    assert label.origin == "expert"
    assert label.confidence.tolist() == [1.0]
