"""Where a driver has to wait: red lights, and lanes whose traffic goes first.

Giving way is decided from now alone, without a memory. Whoever would cross another's path asks when
it would enter and leave the shared stretch, and when each of those who come along the other lane
would; it goes if it is out before they are in, or they out before it is in. A driver at rest wants
more time to spare than one that moves, and one that has passed the line none, so that a gap once
taken stays taken; who cannot stop any more before the line goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from opendojo.world.body import VEHICLE

if TYPE_CHECKING:
    from opendojo.world.course import Course
    from opendojo.world.town.towns import Towns
    from opendojo.world.traffic.agents import Agents

__all__ = ["GiveWay"]

FRONT_M = VEHICLE.length_m - VEHICLE.rear_overhang_m
"""From the rear axle to the front bumper."""
_SPARE_S = (2.0, 1.2, 0.0)
"""Time to spare: at rest, moving, and past the line."""
_CLEAR_S = 0.5
"""Others are out so long before the ego is in."""
_YELLOW_MPS2, _FIRM_MPS2 = 3.0, 4.0
"""Braking for a yellow light, and for others."""
_LATE_S = 0.3
"""Time lost before the brakes act."""
_START_MPS2 = 1.3
"""How the ego is foreseen to gain speed."""
_WATCH_M = 90.0
"""How far along the other lane, and those that lead to it, is looked."""
_LANES = 16
"""Most lanes that are watched for one conflict."""
_CONFLICTS = 12
"""Most conflicts that are asked about at once."""
_RANGE_M = 50.0
_REST_MPS = 0.3
_PAST_M = 0.3
_NEVER = 1.0e6


class GiveWay:
    """Knows which lanes lead to each lane of its towns, and how far they are."""

    def __init__(self, towns: Towns) -> None:
        self._towns = towns
        lanes, gap = _upstream(towns)
        self._lanes = torch.tensor(lanes, device=towns.length_m.device)
        self._gap_m = torch.tensor(gap, dtype=torch.float32, device=towns.length_m.device)

    def hold_m(
        self, course: Course, agents: Agents, time_s: Tensor, s_m: Tensor, speed_mps: Tensor
    ) -> Tensor:
        """Where the front bumper has to halt, as s of the route, [n]; 1e6 for nowhere.

        Args:
            course: the routes of n worlds.
            agents: who is around.
            time_s: now, for the lights; what they will show later is not looked up.
            s_m: the ego's rear axle on the route, [n].
            speed_mps: its speed, [n].
        """
        state = self._towns.signal_state(course.town, time_s)
        lights = _lights(course, state, s_m + FRONT_M, speed_mps)
        return torch.minimum(lights, self._others(course, agents, state, s_m, speed_mps))

    def _others(
        self, course: Course, agents: Agents, state: Tensor, s_m: Tensor, speed: Tensor
    ) -> Tensor:
        front, v = (s_m + FRONT_M)[:, None], speed[:, None]
        rear = (s_m - VEHICLE.rear_overhang_m)[:, None]
        picked = _pick(course, rear)
        low, high, wait = picked["from_m"], picked["to_m"], picked["wait_m"]
        other = picked["lane"]
        ahead = (other >= 0) & (high > rear) & (low < front + _RANGE_M)
        past = front > wait + _PAST_M
        wait = torch.where(past, low - 1.0, wait)
        can = v * v * (0.5 / _FIRM_MPS2) <= wait - front + _PAST_M
        pace = course.at(low).pace_mps
        enter = _travel_s(low - front, v, pace)
        leave = _travel_s(high - rear, v, pace)
        spare = torch.where(v < _REST_MPS, _SPARE_S[0], _SPARE_S[1])
        spare = torch.where(past, _SPARE_S[2], spare)

        way = self._way_m(course.town, other, agents)
        half = agents.length_m[:, None] * 0.5
        there = way + (picked["other_from_m"][..., None] - half)
        gone = way + (picked["other_to_m"][..., None] + half)
        pace_a = agents.speed_mps[:, None]
        coming = self._comes(course.town, agents, state)[:, None] & (gone > 0.0)
        coming = coming & (there < _WATCH_M) & ((pace_a > _REST_MPS) | (there < 1.0))
        their_in = there.clamp(min=0.0) / pace_a.clamp(min=1.0)
        their_out = gone.clamp(min=0.0) / pace_a.clamp(min=0.5)
        first = (leave + spare)[..., None] < their_in
        second = their_out + _CLEAR_S < enter[..., None]
        closed = (coming & ~first & ~second).any(2) & ahead & can
        return torch.where(closed, wait, _NEVER).amin(1)

    def _way_m(self, town: Tensor, lane: Tensor, agents: Agents) -> Tensor:
        """The way of each agent to the start of lanes [n, c]: [n, c, a]; inf if it leads not there,
        negative if it is on the lane."""
        index = lane.clamp(min=0)
        watched, gap = self._lanes[town[:, None], index], self._gap_m[town[:, None], index]
        same = watched[..., None] == agents.road_lane[:, None, None]
        best = torch.where(same, gap[..., None], torch.inf).amin(2)
        return best - agents.s_m[:, None]

    def _comes(self, town: Tensor, agents: Agents, state: Tensor) -> Tensor:
        """Whether agents drive, and are not kept by a red light: bool [n, a]."""
        lane = agents.road_lane.clamp(min=0)
        signal = self._towns.signal[town[:, None], lane]
        shown = state.gather(1, signal.clamp(min=0))
        bumper = agents.s_m + agents.length_m * 0.5
        kept = (
            (signal >= 0) & (shown == 0) & (bumper < self._towns.stop_m[town[:, None], lane] + 1.0)
        )
        return agents.mask & (agents.road_lane >= 0) & ~kept


def _lights(course: Course, state: Tensor, front: Tensor, speed: Tensor) -> Tensor:
    """The nearest stop line that a light closes, [n]."""
    shown = state.gather(1, course.stop_signal)
    room = course.stop_m - front[:, None]
    v = speed[:, None]
    can = v * v * (0.5 / _YELLOW_MPS2) + v * _LATE_S <= room
    closed = ((shown == 0) | ((shown == 1) & can)) & (room > -_PAST_M)
    return torch.where(closed, course.stop_m, _NEVER).amin(1)


def _pick(course: Course, rear: Tensor) -> dict[str, Tensor]:
    """The next conflicts of routes, [n, 12] each."""
    passed = (course.cross_from_m < rear - 15.0).sum(1, keepdim=True)
    index = passed + torch.arange(_CONFLICTS, device=rear.device)
    index = index.clamp(max=course.cross_lane.shape[1] - 1)
    names = ("lane", "from_m", "to_m", "other_from_m", "other_to_m", "wait_m")
    return {name: getattr(course, f"cross_{name}").gather(1, index) for name in names}


def _travel_s(way: Tensor, speed: Tensor, pace: Tensor) -> Tensor:
    """The time for a way, gaining speed up to the pace; 0 for none."""
    way = way.clamp(min=0.0)
    top = torch.maximum(pace, speed).clamp(min=2.0)
    gaining = (top * top - speed * speed) * (0.5 / _START_MPS2)
    short = (torch.sqrt(speed * speed + 2.0 * _START_MPS2 * way) - speed) * (1.0 / _START_MPS2)
    long = (top - speed) * (1.0 / _START_MPS2) + (way - gaining) / top
    return torch.where(way < gaining, short, long)


def _upstream(towns: Towns) -> tuple[np.ndarray, np.ndarray]:
    """For each lane those that lead to it within `_WATCH_M`, itself first, the nearer first:
    lanes (-2 for none) and the way from their starts to its start, [g, lanes, 16]."""
    following, length = towns.next.cpu().numpy(), towns.length_m.cpu().numpy().astype(np.float64)
    count = towns.lanes.cpu().numpy()
    lanes = np.full((*length.shape, _LANES), -2, np.int64)
    gap = np.zeros((*length.shape, _LANES))
    for g, number in enumerate(count):
        before: list[list[int]] = [[] for _ in range(number)]
        for one in range(number):
            for two in following[g, one]:
                if two >= 0:
                    before[int(two)].append(one)
        for one in range(number):
            found = {one: 0.0}
            rim = [one]
            while rim:
                rim.sort(key=lambda lane: (found[lane], lane))
                here = rim.pop(0)
                for lane in before[here]:
                    if lane not in found and found[here] < _WATCH_M:
                        found[lane] = found[here] + length[g, lane]
                        rim.append(lane)
            near = sorted(found.items(), key=lambda item: (item[1], item[0]))[:_LANES]
            lanes[g, one, : len(near)] = [lane for lane, _ in near]
            gap[g, one, : len(near)] = [way for _, way in near]
    return lanes, gap
