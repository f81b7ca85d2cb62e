"""Numbers, points and shapes out of a CommonRoad file's elements, each fault with its place.

A fault is raised as `Fault`, which says where, what and how to mend it; the file's name is added by
who knows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

__all__ = [
    "Fault",
    "Floats",
    "Node",
    "Shape",
    "child",
    "identity",
    "number",
    "place_of",
    "point",
    "points",
    "references",
    "shape_of",
    "value",
    "whole",
    "word",
]

Floats = npt.NDArray[np.float64]
Node = ElementTree.Element
_LARGE = 1e10
"""No metres, seconds or time steps are as many."""
_ROUND = 16
"""Corners of a circle's outline."""


class Fault(ValueError):
    """What is wrong in a file: the element, the cause, the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Outlines of ground, or of a body around its own origin."""

    outline: Floats
    """[p, 2]: all corners of all parts."""

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of the bounding box."""
        low, high = self.outline.min(0), self.outline.max(0)
        return float(low[0] + high[0]) / 2.0, float(low[1] + high[1]) / 2.0

    @property
    def size_m(self) -> tuple[float, float]:
        """Length and width of the bounding box."""
        low, high = self.outline.min(0), self.outline.max(0)
        return float(high[0] - low[0]), float(high[1] - low[1])


def child(node: Node, tag: str, where: str) -> Node:
    """The first child of that tag, which must be there."""
    found = node.find(tag)
    if found is None:
        raise Fault(f"{where} has no <{tag}>: add it, or take the element out")
    return found


def word(node: Node, tag: str, rest: str = "") -> str:
    """The text of a child, or `rest` where there is no such child."""
    found = node.find(tag)
    return rest if found is None or found.text is None else found.text.strip()


def number(node: Node, where: str) -> float:
    """The finite number that is an element's text."""
    text = (node.text or "").strip()
    try:
        result = float(text)
    except ValueError:
        raise Fault(f"{where}: <{node.tag}> is {text!r}: write a number") from None
    if not abs(result) < _LARGE:
        raise Fault(f"{where}: <{node.tag}> is {text}: write a number below {_LARGE:.0e}")
    return result


def _integer(text: str | None, what: str) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise Fault(f"{what} is {text!r}: write a whole number") from None


def identity(node: Node) -> int:
    """An element's id."""
    return _integer(node.get("id"), f"the id of a <{node.tag}>")


def whole(node: Node, where: str) -> int:
    """The whole number that is an element's text."""
    return _integer((node.text or "").strip(), f"{where}: <{node.tag}>")


def references(node: Node, tag: str, where: str) -> tuple[int, ...]:
    """The `ref` of all children of that tag."""
    return tuple(_integer(one.get("ref"), f"{where}: ref of <{tag}>") for one in node.findall(tag))


def value(node: Node, where: str) -> tuple[float, float]:
    """The bounds of an exact value or of an interval."""
    exact = node.find("exact")
    if exact is not None:
        both = number(exact, where)
        return both, both
    low = child(node, "intervalStart", f"{where}: <{node.tag}>")
    return number(low, where), number(child(node, "intervalEnd", where), where)


def point(node: Node, where: str) -> tuple[float, float]:
    """x and y of a <point> or <center>; a height is left out."""
    x, y = child(node, "x", where), child(node, "y", where)
    return number(x, where), number(y, where)


def points(node: Node, where: str) -> Floats:
    """The <point> children, [p, 2]."""
    listed = [point(one, where) for one in node.findall("point")]
    return np.array(listed, np.float64).reshape(-1, 2)


def shape_of(node: Node, where: str) -> Shape | None:
    """The shapes among an element's children; None where there is none.

    A rectangle's `originXShift` says where on it the origin is, from its middle on.
    """
    parts = [
        *(_rectangle(one, where) for one in node.findall("rectangle")),
        *(_circle(one, where) for one in node.findall("circle")),
        *(points(one, where) for one in node.findall("polygon")),
    ]
    parts = [part for part in parts if len(part)]
    return Shape(outline=np.concatenate(parts)) if parts else None


def _rectangle(node: Node, where: str) -> Floats:
    size = [number(child(node, tag, where), where) for tag in ("length", "width")]
    if min(size) <= 0.0:
        raise Fault(f"{where}: a rectangle of {size[0]} x {size[1]} m: make both sides positive")
    shift, turn = node.find("originXShift"), node.find("orientation")
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * np.array(size) / 2.0
    if shift is not None:
        corners[:, 0] -= number(shift, where)
    if turn is not None:
        c, s = math.cos(number(turn, where)), math.sin(number(turn, where))
        corners = corners @ np.array([[c, s], [-s, c]])
    return corners + _centre(node, where)


def _circle(node: Node, where: str) -> Floats:
    radius = number(child(node, "radius", where), where)
    if radius <= 0.0:
        raise Fault(f"{where}: a circle of radius {radius} m: make it positive")
    turn = np.arange(_ROUND) * (2.0 * math.pi / _ROUND)
    return np.stack([np.cos(turn), np.sin(turn)], 1) * radius + _centre(node, where)


def _centre(node: Node, where: str) -> tuple[float, float]:
    centre = node.find("center")
    return (0.0, 0.0) if centre is None else point(centre, where)


def place_of(node: Node, where: str) -> tuple[float, float]:
    """The point of a <position>, or the middle of the shapes in it."""
    exact = node.find("point")
    if exact is not None:
        return point(exact, where)
    shape = shape_of(node, where)
    if shape is None:
        raise Fault(f"{where}: <{node.tag}> holds no point and no shape: give one")
    return shape.middle
