"""Chance, angles, presets, replay: the small parts of traffic."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from opendojo.world.traffic import Agents, Replay, TrafficConfig
from opendojo.world.traffic.angle import angle
from opendojo.world.traffic.chance import Draw, Seeds, uniform, uniforms


def test_chance_is_even_and_its_keys_are_independent():
    seeds = Seeds.of([3, 2**40 + 3], torch.device("cpu"))
    slot = torch.arange(64)[None]
    draws = torch.stack(
        [uniform(seeds, name, slot, torch.full((2, 1), k)) for name in Draw for k in range(40)]
    )
    assert float(draws.min()) >= 0.0
    assert float(draws.max()) < 1.0
    count = draws.numel()
    assert abs(float(draws.mean()) - 0.5) < 4.0 / math.sqrt(12 * count)
    bins = torch.histc(draws, 16, 0.0, 1.0)
    assert (bins - count / 16).abs().max() < 5.0 * math.sqrt(count / 16)
    assert not torch.equal(draws[:, 0], draws[:, 1])
    # neighbours in slot and step do not go together
    flat = draws.double() - 0.5
    assert abs(float((flat[:, :, 1:] * flat[:, :, :-1]).mean())) < 0.002
    assert abs(float((flat[1:] * flat[:-1]).mean())) < 0.002


def test_many_names_at_once_are_the_same_draws():
    seeds = Seeds.of([5, 6, 7], torch.device("cpu"))
    slot, step = torch.arange(4)[None].expand(3, 4), torch.tensor([[1], [2], [9]])
    names = (Draw.KIND, Draw.WAY, Draw.PACE)
    for name, drawn in zip(names, uniforms(seeds, names, slot, step), strict=True):
        assert torch.equal(drawn, uniform(seeds, name, slot, step))


def test_angles_are_those_of_the_library():
    a = torch.linspace(-math.pi + 1e-4, math.pi, 20001, dtype=torch.float64)
    for scale in (1.0, 1e-3, 50.0):
        found = angle((a.cos() * scale).float(), (a.sin() * scale).float())
        assert (found.double() - a).abs().max() < 5e-7


def test_presets_grow_worse_and_nonsense_is_refused():
    clean, hard, worst = (
        TrafficConfig.clean(), TrafficConfig.hard(), TrafficConfig.adversarial()
    )  # fmt: skip
    assert clean.rule_breakers == 0.0 < hard.rule_breakers < worst.rule_breakers
    assert clean.vehicles + clean.on_foot == 16
    wrongs: list[dict[str, Any]] = [
        {"agents": 0}, {"trucks": 0.8, "cyclists": 0.4}, {"near_m": 200.0}
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(ValueError):
            TrafficConfig(**wrong)


def test_a_replay_plays_its_tracks_and_then_nobody_is_there(ego_aside):
    shape, generator = (3, 5, 4), torch.Generator().manual_seed(2)
    columns = {f.name: torch.randn(shape, generator=generator) for f in dataclasses.fields(Agents)}
    columns["mask"] = columns["mask"] > 0.0
    columns |= {name: columns[name].to(torch.int64) for name in ("kind", "lane")}
    lights = torch.randint(0, 3, (3, 5, 2), generator=generator)
    replay, ego = Replay(Agents(**columns), lights), ego_aside(3)
    state = replay.start(ego)
    for k in range(5):
        for name, column in columns.items():
            assert torch.equal(getattr(state.agents, name), column[:, k])
        assert torch.equal(replay.signals(torch.full((3,), k)), lights[:, k])
        state = replay.step(state, ego, torch.full((3,), k), 0.1)
    assert not state.agents.mask.any()
    # worlds at different instants
    state = replay.step(state, ego, torch.tensor([0, 2, 7]), 0.1)
    assert torch.equal(state.agents.x_m[0], columns["x_m"][0, 1])
    assert torch.equal(state.agents.x_m[1], columns["x_m"][1, 3])
    assert not state.agents.mask[2].any()
    with pytest.raises(ValueError, match="tracks"):
        Replay(Agents(**{name: column[0] for name, column in columns.items()}))
