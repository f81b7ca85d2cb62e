"""Blocks under a shared scale: the MX formats and NVFP4, as codes and as what remains.

MX (OCP MX 1.0, section 6.3): the scale is the power of two of the block's largest magnitude, less
the exponent of the element's largest number; elements above that number saturate. A block that
holds an infinity or a NaN has the scale NaN, and is NaN as a whole. NVFP4: one float32 takes the
tensor's largest magnitude to 448 * 6, and a block's scale is the E4M3 number nearest to its own
largest magnitude over 6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from opendojo.formats import BlockFormat, Format
from opendojo.numerics.draws import Key
from opendojo.numerics.quantise import Rounding, decode, encode, quantise

__all__ = ["Blocks", "decode_blocks", "encode_blocks", "quantise_blocks"]

_PLACES, _BIAS = 23, 127
_NAN_SCALE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A tensor as codes of elements and of scales."""

    codes: Tensor
    """Codes of elements, [..., blocks, size]; the blocked dim is the last, filled up with 0."""
    scales: Tensor
    """Codes of scales, uint8, [..., blocks]."""
    tensor_scale: Tensor
    """One float32 for the whole tensor; 1 where the format has none."""
    shape: torch.Size
    """Shape of the tensor."""
    dim: int
    """The dim along which blocks lie."""


def encode_blocks(
    x: Tensor,
    chosen: BlockFormat,
    *,
    dim: int = -1,
    rounding: Rounding = "nearest",
    seed: int = 0,
    key: Key | None = None,
) -> Blocks:
    """Codes of a tensor of float32, bfloat16 or float16 in blocks along `dim`.

    Stochastic rounding draws by the place in the blocked tensor.
    """
    rows = _rows(x, chosen, dim)
    codes, whole, scale = _scales(rows, chosen)
    scaled = _scaled(rows, scale, chosen)
    found = encode(scaled, _element(chosen), rounding=rounding, seed=seed, key=key)
    return Blocks(codes=found, scales=codes, tensor_scale=whole, shape=x.shape, dim=dim)


def decode_blocks(blocks: Blocks, chosen: BlockFormat) -> Tensor:
    """The float32 numbers of codes."""
    scale = _scale_values(blocks.scales, blocks.tensor_scale, chosen)
    rows = decode(blocks.codes, chosen.element) * scale[..., None]
    return _unrowed(rows, blocks.shape, blocks.dim)


def quantise_blocks(
    x: Tensor,
    chosen: BlockFormat,
    *,
    dim: int = -1,
    rounding: Rounding = "nearest",
    seed: int = 0,
    key: Key | None = None,
) -> Tensor:
    """What remains of a tensor in blocks along `dim`, as float32: `decode` of `encode`."""
    rows = _rows(x, chosen, dim)
    _, _, scale = _scales(rows, chosen)
    scaled = _scaled(rows, scale, chosen)
    remains = quantise(scaled, _element(chosen), rounding=rounding, seed=seed, key=key)
    return _unrowed(remains * scale[..., None], x.shape, dim)


def _element(chosen: BlockFormat) -> Format:
    return replace(chosen.element, overflow="saturate")


def _rows(x: Tensor, chosen: BlockFormat, dim: int) -> Tensor:
    """float32, [..., blocks, size]."""
    rows = x.detach().to(torch.float32).movedim(dim, -1)
    rows = F.pad(rows, (0, -rows.shape[-1] % chosen.size))
    return rows.unflatten(-1, (rows.shape[-1] // chosen.size, chosen.size))


def _unrowed(rows: Tensor, shape: torch.Size, dim: int) -> Tensor:
    flat = rows.flatten(-2)[..., : shape[dim]]
    return flat.movedim(-1, dim).contiguous()


def _scales(rows: Tensor, chosen: BlockFormat) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of the scales, the tensor's own scale, and the scales as float32."""
    amax = rows.abs().amax(-1)  # a NaN is the largest of all
    bad = ~amax.isfinite()
    whole = torch.ones((), device=rows.device)
    narrow = chosen.scale_format
    if narrow is None:
        exponent = (amax.view(torch.int32) >> _PLACES) - chosen.element.exponent_high
        code = exponent.clamp(0, 254)  # of the scale, whose bias is 127 as well
        code = torch.where(bad, _NAN_SCALE, code).to(torch.uint8)
    else:
        top = torch.where(bad, 0.0, amax).amax() if amax.numel() else whole * 0
        found = top / (narrow.largest * chosen.element.largest)
        whole = torch.where(found > 0, found, whole)
        wanted = torch.where(bad, torch.nan, amax) / (whole * chosen.element.largest)
        code = encode(wanted, narrow)
    return code, whole, _scale_values(code, whole, chosen)


def _scale_values(code: Tensor, whole: Tensor, chosen: BlockFormat) -> Tensor:
    if chosen.scale_format is not None:
        return decode(code, chosen.scale_format) * whole
    wide = code.to(torch.int32)
    bits = torch.where(wide == 0, 1 << (_PLACES - 1), wide << _PLACES)
    bits = torch.where(wide == _NAN_SCALE, 0x7FC00000, bits)
    return bits.view(torch.float32)


def _scaled(rows: Tensor, scale: Tensor, chosen: BlockFormat) -> Tensor:
    """Elements over their scales; powers of two are multiplied, which is exact."""
    if chosen.scale == "e8m0":
        bits = scale.view(torch.int32)
        code = torch.where(scale < 2.0**-126, 0, bits >> _PLACES)
        inverse = ((2 * _BIAS - code.clamp_max(2 * _BIAS)) << _PLACES).view(torch.float32)
        return rows * inverse[..., None]
    return torch.where(scale[..., None] == 0, 0.0, rows / scale[..., None])
