"""Smooth lines through a file's points, joined where lanelets join.

Between two points a line is a cubic with the directions that the points around suggest (Catmull and
Rom 1974); where lanelets join all share one point and one direction, so that a car finds neither
gap nor kink.
"""

from __future__ import annotations

import math

import numpy as np

from opendojo.world.town.block_curves import STEP_M, Curve, Floats

__all__ = ["held", "joined", "smooth"]

_ROUND_M = 2.0
"""Directions of longer pieces count no more than those of pieces as long as this."""


def smooth(
    points: Floats,
    start: tuple[float, float] | None = None,
    end: tuple[float, float] | None = None,
) -> Curve:
    """A smooth curve through points [p >= 2, 2], with given directions at its ends if any."""
    piece = np.diff(points, axis=0)
    length = np.hypot(*piece.T)
    ways = piece / length[:, None]
    tangent = np.empty_like(points)
    tangent[0], tangent[-1] = ways[0], ways[-1]
    if len(ways) > 1:
        mixed = ways[:-1] * length[1:, None] + ways[1:] * length[:-1, None]
        size = np.hypot(*mixed.T)[:, None]
        tangent[1:-1] = np.where(size > 1e-6, mixed / np.maximum(size, 1e-6), ways[1:])
        # the ends mirror their neighbours, as on an arc
        for at, inner, way in ((0, 1, ways[0]), (-1, -2, ways[-1])):
            tangent[at] = 2.0 * (tangent[inner] @ way) * way - tangent[inner]
    if start is not None:
        tangent[0] = start
    if end is not None:
        tangent[-1] = end
    steps = np.maximum(1, np.ceil(length / STEP_M)).astype(int)
    row = np.repeat(np.arange(len(steps)), steps)
    u = (np.arange(len(row)) - np.repeat(np.cumsum(steps) - steps, steps)) / steps[row]
    row, u = np.append(row, len(steps) - 1), np.append(u, 1.0)
    u, h = u[:, None], length[row][:, None]
    a, b, ta, tb = points[row], points[row + 1], tangent[row], tangent[row + 1]
    at = (
        a * (1.0 + u * u * (2.0 * u - 3.0))
        + b * (u * u * (3.0 - 2.0 * u))
        + h * (ta * (u * (1.0 - u) ** 2) - tb * (u * u * (1.0 - u)))
    )
    slope = 6.0 * (b - a) * (u * (1.0 - u)) + h * (
        ta * ((1.0 - u) * (1.0 - 3.0 * u)) + tb * (u * (3.0 * u - 2.0))
    )
    yaw = np.unwrap(np.arctan2(slope[:, 1], slope[:, 0]))
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(at, axis=0).T))])
    return Curve(
        x_m=at[:, 0], y_m=at[:, 1], yaw_rad=yaw, curvature=np.gradient(yaw, arc), arc_m=arc
    )


def joined(middles: list[Floats], follows: list[list[int]]) -> list[Curve]:
    """Smooth curves that share points and directions where they join."""
    ends = _joints(follows)
    many = int(ends.max()) + 1
    points, ways, count = np.zeros((many, 2)), np.zeros((many, 2, 2)), np.zeros(many)
    for i, line in enumerate(middles):
        for side, (at, way) in enumerate(((0, line[1] - line[0]), (-1, line[-1] - line[-2]))):
            joint, long = ends[i, side], float(np.hypot(*way))
            points[joint] += line[at]
            count[joint] += 1.0
            ways[joint, side] += way / max(long, 1e-9) * min(long, _ROUND_M)
    points /= count[:, None]
    size = np.hypot(ways[..., 0], ways[..., 1])
    # where lanes part or join, those before count as much as those behind
    mixed = (ways / np.maximum(size, 1e-9)[..., None]).sum(1)
    long = np.hypot(*mixed.T)
    shared = (size.min(1) > 0.0) & (long > 0.5)
    curves = []
    for i, line in enumerate(middles):
        first, last = ends[i]
        arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        share = (arc / arc[-1])[:, None]
        line = line + (points[first] - line[0]) * (1.0 - share) + (points[last] - line[-1]) * share
        start, end = (tuple(mixed[j] / long[j]) if shared[j] else None for j in (first, last))
        curves.append(smooth(line, start, end))
    return curves


def _joints(follows: list[list[int]]) -> np.ndarray:
    """Which joint a lane's start and end are, int [lanes, 2]."""
    root = list(range(2 * len(follows)))

    def find(k: int) -> int:
        while root[k] != k:
            root[k] = root[root[k]]
            k = root[k]
        return k

    for i, after in enumerate(follows):
        for other in after:
            root[find(2 * i + 1)] = find(2 * other)
    found = [find(k) for k in range(len(root))]
    return np.unique(found, return_inverse=True)[1].reshape(-1, 2)


def held(length_m: float) -> float:
    """A length that keeps its whole metres in 32 bits: 9.9999999 would become 10 there, and its
    stations one too few."""
    whole = np.float32(math.floor(length_m) + 1.0)
    return (
        float(np.nextafter(whole, np.float32(0.0))) if np.float32(length_m) >= whole else length_m
    )
