"""The sensor's noise: rows of a long table of draws, begun at a hash of seed and step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from opendojo.world.exact import hashed

__all__ = ["Noise", "noise_rows"]

_STARTS = 4096
_NAME = 0x401E


class Noise:
    """Normal draws of standard deviation 1 for pictures of one size."""

    def __init__(self, height_px: int, width_px: int, device: torch.device) -> None:
        rng = np.random.Generator(np.random.Philox(key=2))
        draws = rng.standard_normal((_STARTS + height_px, width_px), dtype=np.float32)
        # in steps of 1/256, so that a sum with a level is exact
        self.table = torch.tensor(np.round(draws * 256) / 256, device=device)
        """float32 [`_STARTS` + height, width]."""

    def starts(self, seeds: Tensor, step: Tensor, cameras: Tensor) -> Tensor:
        """First rows of pictures: int64 [n, f] of seeds [n], steps [n] and cameras [f]."""
        seed, step = seeds[:, None], step[:, None]
        name = torch.full_like(seed, _NAME)
        return hashed(seed & 0xFFFFFFFF, seed >> 32, name, cameras, step) % _STARTS


def noise_rows(table: Tensor, starts: Tensor, rows: int) -> Tensor:
    """Noise [n, f, rows, w] from the rows `starts` [n, f] on."""
    row = starts[:, :, None] + torch.arange(rows, device=table.device)
    if torch.compiler.is_compiling():
        return torch.ops.aten._unsafe_index(table, [row])
    return table.index_select(0, row.view(-1)).view(*row.shape, table.shape[1])
