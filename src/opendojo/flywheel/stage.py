"""Rare events put on a world's stage: debris, a cut-in, somebody who runs a red light.

The world's own traffic goes on; one of its slots is taken out of it and follows a script beside the
ego's route. So it is known, to the instant, where an event is: what triggers are held against.

    stage(world, ["cut_in", None], begin_s=[4.0, 0.0])
    world.step(world.expert())
    shown(world)                # int64 [n]: number of the kind in EVENTS, -1 for none

A staged car is met and seen like any other; the rest of the traffic does not see it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from opendojo.world import World
from opendojo.world.draw.scene import Kind
from opendojo.world.state import Moving
from opendojo.world.traffic import Agents, Neighbour

__all__ = ["EVENTS", "StagedState", "shown", "stage"]

EVENTS = ("cut_in", "debris", "red_runner", "night")
"""Kinds of rare events; `night` is no script but how a whole world looks."""
_SCRIPTED = EVENTS[:3]
_SLOT = 0
_LEAST_MPS = 5.0
"""A script waits until the ego is this fast: nobody cuts in before a car that stands."""
_LONG_S = {"cut_in": 7.0, "debris": 12.0, "red_runner": 6.0}
"""How long each is on the stage."""
_SIZE_M = {
    "cut_in": (4.6, 1.9, 1.5),
    "debris": (0.9, 1.0, 0.6),
    "red_runner": (4.6, 1.9, 1.5),
}
_GAP_M, _CROSS_S, _CROSS_MPS, _FAR_M = 7.0, 3.2, 8.0, 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedState:
    """The traffic of n worlds with one slot taken over."""

    inner: Any
    """Of the world's own traffic."""
    agents: Agents
    """What everybody else sees."""
    begun: Tensor
    """int64 [n]: the step at which the script began, -1 before."""
    s_m: Tensor
    """float32 [n]: where the ego was on its route then."""
    speed_mps: Tensor
    """float32 [n]: its speed then."""
    running: Tensor
    """bool [n]: the script is on."""


class _Staged:
    """A world's traffic with scripts; takes the place of `World.traffic`."""

    def __init__(self, world: World, kinds: Sequence[str | None], begin_s: Sequence[float]) -> None:
        self._world, self._inner = world, world.traffic
        self.kinds = tuple(kinds)
        steps = [round(time / world.config.step_s) for time in begin_s]
        self._begin = torch.tensor(steps, device=world.device)
        names = [_SCRIPTED.index(kind) if kind in _SCRIPTED else -1 for kind in kinds]
        self.number = torch.tensor(names, device=world.device)
        long_s = [_LONG_S.get(kind or "", 0.0) / world.config.step_s for kind in kinds]
        self._steps = torch.tensor([round(steps) for steps in long_s], device=world.device)

    def start(self, ego: Neighbour) -> StagedState:
        return self._wrapped(self._inner.start(ego))

    def step(self, state: Any, ego: Neighbour, step: Tensor, step_s: float) -> StagedState:
        """The state after the step, its scripts moved on."""
        before = state if isinstance(state, StagedState) else self._wrapped(state)
        inner = self._inner.step(before.inner, ego, step, step_s)
        now = step + 1
        may = (self.number >= 0) & (now >= self._begin) & (before.begun < 0)
        starts = may & (ego.speed_mps >= _LEAST_MPS)
        begun = torch.where(starts, now, before.begun)
        s = torch.where(starts, self._world.state.s_m, before.s_m)
        speed = torch.where(starts, ego.speed_mps, before.speed_mps)
        running = (begun >= 0) & (now - begun < self._steps)
        later_s = (now - begun).to(torch.float32) * step_s
        agents = self._played(inner.agents, s, speed, later_s, running)
        return StagedState(
            inner=inner, agents=agents, begun=begun, s_m=s, speed_mps=speed, running=running
        )

    def signals(self, step: Tensor) -> Tensor:
        return self._inner.signals(step)

    def _wrapped(self, inner: Any) -> StagedState:
        none = torch.zeros_like(self.number, dtype=torch.float32)
        agents = self._played(inner.agents, none, none, none, none > 0)
        never = torch.full_like(self.number, -1)
        return StagedState(
            inner=inner, agents=agents, begun=never, s_m=none, speed_mps=none, running=none > 0
        )

    def _played(
        self, agents: Agents, s_m: Tensor, speed: Tensor, later_s: Tensor, running: Tensor
    ) -> Agents:
        """Agents with the scripts' slot set, in the worlds that have a script."""
        s, d, along, aside = _script(self.number, s_m, speed, later_s)
        x, y, cos, sin = (t[:, 0] for t in self._world.routes.place(s[:, None], d[:, None]))
        vx, vy = cos * along - sin * aside, sin * along + cos * aside
        moves = torch.hypot(vx, vy)
        yaw = torch.atan2(torch.where(moves > 0.1, vy, sin), torch.where(moves > 0.1, vx, cos))
        sizes = torch.tensor([_SIZE_M[kind] for kind in _SCRIPTED], device=s.device)
        size = sizes[self.number.clamp(min=0)]
        values = {
            "mask": running, "kind": torch.full_like(self.number, int(Kind.CAR)),
            "x_m": x, "y_m": y, "yaw_rad": yaw, "speed_mps": moves,
            "accel_mps2": torch.zeros_like(x), "length_m": size[:, 0], "width_m": size[:, 1],
            "height_m": size[:, 2], "lane": torch.full_like(self.number, -1),
            "s_m": torch.zeros_like(x), "d_m": torch.zeros_like(x),
        }  # fmt: skip
        has = self.number >= 0
        columns: dict[str, Tensor] = {}
        for field in dataclasses.fields(Agents):
            column = getattr(agents, field.name).clone()
            mine = values[field.name].to(column.dtype)
            column[:, _SLOT] = torch.where(has, mine, column[:, _SLOT])
            columns[field.name] = column
        return Agents(**columns)


def _script(
    number: Tensor, s_m: Tensor, speed: Tensor, later_s: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Place on the route and speed along and across it, [n] each, of every script."""
    zero = torch.zeros_like(s_m)
    # comes over from the left within 1.5 s, then brakes to half its speed
    slower = 0.9 * speed
    brakes_s = (later_s - 1.5).clamp(min=0.0)
    till_s = (0.5 * slower / 3.0).clamp(min=0.1)
    braked_s = torch.minimum(brakes_s, till_s)
    way = slower * later_s - 1.5 * braked_s.square() - 3.0 * till_s * (brakes_s - braked_s)
    into = (later_s / 1.5).clamp(max=1.0)
    cut = (
        s_m + 2.4 + _GAP_M + way,
        3.3 * (1.0 - into * into * (3.0 - 2.0 * into)),
        slower - 3.0 * braked_s,
        torch.where(later_s < 1.5, -3.3 / 1.5, zero),
    )
    debris = (s_m + 12.0 + 2.5 * speed, zero + 1.1, zero, zero)
    runner = (
        s_m + _CROSS_S * speed + 2.4,
        -_FAR_M + _CROSS_MPS * later_s,
        zero,
        zero + _CROSS_MPS,
    )
    rows = [torch.stack(columns, 1) for columns in zip(cut, debris, runner, strict=True)]
    pick = number.clamp(min=0)[:, None]
    s, d, along, aside = (row.gather(1, pick)[:, 0] for row in rows)
    return s, d, along, aside


def stage(world: World, kinds: Sequence[str | None], begin_s: Sequence[float]) -> None:
    """Put scripts on a world's stage; it stays there through `World.reset`.

    Args:
        world: fresh; nothing has been stepped yet.
        kinds: for each world one of `EVENTS` or None; `night` is left to the world's look.
        begin_s: when each begins, at the earliest: it waits for the ego to be fast enough.

    Raises:
        ValueError: a kind that is none, or lists of another length.
    """
    unknown = [kind for kind in kinds if kind is not None and kind not in EVENTS]
    if unknown:
        raise ValueError(f"there is no event {unknown[0]!r}: {', '.join(EVENTS)}")
    if len(kinds) != len(world.seeds) or len(begin_s) != len(world.seeds):
        raise ValueError(f"give {len(world.seeds)} kinds and times, one for each world")
    staged: Moving = _Staged(world, kinds, begin_s)
    world.traffic = staged


def shown(world: World) -> Tensor:
    """int64 [n]: the number in `EVENTS` of what runs in each world now; -1 for nothing."""
    traffic, state = world.traffic, world.state.traffic
    if not isinstance(traffic, _Staged) or not isinstance(state, StagedState):
        return torch.full((len(world.seeds),), -1, dtype=torch.int64, device=world.device)
    return torch.where(state.running, traffic.number, -1)
