"""Lanelets as lanes: who follows whom, limits, who is beside, what is a junction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from opendojo.world.town.block_curves import Floats
from opendojo.world.town.block_draft import Draft, Track
from opendojo.world.town.commonroad_curves import joined
from opendojo.world.town.commonroad_file import Document, Lanelet
from opendojo.world.town.commonroad_signs import Sign
from opendojo.world.town.commonroad_xml import Fault

__all__ = ["LEFT_HAND", "Network", "Turn", "is_highway", "lay_lanes"]

LEFT_HAND = frozenset((
    "AUS", "JPN", "HKG", "IND", "JEY", "IMN", "IRL", "JAM", "KEN", "MLT", "MYS", "NPL", "NZL",
    "ZAF", "SGP", "THA", "GBR", "IDN", "MAC", "PAK", "CYP",
))  # fmt: skip
"""Countries that keep to the left, where a map's own neighbours do not tell."""

_KMH = 1.0 / 3.6
_LIMITS_KMH = {"highway": 130.0, "interstate": 130.0, "country": 100.0, "urban": 50.0}
_LIMIT_KMH = 50.0
_LIMIT_SIGNS = frozenset((
    "274", "274.1", "R2-1", "r301", "3.24", "R15", "C43", "B14", "\u03a1-32", "B31",
))  # fmt: skip
"""Numbers of the speed limit sign in the countries that commonroad-io knows; values are m/s, and
files of any country may use Germany's number."""
_FAST_MPS = 100.0
_OUT = frozenset((
    "sidewalk", "crosswalk", "border", "bicycleLane", "parking", "restricted",
    "restricted_area", "shoulder", "busLane", "busStop",
))  # fmt: skip
"""Lanelets that are no lanes for cars."""
_CARS = frozenset(("vehicle", "car", "truck", "taxi", "priorityVehicle"))
_RAMPS = frozenset(("accessRamp", "exitRamp"))
_WAYS = 4
_LEAST_M = 0.3
"""Points of a middle line nearer to one another than this are thinned out."""
_TURN_RAD = 0.5
_JUNCTION_M = 60.0
"""A lane that is not listed as a junction's is none if it is longer."""


@dataclass(slots=True, kw_only=True)
class Turn:
    """A lane's part in a junction."""

    group: int
    """Place of the intersection in the file; -1 where it was found by the lanes' shape."""
    side: int
    """-1 left, 0 straight on, 1 right."""


@dataclass(slots=True, kw_only=True)
class Network:
    """A file's lanes while a town is made of them."""

    document: Document
    offset_m: tuple[float, float]
    """Taken from the file's coordinates."""
    left_hand: bool
    index: dict[int, int]
    """Lane of a lanelet; others are no lanes."""
    lanelets: list[Lanelet]
    """Of each lane."""
    tracks: list[Track]
    before: list[list[int]]
    """Lanes that lead to each lane."""
    turns: dict[int, Turn] = field(default_factory=dict)

    def beside(self, lane: int) -> set[int]:
        """Lanes next to a lane, of either direction."""
        one = self.lanelets[lane]
        ids = [n[0] for n in (one.left_neighbour, one.right_neighbour) if n is not None]
        return {self.index[i] for i in ids if i in self.index}

    def local(self, points: Floats) -> Floats:
        """Points [p, 2] of the file in the town's coordinates."""
        return points - np.array(self.offset_m)


def is_highway(one: Lanelet) -> bool:
    """Whether crossing another road means a bridge."""
    return bool(one.types & {"highway", "interstate"})


def lay_lanes(draft: Draft, document: Document, offset_m: tuple[float, float]) -> Network:
    """All lanes, with neighbours, limits and kinds, without lights and rights."""
    chosen = [one for one in document.lanelets.values() if _for_cars(one)]
    if not chosen:
        raise Fault("no lanelet is for cars: give a map with roads")
    index = {one.id: i for i, one in enumerate(chosen)}
    follows = [_followers(one, index, document) for one in chosen]
    before: list[list[int]] = [[] for _ in chosen]
    for i, after in enumerate(follows):
        for other in after:
            before[other].append(i)
    middles = [_middle(one, np.array(offset_m)) for one in chosen]
    curves = joined(middles, follows)
    for i, one in enumerate(chosen):
        track = Track(
            curve=curves[i],
            width_m=_width(one),
            limit_mps=_limit(one, document.signs),
            kind="ramp" if one.types & _RAMPS else "road",
            next=follows[i],
            left=_same_way(one, one.left_neighbour, index, document),
            right=_same_way(one, one.right_neighbour, index, document),
        )
        draft.lane(track)
    network = Network(
        document=document,
        offset_m=offset_m,
        left_hand=_left_hand(document),
        index=index,
        lanelets=chosen,
        tracks=draft.tracks,
        before=before,
    )
    _mark_junctions(network)
    return network


def _for_cars(one: Lanelet) -> bool:
    return not one.types & _OUT and (not one.users or bool(one.users & _CARS))


def _followers(one: Lanelet, index: dict[int, int], document: Document) -> list[int]:
    """Lanes that follow a lanelet: the straightest, where there are too many."""
    refs = [ref for ref in dict.fromkeys(one.successors) if ref in index and ref != one.id]
    if len(refs) > _WAYS:
        refs = sorted(refs, key=lambda ref: abs(_bend(document.lanelets[ref])))[:_WAYS]
    return [index[ref] for ref in refs]


def _bend(one: Lanelet) -> float:
    middle = (one.left + one.right) / 2.0
    (ax, ay), (bx, by) = middle[1] - middle[0], middle[-1] - middle[-2]
    return math.atan2(ax * by - ay * bx, ax * bx + ay * by)


def _same_way(
    one: Lanelet, other: tuple[int, bool] | None, index: dict[int, int], document: Document
) -> int:
    """The lane beside a lanelet into which its traffic may change; -1 for none."""
    if other is None or not other[1] or other[0] not in index:
        return -1
    back = document.lanelets[other[0]]
    mutual = [n[0] for n in (back.left_neighbour, back.right_neighbour) if n is not None]
    return index[other[0]] if one.id in mutual else -1


def _middle(one: Lanelet, offset: Floats) -> Floats:
    """The points of a lanelet's middle line, thinned."""
    middle = (one.left + one.right) / 2.0 - offset
    if np.hypot(*np.diff(middle, axis=0).T).sum() < 0.01:
        raise Fault(f"lanelet {one.id} has no length: take it out")
    across = one.left - one.right
    ahead = np.gradient(middle, axis=0)
    if (ahead[:, 0] * across[:, 1] - ahead[:, 1] * across[:, 0]).sum() <= 0.0:
        raise Fault(f"lanelet {one.id}: its left bound is not on the left: swap the bounds")
    keep, last = [0], middle[0]
    for k in range(1, len(middle) - 1):
        if min(np.hypot(*(middle[k] - last)), np.hypot(*(middle[k] - middle[-1]))) > _LEAST_M:
            keep.append(k)
            last = middle[k]
    return middle[[*keep, len(middle) - 1]]


def _width(one: Lanelet) -> float:
    """The mean along the middle line, but at most 1.5 times the narrowest place that is a lane."""
    wide = np.hypot(*(one.left - one.right).T)
    pace = np.hypot(*np.diff((one.left + one.right) / 2.0, axis=0).T)
    mean = float(((wide[1:] + wide[:-1]) / 2.0 * pace).sum() / pace.sum())
    return max(0.5, min(mean, 1.5 * max(float(wide.min()), 2.0)))


def _limit(one: Lanelet, signs: dict[int, Sign]) -> float:
    """In m/s: the lowest of the signs, else that of the kind of road."""
    limits = [] if one.speed_mps is None else [one.speed_mps]
    for ref in one.signs:
        for number, values in signs[ref].elements:
            if number in _LIMIT_SIGNS and values:
                try:
                    limits.append(float(values[0]))
                except ValueError:
                    limits.append(math.nan)
                if not 0.0 < limits[-1] <= _FAST_MPS:
                    raise Fault(f"trafficSign {ref}: a limit of {values[0]}: give m/s, up to 100")
    kinds = [_LIMITS_KMH[kind] for kind in _LIMITS_KMH if kind in one.types]
    usual = (kinds[0] if kinds else _LIMIT_KMH) * _KMH
    return min((limit for limit in limits if limit > 0.0), default=usual)


def _left_hand(document: Document) -> bool:
    """Oncoming traffic is on the left where one keeps to the right."""
    sides = [(one.right_neighbour, one.left_neighbour) for one in document.lanelets.values()]
    right, left = (
        sum(side is not None and not side[1] for side in column)
        for column in zip(*sides, strict=True)
    )
    return document.country in LEFT_HAND if left == right else right > left


def _mark_junctions(network: Network) -> None:
    """Lanes inside intersections, as the file lists them or as the lanes' shape has it."""
    for group, junction in enumerate(network.document.intersections):
        for way in junction.incomings:
            listed = ((way.left, -1), (way.straight, 0), (way.right, 1))
            sides = {ref: side for refs, side in listed for ref in refs}
            if not sides:
                after = [network.document.lanelets[ref].successors for ref in way.lanelets]
                sides = {
                    ref: _side(network.document.lanelets[ref]) for refs in after for ref in refs
                }
            for ref, side in sides.items():
                if ref in network.index:
                    network.turns.setdefault(network.index[ref], Turn(group=group, side=side))
    for lane, one in enumerate(network.lanelets):
        if lane not in network.turns and _looks_inside(network, lane):
            network.turns[lane] = Turn(group=-1, side=_side(one))
    for lane in network.turns:
        network.tracks[lane].kind = "junction"


def _looks_inside(network: Network, lane: int) -> bool:
    """Parts from lanes that bend otherwise, then joins others."""
    tracks = network.tracks
    if tracks[lane].curve.length_m > _JUNCTION_M or is_highway(network.lanelets[lane]):
        return False
    mates: Sequence[int] = [k for b in network.before[lane] for k in tracks[b].next]
    bends = [_bend(network.lanelets[k]) for k in mates] or [0.0]
    joins = any(len(network.before[k]) > 1 for k in tracks[lane].next)
    return joins and len(mates) > 1 and max(bends) - min(bends) > _TURN_RAD


def _side(one: Lanelet) -> int:
    bend = _bend(one)
    return 0 if abs(bend) < _TURN_RAD else -1 if bend > 0.0 else 1
