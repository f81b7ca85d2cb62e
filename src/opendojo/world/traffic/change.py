"""Lane changes by MOBIL (Kesting, Treiber, Helbing 2007): gain for oneself against others' loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from opendojo.world.draw.scene import Kind
from opendojo.world.traffic.follow import follow, near
from opendojo.world.traffic.sight import Sight
from opendojo.world.traffic.state import UNKNOWN, Drivers, TrafficState, Vice
from opendojo.world.traffic.ways import Ways

__all__ = ["CHANGE_S", "Change", "consider", "offset_at"]

CHANGE_S = 3.0
"""Time that a lane change takes."""
_GAIN_MPS2 = 0.2
_PERIOD = 10
"""Steps between two decisions of a driver."""
_SPARE_M = 2.0
"""Free way that is kept between bumpers at the least."""
_SHIFT_MPS2 = 4.0
"""A lane that ends is left for any loss below this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changes lanes now, [n, v]."""

    begins: Tensor
    """bool."""
    lane: Tensor
    """int64: the lane that is changed to."""
    s_m: Tensor
    d_m: Tensor
    """The middle's place along that lane."""
    path: Tensor
    """int64 [n, v, AHEAD]: the new path."""


def consider(
    state: TrafficState, sight: Sight, ways: Ways, town: Tensor,
    free_mps2: Tensor, accel_mps2: Tensor, leaves: Tensor, step: Tensor,
) -> Change:  # fmt: skip
    """Who would be better off in the next lane, and may go there.

    `free_mps2` and `accel_mps2` [n, v]: the accelerations without others, and with them; `leaves`
    bool [n, v]: the lane ends soon. Each slot decides once a second. All turn left in one second
    and right in the next, so that nobody meets a neighbour's neighbour half way. The old follower's
    gain is left out.
    """
    v = sight.vehicles
    turn = -step % _PERIOD + torch.arange(0, v, _PERIOD, device=step.device)
    mine = _Mine(state, sight, turn.clamp(max=v - 1))
    free_mps2, accel, leaves = (mine.of(t) for t in (free_mps2, accel_mps2, leaves))
    left = (step // _PERIOD) % 2 == 0
    lane = torch.where(left, ways.left[mine.row], ways.right[mine.row])
    to_row = mine.row - mine.of(sight.path[:, :v, 1]).clamp(min=0) + lane.clamp(min=0)
    s, d = _beside(mine, ways, town, lane, to_row)
    ahead, behind = _neighbours(sight, lane, s)
    touch = sight.half_m[:, None] + mine.half_m[:, :, None]
    close = near(mine.drivers, mine.speed_mps, ahead - touch, sight.speed_mps[:, None]).amax(2)
    there = torch.minimum(follow(free_mps2, close, mine.drivers), accel.clamp(min=1.0))
    theirs = _theirs(state, sight, mine.speed_mps, behind - touch)
    is_behind = torch.isfinite(behind)
    loss = (_others(accel_mps2)[:, None] - theirs).clamp(min=0.0)
    loss = torch.where(is_behind, loss, 0.0).amax(2)
    hardest = torch.where(is_behind, theirs, math.inf).amin(2)
    rude = mine.drivers.vice == int(Vice.CUT_IN)
    bound = -mine.drivers.safe_brake_mps2
    safe = ((hardest > bound) & (there > bound)) | rude
    gap = (torch.minimum(ahead, behind) - touch).amin(2)
    gain = there - accel - torch.where(rude, 0.0, mine.drivers.politeness) * loss
    gain = gain + torch.where(leaves, _SHIFT_MPS2, 0.0)
    gain = gain + torch.where(rude & _tempting(behind[:, :, v] - touch[:, :, v]), 2.0, 0.0)
    room = ways.length_m[to_row] - s - mine.speed_mps * CHANGE_S
    may = mine.may & (turn < v) & (lane >= 0) & (s > 12.0) & (d.abs() < 6.0)
    may &= (room > torch.where(leaves, 3.0, 25.0)) & (gap > torch.where(rude, 1.0, _SPARE_M))
    begins = may & safe & (gain > _GAIN_MPS2)
    begins &= ~_both(begins, lane, s)
    return _spread(state, turn, begins, lane, s, d)


class _Mine:
    """What concerns those who decide now, [n, m]."""

    def __init__(self, state: TrafficState, sight: Sight, slot: Tensor) -> None:
        self._slot = slot
        agents, v = state.agents, sight.vehicles
        self.row = self.of(sight.row[:, :v, 1])
        self.x_m, self.y_m = self.of(agents.x_m[:, :v]), self.of(agents.y_m[:, :v])
        self.s_m, self.half_m = self.of(sight.s_m[:, :v]), self.of(sight.half_m[:, :v])
        self.speed_mps = self.of(sight.speed_mps[:, :v])
        picked = {f.name: self.of(getattr(state.drivers, f.name)) for f in fields(Drivers)}
        self.drivers = Drivers(**picked)
        may = agents.mask[:, :v] & (state.change >= 1.0)
        may &= agents.kind[:, :v] != int(Kind.CYCLIST)
        self.may = self.of(may) & (self.speed_mps > 2.0)

    def of(self, values: Tensor) -> Tensor:
        """[n, m] of [n, v]."""
        return values.gather(1, self._slot)


def _spread(
    state: TrafficState, slot: Tensor, begins: Tensor, lane: Tensor, s_m: Tensor, d_m: Tensor
) -> Change:
    """The decisions [n, m] of some slots as columns of all."""
    n, v = state.waited.shape

    def wide(values: Tensor) -> Tensor:
        return values.new_zeros((n, v + _PERIOD)).scatter(1, slot, values)[:, :v]

    path = torch.full_like(state.path, UNKNOWN)
    path[:, :, 1] = wide(lane)
    return Change(begins=wide(begins), lane=path[:, :, 1], s_m=wide(s_m), d_m=wide(d_m), path=path)


def offset_at(
    change: Tensor, from_m: Tensor, side_m: Tensor, seconds: Tensor
) -> tuple[Tensor, Tensor]:
    """The offset and its rate at shares 0 to 1 of lane changes: 3 c^2 - 2 c^3 of the way."""
    done = change * change * (3.0 - 2.0 * change)
    rate = change * (1.0 - change) * 6.0 / seconds
    way = side_m - from_m
    return from_m + way * done, way * rate


def _beside(
    mine: _Mine, ways: Ways, town: Tensor, lane: Tensor, to_row: Tensor
) -> tuple[Tensor, Tensor]:
    """s and d in the lane beside."""
    s = mine.s_m * (ways.length_m[to_row] / ways.length_m[mine.row])
    x, y, cos, sin = ways.towns.place(town, lane, s, torch.zeros_like(s))
    dx, dy = mine.x_m - x, mine.y_m - y
    return s + (dx * cos + dy * sin), dy * cos - dx * sin


def _neighbours(sight: Sight, lane: Tensor, s_m: Tensor) -> tuple[Tensor, Tensor]:
    """The way from places s of lanes [n, m] to everybody ahead on that lane, and the way to them
    of everybody behind whose path leads there; [n, m, j] each, inf for the rest."""
    lane, s = lane[:, :, None], s_m[:, :, None]
    ahead = behind = torch.full((), math.inf, device=s_m.device)
    for theirs, theirs_s in (
        (sight.lane, sight.s_m),
        (sight.other_lane, sight.other_s_m),
        (sight.path[:, :, 2], sight.s_m - sight.offset_m[:, :, 2]),
    ):
        way = theirs_s[:, None] - s
        on = theirs[:, None] == lane
        ahead = torch.minimum(ahead, torch.where(on & (way > 0.0), way, math.inf))
        behind = torch.minimum(behind, torch.where(on & (way <= 0.0), -way, math.inf))
    return ahead, behind


def _theirs(state: TrafficState, sight: Sight, speed_mps: Tensor, gap_m: Tensor) -> Tensor:
    """The acceleration of each j if each decider were ahead of it by a gap [n, m, j]."""
    d = state.drivers
    accel, brake = _others(d.accel_mps2, 2.0), _others(d.brake_mps2, 4.0)
    headway, still = _others(d.headway_s, 1.2), _others(d.standstill_m, 2.0)
    speed = sight.speed_mps[:, None]
    closing = speed - speed_mps[:, :, None]
    root = (accel * brake).sqrt()[:, None]
    wanted = (speed * headway[:, None] + speed * closing * 0.5 / root).clamp_(min=0.0)
    ratio = wanted.add_(still[:, None]).div_(gap_m.clamp(min=0.1))
    return accel[:, None] * (1.0 - ratio * ratio)


def _others(values: Tensor, ego: float = 0.0) -> Tensor:
    """A column of the drivers with one more for the ego, [n, j]."""
    return torch.cat([values, torch.full_like(values[:, :1], ego)], 1)


def _tempting(gap_m: Tensor) -> Tensor:
    """Whether the ego is close behind in the other lane: a cut-in would annoy it."""
    return (gap_m > 1.0) & (gap_m < 15.0)


def _both(begins: Tensor, lane: Tensor, s_m: Tensor) -> Tensor:
    """Who would come beside a lower slot that changes to the same lane now, [n, v]."""
    v = lane.shape[1]
    near_by = (s_m[:, :, None] - s_m[:, None]).abs() < 25.0
    same = (lane[:, :, None] == lane[:, None]) & near_by & begins[:, None]
    lower = torch.ones(v, v, dtype=torch.bool, device=lane.device).tril(-1)
    return (same & lower).any(2)
