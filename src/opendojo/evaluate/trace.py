"""What is written down of a batch of drives while they are driven."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opendojo.evaluate.score import Trace
from opendojo.world import VEHICLE, Ego, World, events
from opendojo.world.judge import LINE_PAST_M
from opendojo.world.traffic import Agents

__all__ = ["Log", "Moment", "Tracer", "impact_mps"]

_BESIDE_M = 6.0
"""A stop line reaches so far to either side of the route, as in the judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step of a batch of drives: the world as it stands, and what the driver makes of it."""

    time_s: float
    """Since the start."""
    world: World
    """Valid until the next moment is asked for."""
    frames: Tensor | None
    """What the cameras see, uint8 [n, camera, 6, h / 2, w / 2], where they were drawn."""
    path_m: Tensor | None
    """The plan [n, p, 2], where the driver has one."""
    ended: Tensor
    """bool [n]: off the road, collided or complete, now or before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What windows are made of: lists with an entry a step, tensors [n, ...]."""

    ego: list[Ego]
    s_m: list[Tensor]
    agents: list[Agents]
    plans_m: list[Tensor | None]
    expert: dict[int, tuple[Tensor, Tensor]]
    """By step: the way that the expert would have made from there, and its multiplier, [n]."""


class Tracer:
    """Writes down where the vehicles of a roll are, moment by moment.

    Args:
        every: the expert is asked for its plan at each so manieth step; 0: never, and nothing is
            logged for windows.
    """

    def __init__(self, every: int = 0) -> None:
        self.log = Log(ego=[], s_m=[], agents=[], plans_m=[], expert={})
        self._every = every
        self._times_s: list[float] = []
        self._rows: dict[str, list[np.ndarray]] = {}
        self._route_m = np.zeros(0)
        self._front_m: Tensor | None = None

    def add(self, moment: Moment) -> None:
        """Write one moment down."""
        world, ego = moment.world, moment.world.state.ego
        self._times_s.append(moment.time_s)
        self._route_m = world.route_m.cpu().double().numpy()
        columns = {
            "x_m": ego.x_m,
            "y_m": ego.y_m,
            "yaw_rad": ego.yaw_rad,
            "speed_mps": ego.speed_mps,
            "progress_m": world.progress_m,
            "off_road": world.off_road,
            "collided": world.collided,
            "off_lane": world.off_lane,
            "ran_red": self._red(world),
            "impact_mps": impact_mps(ego, world.state.agents),
        }
        for name, column in columns.items():
            self._rows.setdefault(name, []).append(column.cpu().numpy().copy())
        if self._every:
            self._write(moment)

    def _red(self, world: World) -> Tensor:
        """bool [n]: the front bumper came over a stop line whose light is red."""
        state, course = world.state, world.course
        front = state.s_m + VEHICLE.length_m / 2.0
        before = front if self._front_m is None else self._front_m
        self._front_m = front
        line = course.stop_m + LINE_PAST_M
        over = (before[:, None] < line) & (line <= front[:, None])
        red = world.judge.red(course, world.time_s, 1)[..., 0]
        return (over & red).any(1) & (state.d_m.abs() < _BESIDE_M)

    def _write(self, moment: Moment) -> None:
        world, log = moment.world, self.log
        step = len(log.ego)
        log.ego.append(world.state.ego)
        log.s_m.append(world.state.s_m)
        log.agents.append(world.state.agents)
        log.plans_m.append(moment.path_m)
        if step % self._every == 0:
            terms = world.choice().terms
            log.expert[step] = (terms.progress_m[:, 0], terms.multiplier[:, 0])

    def trace(self) -> Trace:
        """What was written so far."""
        columns = {name: np.stack(rows) for name, rows in self._rows.items()}
        wide: dict[str, Any] = {
            name: column if column.dtype == bool else column.astype(np.float64)
            for name, column in columns.items()
        }
        return Trace(time_s=np.asarray(self._times_s), route_m=self._route_m, **wide)


def impact_mps(ego: Ego, agents: Agents) -> Tensor:
    """Speed relative to whoever is touched, the most of them, float32 [n]; 0 where nobody is."""
    n, slots = agents.x_m.shape
    single = Agents(**{f.name: getattr(agents, f.name).reshape(-1, 1) for f in fields(Agents)})
    hit = events.collided(ego.repeated(slots), single).view(n, slots)
    vx = (ego.speed_mps * ego.yaw_rad.cos())[:, None] - agents.speed_mps * agents.yaw_rad.cos()
    vy = (ego.speed_mps * ego.yaw_rad.sin())[:, None] - agents.speed_mps * agents.yaw_rad.sin()
    return torch.where(hit, torch.sqrt(vx * vx + vy * vy), 0.0).amax(1)
