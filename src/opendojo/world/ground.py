"""The ground: where each pixel's ray meets it, which part of the road that is, and its colour.

Lines and edges are computed from the offset d and the arc length s of the point, and covered by the
pixel's footprint (a box filter along d and along s), so they stay crisp near by and fade instead of
flickering far away.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from opendojo.world.exact import sin_cos
from opendojo.world.lens import Lens
from opendojo.world.look import Look
from opendojo.world.road import LANE_M, PAVED_M
from opendojo.world.roads import Frames, Located, Roads
from opendojo.world.state import Ego

__all__ = ["DASH_PERIOD_M", "EDGE_LINE_M", "LINE_M", "Ground"]

LINE_M = 0.2
"""Width of a painted line."""
EDGE_LINE_M = LANE_M - LINE_M / 2
"""Offset of the edge lines' middles."""
DASH_PERIOD_M = 9.0
"""From the middle of one dash of the centre line to the next; dashes centre on its multiples."""
_VERGE_M, _VERGE_SOFT = PAVED_M + 1.2, 1.6
_TILE = 256
_GRAIN_M, _PATCH_M = 0.11, 0.9


class Ground:
    """Draws the ground's half of the pictures.

    Pixels are worked on as [n, camera and row parity, column parity, the rest]. What changes slowly
    across the picture (the station near by, the texture) is looked up for even columns only.
    """

    def __init__(self, lens: Lens, device: torch.device) -> None:
        def flat(table: Tensor) -> Tensor:
            return table.reshape(-1, 2, table.shape[2] * table.shape[3])

        self._x, self._y = flat(lens.ground_x_m), flat(lens.ground_y_m)
        self._across = flat(lens.across_x_m), flat(lens.across_y_m)
        self._away = flat(lens.away_x_m), flat(lens.away_y_m)
        self._haze = flat(lens.haze)
        across, away = (torch.sqrt(x * x + y * y) for x, y in (self._across, self._away))
        # the longest way through a pixel's footprint, for want of its length along the road
        self._long_m = torch.sqrt(across * across + away * away).clamp(max=DASH_PERIOD_M)
        across, away = across[:, :1], away[:, :1]
        self._grain_fade = (1.25 - away / (8 * _GRAIN_M)).clamp(0.0, 1.0)
        self._patch_fade = (1.25 - torch.maximum(across, away) / (12 * _PATCH_M)).clamp(0.0, 1.0)
        self._tile = torch.tensor(_noise_tile(), device=device)

    def paint(
        self, ego: Ego, roads: Roads, seen: Frames, look: Look, luma: Tensor, chroma: Tensor
    ) -> None:
        """Fill luma [n, c, 4, rows, w] and chroma [n, c, 2, rows, w], rows below the horizon.

        `roads` finds stations of these worlds, `seen` holds all worlds' frames as the egos see
        them.
        """
        x, y = self._x[:, :1], self._y[:, :1]
        sin, cos = (_wide(v) for v in sin_cos(ego.yaw_rad))
        world_x = (x * cos).sub_(y * sin).add_(_wide(ego.x_m))
        world_y = (x * sin).add_(y * cos).add_(_wide(ego.y_m))
        station = roads.station(world_x.flatten(1), world_y.flatten(1)).view(world_x.shape)
        at = seen.locate(station, self._x, self._y)
        verge, paved, edge, centre = self._covers(at, look)

        grain = self._texture(world_x, world_y, 1.0 / _GRAIN_M).mul_(self._grain_fade)
        patch = self._texture(world_x, world_y, 1.0 / _PATCH_M).mul_(self._patch_fade)
        worn = _wide(look.wear)
        worn = (grain * (-2.5 * worn)).add_(1.0 - worn).clamp_(0.0, 1.0)
        edge.mul_(worn)
        centre.mul_(worn)
        rough = _wide(look.rough)
        grass = (grain * (16.0 * rough)).add_(patch * (14.0 * rough))
        grass.add_(_wide(look.grass[:, 0]))
        veil = self._haze * _wide(look.haze)
        layers = (
            (verge, (grain * 16.0).add_(_wide(look.verge[:, 0])), look.verge),
            (
                paved,
                grain.mul_(7.0).add_(patch.mul_(5.0)).add_(_wide(look.asphalt[:, 0])),
                look.asphalt,
            ),
            (edge, _wide(look.edge_line[:, 0]), look.edge_line),
            (centre, _wide(look.centre_line[:, 0]), look.centre_line),
            (veil, _wide(look.horizon[:, 0]), look.horizon),
        )
        out = grass.expand(edge.shape).clone()
        for cover, level, _ in layers:
            out.add_((level - out).mul_(cover))
        luma.copy_(out.view(luma.shape))
        self._tint(look, [(cover, colour) for cover, _, colour in layers], chroma)

    def _tint(self, look: Look, layers: list[tuple[Tensor, Tensor]], chroma: Tensor) -> None:
        """The same layers in the two chroma planes, where covers are means over four pixels."""
        n, c, _, rows, width = chroma.shape
        tones = [look.grass[:, p].view(n, 1, 1).expand(n, c, rows * width).clone() for p in (1, 2)]
        for cover, colour in layers:
            pair = cover[:, :, 0] + cover[:, :, 1]
            mean = (pair[:, 0::2] + pair[:, 1::2]).mul_(0.25)
            for p, tone in enumerate(tones):
                tone.add_((colour[:, 1 + p].view(n, 1, 1) - tone).mul_(mean))
        for p, tone in enumerate(tones):
            chroma[:, :, p] = tone.view(n, c, rows, width)

    def _covers(self, at: Located, look: Look) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shares of each pixel that are within the verge, paved, edge line, centre line."""
        # length of a pixel's footprint across the road
        wide = (at.cos * self._across[1]).sub_(at.sin * self._across[0]).abs_()
        wide.add_((at.cos * self._away[1]).sub_(at.sin * self._away[0]).abs_())
        per_wide = 1.0 / wide
        apart = at.d_m.abs()
        verge = (apart * -_VERGE_SOFT).add_(_VERGE_M * _VERGE_SOFT).clamp_(0.0, 1.0)
        paved = (PAVED_M - apart).mul_(per_wide).add_(0.5).clamp_(0.0, 1.0)
        half = wide.mul_(0.5).add_(0.5 * LINE_M)
        edge = (apart - EDGE_LINE_M).abs_().neg_().add_(half)
        centre = half.sub_(apart)
        for line in (edge, centre):
            line.clamp_(0.0, LINE_M).mul_(per_wide).clamp_(max=1.0)
        # along the road, in lengths of a dash
        per_dash = 1.0 / _wide(look.dash_m)
        long = self._long_m * per_dash
        beat = at.s_m.mul_(1.0 / DASH_PERIOD_M)
        beat = beat.sub_(torch.floor(beat + 0.5)).abs_().mul_(-DASH_PERIOD_M * per_dash)
        dash = beat.add_(long * 0.5).add_(0.5).clamp_(0.0, 1.0).div_(long).clamp_(max=1.0)
        return verge, paved, edge, centre.mul_(dash)

    def _texture(self, x: Tensor, y: Tensor, per_m: float) -> Tensor:
        column = (x * per_m).to(torch.int32).bitwise_and_(_TILE - 1)
        row = (y * per_m).to(torch.int32).bitwise_and_(_TILE - 1)
        index = row.mul_(_TILE).add_(column)
        return self._tile.index_select(0, index.view(-1)).view(x.shape)


def _wide(value: Tensor) -> Tensor:
    """A number a world, [n], beside its pixels."""
    return value.view(-1, 1, 1, 1)


def _noise_tile() -> np.ndarray:
    """A tile of smooth noise that wraps, zero mean, standard deviation a half, float32 flat.

    Rounded to 1/256, so that no library's last bit shows.
    """
    rng = np.random.Generator(np.random.Philox(key=1))
    wave = np.fft.fftfreq(_TILE)
    radius = np.hypot(wave[:, None], wave)
    band = radius * np.exp(-((radius / 0.09) ** 2))
    tile = np.fft.ifft2(np.fft.fft2(rng.normal(size=(_TILE, _TILE))) * band).real
    tile = np.clip(tile * (0.5 / tile.std()), -1.5, 1.5)
    return (np.round(tile * 256) / 256).astype(np.float32).ravel()
