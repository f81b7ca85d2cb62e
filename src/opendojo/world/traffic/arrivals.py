"""Who comes into an empty slot, and where: a new driver or walker, drawn by seed, slot and step."""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.world.draw.scene import Kind
from opendojo.world.traffic.agents import Agents, Neighbour
from opendojo.world.traffic.chance import Draw, Seeds, uniform, uniforms
from opendojo.world.traffic.config import TrafficConfig
from opendojo.world.traffic.state import Drivers, TrafficState, Vice, Walkers
from opendojo.world.traffic.ways import Spots, Ways

__all__ = ["drivers_of", "place_vehicle", "place_walker", "walkers_of"]

_DRAWS = (
    Draw.KIND, Draw.LENGTH, Draw.WIDTH, Draw.HEIGHT, Draw.ACCEL, Draw.BRAKE, Draw.HEADWAY,
    Draw.STANDSTILL, Draw.POLITENESS, Draw.SAFE_BRAKE, Draw.PACE, Draw.VICE, Draw.SIDE, Draw.NERVE,
)  # fmt: skip
_TRIES = 6
"""Places that are looked at for one newcomer."""
_BRAKE_MPS2 = 2.0
"""So hard a newcomer may have to brake at once."""
_ROOM_M, _ROOM_S = 13.0, 1.2
"""No nearer to others does a newcomer appear: a constant, and a share of their speed."""


def drivers_of(
    config: TrafficConfig, seeds: Seeds, slot: Tensor, step: Tensor
) -> tuple[Drivers, Agents]:
    """Drivers and the bodies of their vehicles, [n, m], all drawn; nobody has a place yet.

    The ranges of the IDM: a 1-3 m/s2, b 3-5 m/s2, T 1-2 s, s0 1-3 m; of MOBIL: politeness 0-0.5,
    safe brake 2-4 m/s2. `slot` and `step` are int64, broadcasting to [n, m].
    """

    shares: dict[Draw, Tensor] = dict(zip(_DRAWS, uniforms(seeds, _DRAWS, slot, step), strict=True))

    def between(name: Draw, low: float, high: float) -> Tensor:
        return shares[name] * (high - low) + low

    kind = between(Draw.KIND, 0.0, 1.0)
    cyclist = kind < config.cyclists
    truck = ~cyclist & (kind < config.cyclists + config.trucks)
    broken = ~cyclist & (between(Draw.VICE, 0.0, 1.0) < config.rule_breakers)
    nerve = torch.floor(between(Draw.NERVE, 1.0, 4.0)).to(torch.int64)
    vice = torch.where(broken, nerve, int(Vice.NONE))
    late = vice == int(Vice.LATE_BRAKE)

    def body(name: Draw, car: tuple[float, float], other: tuple[float, float], bike: float):
        share = shares[name]
        value = share * (car[1] - car[0]) + car[0]
        value = torch.where(truck, share * (other[1] - other[0]) + other[0], value)
        return torch.where(cyclist, bike, value)

    accel = between(Draw.ACCEL, 1.0, 3.0)
    accel = torch.where(truck | cyclist, accel * 0.5 + 0.3, accel)
    zero = torch.zeros_like(accel)
    drivers = Drivers(
        accel_mps2=accel,
        brake_mps2=torch.where(late, 9.0, between(Draw.BRAKE, 3.0, 5.0)),
        headway_s=between(Draw.HEADWAY, 1.0, 2.0) * torch.where(late, 0.4, 1.0),
        standstill_m=between(Draw.STANDSTILL, 1.0, 3.0),
        politeness=between(Draw.POLITENESS, 0.0, 0.5),
        safe_brake_mps2=between(Draw.SAFE_BRAKE, 2.0, 4.0),
        pace=between(Draw.PACE, config.slowest, config.fastest),
        top_mps=torch.where(cyclist, between(Draw.SIDE, 4.0, 6.5), torch.where(truck, 23.0, 60.0)),
        side=torch.where(cyclist, 1.0, zero), vice=vice,
    )  # fmt: skip
    kinds = torch.where(truck, int(Kind.TRUCK), int(Kind.CAR))
    return drivers, Agents(
        mask=cyclist | True, kind=torch.where(cyclist, int(Kind.CYCLIST), kinds),
        x_m=zero, y_m=zero, yaw_rad=zero, speed_mps=zero, accel_mps2=zero,
        length_m=body(Draw.LENGTH, (3.8, 4.9), (5.6, 7.0), 1.8),
        width_m=body(Draw.WIDTH, (1.7, 1.95), (2.1, 2.3), 0.6),
        height_m=body(Draw.HEIGHT, (1.4, 1.9), (2.6, 3.6), 1.7),
        lane=nerve, s_m=zero, d_m=zero,
    )  # fmt: skip


def walkers_of(seeds: Seeds, slot: Tensor, step: Tensor) -> tuple[Walkers, Agents]:
    """People on foot, [n, m], drawn likewise."""
    names = (Draw.PACE, Draw.HEIGHT, Draw.WAIT)
    share, tall, pause = uniforms(seeds, names, slot, step)
    zero = torch.zeros_like(share)
    pause = pause * 60.0
    whole = torch.zeros_like(pause, dtype=torch.int64)
    walkers = Walkers(
        way=zero + 1.0, out=whole > 0, until=step + pause.to(torch.int64),
        pace_mps=share * 0.8 + 0.9,
    )  # fmt: skip
    return walkers, Agents(
        mask=whole == 0, kind=whole + int(Kind.PEDESTRIAN),
        x_m=zero, y_m=zero, yaw_rad=zero, speed_mps=zero, accel_mps2=zero,
        length_m=zero + 0.4, width_m=zero + 0.5, height_m=tall * 0.5 + 1.4,
        lane=whole, s_m=zero, d_m=zero,
    )  # fmt: skip


def place_vehicle(
    state: TrafficState, ego: Neighbour, ways: Ways, town: Tensor, seeds: Seeds,
    least_m: float, most_m: float, slot: Tensor, step: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """A free place for the newcomer in `slot` [n, 1]: found [n, 1] bool, lane, s, and the pace:
    not so fast that braking would be too late for whoever is near, or for where one must halt;
    nor so slow that the ego would have to brake hard."""
    spots, agents = ways.spots, state.agents
    row = _candidates(spots, seeds, town, slot, step)
    lane, s = spots.lane[row], spots.s_m[row]
    x, y, _, _ = ways.towns.place(town, lane, s, torch.zeros_like(s))
    near = _ego_between(ego, x, y, least_m, most_m) & _free(agents, x, y)
    found, best = _first(near & (spots.count[town][:, None] > 0))
    lane, s, x, y = (v.gather(1, best) for v in (lane, s, x, y))
    dx, dy = agents.x_m - x, agents.y_m - y
    way = ((dx * dx + dy * dy).sqrt() - _ROOM_M).clamp(min=0.0)
    square = agents.speed_mps * agents.speed_mps + way * (2.0 * _BRAKE_MPS2)
    square = torch.where(agents.mask, square, torch.inf).amin(1, keepdim=True)
    square = torch.minimum(square, spots.way_m[row.gather(1, best)] * (2.0 * _BRAKE_MPS2))
    way = (_from_ego(ego, x, y).sqrt() - _ROOM_M).clamp(min=0.0) * (2.0 * _BRAKE_MPS2)
    driven = (ego.speed_mps * ego.speed_mps)[:, None]
    square = torch.minimum(square, driven + way)
    station = ways.first[town[:, None] * ways.lanes + lane] + torch.floor(s).to(torch.int64)
    pace = torch.minimum(ways.pace_mps[station], square.sqrt())
    return found & (driven <= pace * pace + way), lane, s, pace


def place_walker(
    state: TrafficState, ego: Neighbour, ways: Ways, town: Tensor, seeds: Seeds,
    least_m: float, most_m: float, slot: Tensor, step: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """A walk's end for the newcomer in `slot` [n, 1]: found, walk, s."""
    row = _candidates(ways.walk_spots, seeds, town, slot, step)
    walk, s = ways.walk_spots.lane[row], ways.walk_spots.s_m[row]
    x, y, _, _ = ways.towns.walk_place(town, walk, s, torch.zeros_like(s))
    near = _ego_between(ego, x, y, least_m, most_m)
    v = state.path.shape[1]
    # Nobody else of the same slot's offset is on that walk: offsets go by slot. Vehicles keep off.
    near &= _free(state.agents, x, y, first=0, last=v, room_m=3.0)
    found, best = _first(near & (ways.walk_spots.count[town][:, None] > 0))
    return found, walk.gather(1, best), s.gather(1, best)


def _candidates(spots: Spots, seeds: Seeds, town: Tensor, slot: Tensor, step: Tensor) -> Tensor:
    """The rows of `_TRIES` places, [n, tries], drawn alike from all of the town."""
    tries = torch.arange(_TRIES, device=town.device) * 256
    share = uniform(seeds, Draw.PLACE, slot + tries, step)
    count = spots.count[town][:, None]
    at = torch.floor(share * count).to(torch.int64)
    row = spots.first[town][:, None] + torch.minimum(at, (count - 1).clamp(min=0))
    return row.clamp(max=spots.lane.shape[0] - 1)


def _ego_between(ego: Neighbour, x: Tensor, y: Tensor, least_m: float, most_m: float) -> Tensor:
    square = _from_ego(ego, x, y)
    return (square > least_m * least_m) & (square < most_m * most_m)


def _from_ego(ego: Neighbour, x: Tensor, y: Tensor) -> Tensor:
    """Squares of the distances, in m2, from the egos."""
    dx, dy = x - ego.x_m[:, None], y - ego.y_m[:, None]
    return dx * dx + dy * dy


def _free(
    agents: Agents, x: Tensor, y: Tensor, *, first: int = 0, last: int | None = None,
    room_m: float = _ROOM_M,
) -> Tensor:  # fmt: skip
    """Where nobody is near, [n, tries]."""
    dx = x[:, :, None] - agents.x_m[:, None, first:last]
    dy = y[:, :, None] - agents.y_m[:, None, first:last]
    room = agents.speed_mps[:, None, first:last] * _ROOM_S + room_m
    clear = dx * dx + dy * dy > room * room
    return (clear | ~agents.mask[:, None, first:last]).all(2)


def _first(flags: Tensor) -> tuple[Tensor, Tensor]:
    """Whether any of [n, m] is set and the first that is, [n, 1] each."""
    m = flags.shape[1]
    index = torch.where(flags, torch.arange(m, device=flags.device), m).amin(1, keepdim=True)
    return index < m, index.clamp(max=m - 1)
