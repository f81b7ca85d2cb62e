"""Who gives way to whom where a file's lanes cross, join or part.

Signs come first, then ramps, then those who turn across what comes towards them; for the rest who
comes from the right goes first. A file may so leave a circle, as four cars at a crossing without
signs: what would close it is turned round, so that nobody waits for himself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from opendojo.world.town.block_curves import Curve, wrapped
from opendojo.world.town.block_sweep import overlaps
from opendojo.world.town.commonroad_lanes import Network, is_highway
from opendojo.world.town.graph import Conflict

__all__ = ["conflicts_of", "gives_way", "near_boxes"]

_PRIORITY = frozenset(("301", "306"))
_YIELD = frozenset(("205", "206", "r1", "r2", "R1-1", "R1-2", "R1-3"))
"""Signs of the countries that commonroad-io knows."""
_SHORT_M = 3.0
_CROSS_RAD = 0.35
"""Lanes that are in no junction are in conflict only where they cross at more than this."""

Spans = dict[tuple[int, int], tuple[float, float]]


def near_boxes(one: list[Curve], other: list[Curve], margin_m: float) -> np.ndarray:
    """Whether curves' bounding boxes come within a margin: bool [one, other]."""
    boxes = [
        np.array([(c.x_m.min(), c.y_m.min(), c.x_m.max(), c.y_m.max()) for c in curves])
        for curves in (one, other)
    ]
    a, b = boxes[0].reshape(-1, 1, 4), boxes[1].reshape(1, -1, 4)
    near = (a[..., :2] <= b[..., 2:] + margin_m) & (b[..., :2] <= a[..., 2:] + margin_m)
    return near[..., 0] & near[..., 1]


def conflicts_of(network: Network) -> list[tuple[Conflict, ...]]:
    """The conflicts of every lane."""
    spans: Spans = {}
    for a, b in _pairs(network):
        found = overlaps([network.tracks[a].curve, network.tracks[b].curve])
        if (0, 1) in found:
            spans[a, b], spans[b, a] = found[0, 1], found[1, 0]
    loser = _settled(network, sorted((a, b) for a, b in spans if a < b))
    listed: list[list[Conflict]] = [[] for _ in network.tracks]
    for (a, b), (from_m, to_m) in sorted(spans.items()):
        listed[a].append(
            Conflict(
                lane=b,
                from_m=from_m,
                to_m=to_m,
                other_from_m=spans[b, a][0],
                other_to_m=spans[b, a][1],
                yields=loser.get((min(a, b), max(a, b))) == a,
            )
        )
    return [tuple(entries) for entries in listed]


def _pairs(network: Network) -> Iterator[tuple[int, int]]:
    """Pairs of lanes that may meet, a < b."""
    tracks = network.tracks
    curves = [track.curve for track in tracks]
    followers = [_soon(network, lane) for lane in range(len(tracks))]
    close = np.triu(near_boxes(curves, curves, 2.0), 1)
    for a, b in np.argwhere(close).tolist():
        if b in followers[a] or a in followers[b] or b in network.beside(a):
            continue
        inside = a in network.turns and b in network.turns
        joint = set(tracks[a].next) & set(tracks[b].next) or _forks(network, a, b)
        if inside or joint or _crosses(network, a, b):
            yield a, b


def _soon(network: Network, lane: int) -> set[int]:
    """Lanes that follow, also those past a very short one."""
    found, todo = set[int](), list(network.tracks[lane].next)
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            if network.tracks[other].curve.length_m < _SHORT_M:
                todo += network.tracks[other].next
    return found


def _forks(network: Network, a: int, b: int) -> bool:
    return bool(set(network.before[a]) & set(network.before[b]))


def _crosses(network: Network, a: int, b: int) -> bool:
    """Whether middle lines cross on one level, at an angle."""
    if is_highway(network.lanelets[a]) or is_highway(network.lanelets[b]):
        return False
    p, q = (
        np.stack([c.x_m, c.y_m], 1)[:: max(1, len(c.x_m) // 64)]
        for c in (network.tracks[a].curve, network.tracks[b].curve)
    )
    d, e = np.diff(p, axis=0)[:, None], np.diff(q, axis=0)[None]
    r = q[None, :-1] - p[:-1, None]
    turn = d[..., 0] * e[..., 1] - d[..., 1] * e[..., 0]
    size = np.hypot(d[..., 0], d[..., 1]) * np.hypot(e[..., 0], e[..., 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (r[..., 0] * e[..., 1] - r[..., 1] * e[..., 0]) / turn
        u = (r[..., 0] * d[..., 1] - r[..., 1] * d[..., 0]) / turn
    met = (t >= 0.0) & (t <= 1.0) & (u >= 0.0) & (u <= 1.0)
    return bool((met & (np.abs(turn) > math.sin(_CROSS_RAD) * size)).any())


def _settled(network: Network, pairs: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The lane of each pair that gives way; none where both part from one."""
    waits: dict[int, set[int]] = {}
    loser: dict[tuple[int, int], int] = {}

    def leads(start: int, goal: int) -> bool:
        seen, todo = {start}, [start]
        while todo:
            here = todo.pop()
            if here == goal:
                return True
            fresh = waits.get(here, set()) - seen
            seen |= fresh
            todo += fresh
        return False

    judged = [(*_judge(network, a, b), a, b) for a, b in pairs if not _forks(network, a, b)]
    for _, first_waits, a, b in sorted(judged):
        one, other = (a, b) if first_waits else (b, a)
        if leads(other, one):
            one, other = other, one
        waits.setdefault(one, set()).add(other)
        loser[a, b] = one
    return loser


def _judge(network: Network, a: int, b: int) -> tuple[int, bool]:
    """How firm the rule is (0 is firmest), and whether a is the one that gives way."""
    ranks = [_rank(network, lane) for lane in (a, b)]
    if ranks[0] != ranks[1]:
        return 0, ranks[0] > ranks[1]
    one, other = (network.tracks[lane].curve for lane in (a, b))
    across = abs(wrapped(float(other.yaw_rad[0] - one.yaw_rad[0])))
    from_right = wrapped(float(other.yaw_rad[0] - one.yaw_rad[0])) > 0.0
    if math.radians(45.0) <= across <= math.radians(135.0):
        return 2, from_right
    orders = [_order(network, lane) for lane in (a, b)]
    if orders[0] != orders[1]:
        return 1, orders[0] > orders[1]
    return 3, False


def _rank(network: Network, lane: int) -> tuple[int, int]:
    """By signs, and by being a ramp; lower goes first."""
    signs = network.document.signs
    approach = [lane, *(network.before[lane] if lane in network.turns else ())]
    numbers = {
        number
        for one in approach
        for ref in network.lanelets[one].signs
        for number, _ in signs[ref].elements
    }
    sign = 2 if numbers & _YIELD else 0 if numbers & _PRIORITY else 1
    return sign, int(network.tracks[lane].kind == "ramp")


def gives_way(network: Network, lane: int) -> bool:
    """Whether a sign before a junction says so."""
    refs = network.lanelets[lane].signs
    return any(n in _YIELD for ref in refs for n, _ in network.document.signs[ref].elements)


def _order(network: Network, lane: int) -> float:
    """Straight on, then the turn to the near side, then the one across; else by the bend."""
    turn = network.turns.get(lane)
    curve = network.tracks[lane].curve
    if turn is None:
        return abs(float(curve.yaw_rad[-1] - curve.yaw_rad[0]))
    near = -1 if network.left_hand else 1
    return 0.0 if turn.side == 0 else 1.0 if turn.side == near else 2.0
