"""Which operator is checked how: the table that the mode and the compiler's pass share.

A product is given to `product_of`, which says what it cost and how to check its result. All else
that has a result of its own, reads no random numbers and changes nothing in place can be done
twice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from opendojo.guard.convolutions import (
    convolution_check,
    convolution_flops,
    input_gradient_check,
    weight_gradient_check,
)
from opendojo.guard.products import Bound, batch_check, matrix_check

__all__ = [
    "Product",
    "counted_flops",
    "is_counted",
    "is_product",
    "kind_of",
    "product_of",
    "repeatable",
    "same_bits",
]

_aten = torch.ops.aten

Check = Callable[[Any, Bound], list[Tensor]]


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the step."""

    flops: float
    check: Check
    """Result and bound to ratios, scalars: above 1, or not a number, is suspicious."""


def kind_of(func: Any) -> str:
    """Short name of an operator: `mm`, `convolution_backward`."""
    return func._schema.name.split("::")[-1]


def is_product(func: Any) -> bool:
    """Whether `product_of` knows an operator."""
    return func in _PRODUCTS


def product_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    """How to check this call; None where it is no product this room knows."""
    make = _PRODUCTS.get(func)
    return None if make is None else make(args, kwargs)


@functools.cache
def _counted(func: Any) -> Any:
    return flop_registry.get(func.overloadpacket) or _OTHERS.get(kind_of(func))


def is_counted(func: Any) -> bool:
    """Whether torch's registry or this room counts an operator's FLOPs."""
    return _counted(func) is not None


def counted_flops(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    """FLOPs of a product that has no checksum here, as torch counts them; 0 for all else."""
    count = _counted(func)
    if count is None:
        return 0.0
    try:
        return float(count(*args, **kwargs, out_val=out))
    except (TypeError, ValueError, AttributeError, IndexError):
        return 0.0


@functools.cache
def repeatable(func: Any) -> bool:
    """Whether an operator can be done twice and must give the same bits."""
    schema = func._schema
    if func.namespace != "aten" or schema.is_mutable or schema.name in _FREE:
        return False
    if torch.Tag.nondeterministic_seeded in func.tags or func.is_view:
        return False
    if any(entry.alias_info is not None for entry in (*schema.arguments, *schema.returns)):
        return False
    return any("Tensor" in str(entry.type) for entry in schema.returns)


def same_bits(one: Any, two: Any) -> bool:
    """Whether two results have the same bits: a NaN equals itself, 0 is not -0."""
    if isinstance(one, Tensor):
        if not isinstance(two, Tensor) or one.shape != two.shape or one.dtype != two.dtype:
            return False
        if torch.equal(one, two):
            return not one.is_floating_point() or one.dtype.itemsize > 8 or _same_words(one, two)
        return one.is_floating_point() and bool(one.isnan().any()) and _same_words(one, two)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same_bits, one, two))
    return one == two or one != one


_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _same_words(one: Tensor, two: Tensor) -> bool:
    words = _WORDS.get(one.dtype.itemsize)
    if words is None or one.numel() == 0:
        return True
    if one.stride() != two.stride():
        one, two = one.contiguous(), two.contiguous()
    return torch.equal(one.view(words), two.view(words))


_FREE = frozenset(
    f"aten::{name}"
    for name in (
        *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
        *("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "scalar_tensor"),
        *("new_zeros", "new_ones", "new_full", "arange", "lift_fresh", "lift_fresh_copy"),
        *("_local_scalar_dense", "item", "is_same_size", "sym_size", "sym_numel"),
        *("detach", "alias", "_unsafe_view", "_reshape_alias"),
    )
)
"""Results without a computation, or without a value yet."""


def _mm(args: Any, kwargs: Any) -> Product:
    a, b = args[:2]

    def check(out: Tensor, bound: Bound) -> list[Tensor]:
        return [matrix_check(out, a, b, bound=bound)]

    return Product(2.0 * a.shape[0] * a.shape[1] * b.shape[1], check)


def _addmm(args: Any, kwargs: Any) -> Product:
    bias, a, b = args[:3]
    alpha, beta = kwargs.get("alpha", 1), kwargs.get("beta", 1)

    def check(out: Tensor, bound: Bound) -> list[Tensor]:
        return [matrix_check(out, a, b, bias, alpha=alpha, beta=beta, bound=bound)]

    return Product(2.0 * a.shape[0] * a.shape[1] * b.shape[1], check)


def _bmm(args: Any, kwargs: Any) -> Product:
    a, b = args[:2]

    def check(out: Tensor, bound: Bound) -> list[Tensor]:
        return [batch_check(out, a, b, bound=bound)]

    return Product(2.0 * a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2], check)


def _baddbmm(args: Any, kwargs: Any) -> Product:
    bias, a, b = args[:3]
    alpha, beta = kwargs.get("alpha", 1), kwargs.get("beta", 1)

    def check(out: Tensor, bound: Bound) -> list[Tensor]:
        full = bias.expand_as(out)
        return [batch_check(out, a, b, full, alpha=alpha, beta=beta, bound=bound)]

    return Product(2.0 * a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2], check)


def _convolution(args: Any, kwargs: Any) -> Product:
    x, weight, bias, *rest = args

    def check(out: Tensor, bound: Bound) -> list[Tensor]:
        return [convolution_check(out, x, weight, bias, rest, bound)]

    per_output = weight.numel() / weight.shape[1 if rest[3] else 0] / (rest[5] if rest[3] else 1)
    return Product(2.0 * per_output * _positions(x, weight, rest), check)


def _positions(x: Tensor, weight: Tensor, rest: Any) -> float:
    """Elements of a convolution's result."""
    stride, padding, dilation, transposed, more, groups = rest
    dims = range(x.dim() - 2)
    taps, size = weight.shape[2:], x.shape[2:]

    def at(values: Any, dim: int) -> int:
        return values[dim] if len(values) > dim else values[0]

    if transposed:
        places = [
            (size[d] - 1) * at(stride, d) - 2 * at(padding, d) + at(dilation, d) * (taps[d] - 1)
            + at(more, d) + 1 for d in dims
        ]  # fmt: skip
        return float(len(x) * weight.shape[1] * groups * math.prod(places))
    places = [
        (size[d] + 2 * at(padding, d) - at(dilation, d) * (taps[d] - 1) - 1) // at(stride, d) + 1
        for d in dims
    ]
    return float(len(x) * weight.shape[0] * math.prod(places))


def _convolution_backward(args: Any, kwargs: Any) -> Product:
    gradient, x, weight, _bias_sizes, *rest, mask = args

    def check(out: Any, bound: Bound) -> list[Tensor]:
        ratios: list[Tensor] = []
        if mask[0]:
            ratios.append(input_gradient_check(out[0], gradient, x, weight, rest, bound))
        if mask[1]:
            ratios.append(weight_gradient_check(out[1], gradient, x, weight, rest, bound))
        if mask[2]:
            ratios.append(_bias_gradient_check(out[2], gradient))
        return ratios

    one = convolution_flops(x if rest[3] else gradient, weight)
    return Product(one * (int(mask[0]) + int(mask[1])), check)


def _bias_gradient_check(grad_bias: Tensor, gradient: Tensor) -> Tensor:
    """The sum again, in one more reading; a bound of a sum's rounding."""
    dims = [0, *range(2, gradient.dim())]
    again = gradient.sum(dims, dtype=torch.float32)
    size = gradient.numel() / max(1, gradient.shape[1])
    unit = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}.get(grad_bias.dtype, 2.0**-20)
    scale = torch.linalg.vector_norm(gradient.float(), dim=dims) * unit * 8
    ratio = (again - grad_bias.float()).abs() / (scale * max(1.0, size**0.25) + 1e-30)
    return ratio.amax()


def _twice(func: Any) -> Callable[[Any, Any], Product]:
    """Attention and its like: done again, bits compared."""

    def make(args: Any, kwargs: Any) -> Product:
        def check(out: Any, bound: Bound) -> list[Tensor]:
            same = same_bits(func(*args, **kwargs), out)
            first = next(x for x in args if isinstance(x, Tensor))
            return [torch.tensor(0.0 if same else math.inf, device=first.device)]

        return Product(-1.0, check)  # counted by torch's registry

    return make


def _vector_flops(*args: Any, out_val: Any = None, **_: Any) -> float:
    return 2.0 * max(x.numel() for x in args if isinstance(x, Tensor))


_VECTORS = ("mv", "dot", "vdot", "addmv", "addr")
_OTHERS: dict[str, Callable[..., float]] = dict.fromkeys(_VECTORS, _vector_flops)

_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_backward",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_efficient_attention_backward",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_cudnn_attention_backward",
)

_PRODUCTS: dict[Any, Callable[[Any, Any], Product]] = {
    _aten.mm.default: _mm,
    _aten.addmm.default: _addmm,
    _aten.bmm.default: _bmm,
    _aten.baddbmm.default: _baddbmm,
    _aten.convolution.default: _convolution,
    _aten.convolution_backward.default: _convolution_backward,
    **{
        getattr(_aten, name).default: _twice(getattr(_aten, name).default)
        for name in (*_ATTENTION, *_VECTORS)
        if hasattr(_aten, name)
    },
}
for _name in ("mm", "addmm", "bmm", "baddbmm"):  # as compiled regions call them
    _PRODUCTS[getattr(_aten, _name).out] = _PRODUCTS[getattr(_aten, _name).default]
