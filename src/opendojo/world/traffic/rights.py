"""Who may enter where lanes cross or join: first asked, first served, by the rules of priority.

A lane that others meet is entered only by grant. A driver asks when braking for the place to halt
would soon begin, and is granted the lane unless somebody to whom the driver gives way is coming,
somebody who was granted a lane across it will not be through in time, or the way out is blocked.
A grant stands until the lane is behind. Of two who hold grants the later one lets the earlier one
through. The order of grants is total, and along one's own path lanes are asked for in order, so
nobody waits in a circle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from opendojo.world.traffic.sight import Sight
from opendojo.world.traffic.state import AHEAD, NEVER, TrafficState, Vice
from opendojo.world.traffic.turns import OVER_M, Pair, Turns, at, next_turns, pair
from opendojo.world.traffic.ways import Ways

__all__ = ["Rights", "settle"]

_PATIENCE = 30
"""Steps after which who stands no longer waits for others who stand."""
_ROOM_M = 3.0
"""Free way that is wanted past the junction, besides one's own length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the rules of priority ask for at this instant."""

    granted: Tensor
    """int64 [n, v, AHEAD]: the new grants."""
    halt_m: Tensor
    """float32 [n, v]: halt within this way; inf for none."""
    ahead_m: Tensor
    """float32 [n, v, j]: the way to others to be followed as if they were on the path: who leaves
    it at a fork, or will come into it at a merge; inf for the rest."""


def settle(
    state: TrafficState, sight: Sight, ways: Ways, town: Tensor, red: Tensor, step: Tensor
) -> Rights:
    """The rights at this instant.

    `town` int64 [n]; `red` bool [n, j, AHEAD]: a light that is to be heeded bars the way out of
    that lane of the path; `step` int64 [n, 1].
    """
    turns, columns, halts = next_turns(state, sight, ways, town)
    held = state.granted.gather(2, columns) >= NEVER
    leash = torch.where(held, halts, math.inf).amin(2)
    pairs = pair(turns, sight, ways, town)
    runner = (state.drivers.vice == int(Vice.RED_RUNNER)).gather(1, turns.slot)
    barred = _first(red)
    theirs = at(sight.granted, pairs.column)
    free = (barred.gather(1, turns.slot) >= turns.column) | runner
    asks = turns.there & (turns.granted >= NEVER) & turns.may_ask & free
    way = sight.ahead_m.gather(1, turns.slot[:, :, None].expand_as(theirs))
    # Behind somebody who must halt first nobody asks, and a grant is given back.
    reach = way + _with_ego(leash + sight.half_m[:, :-1])[:, None]
    behind = (reach < (turns.halt_m + turns.half_m + 2.0)[:, :, None]).any(2)
    behind &= turns.halt_m > -OVER_M
    asks &= (~_blocked(turns, pairs, theirs, state, sight, barred, way) & ~behind) | runner
    rank = _rank(state)
    rival = pairs.live & ~pairs.fork & at(_set(turns, asks, sight), pairs.column)
    ahead = rank[:, None] > rank.gather(1, turns.slot)[:, :, None]
    wins = asks & (~(rival & ahead).any(2) | runner)
    won = _set(turns, wins, sight)[:, :-1]
    granted = torch.where(won, step[:, :, None], state.granted)
    granted = torch.where(_set(turns, behind & ~wins, sight)[:, :-1], NEVER, granted)
    # Who is held by a light gives its grants back.
    column = torch.arange(AHEAD, device=barred.device)
    granted = torch.where(column > barred[:, :-1, None], NEVER, granted)
    rights = _heed(turns, pairs, granted, sight, runner)
    must = (granted.gather(2, columns) >= NEVER) & (halts > -OVER_M)
    line = torch.where(must, halts, math.inf).amin(2)
    return replace(rights, halt_m=torch.minimum(rights.halt_m, line))


def _set(turns: Turns, which: Tensor, sight: Sight) -> Tensor:
    """bool [n, j, AHEAD]: the lanes of those turns."""
    n, j, _ = sight.path.shape
    nowhere = j * AHEAD
    index = torch.where(which, turns.slot * AHEAD + turns.column, nowhere)
    flat = torch.zeros((n, nowhere + 1), dtype=torch.bool, device=which.device)
    return flat.scatter(1, index, torch.ones_like(which))[:, :-1].view(n, j, AHEAD)


def _blocked(
    turns: Turns, pairs: Pair, theirs: Tensor, state: TrafficState, sight: Sight,
    barred: Tensor, way: Tensor,
) -> Tensor:  # fmt: skip
    """Whom somebody keeps from a grant, [n, q]. `theirs` [n, q, j]: the others' grants; `way`
    [n, q, j]: the way along the path to the others."""
    stands = sight.speed_mps[:, None] < 0.3
    taken = theirs < NEVER
    touch = turns.half_m[:, :, None] + sight.half_m[:, None]
    followed = pairs.merge & (pairs.apart_m > touch + 2.0)
    hard = pairs.other_inside | (taken & ~pairs.after & ~pairs.before)
    hard = hard & ~(followed & taken)
    held = barred[:, None] < pairs.column
    patient = state.waited.gather(1, turns.slot)[:, :, None] < _PATIENCE
    soft = pairs.yields & ~taken & ~held & ~pairs.before & (patient | ~stands)
    blocked = pairs.live & ~pairs.fork & (hard | soft)
    # The way out: nobody who crawls may keep this vehicle's rear inside.
    full = (sight.speed_mps[:, None] < 1.5) & (way - touch - _ROOM_M < turns.clear_m[:, :, None])
    past = turns.halt_m < -OVER_M
    return (blocked | full).any(2) & ~past


def _with_ego(way_m: Tensor) -> Tensor:
    """With a column for the ego, which nothing holds."""
    return torch.cat([way_m, torch.full_like(way_m[:, :1], math.inf)], 1)


def _rank(state: TrafficState) -> Tensor:
    """Who goes first of those who ask at once, [n, j]: who waited longest, else the lower slot."""
    v = state.waited.shape[1]
    rank = state.waited * 512 - torch.arange(v, device=state.waited.device)
    return torch.cat([rank, torch.full_like(rank[:, :1], -512)], 1)


def _heed(turns: Turns, pairs: Pair, granted: Tensor, sight: Sight, runner: Tensor) -> Rights:
    """Where to halt for others, and whom to follow though they are on other lanes."""
    n, v, _ = granted.shape
    everyone = torch.cat([granted, sight.granted[:, v:]], 1)
    index = torch.arange(v + 1, device=granted.device)
    at_turn = turns.slot * AHEAD + turns.column
    mine = granted.flatten(1).gather(1, at_turn)
    theirs = at(everyone, pairs.column)
    earlier = theirs * 512 + index < (mine * 512 + turns.slot)[:, :, None]
    first = pairs.live & ~pairs.inside & (pairs.other_inside | (earlier & (theirs < NEVER)))
    touch = turns.half_m[:, :, None] + sight.half_m[:, None] + 1.0
    lined = pairs.merge & (pairs.apart_m > touch)
    stop = first & ~pairs.fork & ~pairs.after & ~lined & ~runner[:, :, None]
    way = torch.where(stop, pairs.way_m, math.inf).amin(2)
    nowhere = torch.full((n, v), math.inf, device=way.device)
    halt = nowhere.scatter_reduce(1, turns.slot, way, "amin")
    in_front = pairs.apart_m > 0.0
    joins = (first & lined) | (pairs.merge & pairs.inside & pairs.other_inside & in_front)
    leads = pairs.live & (joins | (pairs.fork & pairs.other_inside & in_front))
    apart = torch.where(leads, pairs.apart_m, math.inf)
    nobody = torch.full((n, v, v + 1), math.inf, device=way.device)
    slot = turns.slot[:, :, None].expand_as(apart)
    return Rights(
        granted=granted, halt_m=halt, ahead_m=nobody.scatter_reduce(1, slot, apart, "amin")
    )


def _first(flags: Tensor) -> Tensor:
    """The first column from the present lane on whose flag is set, else AHEAD; int64."""
    columns = torch.arange(AHEAD, device=flags.device)
    return torch.where(flags & (columns > 0), columns, AHEAD).amin(-1)
