"""Recorded maps in the place of drawn towns: CommonRoad files, their traffic and their tasks.

    config = WorldConfig(maps=("DEU_Meckenheim-1_4_T-1.xml",))
    world = World(range(4), config)     # among the recorded road users, from the file's task on

Seeds take the files in turn. Where a file has planning tasks, worlds start as one of them says;
where it has road users alone, behind one of them, at its speed and in nobody's way (see
`map_starts`); on a bare map anywhere. The route goes on from there over the lanes, drawn by the
seed, and ends where the map does. Recorded road users do not react, and are gone when their record
ends; lights go on.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opendojo.world.map_starts import Start, Starts, start_behind
from opendojo.world.town.commonroad import Scenario, read, replay
from opendojo.world.traffic import Agents
from opendojo.world.traffic.replay import Replay

if TYPE_CHECKING:
    from opendojo.world.config import WorldConfig
    from opendojo.world.town.towns import Towns

__all__ = ["BadMap", "map_of", "recorded", "scenario_of", "starts_of"]

_OBSTACLE = re.compile(rb"<(?:obstacle|\w+Obstacle)[\s>]")


class BadMap(ValueError):
    """A map file that cannot be used; the text names file, element, fault and remedy."""


@lru_cache(maxsize=64)
def scenario_of(path: str) -> Scenario:
    """A file's content, read once.

    Raises:
        BadMap: the file is broken, or has no lane for cars.
        OSError: it cannot be read.
    """
    try:
        return read(path)
    except ValueError as fault:
        raise BadMap(str(fault)) from None


def map_of(seed: int, config: WorldConfig) -> str:
    """The file of a seed's world."""
    return str(config.maps[seed % len(config.maps)])


def starts_of(seeds: Sequence[int], config: WorldConfig, device: torch.device) -> Starts | None:
    """The starts of these seeds' worlds; None where towns are drawn."""
    if not config.maps:
        return None
    rows = [_start(scenario_of(map_of(seed, config)), seed // len(config.maps)) for seed in seeds]
    return Starts.of(rows, device)


def _start(scenario: Scenario, number: int) -> Start | None:
    """The start of a file's `number`-th world."""
    tasks = [task for task in scenario.tasks if task.lane >= 0]
    if not tasks:
        return start_behind(scenario, number)
    task = tasks[number % len(tasks)]
    return Start(
        lane=task.lane, s_m=task.s_m, x_m=task.x_m, y_m=task.y_m, yaw_rad=task.yaw_rad,
        speed_mps=max(task.speed_mps, 0.0), time_s=task.time_s,
    )  # fmt: skip


def recorded(
    seeds: Sequence[int], config: WorldConfig, towns: Towns, town: Tensor, told: Starts | None
) -> Replay | None:
    """The recordings of these seeds' worlds; None where traffic is drawn.

    It is where `config.traffic` says so, and where no file of the configuration has obstacles.
    There are as many slots as any of its files has obstacles, so that a world's state and labels
    do not depend on whose company it is in. Lights show what the judge takes them to show.

    Args:
        seeds: one a world.
        config: of them all.
        towns: their maps, in the order in which the seeds name them.
        town: int64 [n], which of them a world is in; also which recording it has.
        told: where and when they start.
    """
    slots = max((_slots(str(path)) for path in config.maps), default=0)
    if told is None or config.traffic == "drawn" or not slots:
        return None
    plays = [
        _played(path, config.step_s, towns.device)
        for path in dict.fromkeys(map_of(seed, config) for seed in seeds)
    ]
    instants = max(tracks.x_m.shape[1] for tracks in plays)
    slots = max(slots, *(tracks.x_m.shape[2] for tracks in plays))
    wide = [_wide(tracks, instants, slots) for tracks in plays]
    names = [f.name for f in dataclasses.fields(Agents)]
    return Replay(
        Agents(**{name: torch.cat([getattr(tracks, name) for tracks in wide]) for name in names}),
        lambda step: towns.signal_state(town, step.to(torch.float32) * config.step_s),
        which=town,
        first=torch.round(told.time_s / config.step_s).to(torch.int64),
    )


@lru_cache(maxsize=4096)
def _slots(path: str) -> int:
    """How many obstacles a file has, told by its text alone: most files are not read for that."""
    return len(_OBSTACLE.findall(Path(path).read_bytes()))


def _played(path: str, step_s: float, device: torch.device) -> Agents:
    """A file's road users, [1, instants, tracks]."""
    try:
        return replay(scenario_of(path), 1, step_s, device).tracks
    except ValueError as fault:
        raise BadMap(f"{path}: {fault}") from None


def _wide(tracks: Agents, instants: int, slots: int) -> Agents:
    """A recording with so many instants and slots; after its own end nobody is there."""
    own, used = tracks.x_m.shape[1:]
    place = torch.arange(instants, device=tracks.x_m.device)
    columns: dict[str, Tensor] = {}
    for f in dataclasses.fields(Agents):
        column = getattr(tracks, f.name)[:, place.clamp(max=own - 1)]
        empty = column.new_zeros((1, instants, slots - used))
        columns[f.name] = torch.cat([column, empty], 2)
    columns["mask"] = columns["mask"] & (place < own)[None, :, None]
    return Agents(**columns)
