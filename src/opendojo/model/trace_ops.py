"""What one call of a PyTorch operator is to a machine: its kind, its products, its arithmetic.

Arithmetic counts a multiply-add as two. Products, convolutions and attention are exact; of the rest
the count is a few operations an element, which no machine is bound by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from opendojo.machine.workload import Kind

__all__ = ["Product", "kind_of", "products_of", "simple_flops"]

_KINDS: dict[Kind, tuple[str, ...]] = {
    "attention": ("_scaled_dot_product", "_flash_attention", "_efficient_attention"),
    "conv": ("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"),
    "matmul": ("mm", "bmm", "addmm", "baddbmm", "addmv", "mv", "dot", "linear", "_scaled_mm"),
    "embedding": ("embedding",),
    "gather": ("index", "gather", "scatter", "_unsafe_index", "take", "grid_sampler", "masked_",
               "roll", "sort", "topk", "searchsorted", "unfold", "im2col", "col2im",
               "upsample", "_upsample", "histc", "bincount", "cumsum", "flip",
               "put", "nonzero"),
    "norm": ("native_layer_norm", "native_batch_norm", "native_group_norm", "_native_batch_norm",
             "_softmax", "_log_softmax", "cudnn_batch_norm", "batch_norm", "_fused_rms_norm",
             "_batch_norm", "_safe_softmax", "logsumexp", "native_dropout"),
    "reduce": ("sum", "mean", "var", "std", "amax", "amin", "max", "min", "argmax", "argmin",
               "max_pool", "avg_pool", "_adaptive", "adaptive", "norm", "linalg_vector_norm",
               "prod", "any", "all", "nll_loss", "mse_loss"),
    "copy": ("clone", "copy", "_to_copy", "cat", "stack", "constant_pad_nd", "fill", "zero",
             "ones", "full", "reflection_pad", "replication_pad", "slice_backward",
             "select_backward", "slice_scatter", "select_scatter", "repeat", "new_", "arange",
             "contiguous", "expand_copy", "scalar_tensor", "zeros", "eye", "linspace"),
}  # fmt: skip
_EXACT = frozenset({"mm", "bmm", "mv", "dot", "max", "min", "sum", "mean", "all", "any", "norm",
                    "cat", "stack", "index", "gather", "full", "zero", "fill", "ones", "var",
                    "std", "amax", "amin", "prod", "put", "take"})  # fmt: skip
_SUFFIXES = ("_", "_backward", "_dim", "_like", "_", "_put", "_add", "_select", "_reduce")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A matrix product, or `count` of one shape: [m, k] by [k, n]."""

    m: int
    n: int
    k: int
    count: int = 1
    grows: Literal["m", "k", "products"] = "m"
    """Which of them holds the batch."""
    part: str = ""
    """What it makes in a backward pass: "input" or "weight"."""
    flops: float | None = None
    """Where it is not 2 m n k for each."""

    @property
    def work(self) -> float:
        """Floating point operations."""
        return 2.0 * self.m * self.n * self.k * self.count if self.flops is None else self.flops


def kind_of(name: str) -> Kind:
    """Kind of an operator by its name without namespace and overload: `convolution_backward`."""
    for kind, starts in _KINDS.items():
        for start in starts:
            if start in _EXACT:
                rest = name.removeprefix(start) if name.startswith(start) else None
                if rest is not None and (rest == "" or rest in _SUFFIXES):
                    return kind
            elif name.startswith(start):
                return kind
    return "elementwise"


def products_of(
    name: str, args: Sequence[Any], outputs: Sequence[Tensor | None],
    moves: Callable[[Tensor], bool], is_weight: Callable[[Tensor], bool],
) -> list[Product]:  # fmt: skip
    """Products of a call, empty where it is none.

    `moves` says whether a tensor comes from the inputs of the network (else from weights alone),
    `is_weight` whether it has the shape of a weight.
    """
    out = outputs[0] if outputs else None
    if name in ("mm", "_scaled_mm", "addmm"):
        a, b = args[-2:] if name == "addmm" and len(args) == 2 else args[name == "addmm" :][:2]
        return [_grown(Product(m=a.shape[0], n=b.shape[1], k=a.shape[1]), a, b, out, moves,
                       is_weight)]  # fmt: skip
    if name in ("mv", "addmv"):
        a = args[1] if name == "addmv" else args[0]
        return [Product(m=a.shape[0], n=1, k=a.shape[1])]
    if name == "dot":
        return [Product(m=1, n=1, k=args[0].numel(), grows="k")]
    if name in ("bmm", "baddbmm"):
        a, b = args[name == "baddbmm" :][:2]
        one = Product(m=a.shape[1], n=b.shape[2], k=a.shape[2], count=a.shape[0])
        return [_grown(one, a, b, out, moves, is_weight)]
    if name.startswith("_scaled_dot_product"):
        return _attention(name, args)
    if name == "convolution_backward":
        return _conv_backward(args, outputs)
    if kind_of(name) == "conv" and out is not None:
        return [_conv(args[0], args[1], out, args[6], args[8])]
    return []


def simple_flops(kind: Kind, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> float:
    """Floating point operations of what is no product: a few an element."""
    most = max((t.numel() for t in (*inputs, *outputs)), default=0)
    return float(most * {"elementwise": 1, "norm": 5, "reduce": 1}.get(kind, 0))


def _grown(
    one: Product, a: Tensor, b: Tensor, out: Tensor | None,
    moves: Callable[[Tensor], bool], is_weight: Callable[[Tensor], bool],
) -> Product:  # fmt: skip
    """Tell where the batch is: in the rows, in the length that is summed over, or in the count."""
    if moves(a) and moves(b):
        if out is not None and is_weight(out):
            return replace(one, grows="k", part="weight")
        return replace(one, grows="products" if a.dim() == 3 else "k")
    if moves(b) and not moves(a):
        return replace(one, m=one.n, n=one.m)
    return one


def _conv(x: Tensor, weight: Tensor, y: Tensor, transposed: bool, groups: int) -> Product:
    """As a product: a row for each place, a column for each channel that is made.

    A transposed convolution has a row for each place of its input, and columns that are added up.
    """
    inside = math.prod(weight.shape[2:])
    if transposed:
        rows, n = x.shape[0] * math.prod(x.shape[2:]), weight.shape[1] * inside
        return Product(m=rows, n=n, k=weight.shape[0] // groups, count=groups)
    rows, k = y.shape[0] * math.prod(y.shape[2:]), weight.shape[1] * inside
    return Product(m=rows, n=weight.shape[0] // groups, k=k, count=groups)


def _conv_backward(args: Sequence[Any], outputs: Sequence[Tensor | None]) -> list[Product]:
    """`convolution_backward(grad, x, weight, bias, stride, padding, dilation, transposed, ...)`."""
    grad, x, weight = args[:3]
    forward = _conv(x, weight, grad, args[7], args[9])
    made: list[Product] = []
    if outputs and outputs[0] is not None:
        made.append(replace(forward, n=forward.k, k=forward.n, part="input"))
    if len(outputs) > 1 and outputs[1] is not None:
        made.append(
            replace(forward, m=forward.k, n=forward.n, k=forward.m, grows="k", part="weight")
        )
    return made


def _attention(name: str, args: Sequence[Any]) -> list[Product]:
    """Two products forward; five backward: scores anew, and four gradients.

    [Dao 2022, FlashAttention, section 3 and appendix B.] Causal ones count as whole, as
    `torch.utils.flop_counter` has it. Queries and keys of [b, h, t, d]; fewer heads of keys than of
    queries are shared.
    """
    backward = name.endswith("_backward")
    q, key, value = args[1:4] if backward else args[:3]
    heads, t, d = math.prod(q.shape[:-2]), q.shape[-2], q.shape[-1]
    s, dv = key.shape[-2], value.shape[-1]
    wide = 3 * d + 2 * dv if backward else d + dv
    return [Product(m=t, n=s, k=d, count=heads, grows="products", flops=2.0 * heads * t * s * wide)]
