"""Cars: columns that meet one are painted over the ground and the sky, far ones first.

Most columns meet nothing, so the painting gathers those that do and scatters them back. Nearer cars
cover farther ones; there is no limit on how many stand one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world.lens import Lens
from opendojo.world.look import Look
from opendojo.world.prisms import BELT, BODY, CABIN, SHADOW, Hits, cast
from opendojo.world.state import Cars, Ego

__all__ = ["Canvas", "paint_cars"]

_NEAR_M = 9.0
_SILL_M = 0.2
_WHEELS_AFTER = 6
"""The band over which wheels are painted: the last of the body's."""
_WHEEL_M = 0.32
_BLACK = (26.0, 128.0, 128.0)
_GLASS = (56.0, 133.0, 124.0)
_TAIL = (88.0, 106.0, 206.0)
_HEAD = (216.0, 124.0, 131.0)
_PLATE = (196.0, 122.0, 132.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Planes of whole pictures and how their columns and rows lie in memory."""

    planes: tuple[Tensor, ...]
    """Equally shaped contiguous float32 tensors [n, c, ...]."""
    first_plane: int
    """Which of Y, Cb, Cr the first of them is."""
    column_at: Tensor
    """Offset of each column within a picture's plane, int64 [columns]."""
    row_at: Tensor
    """Offset of each row within a column, int64 [rows]."""
    row_px: Tensor
    """Where each row's middle lies in luma rows, float32 [rows]."""
    pixel_px: float
    """Height of a row in luma rows."""
    rays: tuple[Tensor, Tensor]
    """Direction of each column, x and y [c, columns]."""


@dataclass(frozen=True, slots=True)
class _Band:
    """A stretch of rows between two points of a prism, [h, 1] each."""

    prism: int
    high_m: Tensor
    high_depth: Tensor
    """Height and depth of the point at its upper end."""
    low_m: Tensor
    low_depth: Tensor
    share: Tensor
    """How much of what is behind it it hides."""
    colour: Tensor
    """[h, 3]."""


def paint_cars(lens: Lens, ego: Ego, cars: Cars, look: Look, canvas: Canvas) -> None:
    """Paint all cars on a canvas, in place."""
    hits = cast(lens, ego, cars, look.sun, canvas.rays)
    if len(hits.layer) == 0:
        return
    near = hits.enter[:, SHADOW] < _NEAR_M
    for layer in range(int(hits.layer.max()) + 1):
        # apart, because far cars take up few rows
        for part in (near, ~near):
            chosen = ((hits.layer == layer) & part).nonzero()[:, 0]
            if len(chosen):
                _Strips(lens, cars, look, canvas, hits.some(chosen)).paint()


class _Strips:
    """Columns of one layer, h of them, with the rows they need: all here is [h, 1] or [h, rows]."""

    def __init__(self, lens: Lens, cars: Cars, look: Look, canvas: Canvas, hits: Hits) -> None:
        world, camera, car = hits.world, hits.camera, hits.car
        self._mount_z, self._fy, self._cy = (
            v[camera][:, None] for v in (lens.mount_z_m, lens.fy_px, lens.cy_px)
        )
        self._enter, self._leave, self._across, self._end, self._light = (
            v.T[:, :, None] for v in (hits.enter, hits.leave, hits.across, hits.end, hits.light)
        )
        self._ambient = look.ambient[world][:, None]
        self._colour = look.car_paint[world, car]
        self._height = cars.height_m[world, car][:, None]
        self._half_length = cars.length_m[world, car][:, None] * 0.5
        self._place(canvas, hits)

    def _place(self, canvas: Canvas, hits: Hits) -> None:
        """Fetch the pixels, of those rows that any of these cars reaches."""
        top = float(self._row(self._height, self._enter[SHADOW]).min()) - canvas.pixel_px
        low = float(self._row(torch.zeros_like(self._height), self._enter[SHADOW]).max())
        inside = (canvas.row_px >= top) & (canvas.row_px <= low + canvas.pixel_px)
        self._rows_px, row_at = canvas.row_px[inside], canvas.row_at[inside]
        picture = hits.world * canvas.planes[0].shape[1] + hits.camera
        first = picture * canvas.planes[0][0, 0].numel() + canvas.column_at[hits.column]
        self._canvas = canvas
        self._index = (first[:, None] + row_at).view(-1)
        shape = len(first), len(row_at)
        self._pixels = [
            plane.view(-1).index_select(0, self._index).view(shape) for plane in canvas.planes
        ]

    def paint(self) -> None:
        """Paint the bands one over the other and put the pixels back."""
        bands = self._bands()
        cover = self._cover(bands)
        for k, band in enumerate(bands):
            for i, pixels in enumerate(self._pixels):
                p = self._canvas.first_plane + i
                pixels.add_((band.colour[:, p : p + 1] - pixels).mul_(cover[k]))
            if k == _WHEELS_AFTER:
                self._mix_wheels()
        for plane, pixels in zip(self._canvas.planes, self._pixels, strict=True):
            plane.view(-1).index_copy_(0, self._index, pixels.view(-1))

    def _bands(self) -> list[_Band]:
        """What a car is made of, back to front."""
        height, zero = self._height, torch.zeros_like(self._height)
        sill, belt = zero + _SILL_M, height * BELT
        end, across = self._end[BODY], self._across[BODY].abs()
        lamps = torch.where(end < 0.0, self._plain(_TAIL), self._plain(_HEAD))
        lamp = (end != 0.0) & (across > 0.58)
        plate = (end != 0.0) & (across < 0.22)
        pane = 0.92 * (self._across[CABIN].abs() < 0.90)
        black, top = self._plain(_BLACK), self._lit(0.94 + 0.12 * self._ambient)

        def face(prism: int, low: Tensor, high: Tensor, share: Tensor, colour: Tensor) -> _Band:
            t = self._enter[prism]
            return _Band(prism, high, t, low, t, share, colour)

        def level(prism: int, z: Tensor, share: Tensor, colour: Tensor) -> _Band:
            return _Band(prism, z, self._leave[prism], z, self._enter[prism], share, colour)

        one = zero + 1.0
        return [
            level(SHADOW, zero, one * 0.55, black),
            face(BODY, zero, sill, one * 0.85, black),
            level(BODY, belt, one, top),
            face(BODY, sill, belt, one, self._lit(self._shade(BODY))),
            face(BODY, sill, belt * 0.45, one * 0.30, black),
            face(BODY, belt * 0.68, belt * 0.90, one * lamp, lamps),
            face(BODY, belt * 0.40, belt * 0.56, one * plate, self._plain(_PLATE)),
            face(CABIN, belt, height, one, self._lit(self._shade(CABIN))),
            level(CABIN, height, one, top),
            face(CABIN, belt + 0.03, height - 0.09, pane, self._plain(_GLASS)),
        ]

    def _cover(self, bands: Sequence[_Band]) -> Tensor:
        """Share of each pixel that each band covers, [bands, h, rows]."""
        high, t_high, low, t_low, share = (
            torch.stack([getattr(b, name) for b in bands])
            for name in ("high_m", "high_depth", "low_m", "low_depth", "share")
        )
        hit = torch.stack([self._leave[b.prism] > self._enter[b.prism] for b in bands])
        upper = self._row(high, t_high)
        lower = torch.maximum(self._row(low, t_low), upper)
        size = self._canvas.pixel_px
        top = self._rows_px - 0.5 * size
        cover = (lower - top).clamp_(0.0, size).sub_((upper - top).clamp_(0.0, size))
        return cover.mul_(share * hit * (1.0 / size))

    def _mix_wheels(self) -> None:
        depth = self._enter[BODY]
        z = self._mount_z - (self._rows_px - self._cy) * (depth / self._fy)
        along = (self._across[BODY].abs() - 0.62) * self._half_length
        square = (along * along + (z - _WHEEL_M) * (z - _WHEEL_M)) * (1.0 / _WHEEL_M**2)
        hit = (self._end[BODY] == 0.0) & (self._leave[BODY] > self._enter[BODY])
        disc = (1.0 - square).mul_(4.0).clamp_(0.0, 1.0).mul_(hit)
        for i, pixels in enumerate(self._pixels):
            pixels.add_((_BLACK[self._canvas.first_plane + i] - pixels).mul_(disc))

    def _shade(self, prism: int) -> Tensor:
        return self._ambient + self._light[prism].clamp(min=0.0)

    def _lit(self, light: Tensor) -> Tensor:
        """The cars' paint under some light, [h, 3]."""
        black = self._colour.new_tensor((16.0, 128.0, 128.0))
        return (self._colour - black) * light + black

    def _plain(self, colour: tuple[float, float, float]) -> Tensor:
        return self._colour.new_tensor(colour).expand(len(self._colour), 3)

    def _row(self, z: Tensor, depth: Tensor) -> Tensor:
        return self._cy + self._fy * (self._mount_z - z) / depth
