"""Fixed lists of roads, their hashes, tables with intervals, sweeps."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch

from opendojo.evaluate import (
    SCENES,
    SWEEPS,
    ConstantVelocityDriver,
    DriveConfig,
    Observation,
    StopDriver,
    held_out,
    scene_hashes,
    sweep,
    table,
)
from opendojo.evaluate.scenes import published, together
from opendojo.evaluate.sweep import variants
from opendojo.evaluate.table import interval
from opendojo.world import EVALUATION_SEEDS, TOWNS, World, WorldConfig
from opendojo.world.bank import town_of

COUNTRY = WorldConfig(towns=("country",), agents=4, route_m=60.0)
TINY = DriveConfig(world=COUNTRY, limit_s=0.1)


def test_lists_are_held_out_and_take_the_kinds_in_turn() -> None:
    scenes = held_out("hard", roads=5, sets=2)
    flat = [seed for seeds in scenes.sets for seed in seeds]
    assert len(set(flat)) == 10 and all(seed in EVALUATION_SEEDS for seed in flat)
    towns = [flat[i] // scenes.config.worlds_per_town for i in range(10)]
    assert len(set(towns)) == 10, "a town each"
    assert [TOWNS[t % len(TOWNS)] for t in towns] == [*TOWNS, *TOWNS]
    assert scenes.config.preset == "hard"
    longer = held_out("hard", roads=7, sets=2)
    assert [seeds[:5] for seeds in longer.sets] == list(scenes.sets)
    with pytest.raises(ValueError, match="roads in a set"):
        held_out(roads=251)


def test_the_lists_have_names() -> None:
    assert set(SCENES) == {
        "clean", "hard", "adversarial", *(f"clean-{kind}" for kind in TOWNS),
    }  # fmt: skip
    assert town_of(SCENES["clean-urban"].sets[0][0], SCENES["clean-urban"].config).lanes


def test_a_hash_tells_what_there_is_and_not_who_else_is_asked_for() -> None:
    both = scene_hashes(World([1_000_000, 1_000_004], COUNTRY))
    alone = scene_hashes(World([1_000_004], COUNTRY))
    assert alone[1_000_004] == both[1_000_004] != both[1_000_000]
    fewer = dataclasses.replace(COUNTRY, agents=2)
    assert scene_hashes(World([1_000_004], fewer)) != alone
    longer = dataclasses.replace(COUNTRY, route_m=70.0)
    assert scene_hashes(World([1_000_004], longer)) != alone
    world = World([1_000_004], COUNTRY)
    lane = world.towns.towns[0].lanes[1]
    lane.x_m[5] += 0.1
    try:
        assert scene_hashes(world) != alone
    finally:
        lane.x_m[5] -= 0.1


def test_the_published_lists_are_as_they_were() -> None:
    """The first road of a list. All of them: `pin_scenes.py`, which also writes them anew."""
    known = published()
    assert set(known) == set(SCENES)
    scenes = SCENES["clean-country"]
    hashes = scene_hashes(World(scenes.sets[0][:1], scenes.config))
    assert hashes[scenes.sets[0][0]] == known["clean-country"]["first"], (
        "the world has changed: figures made before do not compare with those made now;"
        " run tests/evaluate/pin_scenes.py and say so in the log"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_whole_published_lists_are_as_they_were(name: str) -> None:
    scenes = SCENES[name]
    flat = [seed for seeds in scenes.sets for seed in seeds]
    assert together(scene_hashes(World(flat, scenes.config))) == published()[name]["all"]


def test_the_fingerprint_notices_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    before = table([StopDriver()], [[1_000_000]], TINY)
    module = sys.modules["opendojo.evaluate.table"]
    monkeypatch.setattr(module, "scene_hashes", lambda world: {1_000_000: "new"})
    after = table([StopDriver()], [[1_000_000]], TINY)
    assert before["fingerprint"] != after["fingerprint"] and before["published"] is None


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = interval(rng.normal(5.0, 2.0, 40))
        held += low <= 5.0 <= high
    assert 175 <= held <= 198
    assert interval(np.full(7, 3.0)) == (3.0, 3.0)
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert interval(values) == interval(values)


def test_a_sweep_has_a_table_for_each_variant() -> None:
    result = sweep("latency", [StopDriver(), ConstantVelocityDriver()], [[1_000_000]], TINY)
    assert result["sweep"] == "latency"
    assert [variant["name"] for variant in result["variants"]] == ["0 ms", "100 ms", "200 ms"]
    tables = [variant["table"] for variant in result["variants"]]
    assert len({t["fingerprint"] for t in tables}) == 3
    assert all(set(t["drivers"]) == {"stop", "constant-velocity"} for t in tables)


class Looker(StopDriver):
    """Brakes the harder the brighter the picture of the first camera is."""

    name = "network"
    needs_pixels = True

    def act(self, observation: Observation) -> tuple[torch.Tensor, None]:
        assert observation.frames is not None
        control, _ = super().act(observation)
        control[:, 1] = -observation.frames[:, 0].float().mean((1, 2, 3)) / 64.0
        return control, None


def test_a_dropped_camera_is_black_and_blind_drivers_drive_once() -> None:
    config = dataclasses.replace(TINY, limit_s=0.6)
    heard: list[str] = []
    drivers = [Looker(), StopDriver()]
    result = sweep("cameras", drivers, [[1_000_000]], config, on_driver=heard.append)
    assert [name for name in heard if name.startswith("stop")] == ["stop, all cameras"]
    assert len(heard) == 1 + 4
    speed = {
        variant["name"]: {
            name: driver["mean_speed_mps"]["mean"]
            for name, driver in variant["table"]["drivers"].items()
        }
        for variant in result["variants"]
    }
    assert len({row["stop"] for row in speed.values()}) == 1
    assert speed["without front"]["network"] > speed["all cameras"]["network"] + 0.05
    assert speed["without left"]["network"] == speed["all cameras"]["network"]


def test_every_sweep_begins_undisturbed_and_an_unknown_one_is_refused() -> None:
    for kind in SWEEPS:
        first = next(iter(variants(kind, TINY).values()))
        assert first == TINY
    with pytest.raises(ValueError, match="cameras, latency, preset, rig"):
        variants("weather", TINY)
