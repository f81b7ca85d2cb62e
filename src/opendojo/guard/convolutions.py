"""Checksums of convolutions: a batch is summed to one picture, and that is convolved again.

A convolution is linear in its batch, so sum_n s_n conv(X_n, W) = conv(sum_n s_n X_n, W): one
reading of X and of Y and one picture's convolution, whatever stride, groups or padding. The same
holds for the gradient of X. The gradient of W is linear in the channels of X (or of dY, whichever
are more): all channels of a group are summed to one. Every output position of a channel is held
against a bound of its own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from opendojo.guard.bounds import SIGMAS, Rounding, rounding_of, short_sums, spread, unit_roundoff
from opendojo.guard.products import LEAST, Bound, judged, signs, wide

__all__ = [
    "convolution_check",
    "convolution_flops",
    "input_gradient_check",
    "weight_gradient_check",
]

_aten = torch.ops.aten
_GROUP = 64
"""Pictures that one checksum covers at most: more would dull it."""


def convolution_flops(out: Tensor, weight: Tensor) -> float:
    """A multiply and an add are two; `out` is the result of the forward convolution [n, c, ...]."""
    return 2.0 * out.numel() * (weight.numel() / weight.shape[0])


def convolution_check(
    out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, rest: Any, bound: Bound
) -> Tensor:
    """Worst ratio of out = convolution(x, weight, bias, *rest); `rest` is aten's from stride on."""
    rounding = rounding_of(out.dtype, out.device)
    weight = wide(weight)
    count = len(x)
    summed_x, summed_out = _over_batch(x), _over_batch(out)
    again = _aten.convolution(summed_x, weight, None, *rest)
    apart = summed_out - again
    if bias is not None:
        shape = (1, -1) + (1,) * (out.dim() - 2)
        sums = _batch_sums(count, out)
        apart = apart - wide(bias).view(shape) * sums.view(-1, *(1,) * (out.dim() - 1))
    transposed, groups = rest[3], rest[5]
    depth = weight.numel() // weight.shape[1 if transposed else 0]
    factor = spread(rounding, max(1, depth), min(count, _GROUP), bound)
    ones = torch.ones_like(weight)
    if transposed:
        sizes = torch.linalg.vector_norm(weight.transpose(0, 1).flatten(1), dim=1).repeat(groups)
    else:
        sizes = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    sizes = sizes.view(1, -1, *(1,) * (out.dim() - 2)) * factor

    least = LEAST * math.sqrt(depth)
    taps = weight[0, 0].numel() if transposed else 0
    steps = _steps(out, taps, max(1, depth // max(1, taps)), bound) / factor

    def width(energy: Tensor) -> Tensor:
        patches = _aten.convolution(energy, ones, None, *rest).clamp_(min=0).sqrt_()
        patches = (patches + least) * (sizes + LEAST * factor * math.sqrt(depth))
        patches = patches * (1 + steps)
        if bias is not None:
            patches = patches + wide(bias).abs().view(1, -1, *(1,) * (out.dim() - 2)) * (
                SIGMAS * 4 * rounding.total * math.sqrt(count)
            )
        return _rounded(patches, rounding, out)

    quick = None if rounding.out else width(_floored(summed_x.square()))
    return judged(apart, quick, lambda: width(_energy(x)))


def input_gradient_check(
    grad_x: Tensor, grad_out: Tensor, x: Tensor, weight: Tensor, rest: Any, bound: Bound
) -> Tensor:
    """Worst ratio of the gradient of a convolution's input, which is linear in grad_out's batch."""
    rounding = rounding_of(grad_x.dtype, grad_x.device)
    weight = wide(weight)
    summed, summed_x = _over_batch(grad_out), _over_batch(grad_x)
    like = torch.empty_like(summed_x)
    mask = [True, False, False]

    def back(gradient: Tensor, filters: Tensor) -> Tensor:
        return _aten.convolution_backward(gradient, like, filters, None, *rest, mask)[0]

    apart = summed_x - back(summed, weight)
    depth = max(1, weight.numel() // weight.shape[0 if rest[3] else 1])
    factor = spread(rounding, depth, min(len(x), _GROUP), bound)
    taps = 0 if rest[3] else weight[0, 0].numel()
    factor += _steps(grad_x, taps, max(1, depth // max(1, taps)), bound)
    size = weight.abs().amax()
    squares = weight.square()
    floor = LEAST * depth * size

    def width(energy: Tensor) -> Tensor:
        # |patch|_2 |W|_2 would need norms by input channel; the sum of squares of products is as
        # large as the error, and max |W| times the patch bounds it where W is uneven
        fine = back(energy, squares).clamp_(min=0)
        coarse = back(energy, torch.ones_like(weight)).clamp_(min=0) * size.square()
        wide_bound = ((torch.maximum(fine, coarse) * depth).sqrt_() + floor) * factor
        return _rounded(wide_bound, rounding, grad_x)

    quick = None if rounding.out else width(_floored(summed.square()))
    return judged(apart, quick, lambda: width(_energy(grad_out)))


def weight_gradient_check(
    grad_weight: Tensor, grad_out: Tensor, x: Tensor, weight: Tensor, rest: Any, bound: Bound
) -> Tensor:
    """Worst ratio of the gradient of a convolution's filters, channels of x summed to one."""
    rounding = rounding_of(grad_weight.dtype, grad_weight.device)
    grad_out, x = wide(grad_out), wide(x)
    transposed, groups = rest[3], rest[5]
    # filters are [x's channels, out / groups] where transposed, else [out, x's channels / groups]
    by_group = x.shape[1] // groups
    projected = _over_channels(x, groups)
    vector = signs(by_group, x.dtype, x.device)
    filters = wide(grad_weight)
    if transposed:
        shape = filters.shape
        left = torch.einsum("gc...,c->g...", filters.view(groups, by_group, *shape[1:]), vector)
    else:
        left = torch.einsum("oc...,c->o...", filters, vector).unsqueeze(1)
    like = weight.new_empty(left.shape, dtype=left.dtype)
    mask = [False, True, False]
    right = _aten.convolution_backward(grad_out, projected, like, None, *rest, mask)[1]
    depth = max(1, grad_out.numel() // grad_out.shape[1])
    factor = spread(rounding, depth, by_group, bound)
    pictures = _steps(grad_weight, len(x), max(1, depth // len(x)), bound)

    def exact() -> Tensor:
        sizes = torch.linalg.vector_norm(grad_out.transpose(0, 1).flatten(1), dim=1)
        total = (torch.linalg.vector_norm(x) + LEAST * math.sqrt(x.numel())) * (factor + pictures)
        sizes = sizes + LEAST * math.sqrt(depth)
        sizes = sizes.amax() if transposed else sizes.view(-1, *(1,) * (left.dim() - 1))
        width = sizes * total
        if rounding.out:
            last = SIGMAS * rounding.out / math.sqrt(3)
            if transposed:
                sizes = filters.view(groups, by_group, *filters.shape[1:]).square().sum(1).sqrt_()
            else:
                sizes = torch.linalg.vector_norm(filters, dim=1, keepdim=True)
            width = torch.hypot(width, last * sizes)
        return width + SIGMAS * 2.0**-126

    whole = torch.linalg.vector_norm(projected)
    share = torch.linalg.vector_norm(grad_out[:: max(1, len(grad_out) // 4)])
    share = share * math.sqrt(4 / min(4, len(grad_out))) / math.sqrt(grad_out.shape[1])
    quick = None if rounding.out else whole * share * factor
    return judged(left - right, quick, exact)


def _steps(out: Tensor, count: int, each: int, bound: Bound) -> float:
    """Of |x| |w|, what `count` sums round that are kept in the dtype of `out` after each step.

    A step sums `each` products. As random variables the whole sum is |x| |w| / sqrt(count * each)
    in size, those before it grow like a walk, and each is rounded: |x| |w| / sqrt(2 each) in all,
    here doubled for sums that grow faster. Rigorously every one of them may be |x| |w|.
    """
    if count < 2 or not short_sums(out.dtype, out.device):
        return 0.0
    unit = unit_roundoff(out.dtype)
    if bound == "rigorous":
        return unit * count
    return SIGMAS * unit / math.sqrt(3) * math.sqrt(2 / each)


def _over_batch(x: Tensor) -> Tensor:
    """[n, c, ...] to [ceil(n / 64), c, ...]: every 64 pictures summed with the check's signs."""
    x = wide(x)
    vector = signs(min(len(x), _GROUP), x.dtype, x.device)
    flat, order = _flat(x)
    if len(x) <= _GROUP:
        sums = torch.mv(flat.t(), vector).unsqueeze(0)
    else:
        parts = [torch.mv(part.t(), vector[: len(part)]) for part in flat.split(_GROUP)]
        sums = torch.stack(parts)
    return _unflat(sums, x, order)


def _batch_sums(count: int, like: Tensor) -> Tensor:
    vector = signs(min(count, _GROUP), wide(like[:1]).dtype, like.device)
    parts = [vector[: min(_GROUP, count - at)].sum() for at in range(0, count, _GROUP)]
    return torch.stack(parts)


def _energy(x: Tensor) -> Tensor:
    """Sums of squares over the same pictures as `_over_batch`."""
    x = wide(x)
    return torch.stack([part.square().sum(0) for part in x.split(_GROUP)])


def _floored(squares: Tensor) -> Tensor:
    """Squares of sums stand for sums of squares; at least their mean, so that none is near 0."""
    return torch.maximum(squares, squares.mean())


def _flat(x: Tensor) -> tuple[Tensor, bool]:
    """One row per picture, in the order of memory: (rows, whether channels are last)."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    if last and not x.is_contiguous():
        return x.permute(0, 2, 3, 1).reshape(len(x), -1), True
    return x.reshape(len(x), -1), False


def _unflat(sums: Tensor, x: Tensor, last: bool) -> Tensor:
    if last:
        _, c, h, w = x.shape
        return sums.view(len(sums), h, w, c).permute(0, 3, 1, 2)
    return sums.view(len(sums), *x.shape[1:])


def _over_channels(x: Tensor, groups: int) -> Tensor:
    """[n, groups * c, ...] to [n, groups, ...]: channels of each group summed with signs."""
    vector = signs(x.shape[1] // groups, x.dtype, x.device)
    flat, last = _flat(x)
    if last:
        n, c, h, w = x.shape
        sums = flat.view(n * h * w * groups, c // groups).mv(vector)
        return sums.view(n, h, w, groups).permute(0, 3, 1, 2)
    rows = x.reshape(len(x) * groups, x.shape[1] // groups, -1)
    sums = torch.matmul(vector, rows)
    return sums.view(len(x), groups, *x.shape[2:])


def _rounded(width: Tensor, rounding: Rounding, out: Tensor) -> Tensor:
    if rounding.out:
        width = torch.hypot(width, _energy(out).sqrt_() * (SIGMAS * rounding.out / math.sqrt(3)))
    floor = 2.0**-24 if rounding.out == 2.0**-11 else 2.0**-126
    return width + SIGMAS * floor * math.sqrt(min(len(out), _GROUP))
