"""Traffic: the road users of a batch of worlds, placed and moved step by step.

Everything is a function of a world's seed, its town and where its ego has been; the numbers of one
world never depend on others in the batch (see `world.exact`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from opendojo.world.exact import sin_cos, wrapped
from opendojo.world.town.towns import Towns
from opendojo.world.traffic.agents import Agents, Neighbour
from opendojo.world.traffic.angle import angle
from opendojo.world.traffic.arrivals import drivers_of, place_vehicle, place_walker, walkers_of
from opendojo.world.traffic.chance import Draw, Seeds, uniform
from opendojo.world.traffic.change import CHANGE_S, Change, consider, offset_at
from opendojo.world.traffic.config import TrafficConfig
from opendojo.world.traffic.follow import follow, free, halt, near
from opendojo.world.traffic.known import BRAKE_MPS2
from opendojo.world.traffic.rights import settle
from opendojo.world.traffic.sight import Sight, look
from opendojo.world.traffic.state import (
    AHEAD,
    NEVER,
    NOTHING,
    UNKNOWN,
    TrafficState,
    Vice,
    chosen,
    joined,
    part,
)
from opendojo.world.traffic.walking import halt_for_walkers, walk
from opendojo.world.traffic.ways import Ways

__all__ = ["Traffic"]

_SHIFT_MPS = 0.4
"""Cyclists drift sideways no faster than this."""
_KERB_M = 0.7
"""Cyclists keep this far from their lane's edge."""
_START_ROUNDS = 3
"""At the start each slot is filled in at most so many tries."""


class Traffic:
    """The traffic of n worlds.

    Args:
        towns: the maps.
        town: int64 [n], the town of each world.
        seeds: n of them, in [0, 2^63).
        config: the kind of traffic.
        step_s: time of one step.
    """

    def __init__(
        self, towns: Towns, town: Tensor, seeds: Sequence[int], config: TrafficConfig,
        step_s: float = 0.1, ways: Ways | None = None,
    ) -> None:  # fmt: skip
        self.towns, self.town, self.config, self.step_s = towns, town, config, step_s
        self.ways = ways or Ways(towns)
        self.seeds = Seeds.of(seeds, town.device)
        self.base = town[:, None] * self.ways.lanes
        self._slots = torch.arange(config.agents, device=town.device)[None]
        zero = torch.zeros((len(seeds), 1), dtype=torch.int64, device=town.device)
        active = uniform(self.seeds, Draw.ACTIVE, self._slots, zero) < config.density
        has_walks = (self.ways.walk_spots.count[town] > 0)[:, None]
        self.active = active & ((self._slots < config.vehicles) | has_walks)

    def signals(self, step: Tensor) -> Tensor:
        """What the lights show at steps [n]: int64 [n, signals], 0 red, 1 yellow, 2 green."""
        return self.towns.signal_state(self.town, step.to(torch.float32) * self.step_s)

    def start(self, ego: Neighbour) -> TrafficState:
        """Everybody that finds a place around the egos, at their own pace."""
        state = self._empty()
        step = torch.zeros((len(self.town), 1), dtype=torch.int64, device=self.town.device)
        for turn in range(_START_ROUNDS * self.config.agents):
            state = self._fill(state, ego, step - 1 - turn, self.config.near_m)
        return _tidied(state)

    def step(
        self, state: TrafficState, ego: Neighbour, step: Tensor, step_s: float
    ) -> TrafficState:
        """The traffic at `step` + 1; `state` and `ego` are those at `step` int64 [n]."""
        now, v = step[:, None], self.config.vehicles
        lights = self.signals(step)
        sight = look(state, ego, self.ways, self.base)
        red = self._red(state, sight, lights)
        rights = settle(state, sight, self.ways, self.town, red, now)
        walkers_m, may = halt_for_walkers(state, sight, self.ways, self.town)
        free_mps2 = free(
            sight.speed_mps[:, :v], self._desired(state, sight), state.drivers.accel_mps2
        )
        ahead = torch.minimum(sight.ahead_m, rights.ahead_m)
        gap = ahead - sight.half_m[:, None] - sight.half_m[:, :v, None]
        gap[:, :, v] = torch.minimum(gap[:, :, v], _ego_in_front(state.agents, ego, v))
        close = near(state.drivers, sight.speed_mps[:, :v], gap, sight.speed_mps[:, None])
        accel = follow(free_mps2, close.amax(2), state.drivers)
        red_m, end_m, leaves = self._lines(sight, red)
        halt_m = torch.minimum(torch.minimum(rights.halt_m, walkers_m), torch.minimum(red_m, end_m))
        late = state.drivers.vice == int(Vice.LATE_BRAKE)
        begin = torch.where(late, 4.5, 2.0)
        accel = torch.minimum(accel, halt(sight.speed_mps[:, :v], halt_m, begin))
        change = consider(state, sight, self.ways, self.town, free_mps2, accel, leaves, now)
        moved = self._drive(state, sight, rights.granted, accel, change, now, step_s)
        people = walk(
            state, ego, self.ways, self.town, self.seeds, may, lights,
            step.to(torch.float32) * self.step_s, now, step_s,
        )  # fmt: skip
        moved = replace(
            moved, agents=joined(part(moved.agents, 0, v), people[0]), walkers=people[1],
            ego_lane=ego.lane,
            ego_before=torch.where(ego.lane != state.ego_lane, state.ego_lane, state.ego_before),
        )  # fmt: skip
        moved = self._leave(moved, ego)
        return _tidied(self._fill(moved, ego, now, self.config.newcomer_m))

    def _empty(self) -> TrafficState:
        n, v = len(self.town), self.config.vehicles
        drivers, bodies = drivers_of(self.config, self.seeds, self._slots[:, :v], self.base * 0)
        walkers, people = walkers_of(self.seeds, self._slots[:, v:], self.base * 0)
        agents = joined(bodies, people)
        nowhere = torch.full((n, v), NOTHING, device=self.town.device)
        zero = torch.zeros_like(bodies.x_m)
        return TrafficState(
            agents=replace(agents, mask=torch.zeros_like(agents.mask)),
            drivers=drivers, walkers=walkers,
            path=nowhere[:, :, None].expand(-1, -1, AHEAD).clone(),
            granted=torch.full((n, v, AHEAD), NEVER, device=self.town.device),
            waited=nowhere * 0, other_lane=nowhere, other_s_m=zero, change=zero + 1.0,
            change_from_m=zero, ego_lane=nowhere[:, 0], ego_before=nowhere[:, 0],
        )  # fmt: skip

    def _red(self, state: TrafficState, sight: Sight, lights: Tensor) -> Tensor:
        """bool [n, j, AHEAD]: a light bars the way out of that lane; runners mind none."""
        signal = torch.where(sight.path >= 0, self.ways.signal[sight.row], -1)
        shows = lights.gather(1, signal.clamp(min=0).flatten(1)).view(signal.shape)
        shows = torch.where(signal >= 0, shows, 2)
        way = self._stop_m(sight)
        speed = sight.speed_mps[:, :, None]
        hard = speed * speed > way * (2.0 * 3.0)
        red = ((shows == 0) | ((shows == 1) & ~hard)) & (way > -1.0)
        red[:, :, 0] = False
        runner = state.drivers.vice == int(Vice.RED_RUNNER)
        red[:, :-1] &= ~runner[:, :, None]
        return red

    def _stop_m(self, sight: Sight) -> Tensor:
        """From the front bumpers to the stop lines of the path's lanes, else their ends."""
        line = torch.minimum(self.ways.stop_m[sight.row], sight.length_m)
        return sight.offset_m + line - (sight.s_m + sight.half_m)[:, :, None]

    def _lines(self, sight: Sight, red: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The way to a red light [n, v], and to the end of a lane that ends beside another one;
        and whether such an end is near."""
        v = sight.vehicles
        red_m = torch.where(red, self._stop_m(sight), math.inf)[:, :v].amin(2)
        row = sight.row[:, :v, 1]
        drops = (self.ways.choices[row] == 0) & (
            (self.ways.left[row] >= 0) | (self.ways.right[row] >= 0)
        )
        left = sight.length_m[:, :v, 1] - sight.s_m[:, :v] - sight.half_m[:, :v]
        end_m = torch.where(drops, left - 2.0, math.inf)
        return red_m, end_m, drops & (left < 150.0)

    def _desired(self, state: TrafficState, sight: Sight) -> Tensor:
        """The speed that drivers want, [n, v]: lane, bends ahead, and their own pace."""
        v, ways = sight.vehicles, self.ways
        row, s = sight.row[:, :v], sight.s_m[:, :v]
        station = torch.minimum(
            torch.floor(s.clamp(min=0.0)), torch.floor(sight.length_m[:, :v, 1])
        )
        best = ways.pace_mps[ways.first[row[:, :, 1]] + station.to(torch.int64)]
        way = (sight.offset_m[:, :v, 2:5] - s[:, :, None]).clamp(min=0.0)
        begin = ways.start_mps[row[:, :, 2:5]]
        later = (begin * begin + way * (2.0 * BRAKE_MPS2)).sqrt().amin(2)
        return torch.minimum(torch.minimum(best, later) * state.drivers.pace, state.drivers.top_mps)

    def _drive(
        self, state: TrafficState, sight: Sight, granted: Tensor, accel: Tensor, change: Change,
        now: Tensor, step_s: float,
    ) -> TrafficState:  # fmt: skip
        """Vehicles one step on: speeds, places, lane changes, the next lanes of their paths."""
        v, agents = sight.vehicles, part(state.agents, 0, sight.vehicles)
        begins = change.begins
        rude = state.drivers.vice == int(Vice.CUT_IN)
        seconds = torch.where(rude, CHANGE_S * 0.5, CHANGE_S)
        path = torch.where(begins[:, :, None], change.path, state.path)
        granted = torch.where(begins[:, :, None], NEVER, granted)
        s = torch.where(begins, change.s_m, agents.s_m)
        other = torch.where(begins, agents.lane, state.other_lane)
        other_s = torch.where(begins, agents.s_m, state.other_s_m)
        speed = (agents.speed_mps + accel * step_s).clamp(min=0.0)
        way = (agents.speed_mps + speed) * (0.5 * step_s)
        s, other_s = s + way, other_s + way
        done = torch.where(begins, 0.0, state.change) + step_s / seconds
        done = torch.where(speed > 0.5, done, torch.where(begins, 0.0, state.change)).clamp(max=1.0)
        other = torch.where(done < 1.0, other, NOTHING)
        origin = torch.where(begins, change.d_m, state.change_from_m)
        length = self.ways.length_m[self.base + path[:, :, 1].clamp(min=0)]
        passes = (s > length) & (path[:, :, 2] >= 0)
        s = torch.where(passes, s - length, s)
        path, granted = _onward(path, granted, passes)
        path = self._choose(path, now)
        d, slope = self._sideways(state, path[:, :, 1], agents.d_m, done, origin, seconds, step_s)
        x, y, cos, sin = self.towns.place(self.town, path[:, :, 1], s, d)
        slope = torch.where(speed > 0.5, slope / speed.clamp(min=2.0), 0.0)
        yaw = wrapped(angle(cos - sin * slope, sin + cos * slope))
        stands = (speed < 0.3) & agents.mask
        moved = replace(
            agents, x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed, accel_mps2=accel,
            lane=path[:, :, 1], s_m=s, d_m=d,
        )  # fmt: skip
        return replace(
            state, agents=joined(moved, part(state.agents, v, None)), path=path, granted=granted,
            waited=torch.where(stands, state.waited + 1, 0), other_lane=other, other_s_m=other_s,
            change=done, change_from_m=origin,
        )  # fmt: skip

    def _sideways(
        self, state: TrafficState, lane: Tensor, d_m: Tensor, done: Tensor, from_m: Tensor,
        seconds: Tensor, step_s: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The new offset, and its rate during a lane change; [n, v]."""
        width = self.ways.width_m[self.base + lane.clamp(min=0)]
        kerb = self.ways.curb[self.town][:, None]
        side = state.drivers.side * kerb * (width * 0.5 - _KERB_M).clamp(min=0.0)
        drift = (side - d_m).clamp(-_SHIFT_MPS * step_s, _SHIFT_MPS * step_s)
        changed, rate = offset_at(done, from_m, side, seconds)
        moves = (state.change < 1.0) | (done < 1.0)
        return torch.where(moves, changed, d_m + drift), torch.where(moves, rate, 0.0)

    def _choose(self, path: Tensor, now: Tensor) -> Tensor:
        """Paths with the first unknown lane chosen among those that may follow."""
        v = path.shape[1]
        columns = torch.arange(AHEAD, device=path.device)
        unknown = (path == UNKNOWN) & (columns > 1)
        first = torch.where(unknown, columns, AHEAD).amin(2)
        last = path.gather(2, (first - 1).clamp(min=0)[:, :, None])[:, :, 0]
        row = self.base + last.clamp(min=0)
        count = self.ways.choices[row]
        share = uniform(self.seeds, Draw.WAY, self._slots[:, :v], now)
        way = torch.minimum(torch.floor(share * count).to(torch.int64), (count - 1).clamp(min=0))
        lane = self.ways.next[row, way]
        lane = torch.where((last >= 0) & (count > 0), lane, NOTHING)
        return torch.where(columns == first[:, :, None], lane[:, :, None], path)

    def _leave(self, state: TrafficState, ego: Neighbour) -> TrafficState:
        """Empties the slots of who is far from the ego, or at the town's end."""
        agents, v = state.agents, self.config.vehicles
        dx, dy = agents.x_m - ego.x_m[:, None], agents.y_m - ego.y_m[:, None]
        stays = dx * dx + dy * dy < self.config.leave_m * self.config.leave_m
        length = self.ways.length_m[self.base + state.path[:, :, 1].clamp(min=0)]
        stays[:, :v] &= agents.s_m[:, :v] <= length
        mask = agents.mask & stays
        path = torch.where(mask[:, :v, None], state.path, NOTHING)
        granted = torch.where(mask[:, :v, None], state.granted, NEVER)
        other = torch.where(mask[:, :v], state.other_lane, NOTHING)
        walkers = replace(state.walkers, out=state.walkers.out & mask[:, v:])
        return replace(
            state, agents=replace(agents, mask=mask), path=path, granted=granted,
            other_lane=other, walkers=walkers,
        )  # fmt: skip

    def _fill(
        self, state: TrafficState, ego: Neighbour, now: Tensor, least_m: float
    ) -> TrafficState:
        """Puts one newcomer, if there is a place, into the first empty slot for vehicles of each
        world, and into that for walkers."""
        v = self.config.vehicles
        empty = self.active & ~state.agents.mask
        # Where there is nothing to fill this changes nothing; to look first is only quicker.
        if empty.is_cuda or bool(empty[:, :v].any()):
            state = self._fill_roads(state, ego, now, least_m)
        if self.config.on_foot and (empty.is_cuda or bool(empty[:, v:].any())):
            state = self._fill_walks(state, ego, now, least_m)
        return state

    def _fill_roads(
        self, state: TrafficState, ego: Neighbour, now: Tensor, least_m: float
    ) -> TrafficState:
        v, agents = self.config.vehicles, state.agents
        config, ways, town = self.config, self.ways, self.town
        slot, any_empty = self._first_empty((self.active & ~agents.mask)[:, :v], 0)
        drivers, body = drivers_of(config, self.seeds, slot, now)
        found, lane, s, pace = place_vehicle(
            state, ego, ways, town, self.seeds, least_m, config.far_m, slot, now
        )
        which = (self._slots[:, :v] == slot) & found & any_empty
        width = ways.width_m[self.base + lane]
        kerb = ways.curb[town][:, None]
        d = drivers.side * kerb * (width * 0.5 - _KERB_M).clamp(min=0.0)
        x, y, cos, sin = self.towns.place(town, lane, s, d)
        speed = torch.minimum(pace * drivers.pace, drivers.top_mps)
        body = replace(
            body, x_m=x, y_m=y, yaw_rad=angle(cos, sin), speed_mps=speed, lane=lane, s_m=s, d_m=d
        )
        vehicles = chosen(which, body, part(agents, 0, v))
        path = torch.full_like(state.path, UNKNOWN)
        path[:, :, 1] = lane
        return replace(
            state, agents=joined(vehicles, part(agents, v, None)),
            drivers=chosen(which, drivers, state.drivers),
            path=torch.where(which[:, :, None], path, state.path),
            waited=torch.where(which, 0, state.waited),
            change=torch.where(which, 1.0, state.change),
        )  # fmt: skip

    def _fill_walks(
        self, state: TrafficState, ego: Neighbour, now: Tensor, least_m: float
    ) -> TrafficState:
        v, town = self.config.vehicles, self.town
        slot, any_empty = self._first_empty((self.active & ~state.agents.mask)[:, v:], v)
        walkers, body = walkers_of(self.seeds, slot, now)
        found, walk_, s = place_walker(
            state, ego, self.ways, town, self.seeds, min(least_m, 30.0), self.config.far_m, slot,
            now,
        )  # fmt: skip
        which = (self._slots[:, v:] == slot) & found & any_empty
        way = torch.where(s > 0.0, -1.0, 1.0)
        # Each slot keeps an offset of its own: nobody walks into another.
        width = self.towns.walk_width_m[town[:, None], walk_]
        side = ((slot - v) + 0.5) * (1.0 / self.config.on_foot) - 0.5
        d = side * (width - 0.5).clamp(min=0.0)
        x, y, cos, sin = self.towns.walk_place(town, walk_, s, d)
        body = replace(
            body, x_m=x, y_m=y, yaw_rad=angle(cos * way, sin * way), lane=walk_, s_m=s, d_m=d
        )
        people = chosen(which, body, part(state.agents, v, None))
        walkers = replace(walkers, way=way)
        return replace(
            state, agents=joined(part(state.agents, 0, v), people),
            walkers=chosen(which, walkers, state.walkers),
        )  # fmt: skip

    def _first_empty(self, empty: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """The first empty slot of each world [n, 1], counted from `first`; and whether any is."""
        count = empty.shape[1]
        index = torch.arange(count, device=empty.device)
        slot = torch.where(empty, index, count).amin(1, keepdim=True)
        return slot.clamp(max=count - 1) + first, slot < count


def _tidied(state: TrafficState) -> TrafficState:
    """Places in empty slots are 0: what was looked up for nobody depends on the bank of towns."""
    agents = state.agents
    names = ("x_m", "y_m", "yaw_rad", "lane", "s_m", "d_m")
    placed = {name: torch.where(agents.mask, getattr(agents, name), 0) for name in names}
    return replace(state, agents=replace(agents, **placed))


def _onward(path: Tensor, granted: Tensor, passes: Tensor) -> tuple[Tensor, Tensor]:
    """Paths and grants moved one lane on, for those who pass into their next lane."""
    unknown = torch.full_like(path[:, :, :1], UNKNOWN)
    # After nothing comes nothing.
    unknown = torch.where(path[:, :, -1:] == NOTHING, NOTHING, unknown)
    later = torch.cat([path[:, :, 1:], unknown], 2)
    later_granted = torch.cat([granted[:, :, 1:], torch.full_like(granted[:, :, :1], NEVER)], 2)
    which = passes[:, :, None]
    return torch.where(which, later, path), torch.where(which, later_granted, granted)


def _ego_in_front(agents: Agents, ego: Neighbour, v: int) -> Tensor:
    """The gap to an ego in front, whatever its lane, [n, v]; inf where there is none.

    One that is on some lane is minded so only from close by: an oncoming one may seem to be in
    front where the road bends."""
    sin, cos = sin_cos(agents.yaw_rad[:, :v])
    ego_sin, ego_cos = (value[:, None] for value in sin_cos(ego.yaw_rad))
    dx, dy = ego.x_m[:, None] - agents.x_m[:, :v], ego.y_m[:, None] - agents.y_m[:, :v]
    ahead, left = dx * cos + dy * sin, (dy * cos - dx * sin).abs()
    c, s = (cos * ego_cos + sin * ego_sin).abs(), (cos * ego_sin - sin * ego_cos).abs()
    reach = (c * ego.length_m + s * ego.width_m) * 0.5
    breadth = (s * ego.length_m + c * ego.width_m) * 0.5
    gap = ahead - agents.length_m[:, :v] * 0.5 - reach
    speed = agents.speed_mps[:, :v]
    reaction = torch.where(ego.lane[:, None] < 0, speed * speed * 0.2, speed * 0.3)
    blocks = (ahead > 0.0) & (gap < reaction + 4.0)
    blocks &= left < breadth + agents.width_m[:, :v] * 0.5 + 0.1
    return torch.where(blocks, gap, math.inf)
