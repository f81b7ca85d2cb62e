"""The pixels' stage: every pixel's colour from its own ray; one function for luma and for chroma.

Everything is made of sums, products, minima and look-ups over whole tensors, with masks as numbers:
in eager mode each is a pass over a tile that stays in a core's cache, compiled they are one loop.
Colours are counted from black (`tones.BLACK`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from opendojo.world.draw.column_bands import BANDS, Bands, clearness, edge_slopes
from opendojo.world.draw.columns import LAYERS, at_edges, over, taken
from opendojo.world.draw.lens import View
from opendojo.world.draw.look import HILL_BINS, Look
from opendojo.world.draw.noise import noise_rows
from opendojo.world.draw.paint_raster import (
    EDGE_GRADIENT,
    EDGE_UNIT_M,
    GRADIENT,
    HALF_LINE,
    ISLAND_BIT,
    STRIPE_BIT,
    WALK_BIT,
    YELLOW_BIT,
    Raster,
)
from opendojo.world.draw.scene import Scene
from opendojo.world.draw.tones import BLACK, Tones, spread
from opendojo.world.town.atlas import CELL_M

__all__ = ["Job", "Spot", "cell_of", "hill_slopes", "look_up", "paint_tile"]

_VERGE_M = 0.9
_TOP_LUMA, _TOP_CHROMA = 235.49, 240.49


class Spot(NamedTuple):
    """What the atlas says of points of the ground."""

    code: Tensor
    """int32: the low bits of a cell's first entry."""
    line: Tensor
    line_x: Tensor
    line_y: Tensor
    """Distance from the nearest line and its gradient, in the raster's units."""
    edge: Tensor
    edge_x: Tensor
    edge_y: Tensor


def look_up(view: View, tones: Tones, first: Tensor, raster: Raster) -> Spot:
    """Two neighbouring look-ups for each pixel's point on the ground; `first`: `Raster.first`."""
    x, y = _place(view, tones)
    column, row = torch.floor(x), torch.floor(y)
    x, y = x.sub_(column), y.sub_(row)
    cell = row.mul_(tones["columns"]).add_(column).to(torch.int32).add_(first).mul_(2)
    table = raster.cells.view(-1)
    fine, edge = taken(table, cell), taken(table, cell + 1)
    return Spot(fine, *_plane(fine, x, y, 1.0 / GRADIENT), *_plane(edge, x, y, 1.0 / EDGE_GRADIENT))


def cell_of(view: View, tones: Tones, first: Tensor) -> Tensor:
    """Index of the cell in which each pixel's point on the ground lies, int32."""
    x, y = _place(view, tones)
    cell = torch.floor(y).mul_(tones["columns"]).add_(torch.floor(x))
    return cell.to(torch.int32).add_(first)


def _place(view: View, tones: Tones) -> tuple[Tensor, Tensor]:
    """Column and row of each pixel's point on the ground; beyond the rim, on the rim."""
    x = (view.x_m * tones["cos"]).sub_(view.y_m * tones["sin"]).add_(tones["x0"])
    y = (view.x_m * tones["sin"]).add_(view.y_m * tones["cos"]).add_(tones["y0"])
    x, y = x.clamp_(min=0.0), y.clamp_(min=0.0)
    return torch.minimum(x, tones["right"]), torch.minimum(y, tones["top"])


def _plane(entry: Tensor, fx: Tensor, fy: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """A distance at a share of a cell from its low corner, and the gradient."""
    along = ((entry << 8) >> 24).to(torch.float32)
    up = (entry >> 24).to(torch.float32)
    value = ((entry << 16) >> 24).to(torch.float32)
    return value.add_((along * fx).add_(up * fy).mul_(scale)), along, up


def _bit(code: Tensor, bit: int) -> Tensor:
    """0 where a bit is clear, `bit` where it is set, in float32."""
    return (code & bit).to(torch.float32)


def _footprint(view: View, ray_x: Tensor, ray_y: Tensor, gx: Tensor, gy: Tensor) -> Tensor:
    """Square of a pixel's width along a gradient (gx, gy), in metres times the gradient's size."""
    along = (gx * ray_x).add_(gy * ray_y)
    size = (gx * gx).add_(gy * gy).mul_(view.across)
    return size.add_(along.mul_(along).mul_(view.away)).add_(1e-3)


def _ground(
    view: View, tones: Tones, first: Tensor, raster: Raster, planes: tuple[int, ...]
) -> list[Tensor]:
    """The ground in the colours of some planes: surfaces, paint, headlamps, haze."""
    spot = look_up(view, tones, first, raster)
    cos, sin = tones["cos"] * CELL_M, tones["sin"] * CELL_M
    ray_x = view.dx * cos - view.dy * sin
    ray_y = view.dx * sin + view.dy * cos
    # shares of the pixel's footprint that lie on the road, and within a line
    narrow = torch.rsqrt(_footprint(view, ray_x, ray_y, spot.edge_x, spot.edge_y))
    # a unit gradient of the edge is this many of its units
    unit = EDGE_GRADIENT * 0.25
    on = narrow.mul_(spot.edge).mul_(unit).add_(0.5).clamp_(0.0, 1.0)
    square = _footprint(view, ray_x, ray_y, spot.line_x, spot.line_y)
    narrow = torch.rsqrt(square)
    line = square.mul_(narrow).mul_(0.5).add_(HALF_LINE).sub_(torch.abs(spot.line))
    line = line.clamp_(0.0, 2.0 * HALF_LINE).mul_(narrow).clamp_(max=1.0)
    grain = ((spot.code >> 4) & 15).to(torch.float32).sub_(8.0)
    line = line.mul_((grain * tones["wear"]).add_(tones["keep"]))
    verge = spot.edge.mul_(EDGE_UNIT_M / _VERGE_M).add_(1.6).clamp_(0.0, 1.0)
    stripe, island = _bit(spot.code, STRIPE_BIT), _bit(spot.code, ISLAND_BIT)
    walk, yellow = _bit(spot.code, WALK_BIT), _bit(spot.code, YELLOW_BIT)
    verge = verge.mul_(1.0 - walk * (1.0 / WALK_BIT))
    lit = (view.beam * tones["glow"]).add_(1.0)
    clear = clearness(view.range_m, tones["haze"])
    out = []
    for plane in planes:
        off = (walk * tones[f"walk{plane}"]).add_(tones[f"grass{plane}"])
        off.add_((tones[f"verge{plane}"] - off).mul_(verge))
        base = (stripe * tones[f"stripe{plane}"]).add_(tones[f"asphalt{plane}"])
        base.add_(island * tones[f"island{plane}"])
        base.sub_(off).mul_(on).add_(off)
        if plane == 0:
            base.add_(grain.mul_(view.grain).mul_(tones["grain"]))
        paint = (yellow * tones[f"yellow{plane}"]).add_(tones[f"white{plane}"])
        base.add_(paint.sub_(base).mul_(line))
        veil = tones[f"horizon{plane}"]
        out.append(base.mul_(lit).sub_(veil).mul_(clear).add_(veil))
    return out


def _sky(view: View, hill: Tensor, tones: Tones, planes: tuple[int, ...]) -> list[Tensor]:
    """The sky with its hills, whose slope is known by column."""
    out = []
    low = over(hill, view.slope)
    for plane in planes:
        sky = (view.sky * tones[f"zenith{plane}"]).add_(tones[f"horizon{plane}"])
        out.append(sky.add_((tones[f"hills{plane}"] - sky).mul_(low)))
    return out


def hill_slopes(bearing: Tensor, scene: Scene, look: Look) -> Tensor:
    """Slope of the hills in columns of bearings [n or 1, f, w] from ahead: [n, f, 1, w]."""
    turn = scene.yaw_rad * (HILL_BINS / 6.283185307179586)
    bins = torch.floor(bearing + turn[:, None, None] + 0.5).to(torch.int64) & (HILL_BINS - 1)
    return look.hill_line.gather(1, bins.flatten(1)).view(bins.shape)[:, :, None]


def _numbers(view: View, bands: Bands) -> Tensor:
    """The number of the band that each pixel shows; 0 where it shows no box."""
    shown = None
    for layer in range(LAYERS):
        if bands.outline is None:
            masks = [_below(view.row, edge[:, :, layer, None]) for edge in bands.edges]
        else:
            outline = bands.outline.layer(layer)
            met = at_edges(view.dx, view.dy, outline.slabs)
            hit = over(met.entry, met.leave).mul_(outline.found)
            slopes = edge_slopes(met.entry, met.leave, outline)
            masks = [over(view.slope, slope).mul_(hit) for slope in slopes]
        first = BANDS * (LAYERS - layer)
        number = masks[0].mul_(first)
        for mask in masks[1:-1]:
            number = number.sub_(mask)
        number = number.sub_(masks[-1], alpha=first - BANDS + 1)
        shown = number if shown is None else torch.maximum(shown, number)
    assert shown is not None
    return shown


def _below(row: Tensor, edge: Tensor) -> Tensor:
    """1 where row < edge, else 0, in their own type."""
    if torch.compiler.is_compiling():
        return (row < edge).to(row.dtype)
    return torch.lt(row, edge, out=torch.empty(0, dtype=row.dtype, device=row.device))


class Job(NamedTuple):
    """What a tile is painted from; worlds and fans as in the tensors' leading dims."""

    planes: tuple[int, ...]
    """(0,) for luma, (1, 2) for chroma."""
    ground: bool
    sky: bool
    """What its pixels may show."""
    view: View
    hill: Tensor
    """`hill_slopes`."""
    bands: Bands


def _paint(job: Job, tones: Tones, first: Tensor, raster: Raster) -> list[Tensor]:
    view, planes = job.view, job.planes
    if job.ground:
        out = _ground(view, tones, first, raster, planes)
        if job.sky:
            above = over(view.slope, torch.zeros_like(job.hill[:1, :1, :, :1]))
            for base, sky in zip(out, _sky(view, job.hill, tones, planes), strict=True):
                base.add_(sky.sub_(base).mul_(above))
    else:
        out = _sky(view, job.hill, tones, planes)
    number = _numbers(view, job.bands)
    width = view.row.shape[3] * (2 if planes[0] else 1)
    hit = number > 0
    place = number.clamp_(min=1).to(torch.int32).mul_(-width).add_(job.bands.place)
    return [
        torch.where(hit, taken(shades, place), value)
        for value, shades in zip(out, job.bands.shades, strict=True)
    ]


def paint_tile(
    job: Job,
    table: Tensor,
    first: Tensor,
    raster: Raster,
    noise: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, ...]:
    """A tile in luma, or in both planes of chroma: uint8 [n, f, rows, w] each.

    Args:
        job: What to paint.
        table: Of the worlds' tones.
        first: int32 [n, 1, 1, 1], of each world's town: `Raster.first`.
        raster: Of all towns.
        noise: `Noise.table` and the first rows [n, f], for luma alone.
    """
    tones, out = spread(table), []
    for plane, value in zip(job.planes, _paint(job, tones, first, raster), strict=True):
        if noise is not None:
            value.add_(noise_rows(*noise, value.shape[2]).mul_(tones["noise"]))
        top = _TOP_CHROMA if plane else _TOP_LUMA
        out.append(value.add_(BLACK[plane] + 0.5).clamp_(BLACK[0], top).to(torch.uint8))
    return tuple(out)
