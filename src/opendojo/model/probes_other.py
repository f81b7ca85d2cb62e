"""Operators that are no products: one call of each on tensors of a given count of elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["OTHERS"]

aten: Any = torch.ops.aten
Make = Callable[[int, torch.dtype], Callable[[], Any]]
"""From elements and a dtype to a call."""


def _rows(elements: int, dtype: torch.dtype, width: int = 256) -> Tensor:
    return torch.full((max(1, elements // width), min(width, elements)), 0.37, dtype=dtype)


def _image(elements: int, dtype: torch.dtype, last: bool, channels: int = 64) -> Tensor:
    """[b, c, s, s] of about so many elements."""
    side = max(2, min(64, int(math.sqrt(elements / channels))))
    batch = max(1, elements // (channels * side * side))
    form = torch.channels_last if last else torch.contiguous_format
    shape = (batch, channels, side, side)
    return torch.full(shape, 0.37, dtype=dtype).contiguous(memory_format=form)


def _one(op: Any, *more: Any) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _rows(elements, dtype)
        return lambda: op(x, *more)

    return make


def _two(op: Any, *more: Any) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x, y = _rows(elements, dtype), _rows(elements, dtype)
        return lambda: op(x, y, *more)

    return make


def _turned(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x = _rows(elements, dtype)
    x = x.reshape(-1, max(1, x.shape[0] // 64), x.shape[1]).transpose(0, 1)
    return lambda: aten.clone.default(x, memory_format=torch.contiguous_format)


def _turned_add(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x = _rows(max(512, elements), dtype)
    y = _rows(x.numel(), dtype, x.shape[0]).t()
    return lambda: aten.add.Tensor(x, y)


def _cat(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x, y = _rows(elements // 2, dtype), _rows(elements // 2, dtype)
    return lambda: aten.cat.default([x, y], 1)


def _cast(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x = _rows(elements, dtype)
    other = torch.float32 if dtype == torch.bfloat16 else torch.bfloat16
    return lambda: aten._to_copy.default(x, dtype=other)


def _zeros(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    return lambda: aten.zeros.default([elements], dtype=dtype)


def _pad(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x = _image(elements, dtype, False)
    return lambda: aten.constant_pad_nd.default(x, [1, 1, 1, 1], 0.0)


def _layer_norm(back: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _rows(elements, dtype)
        wide = [x.shape[1]]
        weight, bias = torch.ones(wide, dtype=dtype), torch.zeros(wide, dtype=dtype)
        if not back:
            return lambda: aten.native_layer_norm.default(x, wide, weight, bias, 1e-5)
        _, mean, rstd = aten.native_layer_norm.default(x, wide, weight, bias, 1e-5)
        grad, mask = torch.ones_like(x), [True, True, True]
        return lambda: aten.native_layer_norm_backward.default(
            grad, x, wide, mean, rstd, weight, bias, mask
        )

    return make


def _batch_norm(back: bool, last: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _image(elements, dtype, last)
        c = x.shape[1]
        weight, bias, mean, var = torch.ones(c), torch.zeros(c), torch.zeros(c), torch.ones(c)
        args = (x, weight, bias, mean, var, True, 0.1, 1e-5)
        if not back:
            return lambda: aten.native_batch_norm.default(*args)
        _, kept_mean, kept_rstd = aten.native_batch_norm.default(*args)
        grad = torch.ones_like(x)
        return lambda: aten.native_batch_norm_backward.default(
            grad, x, weight, mean, var, kept_mean, kept_rstd, True, 1e-5, [True, True, True]
        )

    return make


def _group_norm(back: bool, last: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _image(elements, dtype, last)
        n, c, h, w = x.shape
        weight, bias = torch.ones(c, dtype=dtype), torch.zeros(c, dtype=dtype)
        args = (n, c, h * w, 8)
        if not back:
            return lambda: aten.native_group_norm.default(x, weight, bias, *args, 1e-5)
        _, mean, rstd = aten.native_group_norm.default(x, weight, bias, *args, 1e-5)
        grad, mask = torch.ones_like(x), [True, True, True]
        return lambda: aten.native_group_norm_backward.default(
            grad, x, mean, rstd, weight, *args, mask
        )

    return make


def _softmax_backward(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x = torch.softmax(_rows(elements, dtype), -1)
    grad = torch.ones_like(x)
    return lambda: aten._softmax_backward_data.default(grad, x, -1, dtype)


def _pool(back: bool, last: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _image(elements, dtype, last)
        how = ([3, 3], [2, 2], [1, 1], [1, 1], False)
        if not back:
            return lambda: aten.max_pool2d_with_indices.default(x, *how)
        y, found = aten.max_pool2d_with_indices.default(x, *how)
        grad = torch.ones_like(y)
        return lambda: aten.max_pool2d_with_indices_backward.default(grad, x, *how, found)

    return make


def _grow(back: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _image(max(256, elements // 4), dtype, True)
        size = [2 * x.shape[2], 2 * x.shape[3]]
        if not back:
            return lambda: aten.upsample_nearest2d.default(x, size, None, None)
        grad = torch.ones_like(aten.upsample_nearest2d.default(x, size, None, None))
        return lambda: aten.upsample_nearest2d_backward.default(
            grad, size, list(x.shape), None, None
        )

    return make


def _embedding(back: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        table = torch.full((8192, 256), 0.37, dtype=dtype)
        at = torch.randint(8192, (max(1, elements // 256),))
        if not back:
            return lambda: aten.embedding.default(table, at)
        grad = torch.full((at.shape[0], 256), 0.37, dtype=dtype)
        return lambda: aten.embedding_dense_backward.default(grad, at, 8192, -1, False)

    return make


def _index(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x = _rows(elements, dtype)
    at = torch.randint(x.shape[0], (x.shape[0],))
    return lambda: aten.index.Tensor(x, [at])


def _index_put(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
    x = _rows(elements, dtype)
    at = torch.randint(x.shape[0], (x.shape[0],))
    return lambda: aten.index_put.default(torch.zeros_like(x), [at], x, True)


def _gather(back: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _rows(elements, dtype)
        at = torch.randint(x.shape[1], x.shape)
        if back:
            return lambda: aten.scatter_add.default(torch.zeros_like(x), 1, at, x)
        return lambda: aten.gather.default(x, 1, at)

    return make


def _grid(back: bool) -> Make:
    def make(elements: int, dtype: torch.dtype) -> Callable[[], Any]:
        x = _image(elements, dtype, False)
        grid = (torch.rand(x.shape[0], x.shape[2], x.shape[3], 2) * 2 - 1).to(dtype)
        if not back:
            return lambda: aten.grid_sampler_2d.default(x, grid, 0, 0, False)
        grad = torch.ones_like(x)
        return lambda: aten.grid_sampler_2d_backward.default(
            grad, x, grid, 0, 0, False, [True, True]
        )

    return make


OTHERS: tuple[tuple[str, str, Make], ...] = (
    ("add", "", _two(aten.add.Tensor)),
    ("add", "strided", _turned_add),
    ("mul", "", _two(aten.mul.Tensor)),
    ("relu", "", _one(aten.relu.default)),
    ("threshold_backward", "", _two(aten.threshold_backward.default, 0.0)),
    ("gelu", "", _one(aten.gelu.default)),
    ("gelu_backward", "", _two(aten.gelu_backward.default)),
    ("silu", "", _one(aten.silu.default)),
    ("silu_backward", "", _two(aten.silu_backward.default)),
    ("sigmoid", "", _one(aten.sigmoid.default)),
    ("sigmoid_backward", "", _two(aten.sigmoid_backward.default)),
    ("tanh", "", _one(aten.tanh.default)),
    ("tanh_backward", "", _two(aten.tanh_backward.default)),
    ("exp", "", _one(aten.exp.default)),
    ("clone", "", _one(aten.clone.default)),
    ("clone", "strided", _turned),
    ("cat", "", _cat),
    ("_to_copy", "", _cast),
    ("zeros", "", _zeros),
    ("constant_pad_nd", "", _pad),
    ("sum", "", _one(aten.sum.dim_IntList, [0])),
    ("mean", "", _one(aten.mean.dim, [1])),
    ("amax", "", _one(aten.amax.default, [1])),
    ("native_layer_norm", "", _layer_norm(False)),
    ("native_layer_norm_backward", "", _layer_norm(True)),
    ("native_batch_norm", "", _batch_norm(False, False)),
    ("native_batch_norm_backward", "", _batch_norm(True, False)),
    ("native_batch_norm", "channels_last", _batch_norm(False, True)),
    ("native_batch_norm_backward", "channels_last", _batch_norm(True, True)),
    ("native_group_norm", "", _group_norm(False, False)),
    ("native_group_norm_backward", "", _group_norm(True, False)),
    ("native_group_norm", "channels_last", _group_norm(False, True)),
    ("native_group_norm_backward", "channels_last", _group_norm(True, True)),
    ("_softmax", "", _one(aten._softmax.default, -1, False)),
    ("_softmax_backward_data", "", _softmax_backward),
    ("max_pool2d_with_indices", "", _pool(False, False)),
    ("max_pool2d_with_indices_backward", "", _pool(True, False)),
    ("max_pool2d_with_indices", "channels_last", _pool(False, True)),
    ("max_pool2d_with_indices_backward", "channels_last", _pool(True, True)),
    ("upsample_nearest2d", "", _grow(False)),
    ("upsample_nearest2d_backward", "", _grow(True)),
    ("embedding", "", _embedding(False)),
    ("embedding_dense_backward", "", _embedding(True)),
    ("index", "", _index),
    ("index_put", "", _index_put),
    ("gather", "", _gather(False)),
    ("scatter_add", "", _gather(True)),
    ("grid_sampler_2d", "", _grid(False)),
    ("grid_sampler_2d_backward", "", _grid(True)),
)
"""Operator, layout, call."""
