"""The sky: a gradient from the zenith to the horizon, far hills and a line of trees before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from opendojo.world.lens import Lens
from opendojo.world.look import SKYLINE_BINS, Look
from opendojo.world.state import Ego

__all__ = ["Sky"]

_SKYLINE_PX = 12
"""Rows above the horizon that a skyline can reach."""


class Sky:
    """Draws what is above the horizon; the skyline is so far away that only yaw moves it."""

    def __init__(self, lens: Lens, device: torch.device) -> None:
        self._lens = lens
        rows = torch.arange(2 * lens.horizon, dtype=torch.float32, device=device)
        rise = (lens.cy_px[:, None] - rows) / lens.fy_px[:, None]
        share = (rise * 1.9).clamp(0.0, 1.0)
        share = share * (2.0 - share)
        # as packed luma [c, 4, horizon, 1], and as chroma [c, horizon, 1]
        even, odd = share[:, 0::2, None], share[:, 1::2, None]
        self._height = torch.stack([even, even, odd, odd], 1)
        self._half_height = (even + odd) * 0.5
        self._bins = lens.bearing_rad * (SKYLINE_BINS / (2.0 * math.pi))
        self._first = max(lens.horizon - _SKYLINE_PX // 2, 0)
        rows = rows[2 * self._first :]
        rows = torch.stack([rows[0::2], rows[0::2], rows[1::2], rows[1::2]])
        self._above = lens.cy_px[:, None, None, None] - rows[None, :, :, None]

    def paint(self, ego: Ego, look: Look, luma: Tensor, chroma: Tensor) -> None:
        """Fill luma [n, c, 4, rows, w] and chroma [n, c, 2, rows, w], rows above the horizon."""

        def tone(colour: Tensor, plane: int) -> Tensor:
            return colour[:, plane].view(-1, *[1] * 4)

        for plane in range(3):
            height = self._height if plane == 0 else self._half_height[:, None]
            low, high = tone(look.horizon, plane), tone(look.zenith, plane)
            out = luma if plane == 0 else chroma[:, :, plane - 1 : plane]
            out.copy_((high - low) * height + low)
        near = luma[:, :, :, self._first :]
        turn = ego.yaw_rad * (SKYLINE_BINS / (2.0 * math.pi))
        bins = torch.floor(self._bins + turn[:, None, None]).to(torch.int64)
        bins = bins.bitwise_and_(SKYLINE_BINS - 1)
        for line, colour in ((look.hill_line, look.hills), (look.tree_line, look.trees)):
            cover = self._cover(line, bins)
            near.add_((tone(colour, 0) - near).mul_(cover))
            mean = (cover[:, :, 0] + cover[:, :, 1]).add_(cover[:, :, 2]).add_(cover[:, :, 3])
            mean.mul_(0.25)
            for plane in (0, 1):
                part = chroma[:, :, plane, self._first :]
                part.add_((colour[:, 1 + plane].view(-1, 1, 1, 1) - part).mul_(mean))

    def _cover(self, line: Tensor, bins: Tensor) -> Tensor:
        """Share of each pixel below the skyline, [n, c, 4, rows, w]."""
        tangent = line.gather(1, bins.flatten(1)).view(bins.shape)
        top = tangent * (self._lens.stretch * self._lens.fy_px[:, None])
        even, odd = top[:, :, None, None, 0::2], top[:, :, None, None, 1::2]
        above = self._above
        parts = [(t - above[:, p : p + 1]) for p, t in enumerate((even, odd, even, odd))]
        return torch.cat(parts, 2).add_(0.5).clamp_(0.0, 1.0)
