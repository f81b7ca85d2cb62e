"""Curves in the plane: straights, arcs, clothoids and what is made of them.

A curve is a row of points at most `STEP_M` apart, with heading and curvature known at each. Chains
of pieces with linear curvature are integrated exactly in heading and by Simpson's rule in position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "STEP_M",
    "Curve",
    "Floats",
    "Pose",
    "along",
    "chain",
    "connect",
    "cut",
    "ease",
    "fillet_reach",
    "joined",
    "offset",
    "outline",
    "reverse",
    "route",
    "stationed",
    "straight",
    "swerve",
    "thin",
    "wrapped",
]

Floats = npt.NDArray[np.float64]
Pose = tuple[float, float, float]
"""x, y, yaw."""

STEP_M = 0.25
_EASE_RAD = 0.35  # heading gained on the two clothoids of a bend
_SOFT_M = 16.0  # no bend of a street is shorter
_LEAST_M = 10.9  # least radius of a street's middle line
_FLAT_RAD = 0.6  # turns below this may be S-curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points along a curve; float64 [p >= 2]."""

    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    """Unwrapped."""
    curvature: Floats
    """1/m, positive to the left."""
    arc_m: Floats
    """Arc length from the first point."""

    @property
    def length_m(self) -> float:
        """Arc length from end to end."""
        return float(self.arc_m[-1])

    @property
    def start(self) -> Pose:
        """Pose of the first point."""
        return float(self.x_m[0]), float(self.y_m[0]), float(self.yaw_rad[0])

    @property
    def end(self) -> Pose:
        """Pose of the last point."""
        return float(self.x_m[-1]), float(self.y_m[-1]), float(self.yaw_rad[-1])


def wrapped(angle_rad: float) -> float:
    """The angle in [-pi, pi)."""
    return (angle_rad + math.pi) % (2.0 * math.pi) - math.pi


def ease(share: Floats) -> Floats:
    """Quintic step from 0 to 1 with no slope and no curvature at both ends; clipped outside."""
    u = np.clip(share, 0.0, 1.0)
    return u * u * u * (10.0 + u * (6.0 * u - 15.0))


def chain(start: Pose, pieces: Sequence[tuple[float, float, float]]) -> Curve:
    """Pieces (length, curvature at its start, at its end) one after another."""
    arcs, yaws, bends, middles = [np.zeros(1)], [np.full(1, start[2])], [], []
    bends.append(np.full(1, pieces[0][1]))
    arc, yaw = 0.0, start[2]
    for length, first, last in pieces:
        if length <= 1e-9:
            continue
        steps = max(1, math.ceil(length / STEP_M))
        s = np.linspace(0.0, length, 2 * steps + 1)[1:]
        turned = yaw + s * (first + s * ((last - first) / (2.0 * length)))
        arcs.append(arc + s[1::2])
        yaws.append(turned[1::2])
        middles.append(turned[0::2])
        bends.append(first + s[1::2] * ((last - first) / length))
        arc, yaw = arc + length, float(turned[-1])
    s, heading, middle = np.concatenate(arcs), np.concatenate(yaws), np.concatenate(middles)
    step = np.diff(s) / 6.0
    ahead, across = np.cos(heading), np.sin(heading)
    dx = step * (ahead[:-1] + 4.0 * np.cos(middle) + ahead[1:])
    dy = step * (across[:-1] + 4.0 * np.sin(middle) + across[1:])
    return Curve(
        x_m=start[0] + np.concatenate([[0.0], np.cumsum(dx)]),
        y_m=start[1] + np.concatenate([[0.0], np.cumsum(dy)]),
        yaw_rad=heading,
        curvature=np.concatenate(bends),
        arc_m=s,
    )


def straight(start: Pose, length_m: float) -> Curve:
    """A straight from a pose."""
    return chain(start, [(length_m, 0.0, 0.0)])


def _bend(turn_rad: float, radius_m: float) -> list[tuple[float, float, float]]:
    """Clothoid, arc, clothoid: a turn (positive to the left) with a least radius."""
    eased = min(_EASE_RAD, abs(turn_rad))
    bend = math.copysign(1.0 / radius_m, turn_rad)
    ramp, arc = eased * radius_m, (abs(turn_rad) - eased) * radius_m
    return [(ramp, 0.0, bend), (arc, bend, bend), (ramp, bend, 0.0)]


def fillet_reach(turn_rad: float) -> float:
    """From a bend's start to the corner it rounds off, in units of its least radius."""
    size_m = 10.0
    curve = chain((0.0, 0.0, 0.0), _bend(turn_rad, size_m))
    return math.hypot(*curve.end[:2]) / (2.0 * math.cos(turn_rad / 2.0) * size_m)


def route(
    points: Sequence[tuple[float, float]], radii_m: Sequence[float], clear_m: Floats
) -> Curve:
    """Straights through points, the inner ones rounded off.

    Radii are those given, more for slight turns, less where there is no room.
    `clear_m` [2] is how far the first and the last straight stay straight at the outer ends.
    """
    xy = np.array(points)
    legs = np.diff(xy, axis=0)
    length = np.hypot(legs[:, 0], legs[:, 1])
    yaw = np.arctan2(legs[:, 1], legs[:, 0])
    room = length / 2.0
    room[0], room[-1] = length[0] - clear_m[0], length[-1] - clear_m[1]
    if len(legs) == 2:
        room = np.array([length[0] - clear_m[0], length[1] - clear_m[1]])
    pieces: list[tuple[float, float, float]] = []
    spent = 0.0
    for corner in range(len(legs) - 1):
        turn = wrapped(float(yaw[corner + 1] - yaw[corner]))
        if abs(turn) < 1e-6:
            pieces.append((float(length[corner]) - spent, 0.0, 0.0))
            spent = 0.0
            continue
        reach = fillet_reach(turn)
        wanted = max(radii_m[corner], _SOFT_M / abs(turn))
        radius = min(wanted, float(min(room[corner], room[corner + 1])) / reach)
        if radius < _LEAST_M:
            raise ValueError("no room for a bend")
        pieces.append((float(length[corner]) - spent - reach * radius, 0.0, 0.0))
        pieces += _bend(turn, radius)
        spent = reach * radius
    pieces.append((float(length[-1]) - spent, 0.0, 0.0))
    return chain((float(xy[0, 0]), float(xy[0, 1]), float(yaw[0])), pieces)


def connect(start: Pose, end: Pose) -> Curve:
    """A smooth curve between poses, straight at both ends: one bend where that does, else an S."""
    turn = wrapped(end[2] - start[2])
    if abs(turn) < 1e-4:
        return _hermite(start, end)
    ux, uy, vx, vy = math.cos(start[2]), math.sin(start[2]), math.cos(end[2]), math.sin(end[2])
    dx, dy = end[0] - start[0], end[1] - start[1]
    cross = ux * vy - uy * vx
    lead, tail = (dx * vy - dy * vx) / cross, (ux * dy - uy * dx) / cross
    if min(lead, tail) < 0.5:
        return _hermite(start, end)
    room = min(lead, tail)
    radius = room / fillet_reach(turn)
    bend = chain(start, [(lead - room, 0.0, 0.0), *_bend(turn, radius), (tail - room, 0.0, 0.0)])
    if abs(turn) < _FLAT_RAD:
        other = _hermite(start, end)
        if np.abs(other.curvature).max() < np.abs(bend.curvature).max():
            return other
    return bend


def _hermite(start: Pose, end: Pose) -> Curve:
    """Quintic between poses with no curvature at both ends."""
    chord = math.hypot(end[0] - start[0], end[1] - start[1])
    t = np.linspace(0.0, 1.0, max(8, math.ceil(chord / STEP_M * 1.25)) + 1)
    step, slope, bent = ease(t), 30.0 * (t * (1.0 - t)) ** 2, 60.0 * t * (1 - t) * (1 - 2 * t)
    first = t - t**3 * (6.0 - t * (8.0 - 3.0 * t))
    first_slope = 1.0 - t**2 * (18.0 - t * (32.0 - 15.0 * t))
    first_bent = -t * (36.0 - t * (96.0 - 60.0 * t))
    last = -(t**3) * (4.0 - t * (7.0 - 3.0 * t))
    last_slope = -(t**2) * (12.0 - t * (28.0 - 15.0 * t))
    last_bent = -t * (24.0 - t * (84.0 - 60.0 * t))
    rows = []
    for axis, (u, v) in enumerate(
        ((math.cos(start[2]), math.cos(end[2])), (math.sin(start[2]), math.sin(end[2])))
    ):
        go = end[axis] - start[axis]
        rows.append(
            (
                start[axis] + go * step + chord * (u * first + v * last),
                go * slope + chord * (u * first_slope + v * last_slope),
                go * bent + chord * (u * first_bent + v * last_bent),
            )
        )
    (x, dx, ddx), (y, dy, ddy) = rows
    yaw = np.unwrap(np.arctan2(dy, dx))
    yaw += start[2] - yaw[0]
    return _measured(x, y, yaw, (dx * ddy - dy * ddx) / np.hypot(dx, dy) ** 3)


def _measured(x: Floats, y: Floats, yaw: Floats, curvature: Floats) -> Curve:
    """A curve from its points: each piece is taken as an arc, of length chord (1 + turn^2 / 24)."""
    piece = np.hypot(np.diff(x), np.diff(y)) * (1.0 + np.diff(yaw) ** 2 / 24.0)
    arc = np.concatenate([[0.0], np.cumsum(piece)])
    return Curve(x_m=x, y_m=y, yaw_rad=yaw, curvature=curvature, arc_m=arc)


def offset(curve: Curve, left_m: float) -> Curve:
    """The parallel at a distance to the left."""
    shrink = 1.0 - curve.curvature * left_m
    return _measured(
        curve.x_m - left_m * np.sin(curve.yaw_rad),
        curve.y_m + left_m * np.cos(curve.yaw_rad),
        curve.yaw_rad,
        curve.curvature / shrink,
    )


def swerve(curve: Curve, left_m: Floats) -> Curve:
    """The curve at offsets to the left that change slowly along it, one for each point."""
    lean = np.gradient(left_m, curve.arc_m) / (1.0 - curve.curvature * left_m)
    yaw = curve.yaw_rad + np.arctan(lean)
    x = curve.x_m - left_m * np.sin(curve.yaw_rad)
    y = curve.y_m + left_m * np.cos(curve.yaw_rad)
    bare = _measured(x, y, yaw, curve.curvature)
    return _measured(x, y, yaw, np.gradient(yaw, bare.arc_m))


def reverse(curve: Curve) -> Curve:
    """The same points the other way."""
    return Curve(
        x_m=curve.x_m[::-1],
        y_m=curve.y_m[::-1],
        yaw_rad=curve.yaw_rad[::-1] + math.pi,
        curvature=-curve.curvature[::-1],
        arc_m=curve.arc_m[-1] - curve.arc_m[::-1],
    )


def along(curve: Curve, s_m: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """x, y, yaw and curvature at arc lengths within the curve."""
    arc = curve.arc_m
    return (
        np.interp(s_m, arc, curve.x_m),
        np.interp(s_m, arc, curve.y_m),
        np.interp(s_m, arc, curve.yaw_rad),
        np.interp(s_m, arc, curve.curvature),
    )


def cut(curve: Curve, from_m: float, to_m: float) -> Curve:
    """The part between two arc lengths."""
    inner = curve.arc_m[(curve.arc_m > from_m + 1e-6) & (curve.arc_m < to_m - 1e-6)]
    s = np.concatenate([[from_m], inner, [to_m]])
    x, y, yaw, curvature = along(curve, s)
    return Curve(x_m=x, y_m=y, yaw_rad=yaw, curvature=curvature, arc_m=s - from_m)


def joined(first: Curve, second: Curve) -> Curve:
    """Two curves, the second of which begins where the first ends."""
    turns = round((first.yaw_rad[-1] - second.yaw_rad[0]) / (2.0 * math.pi)) * 2.0 * math.pi
    return Curve(
        x_m=np.concatenate([first.x_m, second.x_m[1:]]),
        y_m=np.concatenate([first.y_m, second.y_m[1:]]),
        yaw_rad=np.concatenate([first.yaw_rad, second.yaw_rad[1:] + turns]),
        curvature=np.concatenate([first.curvature, second.curvature[1:]]),
        arc_m=np.concatenate([first.arc_m, first.length_m + second.arc_m[1:]]),
    )


def thin(curve: Curve) -> tuple[Floats, Floats]:
    """x and y of as few of the points as keep within about a centimetre of the curve."""
    pace = np.minimum(np.sqrt(0.04 / (np.abs(curve.curvature) + 1e-4)), 12.0)
    spent = np.concatenate([[0.0], np.cumsum(np.diff(curve.arc_m) / pace[1:])])
    wanted = np.linspace(0.0, spent[-1], max(2, math.ceil(spent[-1]) + 1))
    keep = np.unique(np.searchsorted(spent, wanted - 1e-9))
    return curve.x_m[keep], curve.y_m[keep]


def outline(left: Curve, right: Curve) -> tuple[Floats, Floats]:
    """The polygon between two edges that run the same way, anticlockwise."""
    lx, ly = thin(left)
    rx, ry = thin(right)
    return np.concatenate([rx, lx[::-1]]), np.concatenate([ry, ly[::-1]])


def stationed(curve: Curve) -> tuple[Floats, Floats, Floats, Floats, float]:
    """x, y, yaw, curvature at whole metres as a `Lane` has them, and the length.

    The station past the end goes on along an arc of the end's curvature (along the tangent where
    that is none), so that the heading interpolated at the end is the curve's.
    """
    length = curve.length_m
    s = np.arange(math.floor(length) + 2, dtype=np.float64)
    x, y, yaw, curvature = along(curve, s)
    over, bend = float(s[-1]) - length, float(curve.curvature[-1])
    ahead = float(curve.yaw_rad[-1]) + over * bend / 2.0
    x[-1] = curve.x_m[-1] + over * math.cos(ahead)
    y[-1] = curve.y_m[-1] + over * math.sin(ahead)
    yaw[-1] = curve.yaw_rad[-1] + over * bend
    return x, y, yaw, curvature, length
