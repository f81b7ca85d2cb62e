"""The atlas, repacked for pictures: one look-up answers what covers a point and how far the nearest
line is, another how far the road's edge is.

Around a smooth line a distance is a plane over a cell, so a cell needs its value at the low corner
and its gradient, three bytes, and interpolation is two products. Bits of an entry of `fine`:
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
    "EDGE_UNIT_M", "GRADIENT", "HALF_LINE", "ISLAND_BIT", "STRIPE_BIT", "WALK_BIT", "YELLOW_BIT",
    "Raster", "pack",
]  # fmt: skip

STRIPE_BIT, ISLAND_BIT, WALK_BIT, YELLOW_BIT = 1, 2, 4, 8
HALF_LINE = 0.075 / LINE_STEP_M
"""Half a line's width, in units of distance."""
GRADIENT = 4.0
"""Units of the gradient in a unit of distance a cell."""
EDGE_UNIT_M = 1.0 / 64.0
EDGE_GRADIENT = 3.5
_WIDE = 0.15 / 0.25
_TILE = 256


class Raster(NamedTuple):
    """Packed rasters of g towns."""

    fine: Tensor
    """int32, town after town, row after row, cells of 0.25 m."""
    coarse: Tensor
    """int32, likewise, cells of 0.5 m: bits 8-31 as in `fine`, from the road's edge in
    `EDGE_UNIT_M`, positive on the road; bits 0-7 are 0."""
    cover: Tensor
    """uint8, as `fine`: `Atlas.ground` itself."""
    rows: Tensor
    columns: Tensor
    """float32 [g]: the size of each town's part of `fine`; even."""
    first: Tensor
    """int32 [g]: where it begins; a quarter of that in `coarse`."""
    x0_m: Tensor
    y0_m: Tensor


def pack(atlas: Atlas) -> Raster:
    """Repack, town by town."""
    towns, height, width = atlas.lines.shape
    sizes = atlas.sizes or ((height, width),) * towns
    fine, coarse, cover, first = [], [], [], [0]
    for town, (rows, columns) in enumerate(sizes):
        corners = _corners(atlas.edge[town, : rows // 2, : columns // 2])
        edge = [value * (EDGE_STEP_M / EDGE_UNIT_M) for value in corners]
        ground = atlas.ground[town, :rows, :columns]
        coarse.append(_planes(edge, EDGE_GRADIENT).flatten())
        lines = atlas.lines[town, :rows, :columns]
        a, b, c, d = corners
        fine.append(_fine(lines, ground, (a + b + c + d) * 0.25).flatten())
        cover.append(ground.flatten())
        first.append(first[-1] + rows * columns)
    device = atlas.lines.device
    size = torch.tensor(sizes, dtype=torch.float32, device=device)
    return Raster(
        torch.cat(fine), torch.cat(coarse), torch.cat(cover), size[:, 0], size[:, 1],
        torch.tensor(first[:-1], dtype=torch.int32, device=device), atlas.x0_m, atlas.y0_m,
    )  # fmt: skip


def _corners(entry: Tensor) -> list[Tensor]:
    return [((entry >> shift) & 255).to(torch.float32) - 128.0 for shift in (0, 8, 16, 24)]


def _planes(corners: list[Tensor], gradient: float) -> Tensor:
    """Bits 8-31: the plane nearest to the four corners, in the order of `Atlas`."""
    a, b, c, d = corners
    along, up = (b + d - a - c) * 0.5, (c + d - a - b) * 0.5
    value = (a + b + c + d) * 0.25 - (along + up) * 0.5
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
    planes = _planes([value * scale * paint + none for value in corners], GRADIENT)
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
