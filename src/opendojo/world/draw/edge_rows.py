"""In which row of its column an edge lies, which spares the pixels all geometry.

Down a column the slopes of pixels fall, so all of an edge is the row at which it crosses that
column. Where a camera is level that is one product. Where it is only upright, the rays of a column
drift to the side from row to row, and the edge with them: it is met by the ray of the fan's first
row and by that of its last, and lies where the line between the two crosses the column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["crossing", "row_of", "row_table", "span_of"]

Floats = npt.NDArray[np.float64]

_STEEPEST = 0.75
"""Rows that an edge may fall a row: beyond that it all but runs along the column."""
_FAR = 1e4
"""A row that is in no picture."""


def row_table(slope: Floats) -> tuple[Floats, float]:
    """For slopes [n, f, rows, w] the table [n, 8, f, w] of `row_of`, and how many rows it errs.

    It holds the least and the greatest slope to heed and Newton's cubic through four rows.
    """
    rows = slope.shape[2]
    at = [round(part * (rows - 1) / 3) for part in range(4)]
    with np.errstate(all="ignore"):
        s = [slope[:, :, row] for row in at]
        one = [(at[i + 1] - at[i]) / (s[i + 1] - s[i]) for i in range(3)]
        two = [(one[i + 1] - one[i]) / (s[i + 2] - s[i]) for i in range(2)]
        three = (two[1] - two[0]) / (s[3] - s[0])
        low = s[3] - 1.25 * (slope[:, :, -2] - s[3])
        high = s[0] + 1.25 * (s[0] - slope[:, :, 1])
        inner = two[0][:, :, None] + (slope - s[2][:, :, None]) * three[:, :, None]
        inner = one[0][:, :, None] + (slope - s[1][:, :, None]) * inner
        row = (slope - s[0][:, :, None]) * inner
        apart = np.abs(row - np.arange(rows)[:, None]).max(initial=0.0)
    falls = bool((np.diff(slope, axis=2) < 0).all())
    table = np.stack([low, high, s[0], one[0], s[1], two[0], s[2], three], 1)
    return np.nan_to_num(table), float(apart) if falls and np.isfinite(apart) else np.inf


def row_of(slope: Tensor, table: Tensor, level: bool) -> Tensor:
    """The rows at which slopes [n, f, m, w] lie in their columns; just outside for all beyond."""
    low, high, s0, one, s1, two, s2, three = table[:, :, :, None].unbind(1)
    slope = torch.minimum(torch.maximum(slope, low), high)
    if level:
        return (slope - s0) * one
    inner = (slope - s2).mul_(three).add_(two).mul_(slope - s1).add_(one)
    return inner.mul_(slope - s0)


def crossing(top: Tensor, bottom: Tensor, last: float) -> Tensor:
    """The row of an edge that the rays of rows 0 and `last` meet at rows `top` and `bottom`."""
    fall = (bottom - top).mul_(1.0 / last).clamp_(max=_STEEPEST)
    return top / (1.0 - fall)


def span_of(top: Tensor, bottom: Tensor, last: float) -> tuple[Tensor, Tensor]:
    """Between which rows a quantity is above 0 that changes evenly from row 0 to row `last`."""
    apart = top - bottom
    root = top / torch.where(apart == 0, 1.0, apart) * last
    begins = torch.where(top > 0, -_FAR, torch.where(bottom > 0, root, _FAR))
    ends = torch.where(bottom > 0, _FAR, torch.where(top > 0, root, -_FAR))
    return begins, ends
