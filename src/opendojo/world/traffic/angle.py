"""The angle of a direction, exactly the same in any company (see `world.exact`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["angle"]


def angle(cos: Tensor, sin: Tensor) -> Tensor:
    """The angle in (-pi, pi] of directions (cos, sin) of any length but 0, float32, to 3e-7.

    The polynomial is that of Cephes' atanf (S. Moshier), good on |t| <= tan(pi / 8).
    """
    x, y = cos.abs(), sin.abs()
    high, low = torch.maximum(x, y).clamp(min=1e-30), torch.minimum(x, y)
    ratio = low / high
    steep = ratio > math.tan(math.pi / 8)
    t = torch.where(steep, (ratio - 1.0) / (ratio + 1.0), ratio)
    z = t * t
    series = ((z * 8.05374449538e-2 - 1.38776856032e-1) * z + 1.99777106478e-1) * z
    value = (series - 3.33329491539e-1) * z * t + t
    value = torch.where(steep, value + math.pi / 4, value)
    value = torch.where(y > x, math.pi / 2 - value, value)
    value = torch.where(cos < 0.0, math.pi - value, value)
    return torch.where(sin < 0.0, -value, value)
