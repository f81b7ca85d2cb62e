"""Which tensor loses what in which format, and the fewest bits that lose little enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from opendojo.formats import BlockFormat, Format, block, element, names
from opendojo.numerics.blocks import quantise_blocks
from opendojo.numerics.scale import (
    BiasSearch,
    Losses,
    amax_of,
    losses_of,
    quantise_shifted,
    search_bias,
    share_biases,
    shift_of,
)

__all__ = ["SWEPT", "Swept", "format_of", "shared_biases", "sweep"]

SWEPT = (
    "cfloat8_1_4_3",
    "cfloat8_1_5_2",
    "fp8_e4m3",
    "fp8_e5m2",
    "mxfp8_e4m3",
    "mxfp6_e2m3",
    "mxfp4",
    "nvfp4",
    "cfloat16_shp",
    "bf16",
)
"""Formats that are tried where none are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One tensor in every format."""

    name: str
    """Its name."""
    count: int
    """Its numbers."""
    losses: dict[str, Losses]
    """What it loses, by format."""
    recommended: str | None
    """The format of the fewest bits whose error is small enough; of several the least error. None
    where none is."""


def format_of(name: str) -> Format | BlockFormat:
    """A format of numbers or of blocks; raises `ValueError` for an unknown name."""
    return block(name) if name in names("block") else element(name)


def sweep(
    tensors: Mapping[str, Tensor],
    formats: Sequence[str] = SWEPT,
    *,
    tolerance: float = 0.05,
    on_tensor: Callable[[int, int], None] | None = None,
) -> list[Swept]:
    """Quantise every tensor in every format, with a shift of its own or in blocks along dim 1.

    `tolerance` bounds the error that a recommended format may have, as a share of the tensor's
    norm. Raises `ValueError` for an unknown format.
    """
    chosen = {name: format_of(name) for name in formats}
    found: list[Swept] = []
    for name, tensor in tensors.items():
        losses = {kind: _lost(tensor, chosen[kind]) for kind in chosen}
        good = [kind for kind in chosen if losses[kind].error <= tolerance]
        best = min(good, key=lambda k: (chosen[k].bits, losses[k].error), default=None)
        found.append(Swept(name=name, count=tensor.numel(), losses=losses, recommended=best))
        if on_tensor is not None:
            on_tensor(len(found), len(tensors))
    return found


def shared_biases(tensors: Mapping[str, Tensor], chosen: Format, count: int) -> dict[str, int]:
    """A bias for every tensor, of at most `count` in all: see `share_biases`."""
    searches: dict[str, BiasSearch] = {n: search_bias(t, chosen) for n, t in tensors.items()}
    return share_biases(searches, count, chosen.biases[0])


def _lost(x: Tensor, chosen: Format | BlockFormat) -> Losses:
    if isinstance(chosen, BlockFormat):
        dim = 1 if x.dim() > 1 else 0
        remains = quantise_blocks(x, chosen, dim=dim)
        shift = shift_of(amax_of(x), chosen.element)
        return losses_of(x, remains, chosen.element, shift)
    shift = 0 * shift_of(amax_of(x), chosen) if chosen.wide else shift_of(amax_of(x), chosen)
    remains = quantise_shifted(x, chosen, shift)
    return losses_of(x, remains, chosen, shift)
