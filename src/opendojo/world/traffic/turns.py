"""Where lanes meet: whose turn is next there, and who comes in whose way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world.traffic.known import SLACK_M
from opendojo.world.traffic.sight import Sight
from opendojo.world.traffic.state import AHEAD, NEVER, TrafficState
from opendojo.world.traffic.ways import Ways

__all__ = ["OVER_M", "Pair", "Turns", "at", "next_turns", "pair"]

OVER_M = 0.8
"""Who halted this far past the place to halt, or less, still waits there."""
_ACCEL_MPS2 = 1.0
"""With this, drivers foretell when somebody will be where."""
_MARGIN_S = 0.6
"""Time kept free between two users of one place."""
_GAP_S = 1.2
"""Time kept free ahead of somebody with priority."""
_ASK_MPS2 = 1.4
"""Drivers ask when braking this hard would halt them in time."""
_THROUGH_M = 2.5
"""Nobody's body sweeps farther back than this."""
_CAR_M, _SWING = 2.4, 0.8
"""A body with half a length beyond the first keeps others off by that share of what is beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The next lanes of paths that others meet, [n, q]: of all vehicles' next two the q nearest;
    who is farther off waits to be looked at."""

    there: Tensor
    """bool."""
    slot: Tensor
    """int64: whose."""
    column: Tensor
    """int64: its column in the path."""
    may_ask: Tensor
    """bool: it is time to ask, and nothing earlier on the path wants a grant."""
    granted: Tensor
    """int64: the step of the grant."""
    start_m: Tensor
    """Where it begins, in s of the present lane."""
    knot: Tensor
    """int32: row in the table of meetings, times its side, with the town's first row."""
    halt_m: Tensor
    """The way from the front bumper to where one halts without a grant."""
    clear_m: Tensor
    """The way after which the rear bumper is through."""
    s_m: Tensor
    half_m: Tensor
    speed_mps: Tensor
    """Of the vehicle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Turns i against all vehicles j, [n, q, j]."""

    column: Tensor
    """int64: the column of j's path with the lane that i's meets."""
    live: Tensor
    """bool: they meet, and neither is through."""
    fork: Tensor
    merge: Tensor
    yields: Tensor
    inside: Tensor
    """bool: i's front is in the stretch that they share."""
    other_inside: Tensor
    way_m: Tensor
    """From i's front to the stretch."""
    apart_m: Tensor
    """From middle to middle along the fork, or towards the merge; positive: j is ahead."""
    before: Tensor
    """bool: i will be through before j comes."""
    after: Tensor
    """bool: j will be through before i comes."""


def next_turns(
    state: TrafficState, sight: Sight, ways: Ways, town: Tensor
) -> tuple[Turns, Tensor, Tensor]:
    """The turns; and of the next two lanes of all vehicles the columns, int64 [n, v, 2], and the
    way to where one halts without a grant, inf where there is no such lane."""
    v = sight.vehicles
    row, path = sight.row[:, :v], sight.path[:, :v]
    side = ways.meetings.side[town][:, None]
    meets = (path >= 0) & (ways.knot[row] < side[:, :, None] - 1)
    meets[:, :, 0] = False
    columns = torch.arange(AHEAD, device=path.device)
    half, speed = sight.half_m[:, :v], sight.speed_mps[:, :v]
    front = sight.s_m[:, :v] + half
    reach = speed * speed * (0.5 / _ASK_MPS2) + speed * 0.5 + 3.0
    found, halts, before = [], [], torch.zeros_like(path[:, :, 0])
    mask = state.agents.mask[:, :v]
    first_granted = torch.ones_like(mask)
    for _ in range(2):
        later = meets & (columns > before[:, :, None])
        column = torch.where(later, columns, AHEAD).amin(2)
        there = column < AHEAD
        before, column = column, column.clamp(max=AHEAD - 1)
        lane = _pick(row, column)
        start = torch.where(there, _pick(sight.offset_m[:, :v], column), 0.0)
        approach = (column - 1).clamp(min=0)
        line = _pick(sight.offset_m[:, :v], approach) + ways.stop_m[_pick(row, approach)] - front
        at_line = torch.isfinite(line) & (line > -OVER_M) & (column > 1)
        halt = torch.where(at_line, line, start + ways.hold_m[lane] - front)
        granted = torch.where(there, _pick(sight.granted[:, :v], column), 0)
        knot = ways.meetings.first[town][:, None] + ways.knot[lane] * side
        clear = start + ways.clear_m[lane] - front + 2.0 * half
        halts.append(torch.where(there, halt, math.inf))
        through = start + (ways.last_m[lane] + _THROUGH_M) < sight.s_m[:, :v] - half
        near = torch.minimum(halt, start - front)
        near = torch.where(there & ~through & (near < reach) & mask, near, math.inf)
        asks = first_granted & (halt < reach)
        found.append((near, column, asks, granted, start, knot, halt, clear))
        first_granted = (granted < NEVER) | through
    fields = [torch.cat(both, 1) for both in zip(*found, strict=True)]
    both = torch.stack([found[0][1], found[1][1]], 2)
    return _nearest(fields, sight), both, torch.stack(halts, 2)


def _nearest(fields: list[Tensor], sight: Sight) -> Turns:
    """The nearest of both turns [n, 2 v] of all vehicles."""
    v = sight.vehicles
    count = min(2 * v, max(8, v))
    index = torch.sort(fields[0], dim=1, stable=True).indices[:, :count]
    near, column, asks, granted, start, knot, halt, clear = (f.gather(1, index) for f in fields)
    slot = index % v
    s, half, speed = (f.gather(1, slot) for f in (sight.s_m, sight.half_m, sight.speed_mps))
    return Turns(
        there=torch.isfinite(near), slot=slot, column=column, may_ask=asks, granted=granted,
        start_m=start, knot=knot.to(torch.int32), halt_m=halt, clear_m=clear, s_m=s, half_m=half,
        speed_mps=speed,
    )  # fmt: skip


def _knots(sight: Sight, ways: Ways, town: Tensor) -> Tensor:
    """The knots of the paths' lanes, int32 [AHEAD, n, j]: by column, to be quick."""
    none = ways.meetings.side[town][:, None, None] - 1
    knot = torch.where(sight.path >= 0, ways.knot[sight.row], none)
    # Behind one lies a lane that may still be blocked by one's rear.
    knot[:, :, 0] = torch.where(sight.s_m < sight.half_m, knot[:, :, 0], none[:, 0])
    return knot.permute(2, 0, 1).to(torch.int32).contiguous()


def pair(turns: Turns, sight: Sight, ways: Ways, town: Tensor) -> Pair:
    """What is so between each turn and each vehicle."""
    met, knots = ways.meetings, _knots(sight, ways, town)
    shape = (*turns.slot.shape, sight.s_m.shape[1])
    entry = torch.zeros(shape, dtype=torch.int32, device=knots.device)
    column = torch.zeros_like(entry)
    for k in range(AHEAD - 1, -1, -1):
        index = turns.knot[:, :, None] + knots[k][:, None]
        row = met.row.index_select(0, index.view(-1)).view(shape)
        meet = row > 0
        entry = torch.where(meet, row, entry)
        column = column.masked_fill(meet, k)
    self_ = turns.slot[:, :, None] == torch.arange(shape[2], device=knots.device)
    entry = entry * (turns.there[:, :, None] & ~self_)
    flat, column = entry.view(-1), column.to(torch.int64)

    def of(values: Tensor) -> Tensor:
        return values.index_select(0, flat).view(shape)

    begin = torch.where(sight.path >= 0, sight.offset_m, 0.0)
    mine = (turns.s_m - turns.start_m)[:, :, None]
    theirs = sight.s_m[:, None] - at(begin, column)
    half, other_half = turns.half_m[:, :, None], sight.half_m[:, None]
    # Long bodies cut corners and swing out.
    wide = ((half - _CAR_M).clamp(min=0.0) + (other_half - _CAR_M).clamp(min=0.0)) * _SWING
    to_m, other_to_m = of(met.to_m), of(met.other_to_m)
    way, out = of(met.from_m) - mine - half - wide, to_m - mine + half + wide
    other_way = of(met.other_from_m) - theirs - other_half - wide
    other_out = other_to_m - theirs + other_half + wide
    merge = of(met.merge)
    speed, other_speed = turns.speed_mps[:, :, None], sight.speed_mps[:, None].clamp(min=0.0)
    apart = torch.where(merge, theirs - other_to_m - mine + to_m, theirs - mine)
    return Pair(
        column=column, live=(entry > 0) & (out > 0.0) & (other_out > 0.0),
        fork=of(met.fork), merge=merge, yields=of(met.yields),
        inside=way < -SLACK_M, other_inside=other_way < -SLACK_M, way_m=way, apart_m=apart,
        before=_time(out, speed) + _GAP_S < _time(other_way, other_speed),
        after=_time(other_out, other_speed) + _MARGIN_S < _time(way, speed),
    )  # fmt: skip


def _time(way_m: Tensor, speed_mps: Tensor) -> Tensor:
    """Time to go some way, speeding up a little; 0 for what lies behind."""
    way = way_m.clamp(min=0.0)
    root = (speed_mps * speed_mps + way * (2.0 * _ACCEL_MPS2)).sqrt_()
    return way * 2.0 / (root + speed_mps).clamp_(min=1e-3)


def _pick(table: Tensor, column: Tensor) -> Tensor:
    """[n, v] of [n, v, AHEAD]."""
    return table.gather(2, column[:, :, None])[:, :, 0]


def at(table: Tensor, column: Tensor) -> Tensor:
    """[n, q, j] of [n, j, AHEAD]: of each j the column named for the pair."""
    n, q, j = column.shape
    index = torch.arange(j, device=column.device) * AHEAD + column
    return table.reshape(n, j * AHEAD).gather(1, index.reshape(n, q * j)).reshape(n, q, j)
