"""Where each pixel of a rig looks: tables that stay fixed between frames.

A pixel's ray is split in the level frame of the vehicle into a direction (dx, dy) of length 1 in
the plane and a slope t, metres of rise a metre of plan range. A point at plan range r lies at
(mount_x + r dx, mount_y + r dy, mount_z + r t). Whatever stands upright is met by dx, dy alone, and
in a level pinhole camera those are the same all down a column.

A `Fan` is a camera's columns over some of its rows, in which the same few boxes are looked for: all
rows where the camera is level, else a band of them. `Tile`s are what is painted at a time: rows of
fans of one kind, those that see ground, sky or both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.clip import Camera
from opendojo.world.draw.edge_rows import row_table

__all__ = ["Fans", "Rig", "Tile", "View", "cone", "make_rig", "rays"]

Floats = npt.NDArray[np.float64]

FAR_M = 500.0
_BANDS = 4
"""Fans of a camera that is not level."""
_LEVEL = 1e-9
_DRIFT, _ROW_ERROR = 0.2, 0.1
"""How far the directions of a fan's column may be apart where it is upright, and rows be amiss."""


class View(NamedTuple):
    """Tables of pixels, float32 [n or 1, f, rows, w]; dx and dy of level cameras have one row."""

    dx: Tensor
    dy: Tensor
    slope: Tensor
    x_m: Tensor
    y_m: Tensor
    """Where the ray meets the ground; at most `FAR_M` away."""
    range_m: Tensor
    across: Tensor
    away: Tensor
    """Square of the pixel's footprint across the ray, m^2; by how much that along it is more."""
    grain: Tensor
    """Share of the ground's texture that a pixel does not average out."""
    beam: Tensor
    """How much of the headlamps' light gets there."""
    sky: Tensor
    """0 at the horizon .. 1 at the zenith."""
    depth: Tensor
    """Depth a metre of plan range: along the axis; along the ray for a Kannala-Brandt lens."""
    row: Tensor
    """[1, 1, rows, w]: the pixel's row, counted from the fan's first; of the type `Fans.counts`."""

    def rows(self, first: int, last: int) -> View:
        """The tables of some worlds."""
        if len(self.slope) == 1:
            return self
        return View(*(table[first:last] if len(table) > 1 else table for table in self))


class Tile(NamedTuple):
    """Rows [top, bottom) of fans [first, last), counted from the fans' own first row."""

    first: int
    last: int
    top: int
    bottom: int
    ground: bool
    sky: bool
    luma: View
    chroma: View
    """At block centres, half as many rows and columns."""


class Fans(NamedTuple):
    """f fans; tensors float32 [n or 1, f] or [n or 1, f, w]."""

    level: bool
    upright: bool
    """Whether edges cross each column once, so that they can be told by rows (`edge_rows`)."""
    counts: torch.dtype
    """Of rows."""
    height: int
    """Rows of a fan."""
    cameras: tuple[int, ...]
    tops: tuple[int, ...]
    """Each fan's camera and its first row in the picture."""
    mount_x_m: Tensor
    mount_y_m: Tensor
    mount_z_m: Tensor
    middle_x: Tensor
    middle_y: Tensor
    """The middle direction of each column."""
    top_x: Tensor
    top_y: Tensor
    bottom_x: Tensor
    bottom_y: Tensor
    """Directions in the first and in the last row."""
    row: Tensor
    """`edge_rows.row_table`, [n or 1, 8, f, w]."""
    bearing: Tensor
    chroma_bearing: Tensor
    """Bearings of the columns' middles, rad."""
    spread: Tensor
    """Tangent of the widest angle between a ray and its column's middle, [n or 1, f, w]; 0 where
    level."""
    pixel: Tensor
    """Angle between neighbouring columns, rad."""
    edge_x: Tensor
    edge_y: Tensor
    """Unit vectors [n or 1, f, 2] in the plane that point into the fan from its left and right rim;
    zero where the fan is wider than a half circle."""
    tiles: tuple[Tile, ...]

    def rows(self, first: int, last: int) -> Fans:
        """The fans of some worlds."""
        if len(self.mount_x_m) == 1:
            return self
        tiles = tuple(
            tile._replace(luma=tile.luma.rows(first, last), chroma=tile.chroma.rows(first, last))
            for tile in self.tiles
        )
        cut = {
            name: value[first:last] for name, value in self._asdict().items()
            if isinstance(value, Tensor)
        }  # fmt: skip
        return self._replace(tiles=tiles, **cut)


class Rig(NamedTuple):
    """All cameras, level ones first, and their size."""

    fans: tuple[Fans, ...]
    cameras: int
    width_px: int
    height_px: int


def rays(camera: Camera, u_px: Floats, v_px: Floats) -> Floats:
    """Unit vectors in the vehicle's frame, [..., 3], of image points; float64."""
    x = (u_px - camera.cx_px) / camera.fx_px
    y = (v_px - camera.cy_px) / camera.fy_px
    if camera.lens == "kannala-brandt":
        bent = np.hypot(x, y)
        k = np.zeros(4)
        k[: len(camera.distortion)] = camera.distortion
        angle = bent.clip(0.0, math.pi)
        for _ in range(20):
            a2 = angle * angle
            value = angle * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3]))))
            slope = 1 + a2 * (3 * k[0] + a2 * (5 * k[1] + a2 * (7 * k[2] + a2 * 9 * k[3])))
            angle = (angle - (value - bent) / np.maximum(slope, 0.05)).clip(0.0, math.pi)
        scale = np.sin(angle) / np.maximum(bent, 1e-12)
        scale = np.where(bent < 1e-9, 1.0, scale)
        ray = np.stack([x * scale, y * scale, np.cos(angle)], -1)
    else:
        ray = np.stack([x, y, np.ones_like(x)], -1)
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    return ray @ camera.vehicle_from_camera[:3, :3].T


def cone(x: Tensor, y: Tensor) -> Tensor:
    """Light of the own headlamps at points of the vehicle's frame, 0..1, where they point ahead."""
    ahead = x - 3.0
    wide = 1.4 - torch.abs(y) / (ahead.clamp(min=0.0) * 0.32 + 1.6)
    far = 1.0 / (1.0 + (ahead * (1.0 / 28.0)) ** 2)
    return wide.clamp(0.0, 1.0) * (ahead * 0.5).clamp(0.0, 1.0) * far


def make_rig(
    cameras: Sequence[Sequence[Camera]],
    device: torch.device,
    tile_px: int | None = None,
    counts: torch.dtype = torch.float32,
) -> Rig:
    """Tables of one rig for all worlds, or of one rig a world; computed in float64 once.

    No tile gets more than `tile_px` pixels a world. Rows are counted in `counts`.
    """
    first = cameras[0]
    width, height = first[0].width_px, first[0].height_px
    for rig in cameras:
        if len(rig) != len(first) or any(c.width_px != width or c.height_px != height for c in rig):
            raise ValueError("cameras of one renderer need equal numbers and sizes")
    if width % 2 or height % 4:
        raise ValueError(
            f"pictures of {width}x{height}: width must be even, height four times whole"
        )
    luma = _Pixels.of(cameras, np.arange(0.0, width), np.arange(0.0, height))
    chroma = _Pixels.of(cameras, np.arange(0.5, width, 2.0), np.arange(0.5, height, 2.0))
    fans = tuple(
        _fans(luma, chroma, group, kind, tile_px or width * height * len(first), counts, device)
        for kind, group in enumerate(_kinds(luma))
        if group
    )
    return Rig(fans, len(first), width, height)


def _kinds(luma: _Pixels) -> tuple[list[int], list[int], list[int]]:
    """Cameras that are level, those that are upright, and the rest."""
    wander = np.hypot(luma.dx - luma.dx[:, :, :1], luma.dy - luma.dy[:, :, :1])
    level = wander.max(axis=(0, 2, 3)) < _LEVEL
    height = luma.slope.shape[2]
    rows = height // _bands(height)
    kinds: tuple[list[int], list[int], list[int]] = [], [], []
    for camera, flat in enumerate(level):
        upright = all(
            np.ptp(luma.dx[:, camera, top : top + rows], axis=1).max() < _DRIFT
            and np.ptp(luma.dy[:, camera, top : top + rows], axis=1).max() < _DRIFT
            and row_table(luma.slope[:, camera, None, top : top + rows])[1] < _ROW_ERROR
            for top in range(0, height, rows)
        )
        kinds[0 if flat else 1 if upright else 2].append(camera)
    return kinds


def _bands(height: int) -> int:
    return _BANDS if height % (4 * _BANDS) == 0 else 1


class _Pixels:
    """Rays of all pixels, float64 [rigs, c, rows, columns]."""

    def __init__(self, ray: Floats, angle_u: Floats, angle_v: Floats, mount: Floats, depth: Floats):
        plan = np.maximum(np.hypot(ray[..., 0], ray[..., 1]), 1e-9)
        self.dx, self.dy = ray[..., 0] / plan, ray[..., 1] / plan
        self.slope = ray[..., 2] / plan
        self.angle_u, self.angle_v = angle_u, angle_v
        self.mount = mount
        self.depth = depth / plan

    @classmethod
    def of(cls, rigs: Sequence[Sequence[Camera]], columns: Floats, rows: Floats) -> _Pixels:
        u, v = np.meshgrid(columns, rows)
        du, dv = columns[1] - columns[0], rows[1] - rows[0]
        out = []
        for rig in rigs:
            for camera in rig:
                ray = rays(camera, u, v)
                angle_u = np.linalg.norm(rays(camera, u + du, v) - ray, axis=-1)
                angle_v = np.linalg.norm(rays(camera, u, v + dv) - ray, axis=-1)
                axis = camera.vehicle_from_camera[:3, 2]
                along = np.ones_like(u) if camera.lens == "kannala-brandt" else ray @ axis
                mount = camera.mount
                out.append((ray, angle_u, angle_v, [mount.x_m, mount.y_m, mount.z_m], along))
        n, c = len(rigs), len(rigs[0])
        parts = [np.stack(p) for p in zip(*out, strict=True)]
        ray, angle_u, angle_v, mount, along = (p.reshape(n, c, *p.shape[1:]) for p in parts)
        return cls(ray, angle_u, angle_v, mount, along)


def _fans(
    luma: _Pixels,
    chroma: _Pixels,
    group: list[int],
    kind: int,
    tile_px: int,
    counts: torch.dtype,
    device: torch.device,
) -> Fans:
    """The fans of cameras `group`, a kind of `_kinds`."""
    height, level = luma.slope.shape[2], kind == 0
    bands = 1 if level else _bands(height)
    rows = height // bands
    spans = [(camera, band * rows) for camera in group for band in range(bands)]
    if level:
        cuts = _cuts(luma, chroma, group)
        kinds = [(spans, top, bottom) for top, bottom in cuts]
    else:
        by_kind: dict[tuple[bool, bool], list[tuple[int, int]]] = {}
        for camera, top in spans:
            by_kind.setdefault(_sees(luma, chroma, [camera], top, top + rows), []).append(
                (camera, top)
            )
        kinds = [(some, 0, rows) for some in by_kind.values()]
        spans = [span for some in by_kind.values() for span in some]
    tiles = []
    for some, top, bottom in _pieces(kinds, tile_px, luma.slope.shape[3]):
        at = spans.index(some[0])
        where = [(camera, first + top, first + bottom) for camera, first in some]
        ground, sky = zip(*(_sees(luma, chroma, [c], a, b) for c, a, b in where), strict=True)
        tiles.append(
            Tile(
                at, at + len(some), top, bottom, any(ground), any(sky),
                _view(luma, where, level, top, counts, device),
                _view(chroma, [(c, a // 2, b // 2) for c, a, b in where], level, top // 2, counts,
                      device),
            )
        )  # fmt: skip
    return _columns(luma, chroma, spans, rows, kind, tuple(tiles), counts, device)


def _pieces(
    kinds: list[tuple[list[tuple[int, int]], int, int]], tile_px: int, width: int
) -> list[tuple[list[tuple[int, int]], int, int]]:
    """Fans and rows cut up so that no piece has more than `tile_px` pixels, if possible."""
    out = []
    for spans, top, bottom in kinds:
        rows = max(2, min(bottom - top, tile_px // width // 2 * 2))
        many = max(1, tile_px // (rows * width))
        for row in range(top, bottom, rows):
            for at in range(0, len(spans), many):
                out.append((spans[at : at + many], row, min(row + rows, bottom)))
    return out


def _sees(
    luma: _Pixels, chroma: _Pixels, group: Sequence[int], top: int, bottom: int
) -> tuple[bool, bool]:
    """Whether rows [top, bottom) of some cameras show ground, and sky."""
    slopes = (
        luma.slope[:, group, top:bottom].ravel(),
        chroma.slope[:, group, top // 2 : bottom // 2].ravel(),
    )
    slope = np.concatenate(slopes)
    return bool((slope < 0).any()), bool((slope >= 0).any())


def _cuts(luma: _Pixels, chroma: _Pixels, group: list[int]) -> list[tuple[int, int]]:
    """Rows of level cameras: those of nothing but sky, mixed ones, those of nothing but ground."""
    height = luma.slope.shape[2]
    seen = [_sees(luma, chroma, group, row, row + 2) for row in range(0, height, 2)]
    marks = [0, *(2 * i for i in range(1, len(seen)) if seen[i] != seen[i - 1]), height]
    return list(pairwise(marks))


def _view(
    pixels: _Pixels, where: list[tuple[int, int, int]], level: bool, first: int,
    counts: torch.dtype, device: torch.device,
) -> View:  # fmt: skip
    def cut(table: Floats) -> Floats:
        return np.stack([table[:, camera, top:bottom] for camera, top, bottom in where], 1)

    mount = np.stack([pixels.mount[:, camera] for camera, _, _ in where], 1)[:, :, None, None]
    dx, dy, slope = cut(pixels.dx), cut(pixels.dy), cut(pixels.slope)
    high = mount[..., 2]
    reach = np.where(slope < 0, high / np.maximum(-slope, 1e-9), FAR_M).clip(max=FAR_M)
    slant = np.sqrt(1.0 + slope * slope)
    across = reach * slant * cut(pixels.angle_u)
    away = reach * slant * slant * cut(pixels.angle_v) / np.maximum(np.abs(slope), 1e-6)
    away = np.maximum(away, across).clip(max=200.0)
    x, y = mount[..., 0] + reach * dx, mount[..., 1] + reach * dy
    share = (slope * 1.3).clip(0.0, 1.0)
    tables = {
        "dx": dx[:, :, :1] if level else dx,
        "dy": dy[:, :, :1] if level else dy,
        "slope": slope,
        "x_m": x,
        "y_m": y,
        "range_m": reach,
        "across": across**2,
        "away": away**2 - across**2,
        "grain": (0.3 / np.sqrt(across * away)).clip(max=1.0),
        "beam": cone(torch.tensor(x), torch.tensor(y)).numpy(),
        "sky": share * (2.0 - share),
        "depth": cut(pixels.depth),
    }
    row = torch.arange(first, first + slope.shape[2], device=device).to(counts)
    return View(
        row=row[:, None].expand(slope.shape[2:]).contiguous()[None, None],
        **{
            k: torch.tensor(v, dtype=torch.float32, device=device).contiguous()
            for k, v in tables.items()
        },
    )


def _middles(
    pixels: _Pixels, spans: list[tuple[int, int]], rows: int, step: int
) -> tuple[Floats, Floats, Floats]:
    """For each column the mean direction, and the tangent of how far its rays part from it."""
    parts = []
    for camera, top in spans:
        cut = slice(top // step, (top + rows) // step)
        dx, dy = pixels.dx[:, camera, cut], pixels.dy[:, camera, cut]
        mx, my = dx.mean(1), dy.mean(1)
        size = np.maximum(np.hypot(mx, my), 1e-9)
        mx, my = mx / size, my / size
        cos = (dx * mx[:, None] + dy * my[:, None]).min(1)
        sin = np.abs(dx * my[:, None] - dy * mx[:, None]).max(1)
        parts.append((mx, my, np.where(cos > 0.05, sin / np.maximum(cos, 0.05), 20.0)))
    mx, my, wide = (np.stack(p, 1) for p in zip(*parts, strict=True))
    return mx, my, wide


def _columns(
    luma: _Pixels,
    chroma: _Pixels,
    spans: list[tuple[int, int]],
    rows: int,
    kind: int,
    tiles: tuple[Tile, ...],
    counts: torch.dtype,
    device: torch.device,
) -> Fans:
    level = kind == 0

    def at(row: int) -> list[Floats]:
        cuts = [(slice(None), camera, top + row) for camera, top in spans]
        return [np.stack([table[cut] for cut in cuts], 1) for table in (luma.dx, luma.dy)]

    mx, my, wide = _middles(luma, spans, rows, 1)
    cx, cy, _ = _middles(chroma, spans, rows, 2)
    step = np.abs(mx[..., 1:] * my[..., :-1] - my[..., 1:] * mx[..., :-1])
    pixel = np.concatenate([step, step[..., -1:]], -1)
    spread = np.zeros_like(mx) if level else wide + 0.5 * pixel
    # rims, half a pixel and the spread further out, by their inward normals
    turn = np.cumsum(step, -1)[..., -1] if mx.shape[-1] > 1 else np.zeros(mx.shape[:2])
    rim = spread[..., [0, -1]]
    half = pixel.max(-1)[..., None] + rim
    lx, ly = mx[..., 0], my[..., 0]
    rx, ry = mx[..., -1], my[..., -1]
    edge_x = np.stack([ly, -ry], -1) + half * np.stack([lx, rx], -1)
    edge_y = np.stack([-lx, rx], -1) + half * np.stack([ly, ry], -1)
    slim = np.logical_and(turn + rim.sum(-1) < 2.9, rim.max(-1) < 0.5)
    narrow = np.expand_dims(slim, -1)
    size = np.hypot(edge_x, edge_y)
    mount = np.stack([luma.mount[:, camera] for camera, _ in spans], 1)

    slopes = [luma.slope[:, camera, top : top + rows] for camera, top in spans]
    table, _ = row_table(np.stack(slopes, 1))
    (top_x, top_y), (bottom_x, bottom_y) = at(0), at(rows - 1)

    def tensor(table: Floats) -> Tensor:
        return torch.tensor(table, dtype=torch.float32, device=device)

    return Fans(
        level=level,
        upright=kind < 2,
        counts=counts,
        height=rows,
        cameras=tuple(int(camera) for camera, _ in spans),
        tops=tuple(top for _, top in spans),
        mount_x_m=tensor(mount[..., 0]), mount_y_m=tensor(mount[..., 1]),
        mount_z_m=tensor(mount[..., 2]),
        middle_x=tensor(mx), middle_y=tensor(my),
        top_x=tensor(top_x), top_y=tensor(top_y),
        bottom_x=tensor(bottom_x), bottom_y=tensor(bottom_y), row=tensor(table),
        bearing=tensor(np.arctan2(my, mx)), chroma_bearing=tensor(np.arctan2(cy, cx)),
        spread=tensor(spread), pixel=tensor(pixel),
        edge_x=tensor(np.where(narrow, edge_x / size, 0.0)),
        edge_y=tensor(np.where(narrow, edge_y / size, 0.0)),
        tiles=tiles,
    )  # fmt: skip
