"""Where others will be in the next seconds, as far as a driver can tell.

Who follows a lane goes on along it, and along the straightest of the lanes that follow, at constant
speed and offset; everybody else goes straight on at constant speed. Nobody is foreseen to brake, to
change lanes or to turn off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opendojo.world.exact import sin_cos
from opendojo.world.judge_terms import INSTANTS, STEP_S

if TYPE_CHECKING:
    from opendojo.world.town.towns import Towns
    from opendojo.world.traffic.agents import Agents

__all__ = ["Forecaster", "Others"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Road users and things over time, [n, t, a]; places are the bodies' middles."""

    mask: Tensor
    """bool."""
    kind: Tensor
    """int64, `draw.scene.Kind`."""
    x_m: Tensor
    y_m: Tensor
    cos: Tensor
    sin: Tensor
    """float32: the heading."""
    speed_mps: Tensor
    length_m: Tensor
    width_m: Tensor

    @classmethod
    def from_states(cls, states: list[Agents]) -> Others:
        """What traffic did, instant by instant."""
        columns = {
            name: torch.stack([getattr(state, name) for state in states], 1)
            for name in ("mask", "kind", "x_m", "y_m", "speed_mps", "length_m", "width_m")
        }
        sin, cos = sin_cos(torch.stack([state.yaw_rad for state in states], 1))
        return cls(cos=cos, sin=sin, **columns)

    def at(self, instants: list[int]) -> Others:
        """Some of the instants."""
        rows = torch.tensor(instants, device=self.x_m.device)
        return Others(**{name: getattr(self, name)[:, rows] for name in Others.__slots__})

    def nearest(self, x_m: Tensor, y_m: Tensor, count: int, reach_m: float) -> Others:
        """The `count` slots that begin nearest to places [n], those beyond `reach_m` masked.

        Slots keep their order of distance, equals that of their index, so that the number of slots
        does not matter.
        """
        dx, dy = self.x_m[:, 0] - x_m[:, None], self.y_m[:, 0] - y_m[:, None]
        far = dx * dx + dy * dy
        far = torch.where(self.mask.any(1), far, torch.full_like(far, torch.inf))
        far, order = torch.sort(far, dim=1, stable=True)
        order = order[:, :count]
        near = (far[:, :count] < reach_m * reach_m)[:, None]
        pick = order[:, None].expand(-1, self.x_m.shape[1], -1)
        columns = {
            name: getattr(self, name).expand(-1, pick.shape[1], -1).gather(2, pick)
            for name in Others.__slots__
        }
        columns["mask"] = columns["mask"] & near
        return Others(**columns)


class Forecaster:
    """Forecasts in towns; holds which lane follows each most straightly."""

    def __init__(self, towns: Towns) -> None:
        self._towns = towns
        turn = torch.where(
            towns.next >= 0,
            _of_lanes(towns.bend_rad, towns.next).abs(),
            torch.full_like(towns.next, torch.inf, dtype=torch.float32),
        )
        self.straight = towns.next.gather(2, turn.argmin(2, keepdim=True))[..., 0]
        """int64 [g, lanes]: the straightest lane that follows; -1 where none does."""

    def others(
        self, town: Tensor, agents: Agents, instants: int = INSTANTS, step_s: float = STEP_S
    ) -> Others:
        """The agents at 0, 1, ... steps from now: [n, instants, a]."""
        n, slots = agents.x_m.shape
        sin, cos = sin_cos(agents.yaw_rad)
        lane, s_m = self._along(town, agents, instants, step_s)
        time_s = torch.arange(instants, device=s_m.device, dtype=torch.float32) * step_s
        way = agents.speed_mps[:, None] * time_s[None, :, None]
        d_m = agents.d_m[:, None].expand_as(s_m)
        flat = [v.reshape(n, -1) for v in (lane, s_m, d_m)]
        x, y, c, s = (v.view(n, instants, slots) for v in self._towns.place(town, *flat))
        follows = (agents.road_lane >= 0)[:, None]
        shape = (n, instants, slots)
        return Others(
            mask=agents.mask[:, None].expand(shape),
            kind=agents.kind[:, None].expand(shape),
            x_m=torch.where(follows, x, agents.x_m[:, None] + cos[:, None] * way),
            y_m=torch.where(follows, y, agents.y_m[:, None] + sin[:, None] * way),
            cos=torch.where(follows, c, cos[:, None]),
            sin=torch.where(follows, s, sin[:, None]),
            speed_mps=agents.speed_mps[:, None].expand(shape),
            length_m=agents.length_m[:, None].expand(shape),
            width_m=agents.width_m[:, None].expand(shape),
        )

    def _along(
        self, town: Tensor, agents: Agents, instants: int, step_s: float
    ) -> tuple[Tensor, Tensor]:
        """Lane and arc length at each instant, [n, t, a]."""
        where = town[:, None]
        lane, s_m = agents.road_lane.clamp(min=0), agents.s_m
        length, on = self._towns.length_m[where, lane], self.straight[where, lane]
        step = agents.speed_mps * step_s
        lanes, s_all = [lane], [s_m]
        for _ in range(1, instants):
            s_m = s_m + step
            over = (s_m > length) & (on >= 0)
            s_m = torch.where(over, s_m - length, s_m)
            lane = torch.where(over, on, lane)
            length, on = self._towns.length_m[where, lane], self.straight[where, lane]
            lanes.append(lane)
            s_all.append(s_m)
        return torch.stack(lanes, 1), torch.stack(s_all, 1)


def _of_lanes(table: Tensor, lane: Tensor) -> Tensor:
    """Entries of a table [g, lanes] at lanes [g, ...]."""
    flat = lane.clamp(min=0).view(lane.shape[0], -1)
    return table.gather(1, flat).view(lane.shape)
