"""Real maps and recorded traffic from CommonRoad files (formats 2020a and 2018b).

    from opendojo.world.town.commonroad import read, replay
    scenario = read("DEU_Moelln-4_4_T-1.xml")
    towns, traffic = Towns([scenario.town]), replay(scenario, worlds=8)

A lanelet becomes a lane, its number in `Scenario.lanes`; the town lies near its own origin, at
`Scenario.offset_m` of the file's coordinates, since places are kept in 32 bits. What a file leaves
out is filled in by rule: see `commonroad_lanes` (limits, junctions), `commonroad_rights` (who goes
first), `commonroad_lights`, `commonroad_ground` (paint).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from opendojo.world.draw.scene import Kind
from opendojo.world.town.block_curves import Curve
from opendojo.world.town.block_draft import Draft
from opendojo.world.town.commonroad_curves import held
from opendojo.world.town.commonroad_file import Document, parse
from opendojo.world.town.commonroad_ground import lay_bars, lay_ground, lay_lines, lay_walks
from opendojo.world.town.commonroad_lanes import Network, lay_lanes
from opendojo.world.town.commonroad_lights import lay_lights
from opendojo.world.town.commonroad_replay import nearest_lane, replay
from opendojo.world.town.commonroad_rights import conflicts_of
from opendojo.world.town.commonroad_scenario import Aim, Scenario, Task, Track
from opendojo.world.town.commonroad_tracks import Goal, Obstacle, Problem
from opendojo.world.town.commonroad_xml import Fault, Floats
from opendojo.world.town.graph import Conflict, Lane, Static, StaticKind, Town

__all__ = ["Scenario", "Task", "Track", "read", "replay"]

_MOST_M2 = 4.0e6
"""Ground that the rasters of one town can hold: some 400 MB."""
_SHARE = 0.002
"""Ends nearer than this to a station need not be moved."""
_START_M, _AHEAD_M = 10.0, 60.0
"""Routes begin on lanes of this length that lead on for so long, if there are any."""

_KINDS = {
    "truck": Kind.TRUCK,
    "bus": Kind.TRUCK,
    "train": Kind.TRUCK,
    "bicycle": Kind.CYCLIST,
    "motorcycle": Kind.CYCLIST,
    "pedestrian": Kind.PEDESTRIAN,
}
"""All others on the road are cars."""
_HEIGHTS_M = {Kind.CAR: 1.5, Kind.TRUCK: 3.2, Kind.CYCLIST: 1.7, Kind.PEDESTRIAN: 1.75}
_THINGS: dict[str, tuple[StaticKind, float]] = {
    "building": ("building", 6.0),
    "constructionZone": ("building", 1.0),
    "median_strip": ("building", 0.3),
    "pillar": ("pole", 4.0),
    "roadBoundary": ("building", 0.8),
}
"""Obstacles that stand beside the road, and their heights in metres."""


def read(path: str | Path) -> Scenario:
    """Read a scenario or a bare map.

    Raises:
        ValueError: the file is broken; the text names the file, the element, what is wrong with it
            and how to mend it.
    """
    document = parse(path)
    try:
        return _scenario(document)
    except Fault as fault:
        raise ValueError(f"{path}: {fault}") from None


def _scenario(document: Document) -> Scenario:
    offset_m = _origin(document)
    draft = Draft()
    network = lay_lanes(draft, document, offset_m)
    conflicts = conflicts_of(network)
    lamps = lay_lights(network)
    draft.signals = [signal for signal, _ in lamps]
    bounds = lay_ground(draft, network)
    lay_lines(draft, network, bounds)
    lay_bars(draft, network)
    lay_walks(draft, network)
    things = [one for one in document.obstacles if one.static and one.kind in _THINGS]
    draft.statics = [_thing(one, offset_m) for one in things]
    town = _town(draft, network, conflicts)
    others = (one for one in document.obstacles if one not in things)
    return Scenario(
        name=document.name,
        town=town,
        step_s=document.step_s,
        tracks=tuple(_track(one, offset_m) for one in others),
        tasks=tuple(_task(one, town, network) for one in document.problems),
        offset_m=offset_m,
        lanes=network.index,
        lamps=tuple(lamps),
    )


def _origin(document: Document) -> tuple[float, float]:
    """The middle of the map in whole metres; refuses maps that are too large."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for one in document.lanelets.values():
        both = np.concatenate([one.left, one.right])
        low, high = np.minimum(low, both.min(0)), np.maximum(high, both.max(0))
    wide, tall = high - low
    if wide * tall > _MOST_M2 or max(wide, tall) > _MOST_M2 / 100.0:
        far = max(
            document.lanelets.values(), key=lambda one: np.abs(one.left - (low + high) / 2.0).max()
        )
        raise Fault(
            f"a map of {wide:.0f} x {tall:.0f} m, out to lanelet {far.id}, is more than "
            f"{_MOST_M2 / 1e6:.0f} km2: cut it into parts, or mend that lanelet"
        )
    x, y = np.floor((low + high) / 2.0)
    return float(x), float(y)


def _town(draft: Draft, network: Network, conflicts: list[tuple[Conflict, ...]]) -> Town:
    town = draft.finish(network.document.name, left_hand=False)
    lanes = tuple(
        replace(_ended(lane, track.curve), conflicts=entries, stop_m=_halt(lane, entries))
        for lane, track, entries in zip(town.lanes, draft.tracks, conflicts, strict=True)
    )
    return replace(town, left_hand=network.left_hand, lanes=lanes, starts=_starts(lanes))


def _ended(lane: Lane, curve: Curve) -> Lane:
    """The lane with its last station moved so that what is interpolated at its end is the end:
    files have bends that are sharp for stations a metre apart."""
    lane = replace(lane, length_m=held(lane.length_m))
    share = lane.length_m - math.floor(lane.length_m)
    if share < _SHARE:
        return lane
    columns = {}
    for name in ("x_m", "y_m", "yaw_rad"):
        column, end = getattr(lane, name).copy(), float(getattr(curve, name)[-1])
        column[-1] = column[-2] + (end - column[-2]) / share
        columns[name] = column
    return replace(lane, **columns)


def _halt(lane: Lane, entries: tuple[Conflict, ...]) -> float:
    """Where who gives way halts, if no bar says it: before the first to whom it is due."""
    waits = [entry.from_m for entry in entries if entry.yields]
    if not waits or math.isfinite(lane.stop_m):
        return lane.stop_m
    return max(0.0, min(waits) - 0.5)


def _starts(lanes: tuple[Lane, ...]) -> tuple[int, ...]:
    """Roads that lead on for long enough; else all roads; else any lane."""
    roads = [i for i, lane in enumerate(lanes) if lane.kind == "road"]
    long = [i for i in roads if lanes[i].length_m >= _START_M and _leads_m(lanes, i) >= _AHEAD_M]
    return tuple(long or roads or range(len(lanes)))


def _leads_m(lanes: tuple[Lane, ...], start: int) -> float:
    """How far one gets from a lane's start, up to `_AHEAD_M`."""
    best, todo = 0.0, [(start, 0.0)]
    seen: dict[int, float] = {}
    while todo and best < _AHEAD_M:
        here, way = todo.pop()
        way += lanes[here].length_m
        if way > seen.get(here, 0.0):
            seen[here] = way
            best = max(best, way)
            todo += [(other, way) for other in lanes[here].next]
    return best


def _thing(one: Obstacle, offset_m: tuple[float, float]) -> Static:
    kind, height = _THINGS[one.kind]
    x, y = _body(one, offset_m)
    return Static(
        kind=kind,
        x_m=float(x[0]),
        y_m=float(y[0]),
        yaw_rad=float(one.yaw_rad[0]),
        length_m=one.length_m,
        width_m=one.width_m,
        base_m=0.0,
        top_m=height,
    )


def _body(one: Obstacle, offset_m: tuple[float, float]) -> tuple[Floats, Floats]:
    """The body's middle in the town."""
    cos, sin = np.cos(one.yaw_rad), np.sin(one.yaw_rad)
    ahead, left = one.middle_m
    return (
        one.x_m + ahead * cos - left * sin - offset_m[0],
        one.y_m + ahead * sin + left * cos - offset_m[1],
    )


def _track(one: Obstacle, offset_m: tuple[float, float]) -> Track:
    kind = _KINDS.get(one.kind, Kind.CAR)
    x, y = _body(one, offset_m)
    return Track(
        id=one.id,
        kind=kind,
        what=one.kind,
        static=one.static,
        length_m=one.length_m,
        width_m=one.width_m,
        height_m=_HEIGHTS_M[kind],
        steps=one.steps,
        x_m=x,
        y_m=y,
        yaw_rad=np.unwrap(one.yaw_rad),
        speed_mps=one.speed_mps,
        accel_mps2=one.accel_mps2,
    )


def _task(one: Problem, town: Town, network: Network) -> Task:
    x, y = one.x_m - network.offset_m[0], one.y_m - network.offset_m[1]
    lane, s, d = nearest_lane(town, x, y, one.yaw_rad)
    return Task(
        id=one.id,
        time_s=one.step * network.document.step_s,
        x_m=x,
        y_m=y,
        yaw_rad=one.yaw_rad,
        speed_mps=one.speed_mps,
        lane=lane,
        s_m=s,
        d_m=d,
        aims=tuple(_aim(goal, network) for goal in one.goals),
    )


def _aim(goal: Goal, network: Network) -> Aim:
    outline = network.local(goal.outline)
    step_s = network.document.step_s
    return Aim(
        lanes=tuple(network.index[ref] for ref in goal.lanelets if ref in network.index),
        x_m=outline[:, 0],
        y_m=outline[:, 1],
        from_s=goal.steps[0] * step_s,
        to_s=goal.steps[1] * step_s,
        yaw_rad=goal.yaw_rad,
        speed_mps=goal.speed_mps,
    )
