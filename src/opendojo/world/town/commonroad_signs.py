"""Signs, lights and intersections of a CommonRoad file."""

from __future__ import annotations

from dataclasses import dataclass

from opendojo.world.town.commonroad_xml import (
    Fault,
    Node,
    child,
    identity,
    place_of,
    references,
    whole,
    word,
)

__all__ = ["Incoming", "Intersection", "Light", "Sign", "intersection", "light", "sign"]

_MOST_STEPS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A post with one or more traffic signs."""

    id: int
    elements: tuple[tuple[str, tuple[str, ...]], ...]
    """Each one's number in its country, and its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """A traffic light."""

    id: int
    place: tuple[float, float] | None
    cycle: tuple[tuple[str, int], ...]
    """Colours and for how many time steps; empty where not given."""
    offset: int
    """The time step at which the cycle begins."""
    direction: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One way into an intersection: lanelets that lead up to it, and those inside by turn."""

    lanelets: tuple[int, ...]
    right: tuple[int, ...]
    straight: tuple[int, ...]
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intersection:
    """A junction."""

    id: int
    incomings: tuple[Incoming, ...]


def sign(node: Node) -> Sign:
    """A <trafficSign>."""
    elements = node.findall("trafficSignElement")
    return Sign(
        id=identity(node),
        elements=tuple(
            (
                word(one, "trafficSignID"),
                tuple((v.text or "").strip() for v in one.findall("additionalValue")),
            )
            for one in elements
        ),
    )


def light(node: Node) -> Light:
    """A <trafficLight>."""
    key = identity(node)
    where = f"trafficLight {key}"
    position, cycle = node.find("position"), node.find("cycle")
    elements, offset = [], 0
    if cycle is not None:
        for one in cycle.findall("cycleElement"):
            steps = whole(child(one, "duration", where), where)
            if not 0 <= steps <= _MOST_STEPS:
                raise Fault(f"{where}: a duration of {steps} steps: give 0 to {_MOST_STEPS}")
            elements.append((word(one, "color"), steps))
        start = cycle.find("timeOffset")
        offset = 0 if start is None else whole(start, where)
    return Light(
        id=key,
        place=None if position is None else place_of(position, where),
        cycle=tuple(elements) if sum(steps for _, steps in elements) else (),
        offset=offset,
        direction=word(node, "direction", "all"),
        active=word(node, "active", "true") != "false",
    )


def intersection(node: Node) -> Intersection:
    """An <intersection>, with its ways in by turn; a 2020a file calls them successors."""
    key = identity(node)
    where = f"intersection {key}"

    def turns(one: Node, side: str) -> tuple[int, ...]:
        return (
            *references(one, f"successors{side}", where),
            *references(one, f"outgoing{side}", where),
        )

    incomings = tuple(
        Incoming(
            lanelets=references(one, "incomingLanelet", where),
            right=turns(one, "Right"),
            straight=turns(one, "Straight"),
            left=turns(one, "Left"),
        )
        for one in node.findall("incoming")
    )
    return Intersection(id=key, incomings=incomings)
