"""Cars: columns that meet one are painted over the ground and the sky, far ones first.

Most columns meet nothing, so the painting gathers those that do and scatters them back. Nearer cars
cover farther ones; there is no limit on how many stand one behind the other.

In the packed order of `clip.pack_planes` a column of any plane is one stripe of memory of half the
picture's rows; luma and chroma differ in where the rows lie and in which colour is taken, so all
six planes are painted alike and at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world.lens import Lens
from opendojo.world.look import Look
from opendojo.world.prisms import BELT, BODY, CABIN, SHADOW, Hits, cast
from opendojo.world.state import Cars, Ego

__all__ = ["CarPainter"]

_NEAR_M = 9.0
_SILL_M = 0.2
_WHEEL_M = 0.32
_WHEELS_AFTER = 6
"""The band over which wheels are painted: the last of the body's."""
_ROWS_PX = (0.0, 0.0, 1.0, 1.0, 0.5, 0.5)
"""Luma row of each plane's first row."""
_SIZES_PX = (1.0, 1.0, 1.0, 1.0, 2.0, 2.0)
"""Height of each plane's pixels in luma rows."""
_TONES = (0, 0, 0, 0, 1, 2)
"""Which of Y, Cb, Cr each plane holds."""
_ZERO, _BLACK, _GLASS, _TAIL, _HEAD, _PLATE = range(6)
_COLOURS = (
    (16.0, 128.0, 128.0),
    (26.0, 128.0, 128.0),
    (56.0, 133.0, 124.0),
    (88.0, 106.0, 206.0),
    (216.0, 124.0, 131.0),
    (196.0, 122.0, 132.0),
)


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


class CarPainter:
    """Paints cars into packed pictures."""

    def __init__(self, lens: Lens, device: torch.device) -> None:
        def table(values: tuple[object, ...]) -> Tensor:
            return torch.tensor(values, device=device)

        self.lens = lens
        self.row_px, self.size_px, self.tone = table(_ROWS_PX), table(_SIZES_PX), table(_TONES)
        self.colours = table(_COLOURS)
        # a ray for each column of luma, then one for each column of chroma
        x, y = (
            torch.cat([ray, (ray[:, 0::2] + ray[:, 1::2]) * 0.5], 1)
            for ray in (lens.ray_x, lens.ray_y)
        )
        self._rays = x, y

    def paint(self, ego: Ego, cars: Cars, look: Look, planes: Tensor) -> None:
        """Paint all cars over packed planes [n, c, 6, height / 2, width / 2], in place."""
        hits = cast(self.lens, ego, cars, look.sun, self._rays)
        if len(hits.layer) == 0:
            return
        near = hits.enter[:, SHADOW] < _NEAR_M
        self._paint(cars, look, planes, hits, (hits.layer == 0) & near)
        # apart, because far cars take up few rows
        self._paint(cars, look, planes, hits, (hits.layer == 0) & ~near)
        for layer in range(1, int(hits.layer.max()) + 1):
            self._paint(cars, look, planes, hits, hits.layer == layer)

    def _paint(self, cars: Cars, look: Look, planes: Tensor, hits: Hits, part: Tensor) -> None:
        chosen = part.nonzero()[:, 0]
        if len(chosen):
            # each ray is seen by two planes
            some = hits.some(torch.cat([chosen, chosen]))
            _Strips(self, cars, look, planes, some).paint()


class _Strips:
    """Columns of one layer, h of them, with the rows they need: all here is [h, 1] or [h, rows]."""

    def __init__(
        self, painter: CarPainter, cars: Cars, look: Look, planes: Tensor, hits: Hits
    ) -> None:
        world, camera, car = hits.world, hits.camera, hits.car
        lens = painter.lens
        self._colours = painter.colours
        self._mount_z, self._fy, self._cy = (
            v[camera][:, None] for v in (lens.mount_z_m, lens.fy_px, lens.cy_px)
        )
        self._enter, self._leave, self._across, self._end, self._light = (
            v.T[:, :, None] for v in (hits.enter, hits.leave, hits.across, hits.end, hits.light)
        )
        self._hit = self._leave > self._enter
        self._ambient = look.ambient[world][:, None]
        self._colour = look.car_paint[world, car]
        self._height = cars.height_m[world, car][:, None]
        self._half_length = cars.length_m[world, car][:, None] * 0.5
        self._place(painter, planes, hits)

    def _place(self, painter: CarPainter, planes: Tensor, hits: Hits) -> None:
        """Fetch the pixels, of those rows that any of these cars reaches."""
        _, cameras, _, height, width = planes.shape
        second = torch.arange(len(hits.column), device=planes.device) >= len(hits.column) // 2
        chroma = hits.column >= 2 * width
        plane = torch.where(chroma, 4 + second, (hits.column & 1) + 2 * second)
        column = torch.where(chroma, hits.column - 2 * width, hits.column >> 1)
        first = ((hits.world * cameras + hits.camera) * 6 + plane) * (height * width) + column
        top = float(self._row(self._height, self._enter[SHADOW]).min())
        low = float(self._row(self._height * 0.0, self._enter[SHADOW]).max())
        rows = torch.arange(
            min(max(int(top) // 2 - 1, 0), height - 1),
            max(min(int(low) // 2 + 2, height), 1),
            device=planes.device,
        )
        self._size = painter.size_px[plane][:, None]
        self._rows_px = rows * 2.0 + painter.row_px[plane][:, None]
        self._tone = painter.tone[plane][:, None]
        self._planes = planes
        self._index = (first[:, None] + rows * width).view(-1)
        self._pixels = planes.view(-1).index_select(0, self._index).view(self._rows_px.shape)

    def paint(self) -> None:
        """Paint the bands one over the other and put the pixels back."""
        bands, pixels = self._bands(), self._pixels
        cover = self._cover(bands)
        colours = torch.stack([band.colour.gather(1, self._tone) for band in bands])
        for k in range(len(bands)):
            pixels.add_((colours[k] - pixels).mul_(cover[k]))
            if k == _WHEELS_AFTER:
                black = self._plain(_BLACK).gather(1, self._tone)
                pixels.add_((black - pixels).mul_(self._wheels()))
        self._planes.view(-1).index_copy_(0, self._index, pixels.view(-1))

    def _bands(self) -> list[_Band]:
        """What a car is made of, back to front."""
        height, zero = self._height, torch.zeros_like(self._height)
        one = zero + 1.0
        sill, belt = zero + _SILL_M, height * BELT
        end, across = self._end[BODY], self._across[BODY].abs()
        lamps = torch.where(end < 0.0, self._plain(_TAIL), self._plain(_HEAD))
        lamp = ((end != 0.0) & (across > 0.58)).to(torch.float32)
        plate = ((end != 0.0) & (across < 0.22)).to(torch.float32)
        pane = 0.92 * (self._across[CABIN].abs() < 0.90)
        black, top = self._plain(_BLACK), self._lit(0.94 + 0.12 * self._ambient)

        def face(prism: int, low: Tensor, high: Tensor, share: Tensor, colour: Tensor) -> _Band:
            t = self._enter[prism]
            return _Band(prism, high, t, low, t, share, colour)

        def level(prism: int, z: Tensor, share: Tensor, colour: Tensor) -> _Band:
            return _Band(prism, z, self._leave[prism], z, self._enter[prism], share, colour)

        return [
            level(SHADOW, zero, one * 0.55, black),
            face(BODY, zero, sill, one * 0.85, black),
            level(BODY, belt, one, top),
            face(BODY, sill, belt, one, self._lit(self._shade(BODY))),
            face(BODY, sill, belt * 0.45, one * 0.30, black),
            face(BODY, belt * 0.68, belt * 0.90, lamp, lamps),
            face(BODY, belt * 0.40, belt * 0.56, plate, self._plain(_PLATE)),
            face(CABIN, belt, height, one, self._lit(self._shade(CABIN))),
            level(CABIN, height, one, top),
            face(CABIN, belt + 0.03, height - 0.09, pane, self._plain(_GLASS)),
        ]

    def _cover(self, bands: list[_Band]) -> Tensor:
        """Share of each pixel that each band covers, [bands, h, rows]."""
        high, t_high, low, t_low, share = (
            torch.stack([getattr(b, name) for b in bands])
            for name in ("high_m", "high_depth", "low_m", "low_depth", "share")
        )
        share = share * self._hit[[b.prism for b in bands]]
        upper = self._row(high, t_high)
        lower = torch.maximum(self._row(low, t_low), upper)
        # in pixels of the plane, from a row's upper rim
        per_size = 1.0 / self._size
        rims = (self._rows_px - 0.5 * self._size) * per_size
        cover = (lower * per_size - rims).clamp_(0.0, 1.0)
        return cover.sub_((upper * per_size - rims).clamp_(0.0, 1.0)).mul_(share)

    def _wheels(self) -> Tensor:
        """Two discs on a side: share of each pixel."""
        z = self._mount_z - (self._rows_px - self._cy) * (self._enter[BODY] / self._fy)
        along = (self._across[BODY].abs() - 0.62) * self._half_length
        square = (along * along + (z - _WHEEL_M) * (z - _WHEEL_M)) * (1.0 / _WHEEL_M**2)
        disc = (1.0 - square).mul_(4.0).clamp_(0.0, 1.0)
        return disc.mul_((self._end[BODY] == 0.0) & self._hit[BODY])

    def _shade(self, prism: int) -> Tensor:
        return self._ambient + self._light[prism].clamp(min=0.0)

    def _lit(self, light: Tensor) -> Tensor:
        """The cars' paint under some light, [h, 3]."""
        zero = self._colours[_ZERO]
        return (self._colour - zero) * light + zero

    def _plain(self, colour: int) -> Tensor:
        return self._colours[colour].expand(len(self._colour), 3)

    def _row(self, z: Tensor, depth: Tensor) -> Tensor:
        return self._cy + self._fy * (self._mount_z - z) / depth
