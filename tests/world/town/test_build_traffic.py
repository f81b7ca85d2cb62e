"""Right of way, lights and crossings for people; the mirror image."""

import math
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from opendojo.world.town.build import HELD_OUT_SPECS, TRAINING_SPECS, build
from opendojo.world.town.graph import Lane, Town
from opendojo.world.town.signals import cycle, shown

SPECS = {spec.name: spec for bank in (TRAINING_SPECS, HELD_OUT_SPECS) for spec in bank.values()}
HALF_M = 0.97  # a little less than half of what a lane's traffic sweeps, for the test's own pitch


@cache
def town_of(name: str, seed: int) -> Town:
    return build(seed, SPECS[name])


def fine(lane: Lane, pitch: float) -> tuple[np.ndarray, ...]:
    s = np.append(np.arange(0.0, lane.length_m, pitch), lane.length_m)
    grid = np.arange(len(lane.x_m))
    return s, *(np.interp(s, grid, v) for v in (lane.x_m, lane.y_m, lane.yaw_rad))


def swept(lane: Lane, other: Lane) -> np.ndarray:
    """Arc lengths of a lane at which its strip reaches into the other's."""
    gap = np.hypot(lane.x_m[:, None] - other.x_m, lane.y_m[:, None] - other.y_m)
    near, close = np.flatnonzero(gap.min(1) < 2.2), np.flatnonzero(gap.min(0) < 2.2)
    if not len(near):
        return np.zeros(0)
    # the last station may lie past the lane's end
    s, x, y, yaw = (v[max(near[0] * 2 - 3, 0) : near[-1] * 2 + 3] for v in fine(lane, 0.5))
    first, last = max(close[0] * 10 - 15, 0), close[-1] * 10 + 15
    _, ox, oy, oyaw = (v[first:last] for v in fine(other, 0.1))
    hits = np.zeros(len(s), bool)
    for d in np.linspace(-HALF_M, HALF_M, 9):
        px, py = x - d * np.sin(yaw), y + d * np.cos(yaw)
        dx, dy = px[:, None] - ox, py[:, None] - oy
        nearest = (dx * dx + dy * dy).argmin(1)
        row = np.arange(len(s))
        ahead = dx[row, nearest] * np.cos(oyaw[nearest]) + dy[row, nearest] * np.sin(oyaw[nearest])
        far = np.hypot(dx[row, nearest], dy[row, nearest])
        hits |= (far < HALF_M) & (np.abs(ahead) < 0.08)
    return s[hits]


@pytest.mark.parametrize("name", SPECS)
def test_conflicts_are_complete(name: str) -> None:
    """Against a sweep of all lanes' strips over each other, in the whole town."""
    town = town_of(name, 1)
    boxes = [(v.x_m.min(), v.x_m.max(), v.y_m.min(), v.y_m.max()) for v in town.lanes]
    found = 0
    for a, b in combinations(range(len(town.lanes)), 2):
        p, q = boxes[a], boxes[b]
        if p[0] > q[1] + 2 or q[0] > p[1] + 2 or p[2] > q[3] + 2 or q[2] > p[3] + 2:
            continue
        one, other = town.lanes[a], town.lanes[b]
        if b in one.next or a in other.next:
            continue
        for i, j, lane, against in ((a, b, one, other), (b, a, other, one)):
            s = swept(lane, against)
            if not len(s):
                continue
            found += 1
            entry = [c for c in lane.conflicts if c.lane == j]
            assert len(entry) == 1, (town.name, i, j, lane.kind, against.kind)
            assert entry[0].from_m <= s.min() and entry[0].to_m >= s.max()
            assert entry[0].from_m > s.min() - 3.0 and entry[0].to_m < s.max() + 3.0
    listed = sum(len(lane.conflicts) for lane in town.lanes)
    assert found <= listed <= found * 1.05 + 4
    assert found or SPECS[name].kind == "country"


@pytest.mark.parametrize("name", SPECS)
def test_right_of_way_is_settled(name: str) -> None:
    for seed in range(2):
        town = town_of(name, seed)
        before = [
            {i for i, la in enumerate(town.lanes) if n in la.next} for n in range(len(town.lanes))
        ]
        order: dict[int, set[int]] = {}
        for i, lane in enumerate(town.lanes):
            for entry in lane.conflicts:
                (back,) = (c for c in town.lanes[entry.lane].conflicts if c.lane == i)
                assert (back.from_m, back.to_m) == (entry.other_from_m, entry.other_to_m)
                fork = bool(before[i] & before[entry.lane])
                assert entry.yields + back.yields == (0 if fork else 1)
                if entry.yields:
                    order.setdefault(i, set()).add(entry.lane)
                if lane.kind in ("junction", "roundabout") and entry.yields:
                    assert lane.stop_m <= entry.from_m
        while order:  # nobody waits in a circle
            free = [i for i, first in order.items() if not first & order.keys()]
            assert free
            for i in free:
                del order[i]


@pytest.mark.parametrize("name", SPECS)
def test_who_must_wait_has_a_place_to(name: str) -> None:
    for seed in range(2):
        town = town_of(name, seed)
        bars = np.array(
            [(a.x_m.mean(), a.y_m.mean()) for a in town.areas if a.kind == "stop"]
        ).reshape(-1, 2)
        for lane in town.lanes:
            if lane.signal >= 0:
                assert lane.kind == "road" and 0.0 < lane.stop_m < lane.length_m
            if math.isfinite(lane.stop_m) and lane.kind == "road" and name.find("highway") < 0:
                grid = np.arange(len(lane.x_m))
                x, y = (
                    np.interp(lane.stop_m, grid, lane.x_m),
                    np.interp(lane.stop_m, grid, lane.y_m),
                )
                assert np.hypot(bars[:, 0] - x, bars[:, 1] - y).min() < 7.0


@pytest.mark.parametrize("name", [n for n, s in SPECS.items() if s.kind in ("mixed", "urban")])
def test_no_conflicting_greens(name: str) -> None:
    lit = 0
    for seed in range(2):
        town = town_of(name, seed)
        source = {n: lane.signal for lane in town.lanes for n in lane.next if lane.signal >= 0}
        for i, signal in source.items():
            for entry in town.lanes[i].conflicts:
                if entry.lane not in source or source[entry.lane] == signal:
                    continue
                lit += 1
                one, other = town.signals[signal], town.signals[source[entry.lane]]
                assert one.period_s == other.period_s
                times = np.arange(0.0, one.period_s, 0.25)
                assert not any(shown(one, t) and shown(other, t) for t in times)
        for signal in town.signals:
            assert 0.0 <= signal.green_from_s < signal.green_to_s
            assert signal.green_to_s <= signal.period_s - signal.yellow_s
    assert lit


def test_a_signal_shows_its_phases() -> None:
    first, second = cycle([10.0, 20.0], [(), ()])
    assert first.period_s == 40.0
    assert [shown(first, t) for t in (0.0, 9.9, 10.0, 12.9, 13.0, 39.0, 40.0)] == [
        2,
        2,
        1,
        1,
        0,
        0,
        2,
    ]
    assert [shown(second, t) for t in (0.0, 14.9, 15.0, 35.0, 38.0)] == [0, 0, 2, 1, 0]


@pytest.mark.parametrize("name", [n for n, s in SPECS.items() if s.kind in ("mixed", "urban")])
def test_heads_face_those_who_come(name: str) -> None:
    town = town_of(name, 1)
    for lane in town.lanes:
        if lane.signal < 0:
            continue
        x, y, yaw = lane.x_m[-1], lane.y_m[-1], lane.yaw_rad[-1]
        facing = [
            (hx - x) * math.cos(yaw) + (hy - y) * math.sin(yaw)
            for hx, hy, head in town.signals[lane.signal].heads
            if math.cos(head - yaw) < -0.99
        ]
        # one at the stop line, one across the junction
        assert min(facing) < 0.0 < max(facing) < 45.0


@pytest.mark.parametrize(
    "name", [n for n, s in SPECS.items() if s.walks > 0.0 and s.kind != "highway"]
)
def test_walks_cross_their_lanes(name: str) -> None:
    town = town_of(name, 1)
    if SPECS[name].kind == "country":
        assert not town.walks
        return
    assert town.walks
    for walk in town.walks:
        assert walk.conflicts
        grid = np.arange(len(walk.x_m))
        for entry in walk.conflicts:
            lane = town.lanes[entry.lane]
            s = (entry.other_from_m + entry.other_to_m) / 2.0
            stations = np.arange(len(lane.x_m))
            x, y = np.interp(s, stations, lane.x_m), np.interp(s, stations, lane.y_m)
            middle = (entry.from_m + entry.to_m) / 2.0
            wx, wy = np.interp(middle, grid, walk.x_m), np.interp(middle, grid, walk.y_m)
            assert math.hypot(x - wx, y - wy) < 0.02
            assert entry.from_m > 0.5 and entry.to_m < walk.length_m - 0.5
            if lane.signal >= 0 or math.isfinite(lane.stop_m):
                assert lane.stop_m < entry.other_from_m or entry.other_to_m < 15.0
            if walk.signal >= 0 and lane.signal >= 0 and entry.other_to_m > lane.length_m - 8.0:
                assert lane.signal == walk.signal


@pytest.mark.parametrize("kind", TRAINING_SPECS)
def test_left_hand_towns_are_mirror_images(kind: str) -> None:
    right = build(5, replace(TRAINING_SPECS[kind], left_hand=0.0))
    left = build(5, replace(TRAINING_SPECS[kind], left_hand=1.0))
    assert (right.left_hand, left.left_hand) == (False, True)
    for one, other in zip(right.lanes, left.lanes, strict=True):
        assert np.array_equal(one.x_m, other.x_m) and np.array_equal(one.y_m, -other.y_m)
        assert np.array_equal(one.yaw_rad, -other.yaw_rad)
        assert np.array_equal(one.curvature, -other.curvature)
        assert (one.left, one.right) == (other.right, other.left)
        assert one.conflicts == other.conflicts
    for one, other in zip(right.areas, left.areas, strict=True):
        assert np.array_equal(one.x_m, other.x_m[::-1])
        assert np.array_equal(one.y_m, -other.y_m[::-1])
    for one, other in zip(right.signals, left.signals, strict=True):
        assert [(x, -y, -yaw) for x, y, yaw in one.heads] == list(other.heads)
    for one, other in zip(right.statics, left.statics, strict=True):
        assert (one.x_m, one.y_m, one.yaw_rad) == (other.x_m, -other.y_m, -other.yaw_rad)
    assert _oncoming_side(right) > 0.0 > _oncoming_side(left)


def _oncoming_side(town: Town) -> float:
    """Offset to the left, from a lane that is nobody's right neighbour, of the nearest oncoming."""
    found = []
    lanes = [lane for lane in town.lanes if lane.kind == "road"]
    for lane in lanes:
        k = len(lane.x_m) // 2
        x, y, yaw = lane.x_m[k], lane.y_m[k], lane.yaw_rad[k]
        for other in lanes:
            near = np.hypot(other.x_m - x, other.y_m - y)
            j = int(near.argmin())
            if near[j] < 14.0 and math.cos(other.yaw_rad[j] - yaw) < -0.99:
                across = (other.y_m[j] - y) * math.cos(yaw) - (other.x_m[j] - x) * math.sin(yaw)
                found.append(across)
    signs = np.sign(found)
    assert len(found) and abs(signs.mean()) > 0.95
    return float(np.median(found))
