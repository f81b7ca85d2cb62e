"""Batches that tests make up, from frames packed as a network takes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from opendojo.loader.batch import Batch


def planar(frames: Tensor) -> Tensor:
    """uint8 [..., 6, h / 2, w / 2] as `Batch.yuv` has it, [..., h * w * 3 / 2]."""
    luma = pixel_shuffle(frames[..., :4, :, :], 2)
    return torch.cat([luma.flatten(-3), frames[..., 4:, :, :].flatten(-3)], -1)


def make_batch(frames: Tensor, **fields: Any) -> Batch:
    """A batch of `frames`, uint8 [b, t, c, 6, h / 2, w / 2], without geometry."""
    b, t, c = frames.shape[:3]
    height_px, width_px = 2 * frames.shape[-2], 2 * frames.shape[-1]
    return Batch(
        yuv=planar(frames),
        rgb_frames=torch.zeros((b, t, 0, 3, height_px, width_px), dtype=torch.uint8),
        height_px=height_px,
        width_px=width_px,
        lens=torch.zeros(b, c, 16),
        **fields,
    )
