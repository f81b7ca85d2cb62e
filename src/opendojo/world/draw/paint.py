"""The pixels' stage: every pixel's colour from its own ray; one function for luma and for chroma.

Everything is made of sums, products, minima and look-ups over whole tensors, with masks as floats:
in eager mode each is a pass over a tile that stays in a core's cache, compiled they are one loop.
Colours are counted from black (`column_bands.BLACK`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from opendojo.world.draw.column_bands import BLACK, Bands, clearness, edge_slopes, glow
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
from opendojo.world.exact import sin_cos
from opendojo.world.town.atlas import CELL_M

__all__ = [
    "Job",
    "Spot",
    "cell_of",
    "hill_slopes",
    "look_up",
    "paint_tile",
    "pose_of",
]

_VERGE_M = 0.9
_TOP_LUMA, _TOP_CHROMA = 235.49, 240.49


class Pose(NamedTuple):
    """Where worlds' vehicles stand on the raster, [n, 1, 1, 1]: a point (x, y) of the vehicle's
    frame lies in column `x0 + x cos - y sin` and row `y0 + x sin + y cos`, in cells."""

    cos: Tensor
    sin: Tensor
    x0: Tensor
    y0: Tensor
    rows: Tensor
    columns: Tensor
    """float32: the size of the town's raster."""
    first: Tensor
    """int32: where it begins."""


class Spot(NamedTuple):
    """What the atlas says of points of the ground."""

    code: Tensor
    """int32: the low bits of `Raster.fine`."""
    line: Tensor
    line_x: Tensor
    line_y: Tensor
    """Distance from the nearest line and its gradient, in the raster's units."""
    edge: Tensor
    edge_x: Tensor
    edge_y: Tensor


def pose_of(scene: Scene, raster: Raster) -> Pose:
    """The pose of each world."""
    sin, cos = sin_cos(scene.yaw_rad)
    x0 = (scene.x_m - raster.x0_m.index_select(0, scene.town)) * (1.0 / CELL_M)
    y0 = (scene.y_m - raster.y0_m.index_select(0, scene.town)) * (1.0 / CELL_M)
    of_town = (v.index_select(0, scene.town) for v in (raster.rows, raster.columns, raster.first))
    values = (cos * (1.0 / CELL_M), sin * (1.0 / CELL_M), x0, y0, *of_town)
    return Pose(*(v.view(-1, 1, 1, 1) for v in values))


def look_up(view: View, pose: Pose, raster: Raster) -> Spot:
    """Two look-ups for each pixel's point on the ground."""
    x, y = _place(view, pose)
    fine = taken(raster.fine, _cell(x, y, pose.rows, pose.columns, pose.first))
    line, line_x, line_y = _plane(fine, x - torch.floor(x), y - torch.floor(y), 1.0 / GRADIENT)
    x, y = x.mul_(0.5), y.mul_(0.5)
    coarse = taken(raster.coarse, _coarse_cell(x, y, pose))
    edge, edge_x, edge_y = _plane(
        coarse, x - torch.floor(x), y - torch.floor(y), 1.0 / EDGE_GRADIENT
    )
    return Spot(fine, line, line_x, line_y, edge, edge_x, edge_y)


def cell_of(view: View, pose: Pose) -> Tensor:
    """Index of the cell of `fine` in which each pixel's point on the ground lies, int32."""
    return _cell(*_place(view, pose), pose.rows, pose.columns, pose.first)


def _place(view: View, pose: Pose) -> tuple[Tensor, Tensor]:
    """Column and row of each pixel's point on the ground."""
    x = (view.x_m * pose.cos).sub_(view.y_m * pose.sin).add_(pose.x0)
    y = (view.x_m * pose.sin).add_(view.y_m * pose.cos).add_(pose.y0)
    return x, y


def _coarse_cell(x: Tensor, y: Tensor, pose: Pose) -> Tensor:
    return _cell(x, y, pose.rows * 0.5, pose.columns * 0.5, pose.first >> 2)


def _cell(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor, first: Tensor) -> Tensor:
    """Index of the cell that (x, y) lies in; beyond the rim, of the rim."""
    zero = torch.zeros_like(rows)
    column = torch.floor(x).clamp_(zero, columns - 1.0)
    row = torch.floor(y).clamp_(zero, rows - 1.0)
    index = column.add_(row.mul_(columns)).to(torch.int32)
    return index.add_(first)


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
    view: View, scene: Scene, look: Look, raster: Raster, planes: tuple[int, ...]
) -> list[Tensor]:
    """The ground in the colours of some planes: surfaces, paint, headlamps, haze."""
    pose = pose_of(scene, raster)
    spot = look_up(view, pose, raster)
    ray_x = (view.dx * pose.cos - view.dy * pose.sin) * CELL_M
    ray_y = (view.dx * pose.sin + view.dy * pose.cos) * CELL_M
    # shares of the pixel's footprint that lie on the road, and within a line
    narrow = torch.rsqrt(_footprint(view, ray_x, ray_y, spot.edge_x, spot.edge_y))
    # a unit gradient of the edge is this many of its units
    unit = EDGE_GRADIENT * 0.5
    on = narrow.mul_(spot.edge).mul_(unit).add_(0.5).clamp_(0.0, 1.0)
    square = _footprint(view, ray_x, ray_y, spot.line_x, spot.line_y)
    narrow = torch.rsqrt(square)
    line = square.mul_(narrow).mul_(0.5).add_(HALF_LINE).sub_(torch.abs(spot.line))
    line = line.clamp_(0.0, 2.0 * HALF_LINE).mul_(narrow).clamp_(max=1.0)
    grain = ((spot.code >> 4) & 15).to(torch.float32).sub_(8.0)
    wear = _wide(look.wear)
    line = line.mul_((grain * (wear * -0.12)).add_(1.0 - 0.6 * wear))
    verge = spot.edge.mul_(EDGE_UNIT_M / _VERGE_M).add_(1.6).clamp_(0.0, 1.0)
    stripe, island = _bit(spot.code, STRIPE_BIT), _bit(spot.code, ISLAND_BIT)
    walk, yellow = _bit(spot.code, WALK_BIT), _bit(spot.code, YELLOW_BIT)
    verge = verge.mul_(1.0 - walk * (1.0 / WALK_BIT))
    lit = (view.beam * _wide(glow(look))).add_(1.0)
    clear = clearness(view.range_m, _wide(look.haze_m))
    out = []
    for plane in planes:
        colour = _palette(look, plane)
        off = (walk * colour("sidewalk", "grass", 1 / WALK_BIT)).add_(colour("grass"))
        off.add_((colour("verge") - off).mul_(verge))
        base = (stripe * colour("stripe", "asphalt", 1 / STRIPE_BIT)).add_(colour("asphalt"))
        base.add_(island * colour("sidewalk", "asphalt", 1 / ISLAND_BIT))
        base.sub_(off).mul_(on).add_(off)
        if plane == 0:
            rough = _wide(look.rough * look.gain * _day(look))
            base.add_(grain.mul_(view.grain).mul_(rough))
        paint = (yellow * colour("yellow", "white", 1 / YELLOW_BIT)).add_(colour("white"))
        base.add_(paint.sub_(base).mul_(line))
        veil = colour("horizon")
        out.append(base.mul_(lit).sub_(veil).mul_(clear).add_(veil))
    return out


def _day(look: Look) -> Tensor:
    """Contrast of textures, which falls with the light, [n]."""
    return (look.white[:, 0] - 16.0) * (1.3 / 200.0)


def _wide(value: Tensor) -> Tensor:
    """A number a world beside its pixels."""
    return value.view(-1, 1, 1, 1)


def _palette(look: Look, plane: int) -> Callable[..., Tensor]:
    """Colours of a plane above black, with the exposure's error; or a difference of two, scaled."""

    def colour(name: str, less: str | None = None, scale: float = 1.0) -> Tensor:
        value = getattr(look, name)[:, plane] - BLACK[plane]
        if less is not None:
            value = value - (getattr(look, less)[:, plane] - BLACK[plane])
        return _wide(value * look.gain * scale)

    return colour


def _sky(view: View, hill: Tensor, look: Look, planes: tuple[int, ...]) -> list[Tensor]:
    """The sky with its hills, whose slope is known by column."""
    out = []
    low = over(hill, view.slope)
    for plane in planes:
        colour = _palette(look, plane)
        sky = (view.sky * colour("zenith", "horizon")).add_(colour("horizon"))
        out.append(sky.add_((colour("hills") - sky).mul_(low)))
    return out


def hill_slopes(bearing: Tensor, scene: Scene, look: Look) -> Tensor:
    """Slope of the hills in columns of bearings [n or 1, f, w] from ahead: [n, f, 1, w]."""
    turn = scene.yaw_rad * (HILL_BINS / 6.283185307179586)
    bins = torch.floor(bearing + turn[:, None, None] + 0.5).to(torch.int64) & (HILL_BINS - 1)
    return look.hill_line.gather(1, bins.flatten(1)).view(bins.shape)[:, :, None]


def _boxes(planes: list[Tensor], view: View, bands: Bands) -> None:
    """Paint the boxes over what is there, the nearest last."""
    for layer in reversed(range(LAYERS)):
        if bands.edges:
            edges = tuple(edge[:, :, layer, None] for edge in bands.edges)
        else:
            outline = bands.outline.layer(layer)
            met = at_edges(view.dx, view.dy, outline.slabs)
            edges = edge_slopes(met.entry, met.leave, outline)
        masks = [over(view.slope, edge) for edge in edges]
        free = (masks[-1] - masks[0]).add_(1.0)
        for plane, steps in zip(planes, bands.steps, strict=True):
            plane.mul_(free)
            for mask, step in zip(masks, steps, strict=True):
                plane.add_(mask * step[:, :, layer, None])


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


def _paint(job: Job, scene: Scene, look: Look, raster: Raster) -> list[Tensor]:
    view, planes = job.view, job.planes
    if job.ground:
        out = _ground(view, scene, look, raster, planes)
        if job.sky:
            above = over(view.slope, torch.zeros_like(job.hill[:1, :1, :, :1]))
            for base, sky in zip(out, _sky(view, job.hill, look, planes), strict=True):
                base.add_(sky.sub_(base).mul_(above))
    else:
        out = _sky(view, job.hill, look, planes)
    _boxes(out, view, job.bands)
    return out


def paint_tile(
    job: Job,
    scene: Scene,
    look: Look,
    raster: Raster,
    noise: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, ...]:
    """A tile in luma, or in both planes of chroma: uint8 [n, f, rows, w] each.

    `noise` is `Noise.table` and the first rows [n, f], for luma alone.
    """
    out = []
    for plane, value in zip(job.planes, _paint(job, scene, look, raster), strict=True):
        if noise is not None:
            value.add_(noise_rows(*noise, value.shape[2]).mul_(_wide(look.noise)))
        top = _TOP_CHROMA if plane else _TOP_LUMA
        out.append(value.add_(BLACK[plane] + 0.5).clamp_(BLACK[0], top).to(torch.uint8))
    return tuple(out)
