"""Checksums of matrix products: three readings of memory, no copy, a bound for every row.

`matrix_check` looks at out = alpha a b + beta bias, `batch_check` at a batch of such products. The
sum runs along the shorter side of the result, so that each of the more numerous checksums covers as
few elements as can be: the cost, 1/K + 1/N + 1/M of the product, is the same either way.

A first, cheap bound takes the sizes of a few rows for those of all. What it lets pass is right;
what it does not is held against the exact bound. An accelerator is not asked in between.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from opendojo.guard.bounds import SIGMAS, Rounding, rounding_of, spread

__all__ = ["LEAST", "Bound", "batch_check", "judged", "matrix_check", "observed", "signs", "wide"]

Bound = Literal["statistical", "rigorous"]

_SAMPLE = 32
"""Rows whose norms stand for those of all in the first bound."""
LEAST = 2.0**-62
"""Numbers below this, 2e-19, vanish in a norm because their squares do: allowed for."""
_SMALL = 1 << 14
"""Elements below which the exact bound is taken at once."""


@functools.lru_cache(maxsize=512)
def signs(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The check's fixed vector: signs at random, sizes from 0.5 to 1.5, scaled to a mean square
    of 1."""
    draw = torch.Generator().manual_seed(0x5DC + count)
    sizes = torch.rand(count, generator=draw, dtype=torch.float64) + 0.5
    flips = torch.randint(0, 2, (count,), generator=draw) * 2 - 1
    return (sizes * flips / math.sqrt(13 / 12)).to(device, dtype)


def wide(tensor: Tensor) -> Tensor:
    """The tensor in at least 32 bits: itself, or a copy where it has 16."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


_observers: list[Callable[[Tensor], None]] = []


@contextlib.contextmanager
def observed(look: Callable[[Tensor], None]) -> Iterator[None]:
    """While entered, `look` is given the difference of every checksum: for other thresholds."""
    _observers.append(look)
    try:
        yield
    finally:
        _observers.remove(look)


def judged(apart: Tensor, quick: Tensor | float | None, exact: Callable[[], Tensor]) -> Tensor:
    """Worst ratio of a difference to its bound, a scalar: above 1, or not a number, is suspicious.

    `quick` is a bound that is never too wide by much; where it holds, `exact` is not called.
    """
    for look in _observers:
        look(apart)
    if quick is not None and apart.device.type == "cpu":
        ratio = (apart / quick).abs_().amax()
        if ratio.item() <= 1.0 and bool(torch.as_tensor(quick).isfinite().all()):
            return ratio
    limit = exact()
    ratio = (apart.abs() / limit).amax()
    # a bound that overflowed says nothing, and nothing ordinary overflows it
    return torch.where(limit.isfinite().all(), ratio, torch.full_like(ratio, math.nan))


def matrix_check(
    out: Tensor,
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    bound: Bound = "statistical",
) -> Tensor:
    """Worst ratio, a scalar, of out = alpha a b + beta bias; a [m, k], b [k, n], out [m, n]."""
    rounding = rounding_of(out.dtype, out.device)
    if out.shape[0] < out.shape[1]:  # sum along the shorter side
        out, a, b = out.t(), b.t(), a.t()
        bias = bias.t() if bias is not None and bias.dim() == 2 else bias
        column = True
    else:
        column = False
    out, a, b = wide(out), wide(a), wide(b)
    vector = signs(out.shape[1], out.dtype, out.device)
    projected = b.mv(vector)
    apart = torch.addmv(out.mv(vector), a, projected, alpha=-alpha)
    if bias is not None and beta:
        apart = apart - beta * _bias_sum(wide(bias), vector, column)
    factor = abs(alpha) * spread(rounding, a.shape[1], out.shape[1], bound)

    def exact() -> Tensor:
        width = _norms(a, 1) * (
            factor * (torch.linalg.vector_norm(b) + LEAST * math.sqrt(b.numel()))
        )
        if bias is not None and beta:
            width = width + abs(beta) * _bias_width(rounding, bias, out.shape[1])
        return _rounded(width, rounding, out, bound)

    if rounding.out or out.numel() < _SMALL or bound == "rigorous":
        return judged(apart, None, exact)
    rows = torch.linalg.vector_norm(a[:: max(1, len(a) // _SAMPLE)], dim=1)
    norm = torch.linalg.vector_norm(projected)
    return judged(apart, rows.median() * norm * factor, exact)


def batch_check(
    out: Tensor,
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    bound: Bound = "statistical",
) -> Tensor:
    """As `matrix_check`, of batches: a [g, m, k], b [g, k, n], out [g, m, n]."""
    rounding = rounding_of(out.dtype, out.device)
    if out.shape[1] < out.shape[2]:
        out, a, b = out.mT, b.mT, a.mT
        bias = bias.mT if bias is not None else None
    out, a, b = wide(out), wide(a), wide(b)
    vector = signs(out.shape[2], out.dtype, out.device)
    right = vector.expand(len(b), -1).unsqueeze(-1)
    projected = torch.bmm(b, right)
    apart = torch.baddbmm(torch.bmm(out, right), a, projected, alpha=-alpha).squeeze(-1)
    if bias is not None and beta:
        apart = apart - beta * (wide(bias) @ vector)
    factor = abs(alpha) * spread(rounding, a.shape[2], out.shape[2], bound)

    def exact() -> Tensor:
        sizes = torch.linalg.vector_norm(b, dim=(1, 2)) + LEAST * math.sqrt(b[0].numel())
        width = _norms(a, 2) * (sizes * factor).unsqueeze(1)
        if bias is not None and beta:
            width = width + abs(beta) * _bias_width(rounding, bias, out.shape[2])
        return _rounded(width, rounding, out, bound)

    if rounding.out or out.numel() < _SMALL or bound == "rigorous":
        return judged(apart, None, exact)
    rows = torch.linalg.vector_norm(a[:, :: max(1, a.shape[1] // _SAMPLE)], dim=2)
    norms = torch.linalg.vector_norm(projected.squeeze(-1), dim=1) * factor
    quick = rows.median(dim=1).values * norms
    return judged(apart, quick.unsqueeze(1), exact)


def _norms(a: Tensor, dim: int) -> Tensor:
    return torch.linalg.vector_norm(a, dim=dim) + LEAST * math.sqrt(a.shape[dim])


def _rounded(width: Tensor, rounding: Rounding, out: Tensor, bound: Bound) -> Tensor:
    """The bound with the last rounding of the result's rows, and a floor for subnormal numbers."""
    if rounding.out:
        if bound == "rigorous":
            width = width + 1.6 * rounding.out * out.abs().sum(-1)
        else:
            last = SIGMAS * rounding.out / math.sqrt(3)
            width = torch.hypot(width, last * torch.linalg.vector_norm(out, dim=-1))
    floor = 2.0**-24 if rounding.out == 2.0**-11 else 2.0**-126  # fp16's subnormal spacing
    return width.add_(SIGMAS * floor * math.sqrt(out.shape[-1]))


def _bias_sum(bias: Tensor, vector: Tensor, column: bool) -> Tensor:
    """The bias times the check's vector, one number or one per checked row."""
    if bias.dim() == 2:
        return bias.expand(-1, len(vector)) @ vector if bias.shape[1] != 1 else bias @ vector[:1]
    if column:  # the bias runs along the checked rows now
        return bias * vector.sum()
    return bias.expand(len(vector)).dot(vector)


def _bias_width(rounding: Rounding, bias: Tensor, across: int) -> Tensor:
    """What adding the bias may round away, generously: it is small beside the product's."""
    unit = 4 * rounding.total * math.sqrt(across)
    return SIGMAS * unit * math.sqrt(across) * bias.detach().float().abs().amax()
