"""Held against float64: was a suspected product wrong, or only its checksum too strict?

The operator is done again on float64 copies of its arguments, on the processor: other instructions
and another order of sums. Each element may differ by what its own sum can round.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from opendojo.guard.bounds import SIGMAS, rounding_of, short_sums
from opendojo.guard.plan import kind_of

__all__ = ["confirmed"]

_SETTLED = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")


def confirmed(func: Any, args: Any, kwargs: Any, out: Any) -> bool | None:
    """True where the result is wrong beyond rounding, False where it is right.

    None where float64 cannot say: attention and duplicates are compared by bits alone.
    """
    if kind_of(func) not in _SETTLED:
        return None
    exact = func(*_each(args, lambda t: t.detach().double().cpu()), **kwargs)
    sizes = func(*_each(args, lambda t: t.detach().double().cpu().abs()), **kwargs)
    kind = kind_of(func)
    depth = _depth(kind, args)
    steps = _steps(kind, args) if kind.startswith("convolution") else 0
    results = out if isinstance(out, tuple) else (out,)
    exacts = exact if isinstance(exact, tuple) else (exact,)
    scales = sizes if isinstance(sizes, tuple) else (sizes,)
    triples = zip(results, exacts, scales, strict=True)
    return any(_wrong(o, e, s, depth, steps) for o, e, s in triples if isinstance(o, Tensor))


def _wrong(out: Tensor, exact: Tensor, size: Tensor, depth: float, steps: int) -> bool:
    rounding = rounding_of(out.dtype, out.device)
    limit = torch.finfo(out.dtype).max
    got = out.detach().double().cpu()
    sums = SIGMAS * (rounding.total * math.sqrt(depth) + 2 * rounding.inputs)
    if steps and short_sums(out.dtype, out.device):
        sums += SIGMAS * rounding.out * math.sqrt(steps / depth)
    tiny = torch.finfo(out.dtype).smallest_normal * 2
    allowed = sums * size.abs() + 2 * (rounding.out or rounding.total) * exact.abs() + tiny
    beyond = (got - exact).abs() > allowed
    overflow = ~got.isfinite() & (~exact.isfinite() | (size.abs() + allowed >= limit * 0.999))
    same = beyond.logical_not() & got.isfinite()
    return not bool((same | overflow).all())


def _steps(kind: str, args: Any) -> int:
    """Most sums that a convolution may keep short: its pictures, or its filter's taps."""
    weight = args[1] if kind == "convolution" else args[2]
    return max(len(args[0]), weight[0, 0].numel())


def _depth(kind: str, args: Any) -> float:
    if kind in ("mm", "bmm"):
        return float(args[0].shape[-1])
    if kind in ("addmm", "baddbmm"):
        return float(args[1].shape[-1])
    weight = args[1] if kind == "convolution" else args[2]
    depth = weight.numel() / weight.shape[0]
    if kind == "convolution_backward":
        gradient = args[0]
        depth = max(depth, weight.shape[0] * weight[0, 0].numel(), gradient.numel()
                    / gradient.shape[1])  # fmt: skip
    return float(depth)


def _each(args: Any, change: Any) -> list[Any]:
    return [change(x) if isinstance(x, Tensor) and x.is_floating_point() else x for x in args]
