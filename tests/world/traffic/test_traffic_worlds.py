"""Whole towns full of traffic: the same in any company, no bodies in bodies, nobody stuck."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch

from opendojo.world.town.build import build
from opendojo.world.town.spec import TRAINING_SPECS
from opendojo.world.town.towns import Towns
from opendojo.world.traffic import Neighbour, Traffic, TrafficConfig, TrafficState
from opendojo.world.traffic.state import Vice
from opendojo.world.traffic.ways import Ways


@pytest.fixture(scope="module")
def towns() -> Towns:
    return Towns([build(1, TRAINING_SPECS[kind]) for kind in ("urban", "roundabout", "highway")])


def egos(towns: Towns, town: torch.Tensor, step: int) -> Neighbour:
    """Egos that drive along the first lane where a route may begin, and on from its end."""
    lane = towns.starts[town, 0]
    s = torch.full((len(town),), 5.0) + 0.8 * step
    zero = torch.zeros(len(town))
    x, y, cos, sin = towns.place(town, lane[:, None], s[:, None], zero[:, None])
    on = s < towns.length_m[town, lane]
    return Neighbour(
        x_m=x[:, 0], y_m=y[:, 0], yaw_rad=torch.atan2(sin, cos)[:, 0], speed_mps=zero + 8.0,
        length_m=4.6, width_m=1.85, lane=torch.where(on, lane, -1), s_m=s, d_m=zero,
    )  # fmt: skip


def tensors(value: object) -> list[torch.Tensor]:
    """All tensors of nested structs, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    assert dataclasses.is_dataclass(value)
    return [t for f in dataclasses.fields(value) for t in tensors(getattr(value, f.name))]


def hashes(state: TrafficState) -> list[str]:
    """One hash a world."""
    rows = [t.numpy() for t in tensors(state)]
    n = len(rows[0])
    return [hashlib.sha256(b"".join(r[i].tobytes() for r in rows)).hexdigest() for i in range(n)]


def played(towns: Towns, order: list[int], steps: int) -> list[str]:
    """The hashes after some steps, of worlds in an order, by world."""
    config = TrafficConfig.adversarial()
    town = torch.tensor([i % len(towns.towns) for i in order])
    traffic = Traffic(towns, town, [77 + i for i in order], config, ways=WAYS[id(towns)])
    # Of worlds that began at different times each has its own step.
    began = torch.tensor([i % 5 for i in order])
    state = traffic.start(egos(towns, town, 0))
    for k in range(steps):
        state = traffic.step(state, egos(towns, town, k), began + k, 0.1)
    by_world = dict(zip(order, hashes(state), strict=True))
    return [by_world[i] for i in sorted(by_world)]


WAYS: dict[int, Ways] = {}


@pytest.mark.parametrize("steps", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_a_world_does_not_depend_on_its_company(towns, steps):
    WAYS[id(towns)] = Ways(towns)
    many = played(towns, list(range(64)), steps)
    assert len(set(many)) == 64
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(3)).tolist()
    assert played(towns, shuffled, steps) == many
    assert played(towns, list(range(7)), steps) == many[:7]
    for i in (0, 4):
        assert played(towns, [i], steps) == [many[i]]


def test_other_towns_in_the_bank_change_nothing(towns):
    alone = Towns([towns.towns[0]])
    WAYS[id(towns)], WAYS[id(alone)] = Ways(towns), Ways(alone)
    assert played(alone, [0], 25) == played(towns, [0], 25)


def run(towns: Towns, worlds: int, steps: int, config: TrafficConfig, overlap):
    """Overlaps, mean speed and longest wait of worlds whose egos drive off the road."""
    town = torch.arange(worlds) % len(towns.towns)
    traffic = Traffic(towns, town, list(range(worlds)), config)
    ego = dataclasses.replace(egos(towns, town, 0), lane=torch.full((worlds,), -1))
    low = [t.bounds_m for t in towns.towns]
    middle = torch.tensor([((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in low])[town]
    edge = towns.edge_m(town, middle[:, :1], middle[:, 1:])[:, 0]
    clear = torch.where(edge < -3.0, 0.0, 25.0)
    ego = dataclasses.replace(ego, x_m=middle[:, 0] + clear, y_m=middle[:, 1] + clear)
    state, v = traffic.start(ego), config.vehicles
    overlaps, speeds, there, waited = 0, 0.0, 0, 0
    for k in range(steps):
        state = traffic.step(state, ego, torch.full((worlds,), k), 0.1)
        overlaps += int(overlap(state).sum())
        mask = state.agents.mask[:, :v]
        speeds += float(state.agents.speed_mps[:, :v][mask].sum())
        there += int(mask.sum())
        waited = max(waited, int(state.waited[mask].max()))
    return overlaps, speeds / there, waited


def test_clean_traffic_never_touches(towns, overlap):
    overlaps, speed, _ = run(towns, 9, 80, TrafficConfig.clean(), overlap)
    assert overlaps == 0
    assert speed > 3.0


@pytest.mark.slow
def test_clean_traffic_never_touches_nor_locks_for_a_minute(overlap):
    towns = Towns([build(seed, spec) for spec in TRAINING_SPECS.values() for seed in (11, 12)])
    overlaps, speed, waited = run(towns, 64, 600, TrafficConfig.clean(), overlap)
    assert overlaps == 0
    assert speed > 4.0
    assert waited < 550  # the longest red lasts some 50 s


def test_slots_fill_and_who_leaves_is_replaced(towns):
    town = torch.tensor([0, 1, 2])
    traffic = Traffic(towns, town, [1, 2, 3], TrafficConfig.hard())
    ego = egos(towns, town, 0)
    state = traffic.start(ego)
    dx = state.agents.x_m - ego.x_m[:, None]
    dy = state.agents.y_m - ego.y_m[:, None]
    far = (dx * dx + dy * dy).sqrt()[state.agents.mask]
    assert (far > 19.9).all() and (far < 140.1).all()
    assert state.agents.mask[:, : traffic.config.vehicles].sum() > 20
    # The ego is elsewhere all at once: those far off go, and newcomers come, not too near.
    there = state.agents.mask
    x, y = state.agents.x_m[there][0], state.agents.y_m[there][0]
    moved = dataclasses.replace(ego, x_m=ego.x_m * 0 + x, y_m=ego.y_m * 0 + y)
    for k in range(6):
        before = state
        state = traffic.step(state, moved, torch.full((3,), k), 0.1)
        dx, dy = state.agents.x_m - x, state.agents.y_m - y
        far = (dx * dx + dy * dy).sqrt()
        new = state.agents.mask & ~before.agents.mask
        assert (far[state.agents.mask] < 150.1).all()
        assert (far[new & (state.agents.lane >= 0)][:, None] > 29.9).all()


def test_vices_have_their_share(towns):
    town = torch.zeros(64, dtype=torch.int64)
    state = Traffic(towns, town, range(64), TrafficConfig.adversarial()).start(egos(towns, town, 0))
    vice = state.drivers.vice[state.agents.mask[:, :12]]
    assert 0.35 < float((vice > 0).float().mean()) < 0.55
    assert {int(v) for v in vice} == {int(v) for v in Vice}
    clean = Traffic(towns, town, range(64), TrafficConfig.clean()).start(egos(towns, town, 0))
    assert (clean.drivers.vice == 0).all()
