"""Look-ups in a bank of towns against the maps themselves."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import small_towns
from opendojo.world.draw.scene import Kind
from opendojo.world.exact import hashed
from opendojo.world.town.build import TRAINING_SPECS, build
from opendojo.world.town.towns import Towns

STRAIGHT, ARC, CROSSING, URBAN, ROUNDABOUT = range(5)


@pytest.fixture(scope="module")
def maps():
    small = [small_towns.straight(90.5, 0.3), small_towns.arc(12.0), small_towns.crossing()]
    return [*small, *(build(3, TRAINING_SPECS[kind]) for kind in ("urban", "roundabout"))]


@pytest.fixture(scope="module")
def towns(maps) -> Towns:
    return Towns(maps)


def points(towns: Towns, town: Tensor, m: int, aside_m: float = 1.6):
    """Lanes of each world, and places on and beside them, by each world's number."""
    key = torch.arange(len(town))[:, None], torch.arange(m)
    lane = hashed(*key, torch.tensor(1)) % towns.lanes[town][:, None]
    u, v = (hashed(*key, torch.tensor(k)).float() / 2.0**32 for k in (2, 3))
    s = u * towns.length_m[town[:, None], lane]
    return lane, s, (2.0 * v - 1.0) * aside_m


def test_place_at_whole_metres_is_the_station(maps, towns):
    for g, town in enumerate(maps):
        for i in (0, len(town.lanes) - 1):
            lane = town.lanes[i]
            s = torch.arange(int(lane.length_m) + 1.0)[None]
            at = torch.tensor([g]), torch.full(s.shape, i)
            x, y, cos, sin = towns.place(*at, s, torch.zeros_like(s))
            k = s.shape[1]
            assert np.abs(x[0].numpy() - lane.x_m[:k]).max() < 1e-4
            assert np.abs(y[0].numpy() - lane.y_m[:k]).max() < 1e-4
            assert np.abs(cos[0].numpy() - np.cos(lane.yaw_rad[:k])).max() < 1e-5
            assert np.abs(sin[0].numpy() - np.sin(lane.yaw_rad[:k])).max() < 1e-5
            curvature = towns.curvature_at(*at, s)
            assert np.abs(curvature[0].numpy() - lane.curvature[:k]).max() < 1e-6
            d = torch.full_like(s, 2.0)
            left_x, left_y, _, _ = towns.place(*at, s, d)
            assert (left_x - x + 2.0 * sin).abs().max() < 1e-4
            assert (left_y - y - 2.0 * cos).abs().max() < 1e-4


def test_lanes_go_straight_on_beyond_their_ends(towns):
    town, lane = torch.tensor([ARC]), torch.zeros(1, 4, dtype=torch.int64)
    length = float(towns.length_m[ARC, 0])
    s = torch.tensor([[0.0, -5.0, length, length + 7.0]])
    x, y, cos, sin = towns.place(town, lane, s, torch.zeros_like(s))
    assert math.hypot(x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]) == pytest.approx(5.0, abs=0.02)
    ahead = torch.stack([x[0, 3] - x[0, 2], y[0, 3] - y[0, 2]]) / 7.0
    assert torch.allclose(ahead, torch.stack([cos[0, 2], sin[0, 2]]), atol=0.02)
    back, _ = towns.project(town, lane, x, y)
    assert (back - s).abs().max() < 0.02


def test_project_undoes_place(towns):
    town = torch.arange(len(towns.towns))
    lane, s, d = points(towns, town, 3000)
    x, y, _, _ = towns.place(town, lane, s, d)
    s_back, d_back = towns.project(town, lane, x, y)
    error = torch.maximum((s_back - s).abs(), (d_back - d).abs())
    assert error.max() < 0.02


def test_project_finds_the_nearest_foot(maps, towns):
    rng = np.random.default_rng(5)
    for g, town in enumerate(maps):
        for i in rng.choice(len(town.lanes), 2):
            lane = town.lanes[i]
            grid = np.arange(0.0, lane.length_m, 0.01)
            k = np.arange(len(lane.x_m))
            fine = np.stack([np.interp(grid, k, v) for v in (lane.x_m, lane.y_m)], 1)
            at = fine[rng.integers(0, len(fine), 40)] + rng.normal(0.0, 3.0, (40, 2))
            far = np.linalg.norm(at[:, None] - fine[None], axis=2)
            x, y = torch.tensor(at.T, dtype=torch.float32)[:, None]
            s, d = towns.project(torch.tensor([g]), torch.full((1, 40), i), x, y)
            s, d = s[0].numpy(), d[0].numpy()
            on = (s > 0.5) & (s < lane.length_m - 0.5)
            bend = np.abs(lane.curvature).max()
            kept = on & (np.abs(d) * bend < 0.5)
            assert kept.sum() > 5
            assert np.abs(np.abs(d) - far.min(1))[kept].max() < 0.02
            assert np.abs(s - grid[far.argmin(1)])[kept].max() < 0.25


def test_lane_at_and_edge_agree_with_places(towns):
    town = torch.arange(len(towns.towns))
    lane, s, d = points(towns, town, 2000, 1.2)
    clear = (s > 1.0) & (s < towns.length_m[town[:, None], lane] - 1.0)
    x, y, _, _ = towns.place(town, lane, s, d)
    found = towns.lane_at(town, x, y)
    # where ways cross or part, the nearest may be another: then the point is on that as well
    _, d_other = towns.project(town, found, x, y)
    assert (found >= 0)[clear].all()
    assert (d_other.abs() <= towns.width_m[town[:, None], found] / 2 + 0.36)[clear].all()
    road = ~towns.junction[town[:, None], lane] & clear
    assert (found == lane)[road & (d.abs() < 0.9)].float().mean() > 0.99
    assert (towns.edge_m(town, x, y) > 0.2)[clear].all()
    outside = torch.tensor([[-5000.0, 5000.0]])
    assert (towns.edge_m(town[:1], outside, outside) == -8.0).all()
    assert (towns.lane_at(town[:1], outside, outside) == -1).all()


def test_edge_of_a_straight_road_is_a_distance(towns):
    d = torch.linspace(-6.0, 6.0, 121)[None]
    town, lane = torch.tensor([STRAIGHT]), torch.zeros(1, 121, dtype=torch.int64)
    x, y, _, _ = towns.place(town, lane, torch.full_like(d, 40.0), d)
    expected = 4.0 - (d - 1.75).abs()
    smooth = (d - 1.75).abs() > 0.5  # bilinear interpolation rounds the ridge
    assert (towns.edge_m(town, x, y) - expected).abs()[smooth].max() < 0.05


def test_signals_follow_the_clock(towns):
    town = torch.full((7,), CROSSING)
    time_s = torch.tensor([0.0, 5.0, 14.9, 15.0, 17.9, 18.0, 30.0 * 7 + 6.0])
    state = towns.signal_state(town, time_s)
    assert state[:, 0].tolist() == [0, 2, 2, 1, 1, 0, 2]
    assert (state[:, int(towns.signals[CROSSING]) :] == 0).all()


def test_tables_hold_what_the_maps_do(maps, towns):
    for g, town in enumerate(maps):
        assert towns.lanes[g] == len(town.lanes)
        for i, lane in enumerate(town.lanes):
            following = towns.next[g, i]
            assert following[following >= 0].tolist() == list(lane.next)
            others = towns.conflict_lane[g, i]
            assert others[others >= 0].tolist() == [c.lane for c in lane.conflicts]
            row = [towns.conflict_from_m, towns.conflict_other_to_m, towns.conflict_yields]
            for k, c in enumerate(lane.conflicts):
                got = [float(table[g, i, k]) for table in row]
                assert got == pytest.approx([c.from_m, c.other_to_m, float(c.yields)], abs=1e-4)
            assert towns.junction[g, i] == (lane.kind in ("junction", "roundabout"))
            got = [towns.left[g, i], towns.right[g, i], towns.signal[g, i]]
            assert got == [lane.left, lane.right, lane.signal]
        for i, walk in enumerate(town.walks):
            s = torch.tensor([[0.0, walk.length_m]])
            x, y, _, _ = towns.walk_place(
                torch.tensor([g]), torch.tensor([[i, i]]), s, torch.zeros_like(s)
            )
            assert math.hypot(x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]) == pytest.approx(
                walk.length_m, abs=0.1
            )
            others = towns.walk_conflict_lane[g, i]
            assert others[others >= 0].tolist() == [c.lane for c in walk.conflicts]


def test_signal_heads_stand_on_poles_beside_the_road(towns):
    g = CROSSING
    used = towns.static_mask[g]
    head = used & (towns.static_kind[g] == Kind.SIGNAL)
    pole = used & (towns.static_kind[g] == Kind.POLE)
    assert head.sum() == 2 and pole.sum() == 2
    assert (towns.static_signal[g][head] == 0).all()
    assert (towns.static_signal[g][~head] == -1).all()
    # the first stands at the roadside, the second hangs above a lane
    assert towns.static_base_m[g][head].tolist() == pytest.approx([2.6, 5.0])
    assert towns.static_top_m[g][head].tolist() == pytest.approx([3.6, 6.0])
    x, y = towns.static_x_m[g][pole][None], towns.static_y_m[g][pole][None]
    assert (towns.edge_m(torch.tensor([g]), x, y) < 0.0).all()
    kinds = towns.static_kind[g][used].tolist()
    assert kinds[:2] == [Kind.BUILDING, Kind.TREE]


def test_ahead_is_the_way_to_the_end(towns):
    lengths = towns.length_m[CROSSING]
    assert towns.ahead_m[CROSSING, 3] == pytest.approx(float(lengths[3]))
    longest = lengths[0] + max(lengths[6] + lengths[3], lengths[7] + lengths[5])
    assert towns.ahead_m[CROSSING, 0] == pytest.approx(float(longest), abs=1e-3)
    assert (towns.ahead_m[URBAN][: int(towns.lanes[URBAN])] == 10_000.0).any()


def looked_up(towns: Towns, town: Tensor, m: int) -> list[list[str]]:
    """A hash of everything that can be asked, of each world by itself."""
    lane, s, d = points(towns, town, m, 5.0)
    lane[:, -1] = -1
    x, y, cos, sin = towns.place(town, lane, s, d)
    answers = [x, y, cos, sin, *towns.project(town, lane, x, y), towns.edge_m(town, x, y)]
    answers += [towns.curvature_at(town, lane, s), towns.lane_at(town, x, y)]
    answers = [a[:, :-1] for a in answers]
    state = towns.signal_state(town, torch.arange(len(town)) * 1.7)
    answers.append(state[:, : int(towns.signals.min())])
    return [
        [hashlib.sha256(a[i].contiguous().numpy().tobytes()).hexdigest() for a in answers]
        for i in range(len(town))
    ]


@pytest.mark.parametrize("batch", [1, 7])
def test_answers_do_not_depend_on_the_batch_or_the_bank(maps, towns, batch):
    town = torch.arange(64) % len(maps)
    whole = looked_up(towns, town, 37)
    for first in range(0, 64, batch):
        world = slice(first, first + batch)
        lane, s, d = (a[world] for a in points(towns, town, 37, 5.0))
        x, y, cos, sin = towns.place(town[world], lane, s, d)
        some = [x, y, cos, sin, *towns.project(town[world], lane, x, y)]
        for i in range(len(x)):
            parts = [
                hashlib.sha256(a[i, :-1].contiguous().numpy().tobytes()).hexdigest() for a in some
            ]
            assert parts == whole[first + i][:6]
    # alone in its bank, without others' padding
    single = Towns([maps[ARC]])
    mine = looked_up(single, torch.zeros(2, dtype=torch.int64), 37)
    theirs = looked_up(towns, torch.full((2,), ARC), 37)
    assert mine == theirs
