"""What a CommonRoad file says, checked but not yet converted: formats 2020a and 2018b.

The format is that of https://commonroad.in.tum.de; `commonroad-io` is its reference reader, which
cannot be a dependency (it pins a protobuf of 2022) but judges this one in the tests. Heights,
environment and set-based occupancies of unseen road users are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar
from xml.etree import ElementTree

from opendojo.world.town.commonroad_signs import (
    Intersection,
    Light,
    Sign,
    intersection,
    light,
    sign,
)
from opendojo.world.town.commonroad_tracks import Obstacle, Problem, obstacles, problems
from opendojo.world.town.commonroad_xml import (
    Fault,
    Floats,
    Node,
    child,
    identity,
    number,
    points,
    references,
    word,
)

__all__ = [
    "Document",
    "Lanelet",
    "parse",
]

_VERSIONS = ("2018b", "2020a")
_MOST_BYTES = 128 * 2**20
_MOST_LANELETS = 5000
_GAP_M = 3.0
"""How far a lanelet's successor may begin from its end: more is a wrong reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanelet:
    """A piece of a lane between two bounds, in the file's own coordinates."""

    id: int
    left: Floats
    right: Floats
    """Bounds in the direction of travel, [p, 2] both."""
    predecessors: tuple[int, ...]
    successors: tuple[int, ...]
    left_neighbour: tuple[int, bool] | None
    right_neighbour: tuple[int, bool] | None
    """Lanelet beside this one, and whether it runs the same way."""
    left_marking: str
    right_marking: str
    """Values of lineMarking; "unknown" where it is not given."""
    types: frozenset[str]
    users: frozenset[str]
    """All who may use it, one way or both; empty: not given."""
    signs: tuple[int, ...]
    lights: tuple[int, ...]
    stop_line: tuple[Floats, str] | None
    """Points [0 or 2, 2] (none: at the end), and the marking."""
    speed_mps: float | None
    """The speed limit that format 2018b writes here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole file."""

    name: str
    country: str
    """Three letters."""
    step_s: float
    lanelets: dict[int, Lanelet]
    signs: dict[int, Sign]
    lights: dict[int, Light]
    intersections: tuple[Intersection, ...]
    obstacles: tuple[Obstacle, ...]
    problems: tuple[Problem, ...]


def parse(path: str | Path) -> Document:
    """Read a file; a `ValueError` names the file, the element, the cause and the remedy."""
    path = Path(path)
    try:
        return _document(_root(path))
    except Fault as fault:
        raise ValueError(f"{path}: {fault}") from None


def _root(path: Path) -> Node:
    size = path.stat().st_size
    if size == 0:
        raise Fault("the file is empty: fetch it again")
    if size > _MOST_BYTES:
        raise Fault(f"{size / 2**20:.0f} MiB, more than {_MOST_BYTES // 2**20}: cut the map")
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, UnicodeError) as error:
        raise Fault(f"no XML, or cut off or damaged ({error}): fetch it again") from None
    if root.tag != "commonRoad":
        raise Fault(f"the root is <{root.tag}>, not <commonRoad>: give a CommonRoad file")
    version = root.get("commonRoadVersion")
    if version not in _VERSIONS:
        raise Fault(f"format {version}: convert it to {' or '.join(_VERSIONS)}")
    return root


def _document(root: Node) -> Document:
    name = root.get("benchmarkID") or ""
    if len(root.findall("lanelet")) > _MOST_LANELETS:
        raise Fault(f"more than {_MOST_LANELETS} lanelets: cut the map into parts")
    step_s = _step(root)
    document = Document(
        name=name,
        country=(name[2:] if name.startswith("C-") else name)[:3],
        step_s=step_s,
        lanelets=_each(root, "lanelet", _lanelet),
        signs=_each(root, "trafficSign", sign),
        lights=_each(root, "trafficLight", light),
        intersections=tuple(_each(root, "intersection", intersection).values()),
        obstacles=obstacles(root, step_s),
        problems=problems(root),
    )
    if not document.lanelets:
        raise Fault("there is no <lanelet>: give a file with a road network")
    _check(document)
    return document


def _step(root: Node) -> float:
    text = root.get("timeStepSize")
    try:
        step = float(text or "")
    except ValueError:
        step = math.nan
    if not 0.0 < step <= 10.0:
        raise Fault(f"timeStepSize is {text!r}: give seconds, more than 0 and at most 10")
    return step


class _Named(Protocol):
    @property
    def id(self) -> int: ...


Item = TypeVar("Item", bound=_Named)


def _each(root: Node, tag: str, read: Callable[[Node], Item]) -> dict[int, Item]:
    """All elements of a tag by their ids."""
    found: dict[int, Item] = {}
    for node in root.findall(tag):
        item = read(node)
        if item.id in found:
            raise Fault(f"{tag} {item.id} is there twice: give each its own id")
        found[item.id] = item
    return found


def _lanelet(node: Node) -> Lanelet:
    key = identity(node)
    where = f"lanelet {key}"
    nodes = [child(node, tag, where) for tag in ("leftBound", "rightBound")]
    left, right = (points(one, f"{where}, {one.tag}") for one in nodes)
    if len(left) != len(right) or len(left) < 2:
        raise Fault(
            f"{where}: {len(left)} points on the left bound and {len(right)} on the right: "
            "give both the same number, 2 or more"
        )
    speed = node.find("speedLimit")
    users = [*node.findall("userOneWay"), *node.findall("userBidirectional")]
    return Lanelet(
        id=key,
        left=left,
        right=right,
        predecessors=references(node, "predecessor", where),
        successors=references(node, "successor", where),
        left_neighbour=_neighbour(node, "adjacentLeft", where),
        right_neighbour=_neighbour(node, "adjacentRight", where),
        left_marking=word(nodes[0], "lineMarking", "unknown"),
        right_marking=word(nodes[1], "lineMarking", "unknown"),
        types=frozenset((one.text or "").strip() for one in node.findall("laneletType")),
        users=frozenset((one.text or "").strip() for one in users),
        signs=references(node, "trafficSignRef", where),
        lights=references(node, "trafficLightRef", where),
        stop_line=_stop_line(node, where),
        speed_mps=None if speed is None else number(speed, where),
    )


def _neighbour(node: Node, tag: str, where: str) -> tuple[int, bool] | None:
    refs = references(node, tag, where)
    if not refs:
        return None
    return refs[0], child(node, tag, where).get("drivingDir") == "same"


def _stop_line(node: Node, where: str) -> tuple[Floats, str] | None:
    line = node.find("stopLine")
    if line is None:
        return None
    at = points(line, f"{where}, stopLine")
    if len(at) not in (0, 2):
        raise Fault(f"{where}: a stopLine of {len(at)} points: give two, or none for the end")
    return at, word(line, "lineMarking", "solid")


def _check(document: Document) -> None:
    """All references lead somewhere, and successors begin where their lanelets end."""

    def known(refs: Iterable[int], there: Iterable[int], where: str, tag: str) -> None:
        missing = sorted(set(refs) - set(there))
        if missing:
            raise Fault(
                f"{where} refers to {tag} {missing[0]}, which is not there: "
                "add it, or take the reference out"
            )

    lanelets = document.lanelets
    for one in lanelets.values():
        where = f"lanelet {one.id}"
        beside = [n[0] for n in (one.left_neighbour, one.right_neighbour) if n is not None]
        known((*one.predecessors, *one.successors, *beside), lanelets, where, "lanelet")
        known(one.signs, document.signs, where, "trafficSign")
        known(one.lights, document.lights, where, "trafficLight")
        for other in one.successors:
            end = (one.left[-1] + one.right[-1]) / 2.0
            start = (lanelets[other].left[0] + lanelets[other].right[0]) / 2.0
            gap = math.hypot(*(end - start))
            if gap > _GAP_M:
                raise Fault(
                    f"{where} ends {gap:.1f} m from the start of its successor {other}: "
                    "mend the bounds or the reference"
                )
    for junction in document.intersections:
        for way in junction.incomings:
            refs = (*way.lanelets, *way.right, *way.straight, *way.left)
            known(refs, lanelets, f"intersection {junction.id}", "lanelet")
    for problem in document.problems:
        for goal in problem.goals:
            known(goal.lanelets, lanelets, f"planningProblem {problem.id}", "lanelet")
