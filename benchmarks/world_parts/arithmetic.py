"""How much arithmetic a call into torch does: elements of each result, times what each took.

An estimate: what the eager operations compute, counted; a compiler may leave some of it out or do
some of it twice. Look-ups, copies, conversions and integer work count nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Arithmetic", "tensor_bytes"]

_REDUCED = ("amax", "amin", "mean", "sum")
_ONE = frozenset(
    (
        *("abs", "add", "clamp_max", "clamp_min", "div", "eq", "floor", "frac", "ge", "gt", "le"),
        *("lt", "maximum", "minimum", "mul", "ne", "neg", "reciprocal", "remainder", "round"),
        *("rsqrt", "rsub", "sqrt", "sub", "where", *_REDUCED),
    )
)
_MORE = {"addcmul": 2, "addcdiv": 2, "lerp": 3, "clamp": 2, "sin": 10, "cos": 10, "exp": 10}


class Arithmetic(TorchDispatchMode):
    """Counts `flops` of what is called within, in this thread alone."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1].rstrip("_")
        each = _MORE.get(name, 1 if name in _ONE else 0)
        inputs = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
        if each and inputs and isinstance(out, Tensor):
            self.flops += each * (inputs[0] if name in _REDUCED else out).numel()
        return out


def tensor_bytes(struct: Any) -> int:
    """Bytes of all tensors in nested tuples, without what broadcasting repeats."""
    if isinstance(struct, Tensor):
        sizes = zip(struct.shape, struct.stride(), strict=True)
        return torch.Size([s for s, stride in sizes if stride]).numel() * struct.element_size()
    if isinstance(struct, (tuple, list)):
        return sum(tensor_bytes(one) for one in struct)
    return 0
