"""Labels: against circles, and the fast way against the plain one."""

from __future__ import annotations

import numpy as np
import pytest

from opendojo.clip import Log
from opendojo.loader import WindowSpec, ego_paths
from opendojo.loader.labels import label_windows, reaches, rows_wanted
from opendojo.loader.ring import RowsLayout, row_fields


def _circle(radius_m: float = 50.0, speed_mps: float = 10.0) -> Log:
    time_s = np.arange(0, 12, 0.1)
    angle = speed_mps * time_s / radius_m
    return Log(
        time_s=time_s,
        x_m=300 + radius_m * np.sin(angle + 2) - radius_m * np.sin(2),
        y_m=-70 - radius_m * np.cos(angle + 2) + radius_m * np.cos(2),
        yaw_rad=(angle + 2 + np.pi) % (2 * np.pi) - np.pi,
        speed_mps=np.full_like(time_s, speed_mps),
        disturbed=np.zeros_like(time_s),
    )


def test_path_labels_of_a_circle_are_the_circle() -> None:
    ahead = WindowSpec().path_times_s
    path, mask = ego_paths(_circle(), np.array([0.0, 3.0, 9.0]), ahead)
    angle = 10.0 * ahead / 50.0
    truth = np.stack([50 * np.sin(angle), 50 * (1 - np.cos(angle))], -1)
    assert np.allclose(path[0], truth, atol=0.02)
    assert np.allclose(path[1], truth, atol=0.02)
    assert mask[:2].all()
    assert mask[2].tolist() == (9.0 + ahead <= 11.9).tolist()  # the log ends at 11.9 s
    assert (path[2][~mask[2]] == 0).all()


def test_labels_stop_at_a_disturbance_and_start_again_after_it() -> None:
    log = _circle()
    assert log.disturbed is not None
    log.disturbed[30:35] = 1.0
    _, mask = ego_paths(log, np.array([2.0, 3.2, 3.5]), np.array([0.5, 1.0, 1.2, 4.0]))
    assert mask.tolist() == [[True, True, False, False], [False] * 4, [True] * 4]


def _drive(rng: np.random.Generator, rate_hz: float, instants: int) -> Log:
    """A log with uneven times, turns past pi, pushes, and ends that are not known."""
    time_s = np.cumsum(rng.uniform(0.6, 1.4, instants)) / rate_hz
    time_s -= time_s[0]
    columns = {
        "x_m": np.cumsum(rng.normal(1, 1, instants)) + 1e4,
        "y_m": np.cumsum(rng.normal(0, 1, instants)),
        "yaw_rad": (np.cumsum(rng.normal(0, 0.4, instants)) + np.pi) % (2 * np.pi) - np.pi,
        "speed_mps": rng.uniform(0, 30, instants),
        "disturbed": (rng.uniform(size=instants) < rng.choice([0.0, 0.04])).astype(float),
        "steer_rad": np.full(instants, np.nan),
        "accel_mps2": np.full(instants, np.nan),
    }
    known = rng.integers(0, instants // 3, 2)
    for name in ("x_m", "y_m", "yaw_rad"):
        columns[name][: known[0]] = columns[name][instants - known[1] :] = np.nan
    if rng.uniform() < 0.1:
        columns["yaw_rad"][:] = np.nan
    return Log(time_s=time_s, **columns)


@pytest.mark.parametrize("rate_hz", [10.0, None, 7.0])
def test_the_labels_of_a_task_are_those_of_each_window_from_its_whole_log(
    rate_hz: float | None,
) -> None:
    rng = np.random.default_rng(4)
    spec = WindowSpec(rate_hz=rate_hz, frames=6, path_points=5, path_horizon_s=2.0)
    logs = [_drive(rng, rate, 60) for rate in (10.0, 20.0, 25.0) for _ in range(12)]
    rates = np.repeat([10.0, 20.0, 25.0], 12)
    firsts = rng.integers(0, 45, len(logs))
    columns = []
    for log, rate, first in zip(logs, rates, firsts, strict=True):
        table = np.stack([log.time_s, *(getattr(log, name) for name in Log.names())], 1)
        wanted = rows_wanted(spec, rate)
        while not reaches(table[first : first + wanted], spec, rate) and first + wanted < 60:
            wanted *= 2
        columns.append(table[first : first + wanted])
    layout = RowsLayout(fields=row_fields(6, 1, 5, 4), rows=len(logs))
    out = layout.views(bytearray(layout.bytes), 0)
    instants = label_windows(columns, rates, spec, out)
    known = 0
    for row, (log, first) in enumerate(zip(logs, firsts, strict=True)):
        own = first + instants[row]
        if rate_hz is not None:
            aims = log.time_s[first] + np.arange(6) / rate_hz
            reach = log.time_s[first : first + spec.span(rates[row]) + 1]
            nearest = first + np.abs(reach[:, None] - aims).argmin(0)
            assert np.array_equal(own, nearest)
        now_s = log.time_s[own]
        path_m, mask = ego_paths(log, now_s, spec.path_times_s)
        assert np.array_equal(out["path_mask"][row], mask)
        assert np.allclose(out["path_m"][row], path_m, rtol=1e-6, atol=1e-5)
        assert np.array_equal(out["time_s"][row], now_s - now_s[0])
        assert log.speed_mps is not None
        assert np.array_equal(out["speed_mps"][row], log.speed_mps[own].astype(np.float32))
        known += int(mask.sum())
    assert known > 100
