"""What drivers see: who is where on the lanes ahead of whom. Vehicles first, the ego last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world.exact import sin_cos
from opendojo.world.traffic.agents import Neighbour
from opendojo.world.traffic.state import AHEAD, LATER, NEVER, NOTHING, TrafficState
from opendojo.world.traffic.ways import Ways

__all__ = ["Sight", "along", "look"]

_NO_LANE = -9
"""Never in a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The vehicles of n worlds, j = v + 1 of them: the ego is the last. float32 [n, j] and int64
    [n, j, AHEAD], unless said otherwise."""

    path: Tensor
    row: Tensor
    """The path's lanes as rows of `Ways`; row 0 of the world's town where there is none."""
    length_m: Tensor
    """float32 [n, j, AHEAD]: of the path's lanes; 0 where there is none."""
    offset_m: Tensor
    """float32 [n, j, AHEAD]: where they begin, in s of the present lane; inf where there is none.
    Of the ego all that may follow its lane stand side by side."""
    granted: Tensor
    lane: Tensor
    """int64."""
    s_m: Tensor
    half_m: Tensor
    """Half the length."""
    speed_mps: Tensor
    """Along the lane."""
    other_lane: Tensor
    """int64: a second lane on which the vehicle partly is."""
    other_s_m: Tensor
    ahead_m: Tensor
    """float32 [n, v, j]: the way along the path of the first to the middle of the second; inf for
    who is not on it, or behind."""

    @property
    def vehicles(self) -> int:
        """v, without the ego."""
        return self.path.shape[1] - 1


def look(state: TrafficState, ego: Neighbour, ways: Ways, base: Tensor) -> Sight:
    """The sight of this instant; `base` int64 [n, 1] is the first row of each world's town."""
    agents, v = state.agents, state.path.shape[1]
    ego_path = _ego_path(state, ego, ways, base)
    path = torch.cat([state.path, ego_path[:, None]], 1)
    there = path >= 0
    row = base[:, :, None] + path.clamp(min=0)
    length = torch.where(there, ways.length_m[row], 0.0)
    offset = _offsets(length, there)
    offset[:, -1, 3:] = offset[:, -1, 2:3]
    moving = ego.speed_mps.abs() > 0.3
    stands = torch.where(moving & (ego.lane >= 0), LATER, NEVER)
    ego_granted = torch.full_like(ego_path, NEVER)
    ego_granted[:, :2] = stands[:, None]
    mask = agents.mask[:, :v]
    ego_other, ego_other_s = _ego_beside(ego, ways, base)
    lane = torch.where(mask, state.path[:, :, 1], _NO_LANE)
    other = torch.where(state.other_lane >= 0, state.other_lane, _NO_LANE)
    sight = Sight(
        path=path, row=row, length_m=length, offset_m=offset,
        granted=torch.cat([state.granted, ego_granted[:, None]], 1),
        lane=_with(lane, torch.where(ego.lane >= 0, ego.lane, _NO_LANE)),
        s_m=_with(agents.s_m[:, :v], ego.s_m),
        half_m=_with(agents.length_m[:, :v] * 0.5, torch.full_like(ego.s_m, ego.length_m * 0.5)),
        speed_mps=_with(agents.speed_mps[:, :v], _ego_along(ego, ways, base)),
        other_lane=_with(other, ego_other), other_s_m=_with(state.other_s_m, ego_other_s),
        ahead_m=torch.empty(0),
    )  # fmt: skip
    ahead = along(sight, sight.path[:, :v], sight.offset_m[:, :v], sight.s_m[:, :v])
    # During a lane change the lane that is left counts too.
    left = state.other_lane[:, :, None] == sight.lane[:, None]
    way = sight.s_m[:, None] - state.other_s_m[:, :, None]
    ahead = torch.minimum(ahead, torch.where(left & (way > 0.0), way, math.inf))
    object.__setattr__(sight, "ahead_m", ahead)
    return sight


def along(sight: Sight, path: Tensor, offset_m: Tensor, s_m: Tensor) -> Tensor:
    """The way from places s [n, v] of paths [n, v, AHEAD] to everybody's middle; [n, v, j]."""
    n, v = s_m.shape
    best = torch.full((n, v, sight.s_m.shape[1]), math.inf, device=s_m.device)
    for k in range(1, AHEAD):
        start = (offset_m[:, :, k] - s_m)[:, :, None]
        lane = path[:, :, k, None]
        way = start + sight.s_m[:, None]
        hit = lane == sight.lane[:, None]
        hit = hit & (way > 0.0) if k == 1 else hit  # later lanes lie ahead
        best = torch.minimum(best, torch.where(hit, way, math.inf))
        if k < 3:
            way = start + sight.other_s_m[:, None]
            hit = lane == sight.other_lane[:, None]
            hit = hit & (way > 0.0) if k == 1 else hit
            best = torch.minimum(best, torch.where(hit, way, math.inf))
    return best


def _with(vehicles: Tensor, ego: Tensor) -> Tensor:
    return torch.cat([vehicles, ego[:, None]], 1)


def _offsets(length_m: Tensor, there: Tensor) -> Tensor:
    """Where the lanes of paths begin, in s of the present one."""
    columns = [-length_m[..., 0], torch.zeros_like(length_m[..., 0])]
    for k in range(2, AHEAD):
        columns.append(columns[-1] + length_m[..., k - 1])
    return torch.where(there, torch.stack(columns, -1), math.inf)


def _ego_path(state: TrafficState, ego: Neighbour, ways: Ways, base: Tensor) -> Tensor:
    """The ego's lane before, its present one, and all that may follow; int64 [n, AHEAD]."""
    changed = ego.lane != state.ego_lane
    before = torch.where(changed, state.ego_lane, state.ego_before)
    follow = ways.next[base[:, 0] + ego.lane.clamp(min=0)]
    path = torch.cat([before[:, None], ego.lane[:, None], follow], 1)
    return torch.where((path >= 0) & (ego.lane >= 0)[:, None], path, NOTHING)


def _ego_along(ego: Neighbour, ways: Ways, base: Tensor) -> Tensor:
    """The ego's speed along its lane, [n]; across and against it counts less."""
    lane = ego.lane.clamp(min=0)[:, None]
    s = torch.where(ego.lane >= 0, ego.s_m, 0.0)[:, None]
    _, _, cos, sin = ways.towns.place(base[:, 0] // ways.lanes, lane, s, torch.zeros_like(s))
    ego_sin, ego_cos = sin_cos(ego.yaw_rad)
    return ego.speed_mps * (ego_cos * cos[:, 0] + ego_sin * sin[:, 0])


def _ego_beside(ego: Neighbour, ways: Ways, base: Tensor) -> tuple[Tensor, Tensor]:
    """The neighbouring lane into which the ego's body reaches, or none; and s along it."""
    row = base[:, 0] + ego.lane.clamp(min=0)
    over = ego.d_m.abs() + ego.width_m * 0.5 > ways.width_m[row] * 0.5
    beside = torch.where(ego.d_m > 0.0, ways.left[row], ways.right[row])
    there = over & (beside >= 0) & (ego.lane >= 0)
    ratio = ways.length_m[base[:, 0] + beside.clamp(min=0)] / ways.length_m[row].clamp(min=1.0)
    return torch.where(there, beside, _NO_LANE), ego.s_m * torch.where(there, ratio, 1.0)
