"""What the network is trained to make small; exactly 0, without gradient, where labels are absent.

Both losses are means over what is labelled. A batch with no label at all gives 0 and zero
gradients rather than 0 / 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["forecast_loss", "path_loss"]

_BEND = 0.1
"""Scaled error below which the path loss is quadratic: 10 cm at 1 s."""
_SOFT = 1e-3
"""Error below which the forecast loss is quadratic, a quarter of one grey level."""


def path_loss(
    path_m: Tensor, target_m: Tensor, mask: Tensor, times_s: Tensor | tuple[float, ...]
) -> Tensor:
    """Smooth L1 of the path's error divided by its time, so that far points do not outweigh.

    path_m, target_m: [b, t, p, 2]; mask: bool [b, t, p]; times_s: [p]. One metre at one second
    counts like four at four seconds. Returns a scalar.
    """
    times_s = torch.as_tensor(times_s, dtype=path_m.dtype, device=path_m.device)
    gap_m = torch.where(mask[..., None], path_m - target_m, 0.0)
    scaled = gap_m / times_s[:, None]
    error = F.smooth_l1_loss(scaled, torch.zeros_like(scaled), reduction="sum", beta=_BEND)
    return error / mask.sum().clamp(min=1)


def forecast_loss(forecast: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Charbonnier loss (Charbonnier et al., ICIP 1994), a smooth L1, of a picture to come.

    forecast, target: [b, t, h, w] in 0..1; mask: bool [b, t]. Returns a scalar.
    """
    gap = torch.where(mask[..., None, None], forecast - target, 0.0)
    error = ((gap * gap + _SOFT**2).sqrt() - _SOFT).sum()
    return error / (mask.sum() * target[0, 0].numel()).clamp(min=1)
