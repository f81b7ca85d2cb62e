"""Ground and paint of a file's lanelets: road, crossings, lines, bars to halt at."""

from __future__ import annotations

import math

import numpy as np

from opendojo.world.town.block_curves import Curve, Floats, cut, offset, reverse, stationed
from opendojo.world.town.block_draft import Draft
from opendojo.world.town.block_sweep import SWEEP_M, overlaps
from opendojo.world.town.commonroad_curves import held, smooth
from opendojo.world.town.commonroad_file import Lanelet
from opendojo.world.town.commonroad_lanes import Network, is_highway
from opendojo.world.town.commonroad_rights import gives_way, near_boxes
from opendojo.world.town.graph import AreaKind, Conflict, Walk
from opendojo.world.town.raster import Cover

__all__ = ["lay_bars", "lay_ground", "lay_lines", "lay_walks"]

_BEYOND_M = 12.0
"""Road beyond lanes' ends at the town's edge, so that bumpers stay on it."""
_FEET = frozenset(("sidewalk", "border"))
_SAME_M = 0.5
"""Bounds of neighbours that are nearer are one line."""
_INSET_M = 0.12
_BAR_M, _BEFORE_M = 0.4, 0.8
"""Depth of a bar, and where one halts before its far edge."""
_YELLOW = frozenset((
    "USA", "CAN", "PRI", "MEX", "BRA", "ARG", "CHL", "COL", "PER", "CHN", "JPN", "KOR", "TWN",
))  # fmt: skip
"""Countries where the line between the two directions is yellow."""
_DOUBLE_M = 0.12

Bounds = dict[int, tuple[Curve, Curve]]


def lay_ground(draft: Draft, network: Network) -> Bounds:
    """Areas of all lanelets; returned are their bounds."""
    bounds: Bounds = {}
    for one in network.document.lanelets.values():
        left, right = (_bound(network.local(side)) for side in (one.left, one.right))
        if left is None or right is None:
            x, y = network.local(np.concatenate([one.right, one.left[::-1]])).T
            draft.polygon(_ground(one), x, y)
            continue
        bounds[one.id] = left, right
        draft.between(_ground(one), left, right)
    for lane, track in enumerate(network.tracks):
        one = network.lanelets[lane]
        if one.id in bounds and not track.next:
            _apron(draft, *bounds[one.id], -1, float(track.curve.yaw_rad[-1]))
        if one.id in bounds and not network.before[lane]:
            _apron(draft, *bounds[one.id], 0, float(track.curve.yaw_rad[0]) + math.pi)
    return bounds


def _ground(one: Lanelet) -> AreaKind:
    if "crosswalk" in one.types:
        return "crossing"
    feet = one.types & _FEET or one.users == {"pedestrian"}
    return "sidewalk" if feet else "island" if "restricted_area" in one.types else "road"


def _bound(points: Floats) -> Curve | None:
    """A smooth bound; None where all its points are one."""
    far = np.hypot(*np.diff(points, axis=0).T)
    points = points[np.concatenate([[True], far > 0.05])]
    return smooth(points) if len(points) > 1 else None


def _apron(draft: Draft, left: Curve, right: Curve, end: int, yaw: float) -> None:
    ahead = np.array([math.cos(yaw), math.sin(yaw)]) * _BEYOND_M
    a = np.array([left.x_m[end], left.y_m[end]])
    b = np.array([right.x_m[end], right.y_m[end]])
    back = ahead * (0.5 / _BEYOND_M)  # a little under the lane
    x, y = np.array([b - back, b + ahead, a + ahead, a - back]).T
    draft.polygon("road", x, y)


def lay_lines(draft: Draft, network: Network, bounds: Bounds) -> None:
    """The paint that the file asks for; where it is silent, the usual."""
    road = Cover([(area.x_m, area.y_m) for area in draft.areas["road"]])
    document = network.document
    inside = {network.lanelets[lane].id for lane in network.turns}
    done: set[tuple[int, bool]] = set()
    for key, curves in bounds.items():
        one = document.lanelets[key]
        if _ground(one) != "road":
            continue
        for is_left, curve in zip((True, False), curves, strict=True):
            beside = one.left_neighbour if is_left else one.right_neighbour
            marking = one.left_marking if is_left else one.right_marking
            shared = None
            if beside is not None and beside[0] in bounds:
                other = document.lanelets[beside[0]]
                facing = is_left != beside[1]  # whether it is the other's left bound
                theirs = bounds[other.id][0 if facing else 1]
                if _ground(other) == "road" and _is_one(curve, theirs, beside[1]):
                    shared = beside[1]
                    if (other.id, facing) in done:
                        continue
                    if marking == "unknown":
                        marking = other.left_marking if facing else other.right_marking
            done.add((key, is_left))
            inward = curve if shared is not None else offset(curve, -_INSET_M * (2 * is_left - 1))
            yellow = shared is False and document.country in _YELLOW
            if marking != "unknown":
                _paint(draft, inward, marking, yellow, is_highway(one))
            elif key not in inside:
                _usual(draft, inward, shared, is_left, road, yellow, is_highway(one))


def _is_one(curve: Curve, other: Curve, same_way: bool) -> bool:
    """Whether neighbours' bounds lie on each other."""
    theirs = other if same_way else reverse(other)
    return all(
        math.hypot(curve.x_m[k] - theirs.x_m[k], curve.y_m[k] - theirs.y_m[k]) < _SAME_M
        for k in (0, -1)
    )


def _usual(
    draft: Draft,
    curve: Curve,
    shared: bool | None,
    is_left: bool,
    road: Cover,
    yellow: bool,
    fast: bool,
) -> None:
    """Dashes between lanes, an edge line where the road ends."""
    if shared is not None:
        _paint(draft, curve, "dashed", yellow, fast)
        return
    side = 1.0 if is_left else -1.0
    outer = offset(curve, side * 0.6)
    free = ~road.at(outer.x_m, outer.y_m)
    turns = np.flatnonzero(np.diff(free.astype(np.int8), prepend=0, append=0))
    for first, last in zip(turns[::2].tolist(), (turns[1::2] - 1).tolist(), strict=True):
        if curve.arc_m[last] - curve.arc_m[first] > 1.0:
            part = cut(curve, float(curve.arc_m[first]), float(curve.arc_m[last]))
            _paint(draft, part, "solid", yellow, fast)


def _paint(draft: Draft, curve: Curve, marking: str, yellow: bool, fast: bool) -> None:
    """One marking of the file along a bound."""
    broad = marking.startswith("broad_")
    kinds = [kind for kind in marking.removeprefix("broad_").split("_") if kind in _STROKES]
    if curve.length_m < 0.05 or marking in ("curb", "lowered_curb", "no_marking"):
        return
    for kind, aside in zip(kinds, (_DOUBLE_M, -_DOUBLE_M), strict=False):
        dash, gap = (0.0, 0.0) if kind == "solid" else (6.0, 12.0) if fast else (3.0, 6.0)
        draft.line(
            offset(curve, aside) if len(kinds) > 1 else curve,
            width_m=0.25 if broad else 0.15,
            yellow=yellow,
            dash_m=dash,
            gap_m=gap,
        )


_STROKES = ("solid", "dashed")


def lay_bars(draft: Draft, network: Network) -> None:
    """Bars where lanes lead up to lights, signs or the file's own stop lines; sets `stop_m`."""
    for lane, track in enumerate(network.tracks):
        one = network.lanelets[lane]
        leads = any(k in network.turns for k in track.next) and lane not in network.turns
        waits = track.signal >= 0 or (leads and gives_way(network, lane))
        if one.stop_line is None and not waits:
            continue
        ends, marking = one.stop_line or (np.zeros((0, 2)), "solid")
        given = ends if len(ends) else np.stack([one.left[-1], one.right[-1]])
        line = network.local(given)
        x, y = line.mean(0)
        near = int(np.argmin(np.hypot(track.curve.x_m - x, track.curve.y_m - y)))
        length, at = track.curve.length_m, float(track.curve.arc_m[near])
        track.stop_m = min(max(at - _BEFORE_M, min(0.5 * length, 0.5)), length - 0.05)
        if marking == "no_marking" or np.hypot(*(line[1] - line[0])) < 0.3:
            continue
        yaw = float(track.curve.yaw_rad[near])
        back = np.array([math.cos(yaw), math.sin(yaw)]) * -_BAR_M
        corners = np.array([line[0], line[1], line[1] + back, line[0] + back])
        draft.polygon("stop", *corners.T)


def lay_walks(draft: Draft, network: Network) -> None:
    """Ways over the road for people on foot, where the file has crosswalks."""
    curves = [track.curve for track in network.tracks]
    for one in network.document.lanelets.values():
        if "crosswalk" not in one.types:
            continue
        curve = _bound(network.local((one.left + one.right) / 2.0))
        if curve is None:
            continue
        width = float(np.hypot(*(one.left - one.right).T).mean())
        extra = max(0.0, (width - SWEEP_M) / 2.0)
        entries = []
        for lane in np.flatnonzero(near_boxes([curve], curves, 2.0)[0]).tolist():
            found = overlaps([curve, curves[lane]])
            if (0, 1) in found:
                from_m, to_m = found[1, 0]
                entries.append(
                    Conflict(
                        lane=lane,
                        from_m=found[0, 1][0],
                        to_m=found[0, 1][1],
                        other_from_m=max(0.0, from_m - extra),
                        other_to_m=min(curves[lane].length_m, to_m + extra),
                        yields=False,
                    )
                )
        lit = [network.tracks[entry.lane].signal for entry in entries]
        x, y, yaw, _, length = stationed(curve)
        draft.walks.append(
            Walk(
                x_m=x,
                y_m=y,
                yaw_rad=yaw,
                length_m=held(length),
                width_m=max(width, 1.0),
                signal=max(lit, default=-1),
                conflicts=tuple(entries),
            )
        )
