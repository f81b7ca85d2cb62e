"""The way that an ego is to drive: a random walk over the lanes of its town, one a world.

A route is a table of stations 1 m apart, from `Routes.draw`; what a plan or a score asks is looked
up in it by s. The walk is drawn by counted hashes of the world's seed, so a world's route is the
same in any batch. It does not take a lane that meets the town's end too soon while another one
leads on; a route that ends there all the same stays at its last station.

    routes = Routes.draw(towns, town, seeds, 400)
    here = routes.locate(x_m, y_m, hint_m)     # [n, m] each
    limit = routes.at(routes.limit_mps, here.s_m)
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from opendojo.world.exact import hashed
from opendojo.world.town.towns import Towns, foot, nearest_station

__all__ = ["FOLLOW", "LEFT", "RIGHT", "STRAIGHT", "Located", "Routes"]

FOLLOW, LEFT, STRAIGHT, RIGHT = 0, 1, 2, 3
"""Commands: what to do at the next junction or fork, if one is near."""

_BEYOND_M = 150
"""The route's table goes on for so long past its goal."""
_COMMAND_M = 60
"""A command is given from here on before a junction."""
_TURN_RAD = 0.6
"""A way through a junction that bends by less goes straight on."""
_BEHIND_M, _AHEAD_M = 12, 28
"""Where the nearest station is looked for, from a hint."""
_STRIDE = 4
"""With a hint, one of so many stations is looked at, and then those around the nearest."""
_START_LANE, _START_S, _WAY = 0x52_0001, 0x52_0002, 0x52_0003
_NEVER = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Points in a route's own coordinates, [n, m] each."""

    s_m: Tensor
    """Along the route; negative before its start."""
    d_m: Tensor
    """To its left."""
    cos: Tensor
    sin: Tensor
    """The route's direction at the foot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Routes of n worlds: tables [n, stations], a station at each whole metre of s; float32."""

    x_m: Tensor
    y_m: Tensor
    cos: Tensor
    sin: Tensor
    curvature: Tensor
    limit_mps: Tensor
    width_m: Tensor
    """Of the lane."""
    lane: Tensor
    """int64: the lane of the town."""
    lane_s_m: Tensor
    """Where on it."""
    junction: Tensor
    """bool: whether the lane is of a junction or a roundabout."""
    command: Tensor
    """int64: FOLLOW, or what to do at the junction or fork that is here or begins within 60 m."""
    town: Tensor
    """int64 [n]."""
    end_m: Tensor
    """float32 [n]: s at the town's end, or at that of the table if it comes first."""
    goal_m: Tensor
    """float32 [n]: s of the goal: the length that was asked for, or `end_m` if that is less."""

    @classmethod
    def draw(
        cls,
        towns: Towns,
        town: Tensor,
        seeds: Tensor,
        length_m: int,
        start: tuple[Tensor, Tensor] | None = None,
    ) -> Routes:
        """Draw a route for every world.

        Args:
            towns: the bank of maps.
            town: int64 [n], which of them a world is in.
            seeds: int64 [n].
            length_m: of the routes up to their goals; the tables have 150 stations more, and one.
            start: lanes int64 [n], -1 to draw one, and where on them routes start, float32 [n].
        """
        stations = length_m + _BEYOND_M + 1
        lanes, entry = _walk(towns, town, seeds, stations, start)
        s = torch.arange(stations, dtype=torch.float32, device=town.device).expand(len(town), -1)
        # which lane of the walk holds a station: the last that is entered at or before it
        order = (entry[:, None, 1:] <= s[:, :, None]).sum(2)
        lane = lanes.gather(1, order)
        lane_length = towns.length_m[town[:, None], lane]
        lane_s = torch.minimum(s - entry.gather(1, order), lane_length)
        x, y, cos, sin = towns.place(town, lane, lane_s, torch.zeros_like(lane_s))
        close = entry + towns.length_m[town[:, None], lanes.clamp(min=0)]
        close = torch.where(lanes >= 0, close, 0.0).amax(1)
        end = close.clamp(max=float(stations - 1))
        return cls(
            x_m=x,
            y_m=y,
            cos=cos,
            sin=sin,
            curvature=towns.curvature_at(town, lane, lane_s),
            limit_mps=towns.limit_mps[town[:, None], lane],
            width_m=towns.width_m[town[:, None], lane],
            lane=lane,
            lane_s_m=lane_s,
            junction=towns.junction[town[:, None], lane],
            command=_commands(towns, town, lanes, order),
            town=town,
            end_m=end,
            goal_m=end.clamp(max=float(length_m)),
        )

    def rows(self, first: int, last: int) -> Routes:
        """The routes of some of the worlds."""
        return Routes(**{f.name: getattr(self, f.name)[first:last] for f in fields(self)})

    def where(self, mask: Tensor, other: Routes) -> Routes:
        """`other` where mask [n], these elsewhere; both of the same length."""

        def picked(name: str) -> Tensor:
            mine = getattr(self, name)
            wide = mask.view(-1, *[1] * (mine.dim() - 1))
            return torch.where(wide, getattr(other, name), mine)

        return Routes(**{f.name: picked(f.name) for f in fields(self)})

    def locate(self, x_m: Tensor, y_m: Tensor, hint_m: Tensor | None = None) -> Located:
        """The feet of points [n, m] on the routes.

        Args:
            x_m: the points.
            y_m: the points.
            hint_m: s [n] or [n, m] near the answer; the nearest station is looked for from 12 m
                before it to 28 m past it. None looks at the whole route, whose first of equally
                near stations wins: a route may pass a place twice.
        """
        n, stations = self.x_m.shape
        device = self.x_m.device
        frames = torch.stack([self.x_m, self.y_m, self.cos, self.sin], 2).view(-1, 4)
        first = (torch.arange(n, device=device)[:, None] * stations).expand(x_m.shape)
        last = torch.floor(self.end_m).to(torch.int64)[:, None] - 1
        last = last.clamp(min=0).expand(x_m.shape)
        if hint_m is None:
            station = torch.arange(stations, device=device)[:, None, None]
        else:
            hint = hint_m[:, None] if hint_m.dim() == 1 else hint_m
            offset = torch.arange(-_BEHIND_M, _AHEAD_M + 1, _STRIDE, device=device)
            station = torch.floor(hint).to(torch.int64) + offset[:, None, None]
            station = nearest_station(frames, first, station, last, x_m, y_m)
            around = torch.arange(1 - _STRIDE, _STRIDE, device=device)
            station = station + around[:, None, None]
        near = nearest_station(frames, first, station, last, x_m, y_m)
        s, d, cos, sin = foot(frames, first, near, last, x_m, y_m)
        return Located(s_m=s, d_m=d, cos=cos, sin=sin)

    def at(self, column: Tensor, s_m: Tensor) -> Tensor:
        """A column [n, stations] at s [n, m], held on beyond the ends: floats linearly between
        stations, others as at the station before."""
        low = torch.floor(s_m).clamp(0, column.shape[1] - 2)
        station = low.to(torch.int64)
        here = column.gather(1, station)
        part = (s_m - low).clamp(0.0, 1.0)
        onward = column.gather(1, station + 1)
        if not column.is_floating_point():
            return torch.where(part >= 1.0, onward, here)
        return here + (onward - here) * part

    def place(self, s_m: Tensor, d_m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, y, and the route's direction (cosine, sine) at (s, d) [n, m]; straight on beyond its
        ends."""
        cos, sin = self.at(self.cos, s_m), self.at(self.sin, s_m)
        length = torch.sqrt(cos * cos + sin * sin)
        cos, sin = cos / length, sin / length
        inside = torch.minimum(s_m.clamp(min=0.0), torch.floor(self.end_m)[:, None])
        over = s_m - inside
        x = self.at(self.x_m, inside) + cos * over - sin * d_m
        y = self.at(self.y_m, inside) + sin * over + cos * d_m
        return x, y, cos, sin


def _draw(seeds: Tensor, name: int, count: int, choices: Tensor) -> Tensor:
    """One of `choices` [n] numbers from 0, by a world's hash."""
    key = torch.tensor(name, device=seeds.device), torch.tensor(count, device=seeds.device)
    value = hashed(seeds & 0xFFFFFFFF, (seeds >> 32) & 0xFFFFFFFF, *key)
    return value % choices.clamp(min=1)


def _chosen(lanes: Tensor, good: Tensor, seeds: Tensor, name: int, count: int) -> Tensor:
    """One of each world's lanes [n, k] that are good; -1 where none is."""
    number = good.sum(1)
    pick = _draw(seeds, name, count, number)
    is_picked = good & (good.cumsum(1) == pick[:, None] + 1)
    return torch.where(is_picked, lanes, -1).amax(1)


def _best(towns: Towns, town: Tensor, lanes: Tensor, need_m: Tensor) -> Tensor:
    """Of lanes [n, k], those that lead on for `need_m` [n], or if none does, the longer ones."""
    ahead = towns.ahead_m[town[:, None], lanes.clamp(min=0)]
    ahead = torch.where(lanes >= 0, ahead, -1.0)
    enough = torch.minimum(need_m, 0.75 * ahead.amax(1))[:, None]
    return (lanes >= 0) & (ahead >= enough)


def _walk(
    towns: Towns,
    town: Tensor,
    seeds: Tensor,
    stations: int,
    start: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """The lanes of each world's walk, int64 [n, k], -1 after the last, and s where each is entered,
    float32 [n, k], past any station after the last."""
    need = torch.full_like(seeds, stations, dtype=torch.float32)
    starts = towns.starts[town]
    good = _best(towns, town, starts, need)
    lane = _chosen(starts, good, seeds, _START_LANE, 0)
    length, ahead = towns.length_m[town, lane], towns.ahead_m[town, lane]
    room = torch.minimum(0.5 * length, ahead - need).clamp(min=0.0)
    part = _draw(seeds, _START_S, 0, torch.full_like(seeds, 1 << 16)) * 2.0**-16
    enter = -torch.floor(room * part)
    if start is not None:
        enter = torch.where(start[0] >= 0, -start[1], enter)
        lane = torch.where(start[0] >= 0, start[0], lane)
    lanes, entry = [lane], [enter]
    far = torch.full_like(enter, 2.0**40)
    for count in range(1, 4 * stations):
        enter = entry[-1] + torch.where(lane >= 0, towns.length_m[town, lane.clamp(min=0)], far)
        going = (lane >= 0) & (enter <= float(stations))
        ways = torch.where(going[:, None], towns.next[town, lane.clamp(min=0)], -1)
        good = _best(towns, town, ways, float(stations) - enter)
        lane = _chosen(ways, good, seeds, _WAY, count)
        if not bool((lane >= 0).any()):
            break
        lanes.append(lane)
        entry.append(torch.where(lane >= 0, enter, far))
    return torch.stack(lanes, 1), torch.stack(entry, 1)


def _commands(towns: Towns, town: Tensor, lanes: Tensor, order: Tensor) -> Tensor:
    """The command at each station [n, stations], whose lane is the `order`-th [n, stations] of the
    walk's `lanes` [n, k].

    A junction is a run of lanes of junctions and roundabouts, so the ring of a roundabout and the
    ways in and out of it count as one, which turns by the sum of their turns. Where a road parts
    otherwise, at a ramp say, its lanes say themselves which is which.
    """
    known = lanes >= 0
    junction = towns.junction[town[:, None], lanes.clamp(min=0)] & known
    bend = towns.bend_rad[town[:, None], lanes.clamp(min=0)]
    turns, total = [], torch.zeros_like(bend[:, 0])
    for k in range(lanes.shape[1]):
        total = torch.where(junction[:, k], total + bend[:, k], 0.0)
        turns.append(total)
    # a run's sum stands at its last lane; carry it back to the run's first
    last = turns[-1]
    for k in range(lanes.shape[1] - 2, -1, -1):
        last = torch.where(junction[:, k] & junction[:, k + 1], last, turns[k])
        turns[k] = last
    fork = torch.where(known, towns.fork[town[:, None], lanes.clamp(min=0)], 0).gather(1, order)
    turn = torch.stack(turns, 1).gather(1, order)
    command = torch.where(turn > _TURN_RAD, LEFT, torch.where(turn < -_TURN_RAD, RIGHT, STRAIGHT))
    command = torch.where(fork > 0, fork, command)
    stations = order.shape[1]
    station = torch.arange(stations, device=order.device).expand(len(order), -1)
    here = torch.where(junction.gather(1, order) | (fork > 0), station, _NEVER)
    following = here.flip(1).cummin(1).values.flip(1)
    near = following - station <= _COMMAND_M
    return torch.where(near, command.gather(1, following.clamp(max=stations - 1)), FOLLOW)
