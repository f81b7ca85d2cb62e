"""Paints of road users, buildings, trees and poles, by kind."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.world.draw.scene import Kind
from opendojo.world.exact import hashed

__all__ = ["paints_in"]

_PAINTS: dict[Kind, tuple[tuple[float, float, float], ...]] = {
    Kind.BUILDING: (
        (0.38, 0.34, 0.28), (0.30, 0.15, 0.10), (0.47, 0.44, 0.38), (0.20, 0.20, 0.21),
        (0.42, 0.31, 0.19), (0.26, 0.24, 0.22), (0.55, 0.52, 0.47), (0.24, 0.12, 0.09),
    ),
    Kind.TREE: (
        (0.040, 0.075, 0.022), (0.055, 0.090, 0.030), (0.030, 0.055, 0.025),
        (0.072, 0.095, 0.030),
    ),
    Kind.POLE: ((0.20, 0.20, 0.20), (0.11, 0.11, 0.12), (0.16, 0.11, 0.07)),
    Kind.SIGNAL: ((0.020, 0.022, 0.022), (0.045, 0.040, 0.018)),
    Kind.CAR: (
        (0.72, 0.72, 0.73), (0.34, 0.36, 0.39), (0.012, 0.013, 0.015), (0.42, 0.015, 0.015),
        (0.015, 0.050, 0.22), (0.075, 0.090, 0.110), (0.60, 0.54, 0.40), (0.012, 0.090, 0.070),
        (0.65, 0.19, 0.015), (0.16, 0.012, 0.020), (0.16, 0.17, 0.18), (0.75, 0.75, 0.75),
    ),
    Kind.TRUCK: (
        (0.70, 0.70, 0.69), (0.38, 0.38, 0.38), (0.04, 0.12, 0.36), (0.48, 0.06, 0.03),
        (0.05, 0.22, 0.09), (0.62, 0.42, 0.04),
    ),
    Kind.CYCLIST: (
        (0.55, 0.07, 0.05), (0.05, 0.16, 0.42), (0.60, 0.60, 0.08), (0.05, 0.05, 0.06),
        (0.42, 0.42, 0.44),
    ),
    Kind.PEDESTRIAN: (
        (0.06, 0.07, 0.12), (0.34, 0.07, 0.06), (0.42, 0.36, 0.26), (0.03, 0.03, 0.03),
        (0.14, 0.24, 0.12), (0.52, 0.52, 0.54), (0.30, 0.20, 0.34),
    ),
}  # fmt: skip
"""Reflectances, linear R, G, B."""
_MOST = max(len(paints) for paints in _PAINTS.values())
_NAME = 0xB0C5


def _paint_table() -> npt.NDArray[np.float32]:
    """[kinds, _MOST, 3]: each kind's paints over and over."""
    table = np.zeros((len(Kind), _MOST, 3), np.float32)
    for kind, paints in _PAINTS.items():
        table[kind] = [paints[i % len(paints)] for i in range(_MOST)]
    return table


_TABLE = torch.from_numpy(_paint_table())
_COUNT = torch.tensor([len(_PAINTS.get(kind, (0,))) for kind in Kind])


def paints_in(seeds: Tensor, kinds: Tensor, light: Tensor) -> Tensor:
    """Paints of boxes under a light: float32 [n, k, 3], Y, Cb, Cr, limited range.

    Args:
        seeds: int64 [n], of the worlds.
        kinds: int64 [n, k], `Kind`.
        light: float32 [n or 1, 3], linear R, G, B.
    """
    device = kinds.device
    seed, slot = seeds[:, None], torch.arange(kinds.shape[1], device=device)
    key = hashed(seed & 0xFFFFFFFF, seed >> 32, torch.full_like(seed, _NAME), slot, kinds)
    pick = key % _COUNT.to(device)[kinds]
    shade = 0.8 + 0.4 * ((key >> 8) & 0xFFFF).to(torch.float32) * (1.0 / 65536.0)
    linear = _TABLE.to(device)[kinds, pick] * shade[..., None]
    linear = linear * light[:, None]
    # a fit of the sRGB curve by square roots, which are rounded alike everywhere (within 0.007)
    linear = linear.clamp(0.0, 1.0)
    one = torch.sqrt(linear)
    two = torch.sqrt(one)
    rgb = (
        0.662002687 * one
        + 0.684122060 * two
        - 0.323583601 * torch.sqrt(two)
        - 0.0225411470 * linear
    )
    r, g, b = rgb.clamp(0.0, 1.0).unbind(-1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb, cr = 128.0 + (224.0 / 1.772) * (b - y), 128.0 + (224.0 / 1.402) * (r - y)
    return torch.stack([16.0 + 219.0 * y, cb, cr], -1)
