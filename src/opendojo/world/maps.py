"""Recorded maps in the place of drawn towns: CommonRoad files, their traffic and their tasks.

    config = WorldConfig(maps=("DEU_Meckenheim-1_4_T-1.xml",))
    world = World(range(4), config)     # among the recorded road users, from the file's task on

Seeds take the files in turn. Where a file has planning tasks, worlds start as one of them says, on
its lane and at its speed; the route goes on from there over the lanes, drawn by the seed. Elsewhere
a start is drawn too. Recorded road users do not react, and are gone when their record ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opendojo.world.town.commonroad import Scenario, read, replay
from opendojo.world.traffic import Agents
from opendojo.world.traffic.replay import Replay

if TYPE_CHECKING:
    from opendojo.world.config import WorldConfig

__all__ = ["BadMap", "Starts", "map_of", "recorded", "scenario_of", "starts_of"]


class BadMap(ValueError):
    """A map file that cannot be used; the text names file, element, fault and remedy."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Where and how fast worlds start, [n] each."""

    lane: Tensor
    """int64: the lane; -1 where none is told."""
    s_m: Tensor
    """float32: where the body's middle is on it."""
    speed_mps: Tensor
    """float32: negative where none is told."""


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
    return config.maps[seed % len(config.maps)]


def starts_of(seeds: Sequence[int], config: WorldConfig, device: torch.device) -> Starts | None:
    """The starts of these seeds' worlds; None where towns are drawn."""
    if not config.maps:
        return None
    rows: list[tuple[int, float, float]] = []
    for seed in seeds:
        tasks = [t for t in scenario_of(map_of(seed, config)).tasks if t.lane >= 0]
        if tasks:
            task = tasks[seed // len(config.maps) % len(tasks)]
            rows.append((task.lane, task.s_m, max(task.speed_mps, 0.0)))
        else:
            rows.append((-1, 0.0, -1.0))
    lane, s, speed = zip(*rows, strict=True)
    return Starts(
        lane=torch.tensor(lane, dtype=torch.int64, device=device),
        s_m=torch.tensor(s, dtype=torch.float32, device=device),
        speed_mps=torch.tensor(speed, dtype=torch.float32, device=device),
    )


def recorded(seeds: Sequence[int], config: WorldConfig, device: torch.device) -> Replay | None:
    """The recordings of these seeds' worlds; None where traffic is drawn.

    It is where `config.traffic` says so, and where no file of the configuration has tracks.
    """
    if config.traffic == "drawn" or not any(scenario_of(path).tracks for path in config.maps):
        return None
    plays = {
        path: replay(scenario_of(path), 1, config.step_s, device)
        for path in dict.fromkeys(map_of(seed, config) for seed in seeds)
    }
    most = max(play.tracks.x_m.shape[2] for play in plays.values())
    lights = max(
        play.signals(torch.zeros(1, dtype=torch.int64)).shape[1] for play in plays.values()
    )
    instants = max(play.instants for play in plays.values())
    shown = {path: _wide(play, instants, most, lights) for path, play in plays.items()}
    mine = [shown[map_of(seed, config)] for seed in seeds]
    columns = {
        f.name: torch.cat([getattr(tracks, f.name) for tracks, _ in mine])
        for f in dataclasses.fields(Agents)
    }
    return Replay(Agents(**columns), torch.cat([signals for _, signals in mine]))


def _wide(play: Replay, instants: int, most: int, lights: int) -> tuple[Agents, Tensor]:
    """A recording with as many instants, road users and lights as the longest of a batch has: the
    last instant stays, without anybody."""
    tracks = play.tracks
    late = instants - play.instants
    place = torch.arange(instants, device=tracks.x_m.device)
    at = place.clamp(max=play.instants - 1)
    columns: dict[str, Tensor] = {}
    for f in dataclasses.fields(Agents):
        column = getattr(tracks, f.name)[:, at]
        empty = column.new_zeros((1, instants, most - column.shape[2]))
        columns[f.name] = torch.cat([column, empty], 2)
    if late:
        columns["mask"] = columns["mask"] & (place < play.instants)[None, :, None]
    signals = torch.stack([play.signals(at[k : k + 1]) for k in range(instants)], 1)
    more = signals.new_zeros((1, instants, lights - signals.shape[2]))
    return Agents(**columns), torch.cat([signals, more], 2)
