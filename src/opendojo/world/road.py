"""One road: a function of its seed.

A two-lane road for right-hand traffic, drawn as a chain of straights and arcs. The arcs' curvature
is smoothed by a sliding mean over `RAMP_M`, which turns each jump into a ramp: a clothoid. The
heading stays within `MAX_HEADING_RAD` of the start's, so x rises all along and the road cannot meet
itself.

Along the road runs the arc length s, from 0 at the start; across it the offset d, positive to the
left of the centre line. Beyond both ends the road goes on straight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "BEYOND_M",
    "CELL_M",
    "LANE_M",
    "LATERAL_MPS2",
    "PAVED_M",
    "Grid",
    "Road",
    "draw_road",
    "stream",
]

Floats = npt.NDArray[np.float64]

LANE_M = 3.5
"""Width of a lane; the edge lines' outer rims are at +-LANE_M."""
PAVED_M = LANE_M + 0.8
"""Half the width of what is paved."""
BEYOND_M = 120.0
"""Road beyond the end of the route, so that its end is not in the picture."""
LATERAL_MPS2 = 2.0
"""Lateral acceleration in curves that drivers do not exceed."""
BRAKE_MPS2 = 1.2
"""Deceleration with which drivers slow down for a curve ahead."""
RAMP_M = 12.0
MAX_HEADING_RAD = math.radians(75.0)
CELL_M = 4.0
_MARGIN_M = 90.0
_FINE = 4  # integration steps a metre


def stream(seed: int, name: int) -> np.random.Generator:
    """The generator of a seed's stream of draws: each use of chance has its own `name`."""
    return np.random.Generator(np.random.Philox(key=[seed, name]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which station of a road is nearest, on square cells of `CELL_M`."""

    x_m: float
    """Low x of the first cell."""
    y_m: float
    """Low y of the first cell."""
    station: npt.NDArray[np.int32]
    """Index of the station nearest to the cell's centre, [rows along y, columns along x]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """A road's centre line at stations 1 m apart, float64 [stations]."""

    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    curvature: Floats
    """1/m, positive to the left; 0 at both ends."""
    ahead_mps: Floats
    """Fastest comfortable speed for those who drive along s: the limit, curves, braking."""
    oncoming_mps: Floats
    """The same for those who drive against s."""
    limit_mps: float
    grid: Grid

    @property
    def length_m(self) -> float:
        """Arc length from the first station to the last."""
        return float(len(self.x_m) - 1)


def draw_road(seed: int, length_m: float) -> Road:
    """The road of a seed, at least `length_m` long; a longer one begins in the same way."""
    rng = stream(seed, 0)
    limit_mps = float(rng.uniform(8.0, 13.0))
    stations = math.ceil(length_m) + 1
    bend = _curvature(rng, stations * _FINE)
    left_m = stations - 4 - np.arange(len(bend)) / _FINE
    bend *= (left_m / RAMP_M).clip(0.0, 1.0)
    step = 1.0 / _FINE
    yaw = np.concatenate([[0.0], np.cumsum(bend) * step])
    middle = (yaw[1:] + yaw[:-1]) / 2.0
    x = np.concatenate([[0.0], np.cumsum(np.cos(middle)) * step])[::_FINE][:stations]
    y = np.concatenate([[0.0], np.cumsum(np.sin(middle)) * step])[::_FINE][:stations]
    curvature = np.concatenate([[0.0], bend])[::_FINE][:stations]
    curve_mps = np.sqrt(LATERAL_MPS2 / np.maximum(np.abs(curvature), 1e-6))
    curve_mps = np.minimum(curve_mps, limit_mps)
    return Road(
        x_m=x,
        y_m=y,
        yaw_rad=yaw[::_FINE][:stations],
        curvature=curvature,
        ahead_mps=_paced(curve_mps),
        oncoming_mps=_paced(curve_mps[::-1])[::-1],
        limit_mps=limit_mps,
        grid=_grid(x, y),
    )


def _curvature(rng: np.random.Generator, steps: int) -> Floats:
    """Smoothed curvature of a chain of segments, [steps] at 1 / _FINE metres."""
    pieces = [np.zeros(int(rng.uniform(12.0, 32.0) * _FINE))]
    first, heading, total = True, 0.0, len(pieces[0])
    while total < steps:
        length_m = rng.uniform(25.0, 70.0)
        radius_m = rng.uniform(35.0, 70.0 if first else 150.0)
        side = 1.0 if rng.random() < 0.5 else -1.0
        straight = rng.random() < 0.25 and not first
        if abs(heading + side * length_m / radius_m) > MAX_HEADING_RAD:
            side = -side
        # towards the other side there is always room for most of a segment
        room_m = (MAX_HEADING_RAD - side * heading) * radius_m
        length_m = min(length_m, room_m)
        bend = 0.0 if straight else side / radius_m
        count = int(length_m * _FINE)
        pieces.append(np.full(count, bend))
        heading += bend * count / _FINE
        first, total = False, total + count
    width = int(RAMP_M * _FINE)
    chain = np.concatenate([np.zeros(width), *pieces, np.zeros(width)])
    sums = np.cumsum(chain)
    return ((sums[width:] - sums[:-width]) / width)[width // 2 :][:steps]


def _paced(curve_mps: Floats) -> Floats:
    """Lower each speed so that braking at BRAKE_MPS2 meets every later one: v^2 = w^2 + 2 b s."""
    run = 2.0 * BRAKE_MPS2 * np.arange(len(curve_mps))
    ahead = np.minimum.accumulate((curve_mps**2 + run)[::-1])[::-1]
    return np.sqrt(ahead - run)


def _grid(x: Floats, y: Floats) -> Grid:
    """Nearest stations: among every fourth first, then among that one's neighbours."""
    low_x, low_y = x.min() - _MARGIN_M, y.min() - _MARGIN_M
    columns = math.ceil((x.max() + _MARGIN_M - low_x) / CELL_M)
    rows = math.ceil((y.max() + _MARGIN_M - low_y) / CELL_M)
    cx = (low_x + (np.arange(columns) + 0.5) * CELL_M)[None, :, None]
    cy = (low_y + (np.arange(rows) + 0.5) * CELL_M)[:, None, None]
    coarse = ((cx - x[::4]) ** 2 + (cy - y[::4]) ** 2).argmin(2) * 4
    near = np.clip(coarse[..., None] + np.arange(-4, 5), 0, len(x) - 1)
    best = ((cx - x[near]) ** 2 + (cy - y[near]) ** 2).argmin(2)
    station = np.take_along_axis(near, best[..., None], 2)[..., 0]
    return Grid(x_m=float(low_x), y_m=float(low_y), station=station.astype(np.int32))
