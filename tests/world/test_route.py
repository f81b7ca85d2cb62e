"""Routes: they follow the lanes, know where a point is, and depend on their own world alone."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import small_towns
from opendojo.world.exact import hashed
from opendojo.world.route import FOLLOW, LEFT, RIGHT, STRAIGHT, Routes
from opendojo.world.town.build import TRAINING_SPECS, build
from opendojo.world.town.towns import Towns

STRAIGHT_ROAD, CROSSING, URBAN, ROUNDABOUT, HIGHWAY, COUNTRY = range(6)
LENGTH_M = 200


@pytest.fixture(scope="module")
def towns() -> Towns:
    small = [small_towns.straight(230.5), small_towns.crossing()]
    kinds = ("urban", "roundabout", "highway", "country")
    return Towns([*small, *(build(2, TRAINING_SPECS[kind]) for kind in kinds)])


@pytest.fixture(scope="module")
def routes(towns: Towns) -> Routes:
    return drawn(towns, torch.arange(72))


def drawn(towns: Towns, world: Tensor) -> Routes:
    seeds = hashed(world, torch.tensor(9)) * 0x1_0000_0001
    return Routes.draw(towns, world % len(towns.towns), seeds, LENGTH_M)


def test_stations_are_a_metre_apart_and_their_direction_is_the_way(routes):
    dx, dy = routes.x_m.diff(dim=1), routes.y_m.diff(dim=1)
    apart = torch.sqrt(dx * dx + dy * dy)
    s = torch.arange(dx.shape[1])
    before_end = s < torch.floor(routes.end_m)[:, None] - 1
    assert ((apart - 1.0).abs() < 0.03)[before_end].all()
    assert (apart[s > routes.end_m[:, None]] == 0.0).all()
    cos = dx * (routes.cos[:, 1:] + routes.cos[:, :-1]) / 2
    sin = dy * (routes.sin[:, 1:] + routes.sin[:, :-1]) / 2
    assert ((cos + sin)[before_end] > 0.97).all()


def test_lanes_of_a_route_follow_each_other(towns, routes):
    for i in range(len(routes.town)):
        g = int(routes.town[i])
        lanes = routes.lane[i].unique_consecutive().tolist()
        for here, following in pairwise(lanes):
            assert following in towns.next[g, here].tolist()
        starts = towns.towns[g].starts
        assert not starts or lanes[0] in starts
        x, y, _, _ = towns.place(
            routes.town[i : i + 1],
            routes.lane[i : i + 1],
            routes.lane_s_m[i : i + 1],
            torch.zeros_like(routes.x_m[i : i + 1]),
        )
        assert torch.equal(x[0], routes.x_m[i]) and torch.equal(y[0], routes.y_m[i])


def test_routes_reach_their_goals_where_the_town_is_large_enough(routes):
    large = routes.town >= URBAN
    assert (routes.goal_m[large] == LENGTH_M).all()
    assert (routes.end_m[large] >= LENGTH_M + 100).all()
    small = routes.town == STRAIGHT_ROAD
    assert (routes.end_m[small] > 220.0).all()
    # different seeds, different ways
    first = routes.lane[routes.town == URBAN]
    assert len(first.unique(dim=0)) > 6


def test_a_route_stays_where_the_town_ends(routes):
    i = int(torch.nonzero(routes.town == STRAIGHT_ROAD)[0])
    assert routes.end_m[i] == pytest.approx(230.5, abs=1e-3)
    assert (routes.x_m[i, 231:] == routes.x_m[i, 231]).all()
    one = routes.rows(i, i + 1)
    s = torch.tensor([[225.0, 229.5, 240.0, -6.0]])
    d = torch.tensor([[0.5, -0.5, 1.0, 0.0]])
    x, y, _, _ = one.place(s, d)
    there = one.locate(x, y, s)
    assert (there.s_m - s).abs().max() < 0.02
    assert (there.d_m - d).abs().max() < 0.02


def test_locate_undoes_place(routes):
    key = torch.arange(len(routes.town))[:, None], torch.arange(150)
    u, v, w = (hashed(*key, torch.tensor(k)).float() / 2.0**32 for k in range(3))
    s, d = u * (torch.floor(routes.end_m)[:, None] - 1.0), 4.0 * v - 2.0
    x, y, cos, sin = routes.place(s, d)
    there = routes.locate(x, y, s + 30.0 * w - 20.0)
    assert (there.s_m - s).abs().max() < 0.02
    assert (there.d_m - d).abs().max() < 0.02
    assert (there.cos - cos).abs().max() < 0.01 and (there.sin - sin).abs().max() < 0.01
    # without a hint it may be an earlier pass, but its station is as near
    anywhere = routes.locate(x, y)
    assert (anywhere.d_m**2 <= d * d + 0.3).all()
    assert ((anywhere.s_m - s).abs() < 0.02).float().mean() > 0.9


def test_a_hint_keeps_to_its_pass_of_a_place(routes):
    i = int(torch.nonzero(routes.town == URBAN)[0])
    one = routes.rows(i, i + 1)
    table = [getattr(one, f.name) for f in fields(one)]
    twice = [torch.cat([c[:, :60], c[:, :60]], 1) if c.dim() == 2 else c for c in table]
    loop = Routes(**{f.name: c for f, c in zip(fields(one), twice, strict=True)})
    x, y = one.x_m[:, 30:31], one.y_m[:, 30:31]
    assert loop.locate(x, y).s_m.item() == pytest.approx(30.0, abs=0.02)
    assert loop.locate(x, y, torch.tensor([85.0])).s_m.item() == pytest.approx(90.0, abs=0.02)


def test_columns_are_read_between_stations(routes):
    s = torch.tensor([[0.0, 1.25, 17.5, -4.0, 1e6]]).expand(len(routes.town), -1)
    bends = routes.at(routes.curvature, s)
    expected = routes.curvature[:, 1] * 0.75 + routes.curvature[:, 2] * 0.25
    assert (bends[:, 1] - expected).abs().max() < 1e-6
    assert torch.equal(bends[:, 3], routes.curvature[:, 0])
    assert (bends[:, 4] - routes.curvature[:, -1]).abs().max() < 1e-6
    assert torch.equal(routes.at(routes.lane, s)[:, 2], routes.lane[:, 17])
    assert torch.equal(routes.at(routes.lane, s)[:, 4], routes.lane[:, -1])


def test_commands_name_the_turn_from_60_m_before_the_junction_to_its_end(towns):
    town = torch.full((60,), CROSSING)
    routes = Routes.draw(towns, town, torch.arange(60), 150)
    turns = {6: STRAIGHT, 7: RIGHT, 10: RIGHT, 11: LEFT}
    seen = set()
    for i in range(60):
        inside = torch.nonzero(routes.junction[i])[:, 0]
        first, last = int(inside[0]), int(inside[-1])
        turn = turns[int(routes.lane[i, first])]
        seen.add(turn)
        command = routes.command[i]
        near = max(first - 60, 0)
        assert (command[near : last + 1] == turn).all()
        assert (command[:near] == FOLLOW).all() and (command[last + 1 :] == FOLLOW).all()
    assert seen == {LEFT, STRAIGHT, RIGHT}


def test_a_ramp_is_named_before_it_leaves(towns):
    routes = Routes.draw(towns, torch.full((64,), HIGHWAY), torch.arange(64), 300)
    lanes = towns.towns[HIGHWAY].lanes
    side = LEFT if towns.towns[HIGHWAY].left_hand else RIGHT
    seen = set()
    for i in range(64):
        codes = towns.fork[HIGHWAY, routes.lane[i]]
        if not codes.any():
            assert (routes.command[i] == FOLLOW).all()
            continue
        first = int(torch.nonzero(codes)[0])
        off = lanes[int(routes.lane[i, first])].kind == "ramp"
        seen.add(off)
        assert routes.command[i, max(first - 60, 0)] == (side if off else STRAIGHT)
        assert routes.command[i, first + 5] == (side if off else STRAIGHT)
    assert seen == {True, False}


def test_a_roundabout_is_one_junction(towns):
    town = torch.full((64,), ROUNDABOUT)
    routes = Routes.draw(towns, town, torch.arange(64), 150)
    commands = {tuple(row.unique_consecutive().tolist()) for row in routes.command}
    ring = routes.junction & (routes.command != FOLLOW)
    assert ring.any(1).all()
    # one command all the way through
    for row, inside in zip(routes.command, routes.junction, strict=True):
        runs = row[inside].unique_consecutive()
        assert len(runs) <= 1 + int((inside.int().diff() == 1).sum())
    assert {c for row in commands for c in row} >= {LEFT, STRAIGHT, RIGHT}


def hashes(routes: Routes) -> list[str]:
    found = []
    for i in range(len(routes.town)):
        digest = hashlib.sha256()
        for f in fields(routes):
            digest.update(getattr(routes, f.name)[i].contiguous().numpy().tobytes())
        at = hashed(torch.arange(40), torch.tensor(7)).float()[None] / 2.0**32 * 190.0
        one = routes.rows(i, i + 1)
        x, y, cos, sin = one.place(at, torch.full_like(at, 1.5))
        there = one.locate(x, y, at)
        for value in (x, y, cos, sin, there.s_m, there.d_m, there.cos, there.sin):
            digest.update(value.numpy().tobytes())
        found.append(digest.hexdigest())
    return found


@pytest.mark.parametrize("batch", [1, 7])
def test_a_route_does_not_depend_on_its_batch(towns, batch):
    whole = hashes(drawn(towns, torch.arange(64)))
    assert len(set(whole)) > 40
    parts = [
        one
        for first in range(0, 64, batch)
        for one in hashes(drawn(towns, torch.arange(first, min(first + batch, 64))))
    ]
    assert parts == whole
    backwards = hashes(drawn(towns, torch.arange(63, -1, -1)))
    assert backwards[::-1] == whole


def test_located_points_do_not_depend_on_their_batch(routes):
    x = routes.x_m[:, ::5] + 0.7
    y = routes.y_m[:, ::5] - 0.4
    whole = routes.locate(x, y)
    for i in range(0, len(x), 5):
        one = routes.rows(i, i + 1).locate(x[i : i + 1], y[i : i + 1])
        for f in fields(one):
            assert torch.equal(getattr(one, f.name)[0], getattr(whole, f.name)[i])


def test_where_takes_some_worlds_from_another(towns, routes):
    n = len(routes.town)
    other = drawn(towns, torch.arange(n) + n)
    mask = torch.arange(n) % 3 == 0
    mixed = routes.where(mask, other)
    assert torch.equal(mixed.x_m[mask], other.x_m[mask])
    assert torch.equal(mixed.command[~mask], routes.command[~mask])
