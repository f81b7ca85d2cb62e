"""Recorded tracks in the place of drivers: they go where they went, whatever the ego does."""

from __future__ import annotations

from collections.abc import Callable
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
        tracks: columns [recordings, t, a] of `Agents`, instant by instant; `lane` -1 where unknown.
        signals: what lights show, int64 [recordings, t, signals], or a function that tells it of
            steps [n]; none where left out.
        which: each world's recording, int64 [n]; in order where left out.
        first: the instant at which each world begins, int64 [n]; the first where left out.
    """

    def __init__(
        self,
        tracks: Agents,
        signals: Tensor | Callable[[Tensor], Tensor] | None = None,
        *,
        which: Tensor | None = None,
        first: Tensor | None = None,
    ) -> None:
        if tracks.x_m.ndim != 3 or tracks.x_m.shape[1] == 0:
            raise ValueError(f"tracks are [recordings, instants, agents], not {tracks.x_m.shape}")
        self.tracks = tracks
        n, instants = tracks.x_m.shape[:2]
        device = tracks.x_m.device
        none = torch.zeros((n, instants, 0), dtype=torch.int64, device=device)
        self._signals = none if signals is None else signals
        self._which = torch.arange(n, device=device) if which is None else which
        self._first = torch.zeros_like(self._which) if first is None else first

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
        if not isinstance(self._signals, Tensor):
            return self._signals(step)
        return self._signals[self._which, (step + self._first).clamp(0, self.instants - 1)]

    def _at(self, step: Tensor) -> ReplayState:
        now = step + self._first
        row = self._which, now.clamp(0, self.instants - 1)
        agents = Agents(**{f.name: getattr(self.tracks, f.name)[row] for f in fields(Agents)})
        there = (now < self.instants)[:, None]
        return ReplayState(agents=replace(agents, mask=agents.mask & there))
