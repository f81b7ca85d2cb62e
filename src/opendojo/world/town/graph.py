"""What a town is made of: lanes and how they join, paint, areas, signals, walks, what stands.

Everything here is numpy, float64, metres and radians in the town's own plane; a town is drawn from
a seed (`build`) or read from a file (`commonroad`), and then never changes. A lane runs along s,
with a station at each whole metre; offsets d are positive to the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "Area",
    "AreaKind",
    "Conflict",
    "Lane",
    "LaneKind",
    "Line",
    "Signal",
    "Static",
    "StaticKind",
    "Town",
    "Walk",
    "stations",
]

Floats = npt.NDArray[np.float64]

LaneKind = Literal["road", "junction", "roundabout", "ramp"]
AreaKind = Literal["road", "sidewalk", "crossing", "stop", "island"]
StaticKind = Literal["building", "tree", "pole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Where another lane of the same junction crosses, or merges into, a lane."""

    lane: int
    """The other lane."""
    from_m: float
    to_m: float
    """The stretch of this lane that the other's traffic sweeps."""
    other_from_m: float
    other_to_m: float
    """The stretch of the other lane that this one's traffic sweeps."""
    yields: bool
    """Whether traffic of this lane gives way to the other's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A lane's middle line at stations s = 0, 1, 2, ... m; float64 [k], k = floor(length) + 2.

    The stations past the lane's end go on with its last curvature, so that interpolation between
    floor(s) and floor(s) + 1 holds for every s in [0, length].
    """

    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    """Unwrapped: neighbours never differ by more than pi."""
    curvature: Floats
    """1/m, positive to the left."""
    length_m: float
    width_m: float
    limit_mps: float
    kind: LaneKind = "road"
    next: tuple[int, ...] = ()
    """Lanes that begin where this one ends; none at the edge of the town; at most four."""
    left: int = -1
    right: int = -1
    """The lane beside this one into which traffic of this one may change; -1 for none. It runs the
    same way and is parallel: a point at s here is at s * length there / length here."""
    signal: int = -1
    """Index of the `Signal` that lets traffic leave this lane; -1 for none."""
    stop_m: float = math.inf
    """Where traffic that must wait (red, giving way) halts; inf for nowhere."""
    conflicts: tuple[Conflict, ...] = ()
    """Lanes that cross or join this one; of lanes in junctions and roundabouts and at merges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A painted line, at most 0.3 m wide."""

    x_m: Floats
    y_m: Floats
    width_m: float = 0.15
    yellow: bool = False
    dash_m: float = 0.0
    gap_m: float = 0.0
    """Dashes and gaps along the line; a solid one has gap_m 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A simple polygon of ground; later ones in a town's list lie on top."""

    kind: AreaKind
    x_m: Floats
    y_m: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Lights that change together, by the clock alone: time modulo the period."""

    period_s: float
    green_from_s: float
    green_to_s: float
    """Green in [from, to) of the period, 0 <= from < to <= period - yellow_s."""
    yellow_s: float = 3.0
    """Yellow follows green; the rest is red."""
    heads: tuple[tuple[float, float, float], ...] = ()
    """x, y and the direction (yaw) in which each head shows its light."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A way for people on foot, at stations 1 m apart as a lane's, over the road."""

    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    length_m: float
    width_m: float
    signal: int = -1
    """People may set out while this signal is red (with time to get across); -1: any time, and
    traffic gives way."""
    conflicts: tuple[Conflict, ...] = ()
    """Lanes that it crosses; `yields` is that of the people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """An upright box that stands still. A tree is its crown: a box above its stem."""

    kind: StaticKind
    x_m: float
    y_m: float
    yaw_rad: float
    length_m: float
    width_m: float
    base_m: float
    """Height of its underside."""
    top_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A map: lanes and all that stands or is painted around them."""

    name: str
    left_hand: bool
    """Whether traffic keeps to the left."""
    lanes: tuple[Lane, ...] = field(repr=False)
    lines: tuple[Line, ...] = field(repr=False)
    areas: tuple[Area, ...] = field(repr=False)
    """The union of the "road" ones is what a vehicle may drive on."""
    signals: tuple[Signal, ...] = field(default=(), repr=False)
    walks: tuple[Walk, ...] = field(default=(), repr=False)
    statics: tuple[Static, ...] = field(default=(), repr=False)
    starts: tuple[int, ...] = field(default=(), repr=False)
    """Lanes on which an ego's route may begin; empty: any lane of kind "road"."""

    @property
    def bounds_m(self) -> tuple[float, float, float, float]:
        """Low x, low y, high x, high y of the areas."""
        x = np.concatenate([area.x_m for area in self.areas])
        y = np.concatenate([area.y_m for area in self.areas])
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def stations(x_m: Floats, y_m: Floats) -> tuple[Floats, Floats, Floats, Floats, float]:
    """A polyline [p >= 2] as `Lane` wants it: x, y, yaw, curvature at whole metres, and the length.

    Positions are interpolated linearly along the polyline, the yaw between the middles of its
    pieces, so give points close together where it bends.
    """
    piece = np.hypot(np.diff(x_m), np.diff(y_m))
    keep = np.concatenate([[True], piece > 1e-9])
    x_m, y_m = np.asarray(x_m, np.float64)[keep], np.asarray(y_m, np.float64)[keep]
    dx, dy = np.diff(x_m), np.diff(y_m)
    piece = np.hypot(dx, dy)
    arc = np.concatenate([[0.0], np.cumsum(piece)])
    length = float(arc[-1])
    s = np.arange(math.floor(length) + 2, dtype=np.float64)
    heading = np.unwrap(np.arctan2(dy, dx))
    yaw = np.interp(s, (arc[1:] + arc[:-1]) / 2.0, heading)
    over = np.maximum(s - length, 0.0)
    x = np.interp(s, arc, x_m) + over * math.cos(heading[-1])
    y = np.interp(s, arc, y_m) + over * math.sin(heading[-1])
    curvature = np.gradient(yaw) if len(yaw) > 2 else np.zeros_like(yaw)
    return x, y, yaw, curvature, length
