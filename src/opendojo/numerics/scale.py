"""Choosing a scale: a bias for a tensor or a channel, and Tesla's search for few biases.

A configurable float at another bias is the same lattice moved by a power of two, so that a bias is
a shift of exponents: `shift = format.bias - bias`. Formats with a fixed bias take the same shift as
a scale beside the tensor. Shifts are int32 tensors and never leave their device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.formats import Format
from opendojo.numerics.draws import Key
from opendojo.numerics.quantise import Rounding, quantise

__all__ = [
    "BiasSearch",
    "Losses",
    "amax_of",
    "bias_of",
    "losses_of",
    "power_of_two",
    "quantise_shifted",
    "search_bias",
    "share_biases",
    "shift_of",
]

_PLACES, _BIAS = 23, 127
_FEW = 3000
"""So many sets of biases are all tried: two of 64 are 2,016."""
_FARTHEST = 100
"""Bound of a fixed format's shift: both it and its inverse are then ordinary float32 numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What a tensor loses in a format."""

    underflow: float
    """Share of the numbers other than 0 that become 0."""
    subnormal: float
    """Share of them that become subnormal, with fewer places."""
    overflow: float
    """Share of them above the largest number of the format."""
    error: float
    """Norm of the error over the norm of the tensor; 0 for a tensor of zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSearch:
    """The best bias of a tensor, and what every other would have cost."""

    bias: int
    """Bias of the least error; of several the one with the widest range above."""
    errors: tuple[float, ...]
    """Squared error over the tensor's squared norm, for each bias from the least on."""


def amax_of(x: Tensor, dim: int | None = None) -> Tensor:
    """The largest magnitude, float32: a scalar, or one for each index of `dim` (broadcastable)."""
    x = x.detach().to(torch.float32)
    if x.numel() == 0:
        return x.new_zeros(())
    if dim is None:
        return x.abs().amax()
    return x.abs().amax([d for d in range(x.dim()) if d != dim % x.dim()], keepdim=True)


def shift_of(amax: Tensor, chosen: Format) -> Tensor:
    """The least shift, int32, at which `amax` does not overflow: amax <= largest * 2^shift.

    Within what the format's bias allows; 0 where `amax` is 0, the greatest where it is no number.
    Compares bits: those of positive float32 numbers are in the numbers' order.
    """
    mantissa = chosen.largest_code & ((1 << chosen.mantissa_bits) - 1)
    top = ((chosen.exponent_high + _BIAS) << _PLACES) | (
        mantissa << (_PLACES - chosen.mantissa_bits)
    )
    shift = -((top - amax.to(torch.float32).view(torch.int32)) >> _PLACES)
    low, high = -_FARTHEST, _FARTHEST
    if chosen.biases[0] < chosen.biases[1]:
        low, high = chosen.bias - chosen.biases[1], chosen.bias - chosen.biases[0]
    return torch.where(amax == 0, 0, shift.clamp(low, high)).to(torch.int32)


def bias_of(amax: float, chosen: Format) -> int:
    """The largest bias at which `amax` does not overflow; raises `ValueError` for a fixed one."""
    if chosen.biases[0] == chosen.biases[1]:
        raise ValueError(f"{chosen.name} has a fixed bias of {chosen.bias}")
    return chosen.bias - int(shift_of(torch.tensor(amax, dtype=torch.float32), chosen).item())


def power_of_two(shift: Tensor) -> Tensor:
    """2^shift as float32, exact for shifts of -126 to 127."""
    return ((shift + _BIAS) << _PLACES).view(torch.float32)


def quantise_shifted(
    x: Tensor,
    chosen: Format,
    shift: Tensor,
    *,
    rounding: Rounding = "nearest",
    seed: int = 0,
    key: Key | None = None,
) -> Tensor:
    """As `quantise` with the format moved by `shift`, which broadcasts against `x`."""
    moved = x.detach().to(torch.float32) * power_of_two(-shift)
    return quantise(moved, chosen, rounding=rounding, seed=seed, key=key) * power_of_two(shift)


def losses_of(x: Tensor, remains: Tensor, chosen: Format, shift: int | Tensor = 0) -> Losses:
    """What `x` lost where `remains` is left of it, in a format moved by `shift`."""
    size = x.detach().abs().double()
    there = size > 0
    count = max(1, int(there.sum()))
    scale = 2.0 ** torch.as_tensor(shift, dtype=torch.float64, device=x.device)
    left = remains.detach().abs().double()
    small = (left > 0) & (left < chosen.least_normal * scale)
    norm = size.norm().item()
    return Losses(
        underflow=int((there & (left == 0)).sum()) / count,
        subnormal=int(small.sum()) / count,
        overflow=int((size > chosen.largest * scale).sum()) / count,
        error=(remains.double() - x.detach().double()).norm().item() / norm if norm else 0.0,
    )


def search_bias(x: Tensor, chosen: Format) -> BiasSearch:
    """Try every bias of a format on a tensor; the squared error decides.

    The largest magnitude alone is a poor guide where few numbers are far from the rest: giving up
    the top of the range can buy all others a place among the normal numbers.
    """
    low, high = chosen.biases
    x = x.detach().to(torch.float32)
    norm = max(x.double().square().sum().item(), 1e-300)
    errors = [
        (quantise(x, chosen.with_bias(bias)) - x).double().square().sum().item() / norm
        for bias in range(low, high + 1)
    ]
    best = min(range(len(errors)), key=errors.__getitem__)
    return BiasSearch(bias=low + best, errors=tuple(errors))


def share_biases(searches: Mapping[str, BiasSearch], count: int, low: int = 0) -> dict[str, int]:
    """At most `count` biases for all tensors together, and which of them each takes.

    Tesla's paper expects few biases in use within a step: each is a shared exponent that has to be
    kept somewhere. The sum over the tensors of their relative squared errors is made least: by
    trying all sets where they are few, else by adding and exchanging single biases while that
    helps. Raises `ValueError` where `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"{count} biases cannot be shared: ask for at least 1")
    if not searches:
        return {}
    rows = [search.errors for search in searches.values()]
    width = len(rows[0])
    count = min(count, width)
    if math.comb(width, count) <= _FEW:
        sets = itertools.combinations(range(width), count)
        chosen = min(sets, key=lambda one: _total(rows, one))
    else:
        chosen = _exchanged(rows, count)
    return {
        name: low + min(chosen, key=search.errors.__getitem__) for name, search in searches.items()
    }


def _exchanged(rows: Sequence[Sequence[float]], count: int) -> Sequence[int]:
    """Add the bias that helps most, `count` times; then exchange single ones while that helps."""
    every = range(len(rows[0]))
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(_best_beside(rows, chosen, every))
    better = True
    while better:
        better = False
        for place in range(count):
            rest = chosen[:place] + chosen[place + 1 :]
            changed = [*rest, _best_beside(rows, rest, every)]
            if _total(rows, changed) < _total(rows, chosen):
                chosen, better = changed, True
    return chosen


def _best_beside(rows: Sequence[Sequence[float]], chosen: Sequence[int], every: range) -> int:
    return min(every, key=lambda bias: _total(rows, [*chosen, bias]))


def _total(rows: Sequence[Sequence[float]], chosen: Sequence[int]) -> float:
    return sum(min(row[bias] for bias in chosen) for row in rows)
