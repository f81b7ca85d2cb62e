"""A street: lanes both ways along one middle line, with its paint and ground.

Seen from a junction a street is an arm. Up to its mouth, a distance from the junction's middle, run
the street's own lanes; what lies inside belongs to the junction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from opendojo.world.town.block_curves import Curve, Pose, cut, joined, offset, reverse, thin
from opendojo.world.town.block_draft import Draft, Track
from opendojo.world.town.graph import AreaKind

__all__ = ["WALK_M", "Arm", "Street", "lay_street", "stop_bar"]

WALK_M = 3.0
"""Width of a crossing for people."""
_CLEAR_M = 0.6  # from the mouth to a walk, and from a walk to a stop line
_BAR_M = 0.4
_TAB_M = 0.5  # by which a street's ground reaches into a junction's
_SOLID_M = 14.0  # no overtaking this close to a junction


@dataclass(slots=True, kw_only=True)
class Street:
    """A street between two nodes; its middle line runs from node to node."""

    curve: Curve
    ways: int
    """Lanes each way."""
    lane_m: float
    limit_mps: float
    sidewalk_m: float
    """0 where there is none."""
    yellow: bool
    edge_lines: bool = False
    gutter_m: float = 0.35
    """From the outermost lane to the road's edge."""
    arms: tuple[Arm, Arm] = field(init=False)
    ahead: list[int] = field(default_factory=list)
    """Lanes along the middle line, from the innermost to the outermost."""
    back: list[int] = field(default_factory=list)
    """Lanes against it, likewise."""

    def __post_init__(self) -> None:
        """Both ends."""
        self.arms = (Arm(street=self, far=False), Arm(street=self, far=True))

    @property
    def half_m(self) -> float:
        """Half the width from edge to edge."""
        return self.ways * self.lane_m + self.gutter_m

    def across_m(self, lane: int) -> float:
        """From the middle line to that of a lane."""
        return (lane + 0.5) * self.lane_m


@dataclass(slots=True, kw_only=True)
class Arm:
    """An end of a street, as its junction sees it."""

    street: Street
    far: bool
    """Whether the street's middle line ends here (else it begins here)."""
    node: int = -1
    mouth_m: float = 0.0
    walk: bool = False
    bar: bool = False
    """Whether there is a stop line."""
    yielding: bool = False
    """Whether its traffic gives way by signs."""
    tail: Curve | None = None
    """A curve by which the approaching lane is prolonged (into a roundabout)."""
    tail_m: float = 0.0
    """How much of it the lane took."""
    signal: int = -1

    @property
    def yaw_rad(self) -> float:
        """Direction out of the junction."""
        curve = self.street.curve
        return curve.end[2] + math.pi if self.far else curve.start[2]

    @property
    def inward(self) -> list[int]:
        """Lanes that come in, innermost first."""
        return self.street.ahead if self.far else self.street.back

    @property
    def outward(self) -> list[int]:
        """Lanes that lead out, innermost first."""
        return self.street.back if self.far else self.street.ahead

    @property
    def walk_m(self) -> float:
        """From the mouth to the middle of the walk."""
        return _CLEAR_M + WALK_M / 2.0

    @property
    def stop_m(self) -> float:
        """From the mouth to the stop line's near edge."""
        return _BAR_M + _CLEAR_M + (WALK_M + _CLEAR_M if self.walk else 0.0)

    def pose(self, out_m: float, left_m: float) -> Pose:
        """A point seen from the junction's middle: outward, to the left; its yaw leads outward."""
        curve, yaw = self.street.curve, self.yaw_rad
        x, y, _ = curve.end if self.far else curve.start
        return (
            x + out_m * math.cos(yaw) - left_m * math.sin(yaw),
            y + out_m * math.sin(yaw) + left_m * math.cos(yaw),
            yaw,
        )


def lay_street(draft: Draft, street: Street) -> None:
    """Lanes, paint and ground of a street whose mouths are settled."""
    first, last = street.arms
    core = cut(street.curve, first.mouth_m, street.curve.length_m - last.mouth_m)
    street.ahead = _lanes(draft, street, core, last)
    street.back = _lanes(draft, street, reverse(core), first)
    _ground(draft, street, core)
    _paint(draft, street, core)
    for arm in street.arms:
        if arm.walk:
            _walk(draft, arm)
        if arm.bar:
            stop_bar(draft, arm)


def _lanes(draft: Draft, street: Street, core: Curve, end: Arm) -> list[int]:
    """Lanes along a curve towards an arm."""
    lanes = []
    for lane in range(street.ways):
        curve = offset(core, -street.across_m(lane))
        stop_m = curve.length_m - end.stop_m if end.bar else math.inf
        if end.tail is not None:
            # to a whole metre, where a lane's stations are exact however much it bends
            before = curve.length_m
            whole = math.floor(before + end.tail.length_m)
            curve = joined(curve, cut(end.tail, 0.0, whole - before))
            end.tail_m, stop_m = whole - before, curve.length_m
        lanes.append(
            draft.lane(
                Track(curve=curve, width_m=street.lane_m, limit_mps=street.limit_mps, stop_m=stop_m)
            )
        )
    draft.beside(lanes)
    return lanes


def _ground(draft: Draft, street: Street, core: Curve) -> None:
    """Road and sidewalks, each prolonged a little, and a little narrower, into the junctions."""
    kinds: list[tuple[AreaKind, float]] = [("road", street.half_m)]
    if street.sidewalk_m:
        kinds.append(("sidewalk", street.half_m + street.sidewalk_m))
    for kind, half in kinds:
        rx, ry = thin(offset(core, -half))
        lx, ly = thin(offset(core, half))
        ex, ey = _tab(core.end, _TAB_M, half - 0.05)
        sx, sy = _tab(core.start, -_TAB_M, half - 0.05)
        draft.polygon(
            kind,
            np.concatenate([rx, ex, lx[::-1], sx[::-1]]),
            np.concatenate([ry, ey, ly[::-1], sy[::-1]]),
        )


def _tab(pose: Pose, ahead_m: float, half_m: float) -> tuple[list[float], list[float]]:
    """Points to the right and to the left of a pose moved ahead."""
    x, y, yaw = pose
    x, y = x + ahead_m * math.cos(yaw), y + ahead_m * math.sin(yaw)
    across, up = half_m * math.sin(yaw), half_m * math.cos(yaw)
    return [x + across, x - across], [y - up, y + up]


def _paint(draft: Draft, street: Street, core: Curve) -> None:
    """Middle line (dashed away from junctions where the street is narrow), lane and edge lines."""
    first, last = street.arms
    start = first.stop_m if first.bar or first.walk else 0.0
    end = core.length_m - (last.stop_m if last.bar or last.walk else 0.0)
    if end - start < 4.0:
        return
    paint = cut(core, start, end)
    if street.ways > 1:
        for side in (-0.15, 0.15):
            draft.line(offset(paint, side), width_m=0.12, yellow=street.yellow)
    else:
        solid = min(_SOLID_M, paint.length_m / 3.0)
        draft.line(cut(paint, 0.0, solid), yellow=street.yellow)
        draft.line(
            cut(paint, solid, paint.length_m - solid), yellow=street.yellow, dash_m=3.0, gap_m=4.5
        )
        draft.line(cut(paint, paint.length_m - solid, paint.length_m), yellow=street.yellow)
    for lane in range(1, street.ways):
        for side in (-1.0, 1.0):
            draft.line(offset(paint, side * lane * street.lane_m), dash_m=3.0, gap_m=6.0)
    if street.edge_lines:
        for side in (-1.0, 1.0):
            draft.line(offset(core, side * street.ways * street.lane_m))


def _walk(draft: Draft, arm: Arm) -> None:
    """A crossing from sidewalk to sidewalk; its people's way is filled in by the junction."""
    street, at = arm.street, arm.mouth_m + arm.walk_m
    corners = [
        arm.pose(at + out * WALK_M / 2.0, left * (street.half_m - 0.1))
        for out, left in ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
    ]
    draft.polygon("crossing", np.array([c[0] for c in corners]), np.array([c[1] for c in corners]))


def stop_bar(draft: Draft, arm: Arm) -> None:
    """A stop line over the lanes that come in; teeth where they give way by signs."""
    street = arm.street
    far = arm.mouth_m + arm.stop_m
    low, high = 0.15, street.ways * street.lane_m
    spans = [(low, high)]
    if arm.yielding:
        teeth = max(3, round((high - low) / 0.8))
        pitch = (high - low) / teeth
        spans = [(low + i * pitch, low + (i + 0.62) * pitch) for i in range(teeth)]
    for left_from, left_to in spans:
        corners = [
            arm.pose(out, left)
            for out, left in (
                (far - _BAR_M, left_from),
                (far, left_from),
                (far, left_to),
                (far - _BAR_M, left_to),
            )
        ]
        draft.polygon("stop", np.array([c[0] for c in corners]), np.array([c[1] for c in corners]))
