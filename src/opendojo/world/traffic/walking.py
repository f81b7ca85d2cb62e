"""People on foot: they wait at the kerb for a gap or their light, cross, turn round, come back."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from opendojo.world.exact import sin_cos
from opendojo.world.traffic.agents import Agents, Neighbour
from opendojo.world.traffic.angle import angle
from opendojo.world.traffic.chance import Draw, Seeds, uniform
from opendojo.world.traffic.sight import Sight
from opendojo.world.traffic.state import AHEAD, TrafficState, Walkers, part
from opendojo.world.traffic.ways import Ways

__all__ = ["halt_for_walkers", "walk"]

_BRAKE_MPS2 = 2.5
"""Walkers trust vehicles that can halt with this."""
_SPARE_M = 1.2
"""Vehicles halt this far ahead of a crossing's edge."""
_SHY_M = 0.6
"""Walkers halt when a body would come this near."""


def halt_for_walkers(
    state: TrafficState, sight: Sight, ways: Ways, town: Tensor
) -> tuple[Tensor, Tensor]:
    """Where vehicles must halt for people [n, v], and who of these may set out [n, p] if the
    lights let them."""
    v, p = sight.vehicles, state.walkers.out.shape[1]
    if p == 0:
        return torch.full_like(sight.s_m[:, :v], math.inf), state.walkers.out
    towns, agents, walkers = ways.towns, state.agents, state.walkers
    index = town[:, None], agents.lane[:, v:].clamp(min=0)
    lane = towns.walk_conflict_lane[index]
    lane = torch.where(agents.mask[:, v:, None], lane, -9)
    # Who is out and not yet past that lane holds up its traffic.
    s = agents.s_m[:, v:, None]
    onward = walkers.way[:, :, None] > 0.0
    begin, end = towns.walk_conflict_from_m[index], towns.walk_conflict_to_m[index]
    there = torch.where(onward, s < end + 0.5, s > begin - 0.5) & walkers.out[:, :, None]
    lane, there = lane.flatten(1)[:, :, None], there.flatten(1)[:, :, None]
    low = towns.walk_conflict_other_from_m[index].flatten(1)[:, :, None]
    high = towns.walk_conflict_other_to_m[index].flatten(1)[:, :, None]
    # Walkers' lanes [n, p c] against vehicles [n, j]: their way to the crossing.
    start = torch.where(sight.path >= 0, sight.offset_m, 0.0) - sight.s_m[:, :, None]
    best = torch.full((), math.inf, device=s.device)
    for k in range(1, AHEAD):
        front = start[:, None, :, k] + low
        meets = (lane == sight.path[:, None, :, k]) & (
            front + (high - low) > -sight.half_m[:, None]
        )
        best = torch.minimum(best, torch.where(meets, front, math.inf))
    front = best - sight.half_m[:, None]
    way = torch.where(there & (front > -0.2), front - _SPARE_M, math.inf).amin(1)
    speed = sight.speed_mps.clamp(min=0.0)[:, None]
    across = towns.walk_length_m[index] / walkers.pace_mps
    across = across[:, :, None].expand(-1, -1, begin.shape[2]).flatten(1)[:, :, None]
    stop = speed * speed * (0.5 / _BRAKE_MPS2) + _SPARE_M
    well = (front > stop) | (front > speed * across + 2.0)
    return way[:, :v].clamp(min=0.0), well.all(2).view(begin.shape).all(2)


def walk(
    state: TrafficState, ego: Neighbour, ways: Ways, town: Tensor, seeds: Seeds,
    may: Tensor, lights: Tensor, time_s: Tensor, step: Tensor, step_s: float,
) -> tuple[Agents, Walkers]:  # fmt: skip
    """The walkers' columns [n, p] one step later.

    `may` bool [n, p]: no vehicle comes too close to set out; `lights` int64 [n, signals];
    `time_s` [n]; `step` int64 [n, 1].
    """
    v = state.path.shape[1]
    agents, walkers = part(state.agents, v, None), state.walkers
    flat = town[:, None] * ways.walks + agents.lane.clamp(min=0)
    index = town[:, None], agents.lane.clamp(min=0)
    low, high = ways.walk_low_m[flat], ways.walk_high_m[flat]
    length = ways.towns.walk_length_m[index]
    signal = ways.towns.walk_signal[index]
    red = lights.gather(1, signal.clamp(min=0)) == 0
    left = _red_left(ways, town, signal.clamp(min=0), time_s)
    lit = (signal < 0) | (red & (left > (high - low) / walkers.pace_mps + 1.0))
    ahead, s = walkers.way > 0.0, agents.s_m
    move = walkers.pace_mps * step_s
    move = torch.where(step < walkers.until, 0.0, move)
    move = torch.where(_in_the_way(state, ego, v, agents), 0.0, move)
    to = s + walkers.way * move
    kerb, far_kerb = torch.where(ahead, low, high), torch.where(ahead, high, low)
    beyond = torch.where(ahead, to > kerb, to < kerb)
    arrived = torch.where(ahead, to >= far_kerb, to <= far_kerb)
    sets_out = beyond & ~arrived & ~walkers.out & may & lit
    waits = beyond & ~arrived & ~walkers.out & ~sets_out
    to = torch.where(waits, s, to)
    out = (walkers.out | sets_out) & ~arrived
    finish = torch.where(ahead, to >= length, to <= 0.0)
    to = torch.minimum(to.clamp(min=0.0), length)
    slot = torch.arange(v, v + s.shape[1], device=s.device)
    pause = uniform(seeds, Draw.WAIT, slot, step) * 120.0 + 20.0
    until = torch.where(finish, step + pause.to(torch.int64), walkers.until)
    way = torch.where(finish, -walkers.way, walkers.way)
    x, y, cos, sin = ways.towns.walk_place(town, agents.lane, to, agents.d_m)
    speed = (to - s).abs() * (1.0 / step_s)
    return (
        replace(
            agents, x_m=x, y_m=y, yaw_rad=angle(cos * way, sin * way), speed_mps=speed,
            accel_mps2=torch.zeros_like(s), s_m=to,
        ),
        replace(walkers, way=way, out=out & agents.mask, until=until),
    )  # fmt: skip


def _red_left(ways: Ways, town: Tensor, signal: Tensor, time_s: Tensor) -> Tensor:
    """Time until a signal turns green, [n, p]."""
    index = town[:, None], signal
    period, green = ways.towns.period_s[index], ways.towns.green_from_s[index]
    time = time_s[:, None]
    phase = time - torch.floor(time / period) * period
    return torch.where(phase < green, green - phase, green - phase + period)


def _in_the_way(state: TrafficState, ego: Neighbour, v: int, people: Agents) -> Tensor:
    """Who out on the road would walk into a body, [n, p]."""
    agents = state.agents
    sin, cos = sin_cos(people.yaw_rad)
    x, y = people.x_m + cos * 0.8, people.y_m + sin * 0.8

    def joined(vehicles: Tensor, own: Tensor) -> Tensor:
        return torch.cat([vehicles[:, :v], own[:, None]], 1)[:, None]

    yaw = joined(agents.yaw_rad, ego.yaw_rad)
    dx = x[:, :, None] - joined(agents.x_m, ego.x_m)
    dy = y[:, :, None] - joined(agents.y_m, ego.y_m)
    sin, cos = sin_cos(yaw)
    length = joined(agents.length_m, torch.full_like(ego.x_m, ego.length_m))
    width = joined(agents.width_m, torch.full_like(ego.x_m, ego.width_m))
    along, across = (dx * cos + dy * sin).abs(), (dy * cos - dx * sin).abs()
    touches = (along < length * 0.5 + _SHY_M) & (across < width * 0.5 + _SHY_M)
    mask = joined(agents.mask, torch.ones_like(ego.x_m, dtype=torch.bool))
    return (touches & mask).any(2) & state.walkers.out
