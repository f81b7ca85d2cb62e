"""Which town each world is in, and the towns of a batch, kept for the next one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from opendojo.world.config import EVALUATION_SEEDS, WorldConfig
from opendojo.world.maps import map_of, scenario_of
from opendojo.world.town.build import HELD_OUT_SPECS, TRAINING_SPECS, TownSpec, build
from opendojo.world.town.graph import Town
from opendojo.world.town.towns import Towns

__all__ = ["settle", "town_of"]

_BEYOND_M = 320.0
"""Road of country towns and highways before the route's start and after its end, in all."""


def town_of(seed: int, config: WorldConfig) -> Town:
    """The town in which the world of a seed lies."""
    if config.maps:
        return scenario_of(map_of(seed, config)).town
    return _built(*_which(seed, config))


def settle(seeds: Sequence[int], config: WorldConfig, device: torch.device) -> tuple[Towns, Tensor]:
    """The towns of these worlds as tensors, and each world's among them, int64 [n]."""
    if config.maps:
        files = [map_of(seed, config) for seed in seeds]
        place = {path: i for i, path in enumerate(dict.fromkeys(files))}
        towns = Towns([scenario_of(path).town for path in place], device)
        return towns, torch.tensor([place[path] for path in files], device=device)
    wanted = [_which(seed, config) for seed in seeds]
    distinct = list(dict.fromkeys(wanted))
    place = {which: i for i, which in enumerate(distinct)}
    towns = Towns([_built(*which) for which in distinct], device)
    return towns, torch.tensor([place[which] for which in wanted], device=device)


def _which(seed: int, config: WorldConfig) -> tuple[int, TownSpec]:
    number = seed // config.worlds_per_town
    specs = HELD_OUT_SPECS if seed >= EVALUATION_SEEDS.start else TRAINING_SPECS
    spec = specs[config.towns[number % len(config.towns)]]
    if spec.kind in ("country", "highway"):
        spec = dataclasses.replace(spec, length_m=max(spec.length_m, config.route_m + _BEYOND_M))
    return number, spec


@lru_cache(maxsize=256)
def _built(number: int, spec: TownSpec) -> Town:
    return build(number, spec)
