"""Recorded road users and planning problems of a CommonRoad file, in its own coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opendojo.world.town.commonroad_xml import (
    Fault,
    Floats,
    Node,
    Shape,
    child,
    identity,
    place_of,
    references,
    shape_of,
    value,
    word,
)

__all__ = ["Goal", "Obstacle", "Problem", "obstacles", "problems"]

_MOST = 10_000
_MOST_STEPS = 100_000
_STANDING_MPS = 0.3
"""Below this speed the way that is covered does not tell the heading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Somebody or something at time steps [t], rising; one step for what stands still."""

    id: int
    kind: str
    """As the file says: car, truck, bicycle, ..."""
    static: bool
    length_m: float
    width_m: float
    steps: npt.NDArray[np.int64]
    x_m: Floats
    y_m: Floats
    """The point that the file gives, mostly the body's middle."""
    yaw_rad: Floats
    speed_mps: Floats
    accel_mps2: Floats
    middle_m: tuple[float, float]
    """From that point to the body's middle, ahead and to the left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is to be reached; what is not given is open."""

    lanelets: tuple[int, ...]
    outline: Floats
    """Corners of the region, [p, 2]; none where it is given by lanelets, or open."""
    steps: tuple[float, float]
    yaw_rad: tuple[float, float] | None
    speed_mps: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A start for an ego and its goals."""

    id: int
    step: int
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    goals: tuple[Goal, ...]


def obstacles(root: Node, step_s: float) -> tuple[Obstacle, ...]:
    """All road users and things; those of format 2018b say which they are by their role."""
    nodes = [
        *((one, True) for one in root.findall("staticObstacle")),
        *((one, False) for one in root.findall("dynamicObstacle")),
        *((one, word(one, "role") == "static") for one in root.findall("obstacle")),
        *((one, True) for one in root.findall("environmentObstacle")),
    ]
    if len(nodes) > _MOST:
        raise Fault(f"{len(nodes)} obstacles, more than {_MOST}: cut the scenario")
    found: dict[int, Obstacle] = {}
    for node, static in nodes:
        one = _obstacle(node, static, step_s)
        if one.id in found:
            raise Fault(f"{node.tag} {one.id} is there twice: give each its own id")
        found[one.id] = one
    return tuple(found.values())


def _obstacle(node: Node, static: bool, step_s: float) -> Obstacle:
    key = identity(node)
    where = f"{node.tag} {key}"
    shape = shape_of(child(node, "shape", where), where)
    if shape is None:
        raise Fault(f"{where}: its shape is none of rectangle, circle, polygon: give one")
    if node.tag == "environmentObstacle":  # its shape lies where it stands
        states = np.array([[0.0, *shape.middle, 0.0, 0.0, 0.0]])
        shape = Shape(outline=shape.outline - np.array(shape.middle))
    else:
        states = _states(node, where)
    steps = states[:, 0].astype(np.int64)
    if len(steps) > 1 and np.diff(steps).min() <= 0:
        at = int(steps[1:][np.diff(steps) <= 0][0])
        raise Fault(f"{where}: time {at} comes after a later one: put the states in order")
    if steps.min() < 0 or steps.max() > _MOST_STEPS:
        raise Fault(f"{where}: time steps outside 0 to {_MOST_STEPS}: cut the recording")
    states = _filled(states, step_s)
    length, width = shape.size_m
    return Obstacle(
        id=key,
        kind=word(node, "type", "unknown"),
        static=static,
        length_m=length,
        width_m=width,
        steps=steps,
        x_m=states[:, 1],
        y_m=states[:, 2],
        yaw_rad=states[:, 3],
        speed_mps=states[:, 4],
        accel_mps2=states[:, 5],
        middle_m=shape.middle,
    )


def _states(node: Node, where: str) -> Floats:
    """Rows of step, x, y, yaw, speed, acceleration [t, 6]; what is missing comes from the way."""
    rows = [_state(child(node, "initialState", where), where)]
    path, regions = node.find("trajectory"), node.find("occupancySet")
    if path is not None:
        rows += [_state(one, where) for one in path.findall("state")]
    elif regions is not None:
        for one in regions.findall("occupancy"):
            shape = shape_of(child(one, "shape", where), where)
            if shape is None:
                raise Fault(f"{where}: an occupancy without a shape: give one")
            time = _middle(value(child(one, "time", where), where))
            rows.append([math.floor(time), *shape.middle, math.nan, math.nan, math.nan])
    table = np.array(rows)
    if len(table) > 1 and table[1, 0] == table[0, 0]:
        table = table[1:]  # some files repeat the initial state
    return table


def _state(node: Node, where: str) -> list[float]:
    time = node.find("time")
    step = 0.0 if time is None else math.floor(_middle(value(time, where)))
    x, y = place_of(child(node, "position", f"{where}, time {step:.0f}"), where)

    def part(tag: str) -> float:
        found = node.find(tag)
        return math.nan if found is None else _middle(value(found, f"{where}, time {step:.0f}"))

    return [step, x, y, part("orientation"), part("velocity"), part("acceleration")]


def _middle(bounds: tuple[float, float]) -> float:
    return (bounds[0] + bounds[1]) / 2.0


def _filled(table: Floats, step_s: float) -> Floats:
    """Headings, speeds and accelerations worked out from the way where they are not given."""
    if len(table) < 2:
        return np.nan_to_num(table)
    time = table[:, 0] * step_s
    vx, vy = np.gradient(table[:, 1], time), np.gradient(table[:, 2], time)
    yaw, speed, accel = table[:, 3:].T
    bare = np.isnan(yaw)
    known = np.flatnonzero((np.hypot(vx, vy) > _STANDING_MPS) | ~bare)
    course = np.where(bare, np.arctan2(vy, vx), yaw)
    if len(known):  # who stands looks as when it moves on, or as it did at last
        later = np.searchsorted(known, np.arange(len(yaw)))
        course = course[known[np.minimum(later, len(known) - 1)]]
    yaw = np.where(bare, course, yaw)
    speed = np.where(np.isnan(speed), vx * np.cos(yaw) + vy * np.sin(yaw), speed)
    accel = np.where(np.isnan(accel), np.gradient(speed, time), accel)
    return np.column_stack([table[:, :3], yaw, speed, accel])


def problems(root: Node) -> tuple[Problem, ...]:
    """The planning problems."""
    return tuple(_problem(node) for node in root.findall("planningProblem"))


def _problem(node: Node) -> Problem:
    key = identity(node)
    where = f"planningProblem {key}"
    step, x, y, yaw, speed, _ = _state(child(node, "initialState", where), where)
    return Problem(
        id=key,
        step=int(step),
        x_m=x,
        y_m=y,
        yaw_rad=0.0 if math.isnan(yaw) else yaw,
        speed_mps=0.0 if math.isnan(speed) else speed,
        goals=tuple(_goal(one, where) for one in node.findall("goalState")),
    )


def _goal(node: Node, where: str) -> Goal:
    position = node.find("position")
    shape = None if position is None else shape_of(position, where)
    bounds = {
        tag: None if node.find(tag) is None else value(child(node, tag, where), where)
        for tag in ("time", "orientation", "velocity")
    }
    return Goal(
        lanelets=() if position is None else references(position, "lanelet", where),
        outline=np.zeros((0, 2)) if shape is None else shape.outline,
        steps=bounds["time"] or (0.0, math.inf),
        yaw_rad=bounds["orientation"],
        speed_mps=bounds["velocity"],
    )
