"""Training in few bits: linear and convolution layers whose products see quantised numbers.

A layer's weight and input are quantised on the way in, the gradient of its output on the way back,
so that all three products of a training step (output, gradient of the input, gradient of the
weight) are of numbers the format has. Sums are float32 or bfloat16; the weight itself, its
gradient and the optimizer stay float32 (master weights: Micikevicius et al., ICLR 2018). Rounding
counts as the identity in the backward pass (Bengio, Leonard and Courville, 2013).

A tensor's shift is that of its own largest magnitude; with the scaling "history", that of the
largest in the last `HISTORY` steps, which is known before the tensor is there (delayed scaling:
Micikevicius et al., arXiv 2209.05433); with "channel", each output channel of a weight has its own.
Blocks lie along the dim that the forward product sums over; the two products of the backward pass
see the same blocks, where a chip would cut blocks anew along the dims they sum over.

    convert(trainee, precision("cfloat8"))
    reseed(trainee, 17)     # before each step: decides stochastic rounding
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.formats import BlockFormat, Format, Precision
from opendojo.numerics.blocks import quantise_blocks
from opendojo.numerics.draws import key_of, keys_from
from opendojo.numerics.quantise import Rounding, quantise
from opendojo.numerics.scale import amax_of, power_of_two, shift_of

__all__ = ["HISTORY", "Sums", "convert", "converted", "remains_of", "reseed"]

HISTORY = 16
"""Steps whose largest magnitudes the scaling "history" looks back on."""

Sums = Literal["fp32", "bf16"]

_ATTRIBUTE = "numerics_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a layer is told."""

    precision: Precision
    sums: Sums
    number: int
    """Its number among the layers, so that each rounds by draws of its own."""


def convert(trainee: nn.Module, precision: Precision, *, sums: Sums = "fp32") -> int:
    """Have every linear and convolution layer of a module compute in a precision; their number.

    In place: names, parameters and buffers stay as they are, so that a checkpoint fits the plain
    module too; the scaling "history" alone adds a buffer `numerics_amax`, float32 [3, HISTORY], to
    each layer: the latest magnitudes of weight, input and gradient of the output. To be called once
    the module is on its device and before it is compiled or shared.
    Raises `ValueError` where sums in bfloat16 would round the quantised numbers again.
    """
    if sums not in ("fp32", "bf16"):
        raise ValueError(f"sums {sums!r}: fp32 or bf16")
    if sums == "bf16":
        for chosen in (precision.weights, precision.activations, precision.gradients):
            _fits_bfloat16(chosen)
    layers = [m for m in trainee.modules() if type(m) in _KINDS or isinstance(m, _Quantised)]
    device = next((p.device for p in trainee.parameters()), torch.device("cpu"))
    key = torch.tensor(key_of(0), dtype=torch.int32, device=device)
    for number, layer in enumerate(layers):
        told: Any = layer
        told.__class__ = _KINDS.get(type(layer), type(layer))
        told.numerics_plan = _Plan(precision=precision, sums=sums, number=number)
        told.numerics_key = key
        if precision.scaling == "history":
            told.register_buffer("numerics_amax", torch.zeros(3, HISTORY, device=device))
    setattr(trainee, _ATTRIBUTE, key)
    return len(layers)


def converted(trainee: nn.Module) -> bool:
    """Whether `convert` was here."""
    return hasattr(trainee, _ATTRIBUTE)


def reseed(trainee: nn.Module, seed: int) -> None:
    """Decide the stochastic rounding of the next forward and backward pass."""
    key: Tensor = getattr(trainee, _ATTRIBUTE)
    key.copy_(torch.tensor(key_of(seed), dtype=torch.int32))


def remains_of(
    x: Tensor,
    chosen: Format | BlockFormat,
    *,
    scaling: str = "tensor",
    dim: int = -1,
    rounding: Rounding = "nearest",
    key: Tensor | None = None,
    amax: Tensor | None = None,
) -> Tensor:
    """What a layer leaves of a tensor, float32 of its shape.

    `amax`, broadcastable, stands in for the tensor's own largest magnitude.
    """
    if isinstance(chosen, BlockFormat):
        return quantise_blocks(x, chosen, dim=dim, rounding=rounding, key=key)
    if scaling == "none":
        return quantise(x, chosen, rounding=rounding, key=key)
    shift = shift_of(amax_of(x) if amax is None else amax, chosen)
    moved = x.detach().to(torch.float32) * power_of_two(-shift)
    return quantise(moved, chosen, rounding=rounding, key=key) * power_of_two(shift)


class _Quantised:
    """What the quantised layers share."""

    numerics_plan: _Plan
    numerics_key: Tensor
    numerics_amax: Tensor
    """Only with the scaling "history"."""

    def numerics_product(
        self, x: Tensor, weight: Tensor, dim: int, product: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """The layer's product, without its bias; `dim` of `x` is summed over, 1 of the weight."""
        plan = self.numerics_plan
        chosen = plan.precision
        kind = torch.bfloat16 if plan.sums == "bf16" else torch.float32
        with torch.autocast(x.device.type, enabled=False):
            of_weight, of_input, gradients = self._numerics_amax(x, weight)
            x = _Rounded.apply(x, chosen.activations, chosen.scaling, dim, of_input).to(kind)  # type: ignore[no-untyped-call]
            weight = _Rounded.apply(weight, chosen.weights, chosen.scaling, 1, of_weight).to(kind)  # type: ignore[no-untyped-call]
            y = product(x, weight).to(torch.float32)
            return _Returned.apply(y, chosen, dim, self.numerics_key, plan.number, gradients)  # type: ignore[no-untyped-call]

    def _numerics_amax(
        self, x: Tensor, weight: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Magnitudes that scale weight and input, and the past ones of gradients, where given."""
        scaling = self.numerics_plan.precision.scaling
        if scaling == "channel":
            return amax_of(weight, 0), None, None
        if scaling != "history":
            return None, None, None
        learning = bool(getattr(self, "training", True))
        rows = self.numerics_amax
        return _past(rows[0], weight, learning), _past(rows[1], x, learning), rows[2]


class _QuantisedLinear(_Quantised, nn.Linear):
    """`nn.Linear` in few bits."""

    def forward(self, input: Tensor) -> Tensor:
        y = self.numerics_product(input, self.weight, -1, F.linear)
        return y if self.bias is None else y + self.bias


class _QuantisedConvolution(_Quantised):
    """What the convolutions share."""

    def forward(self, input: Tensor) -> Tensor:
        me: Any = self
        dims = len(me.kernel_size)
        y = self.numerics_product(
            input, me.weight, -1 - dims, lambda x, weight: me._conv_forward(x, weight, None)
        )
        return y if me.bias is None else y + me.bias.view(-1, *[1] * dims)


class _QuantisedConv1d(_QuantisedConvolution, nn.Conv1d):
    """`nn.Conv1d` in few bits."""


class _QuantisedConv2d(_QuantisedConvolution, nn.Conv2d):
    """`nn.Conv2d` in few bits."""


class _QuantisedConv3d(_QuantisedConvolution, nn.Conv3d):
    """`nn.Conv3d` in few bits."""


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _QuantisedLinear,
    nn.Conv1d: _QuantisedConv1d,
    nn.Conv2d: _QuantisedConv2d,
    nn.Conv3d: _QuantisedConv3d,
}
"""Only these very classes: what a subclass does with its weight is not known here."""


class _Rounded(torch.autograd.Function):
    """Quantised forward, the identity backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        chosen: Format | BlockFormat,
        scaling: str,
        dim: int,
        amax: Tensor | None,
    ) -> Tensor:
        ctx.kind = x.dtype
        return remains_of(x, chosen, scaling=scaling, dim=dim, amax=amax)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        return grads[0].to(ctx.kind), None, None, None, None


class _Returned(torch.autograd.Function):
    """The identity forward, quantised backward."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        chosen: Precision,
        dim: int,
        key: Tensor,
        number: int,
        past: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(key)
        ctx.past = past
        ctx.told = (chosen, dim, number)
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        chosen, dim, number = ctx.told
        (key,) = ctx.saved_tensors
        stochastic = chosen.gradient_rounding == "stochastic"
        remains = remains_of(
            grads[0],
            chosen.gradients,
            scaling=chosen.scaling,
            dim=dim,
            rounding=chosen.gradient_rounding,
            key=keys_from(key, number) if stochastic else None,
            amax=None if ctx.past is None else _past(ctx.past, grads[0], learning=True),
        )
        return remains, None, None, None, None, None


def _past(row: Tensor, x: Tensor, learning: bool) -> Tensor:
    """The largest magnitude in a row of past ones, the tensor's own where there is none yet; the
    tensor's own takes the oldest one's place."""
    with torch.no_grad():
        now = amax_of(x)
        most = row.amax()
        if learning:
            row.copy_(torch.cat([row[1:], now[None]]))
        return torch.where(most > 0, most, now)


def _fits_bfloat16(chosen: Format | BlockFormat) -> None:
    narrow = isinstance(chosen, Format) and chosen.mantissa_bits <= 7
    if not narrow and not (isinstance(chosen, BlockFormat) and chosen.scale == "e8m0"):
        raise ValueError(f"numbers of {chosen.name} are not bfloat16 numbers: sum in fp32")
