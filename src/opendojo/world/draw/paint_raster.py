"""The atlas, repacked for pictures: side by side what covers a cell and how far the nearest line
is, and how far the road's edge is.

Around a smooth line a distance is a plane over a cell, so a cell needs its value at the low corner
and its gradient, three bytes, and interpolation is two products. Bits of a cell's first entry:
0 stripes of a crossing or a stop line; 1 pavement that lies on the road; 2 pavement beside it;
3 the line is yellow; 4-7 texture; 8-15 distance; 16-23, 24-31 its gradient along x and y. Distances
from lines are in 1/128 m, those of wide lines times 0.6, so that all lines are 0.15 m wide.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from opendojo.world.exact import hashed
from opendojo.world.town.atlas import EDGE_STEP_M, LINE_STEP_M, Atlas, Ground

__all__ = [
    "EDGE_GRADIENT", "EDGE_UNIT_M", "GRADIENT", "HALF_LINE", "ISLAND_BIT", "STRIPE_BIT", "WALK_BIT",
    "YELLOW_BIT", "Raster", "pack",
]  # fmt: skip

STRIPE_BIT, ISLAND_BIT, WALK_BIT, YELLOW_BIT = 1, 2, 4, 8
HALF_LINE = 0.075 / LINE_STEP_M
"""Half a line's width, in units of distance."""
GRADIENT = 4.0
"""Units of the gradient in a unit of distance a cell."""
EDGE_UNIT_M = 1.0 / 64.0
EDGE_GRADIENT = 7.0
_WIDE = 0.15 / 0.25
_TILE = 256


class Raster(NamedTuple):
    """Packed rasters of g towns."""

    cells: Tensor
    """int32 [cells, 2], town after town, row after row, cells of 0.25 m. The second entry has the
    distance from the road's edge in bits 8-31, as the first, in `EDGE_UNIT_M`, positive on the
    road; its bits 0-7 are 0."""
    cover: Tensor
    """uint8 [cells]: `Atlas.ground` itself."""
    rows: Tensor
    columns: Tensor
    """float32 [g]: the size of each town's part."""
    first: Tensor
    """int32 [g]: its first cell."""
    x0_m: Tensor
    y0_m: Tensor


def pack(atlas: Atlas) -> Raster:
    """Repack, town by town."""
    towns, height, width = atlas.lines.shape
    sizes = atlas.sizes or ((height, width),) * towns
    cells, cover, first = [], [], [0]
    for town, (rows, columns) in enumerate(sizes):
        corners = _corners(atlas.edge[town, : rows // 2, : columns // 2])
        edge = [value * (EDGE_STEP_M / EDGE_UNIT_M) for value in corners]
        ground = atlas.ground[town, :rows, :columns]
        lines = atlas.lines[town, :rows, :columns]
        a, b, c, d = corners
        fine = _fine(lines, ground, (a + b + c + d) * 0.25)
        cells.append(torch.stack([fine, _quarters(edge, rows, columns)], 2).flatten(0, 1))
        cover.append(ground.flatten())
        first.append(first[-1] + rows * columns)
    device = atlas.lines.device
    size = torch.tensor(sizes, dtype=torch.float32, device=device)
    return Raster(
        torch.cat(cells), torch.cat(cover), size[:, 0], size[:, 1],
        torch.tensor(first[:-1], dtype=torch.int32, device=device), atlas.x0_m, atlas.y0_m,
    )  # fmt: skip


def _corners(entry: Tensor) -> list[Tensor]:
    return [((entry >> shift) & 255).to(torch.float32) - 128.0 for shift in (0, 8, 16, 24)]


def _quarters(corners: list[Tensor], rows: int, columns: int) -> Tensor:
    """The planes of cells twice as large, cut up: [rows, columns]."""
    value, along, up = _plane(corners)
    cells = torch.empty((rows, columns), dtype=torch.int32, device=value.device)
    for row in (0, 1):
        for column in (0, 1):
            corner = value + (along * column + up * row) * 0.5
            cells[row::2, column::2] = _bits(corner, along * 0.5, up * 0.5, EDGE_GRADIENT)
    return cells


def _plane(corners: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The plane nearest to the four corners, in the order of `Atlas`: at the low one, gradient."""
    a, b, c, d = corners
    along, up = (b + d - a - c) * 0.5, (c + d - a - b) * 0.5
    return (a + b + c + d) * 0.25 - (along + up) * 0.5, along, up


def _bits(value: Tensor, along: Tensor, up: Tensor, gradient: float) -> Tensor:
    """Bits 8-31 of an entry."""
    parts = (value, along * gradient, up * gradient)
    bits = [p.round().clamp(-127, 127).to(torch.int32) & 255 for p in parts]
    return (bits[0] << 8) | (bits[1] << 16) | (bits[2] << 24)


def _fine(lines: Tensor, ground: Tensor, edge: Tensor) -> Tensor:
    corners = _corners(lines)
    a, b, c, d = corners
    most = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
    least = torch.minimum(torch.minimum(a, b), torch.minimum(c, d))
    paint = (most - least <= 0.5 / LINE_STEP_M) & (most < 127)
    scale = 1.0 + (_WIDE - 1.0) * ((ground & Ground.WIDE) > 0).to(torch.float32)
    # where there is no paint the nearest is far away
    paint, none = paint.to(torch.float32), 127.0 * (~paint).to(torch.float32)
    planes = _bits(*_plane([value * scale * paint + none for value in corners]), GRADIENT)
    code = ground & 15
    pavement = (code == Ground.SIDEWALK) | (code == Ground.ISLAND)
    near = pavement.clone()
    near[1:] |= pavement[:-1]
    near[:-1] |= pavement[1:]
    near[:, 1:] |= pavement[:, :-1]
    near[:, :-1] |= pavement[:, 1:]
    twice = edge.repeat_interleave(2, 0).repeat_interleave(2, 1)
    twice = twice[: code.shape[0], : code.shape[1]] * EDGE_STEP_M
    beside = pavement | (near & (code == Ground.ROAD))
    bits = ((code == Ground.CROSSING) | (code == Ground.STOP)).to(torch.int32) * STRIPE_BIT
    bits |= (pavement & (twice > 0.2)).to(torch.int32) * ISLAND_BIT
    bits |= beside.to(torch.int32) * WALK_BIT
    bits |= ((ground & Ground.YELLOW) > 0).to(torch.int32) * YELLOW_BIT
    grain = _grain(code.shape[0], code.shape[1], code.device)
    # asphalt is smoother than grass
    grain = 8 + ((grain - 8) >> (code != Ground.GRASS).to(torch.int32))
    return planes | bits | (grain << 4)


def _grain(height: int, width: int, device: torch.device) -> Tensor:
    """Texture, 1 to 15, about 8: a tile over and over."""
    place = torch.arange(_TILE, device=device)
    draw = hashed(place[:, None], place)
    tile = ((draw & 7) + ((draw >> 8) & 7) + 1).to(torch.int32)
    return tile.repeat(-(-height // _TILE), -(-width // _TILE))[:height, :width]
