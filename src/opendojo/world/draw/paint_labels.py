"""What every pixel shows: class, depth and box, at the pixels' middles, from the same tables."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from opendojo.world.draw.columns import LAYERS, at_edges, geometry, meet, pick
from opendojo.world.draw.lens import Fans, View
from opendojo.world.draw.paint import cell_of, look_up
from opendojo.world.draw.paint_raster import HALF_LINE, Raster
from opendojo.world.draw.scene import Kind, Scene
from opendojo.world.draw.tones import first_cell, pose_tones
from opendojo.world.town.atlas import Ground

__all__ = ["Truth", "paint_labels", "truth_of"]

_SURFACES = [int(Kind.GRASS)] * 16
_SURFACES[Ground.ROAD] = int(Kind.ROAD)
_SURFACES[Ground.SIDEWALK] = _SURFACES[Ground.ISLAND] = int(Kind.SIDEWALK)
_SURFACES[Ground.CROSSING] = _SURFACES[Ground.STOP] = int(Kind.LINE)


class Truth(NamedTuple):
    """The boxes of each column, [n, f, LAYERS, w]."""

    slabs: tuple[Tensor, ...]
    low_m: Tensor
    high_m: Tensor
    """Underside and top, above the camera."""
    kind: Tensor
    slot: Tensor
    found: Tensor
    mount_z_m: Tensor
    """Height of the camera, [n or 1, f, 1, 1]."""


def truth_of(scene: Scene, fans: Fans) -> Truth:
    """Pick the boxes of each column."""
    seen = geometry(scene, fans)
    picked = pick(meet(seen, fans))
    n, f, k = seen.slot.shape
    rows = torch.arange(n, device=seen.slot.device)[:, None, None]

    def got(table: Tensor) -> Tensor:
        index = picked.place.flatten(2)
        return table.expand(n, f, k).gather(2, index).view(picked.place.shape)

    return Truth(
        tuple(got(plane) for plane in seen.slabs), got(seen.low_m), got(seen.high_m),
        got(scene.boxes.kind[rows, seen.slot]), got(seen.slot), picked.found,
        fans.mount_z_m[..., None, None],
    )  # fmt: skip


def paint_labels(
    ground: bool, sky: bool, view: View, scene: Scene, raster: Raster, truth: Truth
) -> tuple[Tensor, Tensor, Tensor]:
    """`Labels` of a tile: kind, depth, instance, each [n, f, rows, w]."""
    n, f, _, width = truth.low_m.shape
    shape = n, f, view.slope.shape[2], width
    kind = torch.full(shape, int(Kind.SKY), device=view.slope.device)
    nearest = torch.zeros(shape, device=view.slope.device)
    if ground:
        below = view.slope < 0 if sky else torch.ones_like(view.slope, dtype=torch.bool)
        kind = torch.where(below, _covers(view, scene, raster), kind)
        nearest = torch.where(below, view.slope / -truth.mount_z_m, nearest)
    instance = torch.full_like(kind, -1)
    for layer in range(LAYERS):
        slabs = tuple(plane[:, :, layer, None] for plane in truth.slabs)
        low, high = truth.low_m[:, :, layer, None], truth.high_m[:, :, layer, None]
        edges = at_edges(view.dx, view.dy, slabs)
        slope = view.slope
        # the pair of horizontal faces, as the others
        by_low, by_high = slope / low, slope / high
        between = (low < 0) & (high > 0)
        way_in = torch.where(between, torch.inf, torch.maximum(by_low, by_high))
        way_out = torch.where(
            between, torch.maximum(by_low, by_high), torch.minimum(by_low, by_high)
        )
        entry = torch.minimum(edges.entry, way_in)
        leave = torch.maximum(edges.leave, way_out)
        hit = (entry > leave) & (entry > nearest) & (truth.found[:, :, layer, None] > 0)
        nearest = torch.where(hit, entry, nearest)
        kind = torch.where(hit, truth.kind[:, :, layer, None], kind)
        instance = torch.where(hit, truth.slot[:, :, layer, None], instance)
    depth = torch.where(nearest > 0, view.depth / nearest, torch.inf)
    return kind.to(torch.uint8), depth, instance.to(torch.int16)


def _covers(view: View, scene: Scene, raster: Raster) -> Tensor:
    """The class of each point of the ground, int64: a line, or else what the atlas' cell holds."""
    tones, first = pose_tones(scene, raster), first_cell(scene, raster)
    on_line = torch.abs(look_up(view, tones, first, raster).line) < HALF_LINE
    cell = cell_of(view, tones, first)
    code = (raster.cover[cell.to(torch.int64)] & 15).to(torch.int64)
    cover = torch.tensor(_SURFACES, device=cell.device)[code]
    return torch.where(on_line, int(Kind.LINE), cover)
