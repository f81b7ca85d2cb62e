"""Triggers, selection, de-duplication, signals of logs: against what can be said by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opendojo.clip import Log, Track
from opendojo.flywheel.dedupe import Dedupe, DedupeConfig
from opendojo.flywheel.select import random_choice, select_windows
from opendojo.flywheel.signals import TTC_HORIZON_S, log_series, time_to_collision, worst_within
from opendojo.flywheel.triggers import TRIGGERS, best_reasons, quality, ranks, trigger_scores


def unit(rng: np.random.Generator, n: int, d: int = 64) -> np.ndarray:
    points = rng.standard_normal((n, d)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def twins_of(rng: np.random.Generator, points: np.ndarray, cosine: float) -> np.ndarray:
    other = rng.standard_normal(points.shape).astype(np.float32)
    other -= (other * points).sum(1, keepdims=True) * points
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return cosine * points + np.sqrt(1 - cosine**2) * other


def test_dedupe_finds_twins_and_names_them() -> None:
    rng = np.random.default_rng(0)
    dedupe = Dedupe(DedupeConfig(capacity=40_000))
    first = unit(rng, 30_000)
    assert (dedupe.add(first) >= 0).mean() < 1e-3
    assert dedupe.count >= 29_970
    rows = rng.choice(30_000, 2000, replace=False)
    found = dedupe.add(twins_of(rng, first[rows], 0.99))
    assert (found >= 0).mean() > 0.98
    right = first[found[found >= 0]]
    assert (found[found >= 0] == rows[found >= 0]).mean() > 0.99
    assert len(right)
    assert (dedupe.add(unit(rng, 5000)) >= 0).mean() < 1e-3


def test_dedupe_finds_twins_within_one_call() -> None:
    rng = np.random.default_rng(1)
    some = unit(rng, 1000)
    both = np.concatenate([some, twins_of(rng, some, 0.995), some[:1]])
    found = Dedupe(DedupeConfig(capacity=4000)).add(both)
    assert (found[:1000] == -1).all()
    assert (found[1000:2000] == np.arange(1000)).mean() > 0.97
    assert found[2000] == 0


def test_dedupe_forgets_the_oldest_beyond_its_capacity() -> None:
    rng = np.random.default_rng(2)
    dedupe = Dedupe(DedupeConfig(capacity=2000))
    before = dedupe.bytes
    old, new = unit(rng, 6000), unit(rng, 2000)
    dedupe.add(old)
    dedupe.add(new)
    assert dedupe.bytes == before
    again = dedupe.add(new[-1000:])
    assert (again >= 0).mean() > 0.9
    found = again >= 0
    assert (again[found] == dedupe_numbers(6000, 2000)[-1000:][found]).mean() > 0.95
    assert (dedupe.add(old[:500]) >= 0).mean() < 0.05


def dedupe_numbers(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count)


def test_dedupe_goes_on_from_its_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    some = unit(rng, 3000)
    config = DedupeConfig(capacity=8000)
    kept = Dedupe(config, tmp_path)
    kept.add(some)
    kept.sync()
    kept.add(unit(rng, 100))  # lost: nobody said that it is to stay
    del kept
    again = Dedupe(config, tmp_path)
    assert again.count == 3000
    assert (again.add(some) == np.arange(3000)).mean() > 0.99
    with pytest.raises(ValueError, match="other settings"):
        Dedupe(DedupeConfig(capacity=9000), tmp_path)


def test_selection_is_diverse_within_its_budget_and_repeats() -> None:
    rng = np.random.default_rng(4)
    heaps = unit(rng, 10)
    points = np.concatenate(
        [twins_of(rng, heaps[k : k + 1].repeat(50, 0), 0.99) for k in range(10)]
    )
    score = rng.uniform(0.5, 1.0, 500)
    chosen = select_windows(score, points, budget=10)
    assert len(chosen) == 10
    assert sorted((chosen // 50).tolist()) == list(range(10)), "one of each heap"
    assert (select_windows(score, points, budget=10) == chosen).all()
    best = select_windows(score, points, budget=10, diversity=0.0)
    assert sorted(best.tolist()) == sorted(np.argsort(-score)[:10].tolist())
    known = select_windows(score, points, budget=9, chosen_before=heaps[:1])
    assert 0 not in (known // 50).tolist()
    assert len(select_windows(np.zeros(500), points, budget=10)) == 0


def test_selection_keeps_windows_of_a_clip_apart() -> None:
    rng = np.random.default_rng(5)
    clip, time_s = np.repeat(np.arange(5), 100), np.tile(np.arange(100) * 0.1, 5)
    for chosen in (
        select_windows(
            rng.random(500), unit(rng, 500), budget=30, clip=clip, time_s=time_s, apart_s=2.0
        ),
        random_choice(500, budget=20, seed=0, clip=clip, time_s=time_s, apart_s=2.0),
    ):
        assert len(chosen) >= 15
        for k in range(5):
            mine = np.sort(time_s[chosen[clip[chosen] == k]])
            assert (np.diff(mine) >= 2.0 - 1e-9).all()


def test_ranks_and_triggers() -> None:
    assert ranks(np.array([3.0, 1.0, np.nan, 2.0])).tolist() == [1.0, 0.0, 0.0, 0.5]
    assert ranks(np.array([1.0, 1.0, 2.0])).tolist() == [0.25, 0.25, 1.0]
    columns = {
        "error_m": np.array([1.0, 5.0, 2.0]),
        "ttc_s": np.array([1.0, 8.0, 8.0]),
        "night": np.array([False, False, True]),
        "jerk_mps3": np.full(3, np.nan),
    }
    scores = trigger_scores(columns, ["error", "collision", "jerk", "query: night and error > 1"])
    assert set(scores) == {"error", "collision", "query: night and error > 1"}
    best, reasons = best_reasons(scores)
    assert reasons == ["collision", "error", "query: night and error > 1"]
    assert best.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="no trigger 'eror'"):
        trigger_scores(columns, ["eror"])
    assert list(TRIGGERS) == sorted(TRIGGERS)


def test_quality_counts_events_not_windows() -> None:
    event = np.full(100, -1)
    event[10:15], event[50:55] = 0, 1
    score = np.zeros(100)
    score[[10, 11, 12, 90, 91]] = 1.0
    told = quality(score, event, share=0.05)
    assert (told.taken, told.events) == (5, 2)
    assert told.precision == pytest.approx(0.6)
    assert told.recall == pytest.approx(0.5)


def test_series_of_a_log_that_brakes() -> None:
    time_s = np.arange(0, 8, 0.1)
    speed = np.where(time_s < 4, 20.0, 20.0 - 5.0 * (time_s - 4))
    log = Log(time_s=time_s, speed_mps=speed, yaw_rad=0.3 * time_s)
    series = log_series(log, time_s)
    assert series["decel_mps2"][60] == pytest.approx(5.0, abs=1e-6)
    assert series["decel_mps2"][20] == pytest.approx(0.0, abs=1e-6)
    assert series["turn_radps"][30] == pytest.approx(0.3, abs=1e-6)
    assert 35 < series["jerk_mps3"].argmax() < 45
    worst = worst_within(series["decel_mps2"], time_s, np.array([0.0, 4.0]), np.array([2.0, 6.0]))
    assert worst == pytest.approx([0.0, 5.0], abs=0.01)


def track(x: np.ndarray, y: np.ndarray, time_s: np.ndarray, yaw: float = 0.0) -> Track:
    return Track(
        track_id=0, kind="car", length_m=4.8, width_m=2.0, height_m=1.5, time_s=time_s, x_m=x,
        y_m=y, yaw_rad=np.full_like(x, yaw),
    )  # fmt: skip


def test_time_to_collision() -> None:
    time_s = np.arange(0, 3, 0.1)
    zero = np.zeros_like(time_s)
    log = Log(time_s=time_s, x_m=20.0 * time_s, y_m=zero, yaw_rad=zero, speed_mps=zero + 20.0)
    ahead = track(101.4 + zero, zero, time_s)  # bumpers meet after 101.4 - 1.4 - 4.8 m
    beside = track(101.4 + zero, zero + 4.0, time_s)
    behind = track(20.0 * time_s - 20.0 + 9 * time_s, zero, time_s)
    crossing = track(41.4 + zero, 20.0 - 10.0 * time_s, time_s, yaw=-np.pi / 2)
    first = {
        name: time_to_collision(log, [one], time_s)[0]
        for name, one in (("ahead", ahead), ("beside", beside), ("behind", behind),
                          ("crossing", crossing))
    }  # fmt: skip
    assert first["ahead"] == pytest.approx(95.2 / 20.0, abs=0.2)
    assert first["beside"] == TTC_HORIZON_S
    assert first["behind"] == TTC_HORIZON_S
    assert first["crossing"] == pytest.approx(1.8, abs=0.2)
