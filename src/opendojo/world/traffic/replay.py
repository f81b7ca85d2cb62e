"""Recorded tracks in the place of drivers: they go where they went, whatever the ego does."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from opendojo.world.traffic.agents import Agents, Neighbour

__all__ = ["Replay", "ReplayState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayState:
    """What is so at one instant of a replay."""

    agents: Agents


class Replay:
    """Plays back tracks, with the same `start` and `step` as `Traffic`.

    Args:
        tracks: columns [n, t, a] of `Agents`, instant by instant; `lane` -1 where unknown.
        signals: what lights show, int64 [n, t, signals]; none where left out.
    """

    def __init__(self, tracks: Agents, signals: Tensor | None = None) -> None:
        if tracks.x_m.ndim != 3 or tracks.x_m.shape[1] == 0:
            raise ValueError(f"tracks are [worlds, instants, agents], not {tracks.x_m.shape}")
        self.tracks = tracks
        n, instants = tracks.x_m.shape[:2]
        none = torch.zeros((n, instants, 0), dtype=torch.int64, device=tracks.x_m.device)
        self._signals = none if signals is None else signals

    @property
    def instants(self) -> int:
        """How many instants are recorded."""
        return self.tracks.x_m.shape[1]

    def start(self, ego: Neighbour) -> ReplayState:
        """The first instant."""
        return self._at(torch.zeros_like(ego.lane))

    def step(self, state: ReplayState, ego: Neighbour, step: Tensor, step_s: float) -> ReplayState:
        """The instant after `step` int64 [n]; past the end of the recording nobody is there."""
        del state, ego, step_s
        return self._at(step + 1)

    def signals(self, step: Tensor) -> Tensor:
        """What the lights show at steps [n]: int64 [n, signals]; at the end they stay."""
        at = step.clamp(0, self.instants - 1)
        return self._signals[torch.arange(len(step), device=step.device), at]

    def _at(self, step: Tensor) -> ReplayState:
        world = torch.arange(len(step), device=step.device)
        at = step.clamp(0, self.instants - 1)
        agents = Agents(**{f.name: getattr(self.tracks, f.name)[world, at] for f in fields(Agents)})
        there = (step < self.instants)[:, None]
        return ReplayState(agents=replace(agents, mask=agents.mask & there))
