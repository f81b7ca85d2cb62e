"""Bakes towns into the atlas: `atlas.py` says what its bytes mean.

Paint keeps sharp where lines lie close together, in a double yellow one say: every cell picks the
one line that is nearest to its middle, and its four corners all hold distances from that line. So a
line comes out exact to a step of a byte, whatever lies beside it, up to its cells' rims. Its ends,
and those of dashes, fall on rims of cells.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.world.town.atlas import (
    CELL_M,
    EDGE_CELL_M,
    EDGE_STEP_M,
    LINE_STEP_M,
    Atlas,
    Ground,
)
from opendojo.world.town.graph import Area, Floats, Line, Town
from opendojo.world.town.raster import Cover, Ints, Lattice, Pieces, nearest, polyline

__all__ = ["Baked", "bake", "bake_all"]

_MARGIN_M = 10.0
"""Bare ground around a town, so that the rim of its rasters is plain."""
_PAINT_M = 0.8
"""Cells with their middle within this of a line hold it: their corners are within 1 m."""
_EDGE_M = 8.0
_STRIPE_M = 0.5
"""Width of a crossing's stripes and of the gaps between them."""
_SHARP = 0.6
"""Sine of the bend from which a corner of a line is no curve."""
_NO_PAINT = 255
_KINDS = {
    "road": Ground.ROAD,
    "sidewalk": Ground.SIDEWALK,
    "crossing": Ground.CROSSING,
    "stop": Ground.STOP,
    "island": Ground.ISLAND,
}
_CHUNK = 1 << 15
_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Baked:
    """The rasters of one town, as those of `Atlas`."""

    lines: npt.NDArray[np.int32]
    edge: npt.NDArray[np.int32]
    ground: npt.NDArray[np.uint8]
    lane: npt.NDArray[np.int16]
    x0_m: float
    y0_m: float


_kept: OrderedDict[bytes, Baked] = OrderedDict()


def bake_all(towns: Sequence[Town], device: torch.device) -> Atlas:
    """The atlas of towns; rasters smaller than the largest go on as their bare rims do."""
    parts = [_baked(town) for town in towns]
    rows = max(part.ground.shape[0] for part in parts)
    columns = max(part.ground.shape[1] for part in parts)

    def stacked(name: str, share: int, rim: int) -> Tensor:
        first = getattr(parts[0], name)
        every = np.full((len(parts), rows // share, columns // share), rim, first.dtype)
        for i, part in enumerate(parts):
            raster = getattr(part, name)
            every[i, : raster.shape[0], : raster.shape[1]] = raster
        return torch.from_numpy(every).to(device)

    def corner(name: str) -> Tensor:
        return torch.tensor([getattr(part, name) for part in parts], device=device)

    return Atlas(
        lines=stacked("lines", 1, -1),
        edge=stacked("edge", 2, 0),
        ground=stacked("ground", 1, Ground.GRASS),
        lane=stacked("lane", 2, -1),
        x0_m=corner("x0_m"),
        y0_m=corner("y0_m"),
        sizes=tuple((part.ground.shape[0], part.ground.shape[1]) for part in parts),
    )


def _baked(town: Town) -> Baked:
    """`bake`, or what it gave for a town of the same content not long ago."""
    key = _content(town)
    if key not in _kept:
        _kept[key] = bake(town)
    _kept.move_to_end(key)
    while len(_kept) > 1 and sum(_bytes(part) for part in _kept.values()) > _KEPT_BYTES:
        _kept.popitem(last=False)
    return _kept[key]


def _bytes(part: Baked) -> int:
    return part.lines.nbytes + part.edge.nbytes + part.ground.nbytes + part.lane.nbytes


def _content(town: Town) -> bytes:
    """A hash of everything in a town that its rasters depend on."""
    digest = hashlib.sha256()
    shapes = [
        *((lane.x_m, lane.y_m, (lane.length_m, lane.width_m)) for lane in town.lanes),
        *((i.x_m, i.y_m, (i.width_m, i.yellow, i.dash_m, i.gap_m)) for i in town.lines),
        *((area.x_m, area.y_m, area.kind) for area in town.areas),
        *((walk.x_m, walk.y_m, walk.width_m) for walk in town.walks),
    ]
    for x_m, y_m, rest in shapes:
        digest.update(f"{len(x_m)} {rest!r};".encode())
        digest.update(np.ascontiguousarray(x_m, np.float64).tobytes())
        digest.update(np.ascontiguousarray(y_m, np.float64).tobytes())
    return digest.digest()


def bake(town: Town) -> Baked:
    """The rasters of one town."""
    shapes = [*town.areas, *town.lines, *town.lanes]
    low_x, low_y = (min(float(getattr(s, n).min()) for s in shapes) for n in ("x_m", "y_m"))
    high_x, high_y = (max(float(getattr(s, n).max()) for s in shapes) for n in ("x_m", "y_m"))
    x0, y0 = math.floor(low_x - _MARGIN_M), math.floor(low_y - _MARGIN_M)
    frame = Lattice(
        x0_m=x0,
        y0_m=y0,
        step_m=EDGE_CELL_M,
        rows=math.ceil((high_y + _MARGIN_M - y0) / EDGE_CELL_M),
        columns=math.ceil((high_x + _MARGIN_M - x0) / EDGE_CELL_M),
    )
    fine = Lattice(
        x0_m=x0 + CELL_M / 2,
        y0_m=y0 + CELL_M / 2,
        step_m=CELL_M,
        rows=2 * frame.rows,
        columns=2 * frame.columns,
    )
    edge = _edge(town, frame)
    ground = _ground(town, fine)
    lines = _lines(town.lines, fine, ground)
    _close_seams(ground, edge)
    return Baked(lines=lines, edge=edge, ground=ground, lane=_lane(town, frame), x0_m=x0, y0_m=y0)


def _packed(corners: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Values at corners [h + 1, w + 1] as cells [h, w] of four."""
    wide = corners.astype(np.uint32)
    pairs = wide[:, :-1] | wide[:, 1:] << 8
    return (pairs[:-1] | pairs[1:] << 16).view(np.int32)


def _edge(town: Town, frame: Lattice) -> npt.NDArray[np.int32]:
    """Signed distances from the edge of the road, packed."""
    cover = Cover([(a.x_m, a.y_m) for a in town.areas if a.kind == "road"])
    corners = Lattice(
        x0_m=frame.x0_m,
        y0_m=frame.y0_m,
        step_m=frame.step_m,
        rows=frame.rows + 1,
        columns=frame.columns + 1,
    )
    outline = cover.outline()
    point, _, far = nearest(outline, corners, np.full(len(outline.x_m), _EDGE_M), rounded=True)
    distance = np.full(corners.rows * corners.columns, _EDGE_M, np.float32)
    distance[point] = far
    inside = cover.on(corners)
    # points within a seam between two polygons are on the road
    beside = cover.on(corners.shifted(0.04, 0.04)) | cover.on(corners.shifted(0.04, -0.04))
    distance = distance.reshape(inside.shape)
    inside |= beside & (distance > 0.2)
    signed = np.where(inside, distance, -distance) * np.float32(1.0 / EDGE_STEP_M)
    return _packed(np.clip(np.rint(signed) + 128.0, 0.0, 255.0).astype(np.uint8))


def _close_seams(ground: npt.NDArray[np.uint8], edge: npt.NDArray[np.int32]) -> None:
    """Make road, in place, of bare cells well within the road's edge."""
    least = np.minimum.reduce([edge >> shift & 255 for shift in (0, 8, 16, 24)])
    inside = np.repeat(np.repeat(least > 128 + 0.25 / EDGE_STEP_M, 2, 0), 2, 1)
    bare = inside & (ground & 15 == Ground.GRASS)
    ground[bare] |= Ground.ROAD


def _ground(town: Town, fine: Lattice) -> npt.NDArray[np.uint8]:
    """What covers the cells' middles, later areas over earlier ones."""
    ground = np.zeros((fine.rows, fine.columns), np.uint8)
    for kind, group in groupby(town.areas, key=lambda area: area.kind):
        if kind == "crossing":
            for area in group:
                _draw(ground, fine, [area], _stripes(area, town))
        else:
            _draw(ground, fine, list(group), None)
    return ground


def _draw(
    ground: npt.NDArray[np.uint8],
    fine: Lattice,
    areas: list[Area],
    along: tuple[float, float] | None,
) -> None:
    """Areas of one kind, in place; in stripes where a direction is given."""
    x = np.concatenate([area.x_m for area in areas])
    y = np.concatenate([area.y_m for area in areas])
    c0, r0 = (max(int((v.min() - low) / CELL_M), 0) for v, low in ((x, fine.x0_m), (y, fine.y0_m)))
    window = Lattice(
        x0_m=fine.x0_m + c0 * CELL_M,
        y0_m=fine.y0_m + r0 * CELL_M,
        step_m=CELL_M,
        rows=min(int((y.max() - fine.y0_m) / CELL_M) + 2, fine.rows) - r0,
        columns=min(int((x.max() - fine.x0_m) / CELL_M) + 2, fine.columns) - c0,
    )
    covered = Cover([(area.x_m, area.y_m) for area in areas]).on(window)
    if along is not None:
        dx = window.x0_m + np.arange(window.columns) * CELL_M
        dy = window.y0_m + np.arange(window.rows)[:, None] * CELL_M
        u = along[0] * dx + along[1] * dy
        low = float((along[0] * x + along[1] * y).min())
        covered &= (u - low) % (2.0 * _STRIPE_M) < _STRIPE_M
    part = ground[r0 : r0 + window.rows, c0 : c0 + window.columns]
    part[covered] = _KINDS[areas[0].kind]


def _stripes(area: Area, town: Town) -> tuple[float, float] | None:
    """The direction across a crossing's stripes, that of the people; None if it is one stripe."""
    dx, dy = np.roll(area.x_m, -1) - area.x_m, np.roll(area.y_m, -1) - area.y_m
    longest = int(np.argmax(np.hypot(dx, dy)))
    yaw = math.atan2(dy[longest], dx[longest])
    across = area.y_m * math.cos(yaw) - area.x_m * math.sin(yaw)
    if across.max() - across.min() < 2.0 * _STRIPE_M:
        return None
    x, y = float(area.x_m.mean()), float(area.y_m.mean())
    nearest_m = 3.0
    for walk in town.walks:
        far = np.hypot(walk.x_m - x, walk.y_m - y)
        station = int(np.argmin(far))
        if far[station] < nearest_m:
            nearest_m, yaw = float(far[station]), float(walk.yaw_rad[station])
    return math.cos(yaw), math.sin(yaw)


def _painted(lines: Sequence[Line]) -> Iterator[tuple[Floats, Floats, int, int]]:
    """x, y, the line's index and the bits of every stretch that is painted."""
    for index, line in enumerate(lines):
        bits = (Ground.YELLOW if line.yellow else 0) | (Ground.WIDE if line.width_m > 0.2 else 0)
        if line.gap_m <= 0.0 or line.dash_m <= 0.0:
            yield line.x_m, line.y_m, index, bits
            continue
        arc = np.hypot(np.diff(line.x_m), np.diff(line.y_m))
        arc = np.concatenate([[0.0], np.cumsum(arc)])
        for start in np.arange(0.0, arc[-1], line.dash_m + line.gap_m):
            stop = min(start + line.dash_m, arc[-1])
            first, last = np.searchsorted(arc, [start, stop])
            s = np.concatenate([[start], arc[first:last], [stop]])
            yield np.interp(s, arc, line.x_m), np.interp(s, arc, line.y_m), index, bits


def _lines(
    lines: Sequence[Line], fine: Lattice, ground: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int32]:
    """Distances from lines, packed; sets the bits of the lines' looks in `ground`."""
    cells = np.full((fine.rows, fine.columns), -1, np.int32)
    stretches = list(_painted(lines))
    if not stretches:
        return cells
    count = [len(x) for x, *_ in stretches]
    pieces = polyline(
        np.concatenate([x for x, *_ in stretches]),
        np.concatenate([y for _, y, *_ in stretches]),
        np.repeat(np.arange(len(stretches)), count),
    )
    point, piece, _ = nearest(pieces, fine, np.full(len(pieces.x_m), _PAINT_M), rounded=False)
    bits = np.array([bits for *_, bits in stretches], np.uint8)
    ground.reshape(-1)[point] |= bits[pieces.owner[piece]]
    bend = _bends(pieces)
    for first in range(0, len(point), _CHUNK):
        some = slice(first, first + _CHUNK)
        cells.reshape(-1)[point[some]] = _corners(pieces, bend, fine, point[some], piece[some])
    return cells


def _bends(pieces: Pieces) -> Floats:
    """Sines of the bends before pieces, and one after the last; 0 for ends and sharp corners."""
    bend = pieces.cos[:-1] * pieces.sin[1:] - pieces.sin[:-1] * pieces.cos[1:]
    smooth = ~pieces.ends[:-1] & (np.abs(bend) < _SHARP)
    smooth &= pieces.cos[:-1] * pieces.cos[1:] + pieces.sin[:-1] * pieces.sin[1:] > 0.0
    return np.concatenate([[0.0], np.where(smooth, bend, 0.0), [0.0]])


def _corners(
    pieces: Pieces, bend: Floats, fine: Lattice, point: Ints, piece: Ints
) -> npt.NDArray[np.int32]:
    """Distances of the four corners of cells from the lines that they hold, packed.

    Left of a line that bends left is what is left of both its pieces, and left of one that bends
    right what is left of either; so the lesser and the greater of two distances from straight lines
    are the distance from the bent one, but for the rounding at its outside.
    """
    row, column = np.divmod(point, fine.columns)
    x, y = column * CELL_M + fine.x0_m, row * CELL_M + fine.y0_m
    around = [(dx * CELL_M / 2, dy * CELL_M / 2) for dy in (-1, 1) for dx in (-1, 1)]

    def left_of(k: Ints, some: Ints | slice) -> list[Floats]:
        cos, sin = pieces.cos[k], pieces.sin[k]
        middle = (y[some] - pieces.y_m[k]) * cos - (x[some] - pieces.x_m[k]) * sin
        return [middle + (dy * cos - dx * sin) for dx, dy in around]

    every = left_of(piece, slice(None))
    for joint, other in ((piece, piece - 1), (piece + 1, piece + 1)):
        some = np.flatnonzero(bend[joint])
        is_left = bend[joint[some]] > 0.0
        for far, beyond in zip(every, left_of(other[some], some), strict=True):
            here = far[some]
            far[some] = np.where(is_left, np.minimum(here, beyond), np.maximum(here, beyond))
    packed = np.zeros(len(point), np.uint32)
    for shift, far in enumerate(every):
        byte = np.clip(np.rint(far / LINE_STEP_M) + 128.0, 0.0, _NO_PAINT - 1)
        packed |= byte.astype(np.uint32) << np.uint32(8 * shift)
    return packed.view(np.int32)


def _lane(town: Town, frame: Lattice) -> npt.NDArray[np.int16]:
    """The lane on which the middles of cells lie."""
    middles = frame.shifted(EDGE_CELL_M / 2, EDGE_CELL_M / 2)
    x, y, owner = [], [], []
    for index, lane in enumerate(town.lanes):
        whole = math.floor(lane.length_m)
        s = np.append(np.arange(whole + 1.0), lane.length_m)
        grid = np.arange(len(lane.x_m))
        x.append(np.interp(s, grid, lane.x_m))
        y.append(np.interp(s, grid, lane.y_m))
        owner.append(np.full(len(s), index))
    pieces = polyline(np.concatenate(x), np.concatenate(y), np.concatenate(owner))
    half = np.array([lane.width_m for lane in town.lanes])[pieces.owner] / 2.0
    point, piece, _ = nearest(pieces, middles, half, rounded=False)
    cells = np.full(frame.rows * frame.columns, -1, np.int16)
    cells[point] = pieces.owner[piece].astype(np.int16)
    return cells.reshape(frame.rows, frame.columns)
