"""From six YUV planes of every camera to one vector of features per time step.

The map is never averaged away: where in the picture a lane line lies is what the path follows
from, so the last map is squeezed to few channels, brought to unit variance so that the fusion
hears it over its own biases, and flattened with its rows and columns. Group
normalisation (Wu and He, ECCV 2018) behaves the same in training and evaluation, whatever the
batch, so that a network drives exactly as it was trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.sizes import NetConfig

__all__ = ["Block", "Encoder"]

_MIDDLE, _SPREAD = 128.0, 64.0
"""Take limited-range uint8 (16 to 240) to about -1.75 .. 1.75; chroma's zero is 128."""
_GROUP = 8
"""Channels per normalisation group."""


class Block(nn.Module):
    """A residual block of two 3x3 convolutions; one normalisation between them, to save time."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(channels_out // _GROUP, channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, 1, 1)
        self.skip = (
            nn.Identity()
            if stride == 1 and channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, stride, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels_in, h, w] to [n, channels_out, h / stride, w / stride]."""
        return F.relu(self.second(F.relu(self.norm(self.first(x)))) + self.skip(x))


class Encoder(nn.Module):
    """A small residual network shared by all cameras, and their fusion.

    A learnt vector per slot of the rig is added before the last stage, so that shared filters know
    whose picture they read. The fusion has its own weights per slot, and a zero with a mask bit
    where a camera is absent: its pixels are not even looked at.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        widths = config.widths
        channels = (widths.stem, *widths.stages)
        self.stem = nn.Conv2d(6, widths.stem, 3, 2, 1)
        stages = [
            nn.Sequential(
                Block(before, after, 2), *(Block(after, after, 1) for _ in range(depth - 1))
            )
            for before, after, depth in zip(channels, channels[1:], widths.depths, strict=False)
        ]
        self.early = nn.Sequential(*stages[:-1])
        self.late = stages[-1]
        self.slot = nn.Parameter(torch.empty(len(config.cameras), channels[-2]))
        nn.init.normal_(self.slot, std=0.1)
        self.pool = nn.AvgPool2d(config.pool)
        self.squeeze = nn.Conv2d(widths.stages[-1], widths.squeeze, 1)
        self.level = nn.GroupNorm(1, widths.squeeze)
        self.cells = widths.squeeze * config.grid[0] * config.grid[1]
        self.fuse = nn.Linear(len(config.cameras) * (self.cells + 1), widths.features)

    def forward(self, frames: Tensor, camera_mask: Tensor) -> Tensor:
        """Fuse the cameras of each time step.

        frames: uint8 [n, c, 6, h/2, w/2]; camera_mask: bool [n, c]. Returns float32 [n, d]; what
        stands in the frames of absent cameras has no influence.
        """
        n, cameras = camera_mask.shape
        there = camera_mask.flatten().nonzero().squeeze(1)
        cells = self._cells(frames.flatten(0, 1)[there], there % cameras)
        slots = cells.new_zeros(n * cameras, self.cells).index_copy(0, there, cells)
        seen = torch.cat([slots.view(n, -1), camera_mask.to(cells.dtype)], 1)
        return F.relu(self.fuse(seen))

    def _cells(self, planes: Tensor, slot: Tensor) -> Tensor:
        """uint8 [k, 6, h/2, w/2] of the cameras in slots int64 [k] to features [k, cells]."""
        x = planes.contiguous(memory_format=torch.channels_last).float()
        x = x.sub_(_MIDDLE).mul_(1.0 / _SPREAD)
        x = self.early(F.relu(self.stem(x)))
        x = self.late(x + self.slot[slot, :, None, None])
        return F.relu(self.level(self.squeeze(self.pool(x)))).flatten(1)
