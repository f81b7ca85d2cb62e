"""The arithmetic of rounding, on whole tensors: one source for processors and accelerators.

A float32 is taken to the lattice of its binade by a power of two, rounded there to a whole number,
and taken back. Multiplying by a power of two is exact, so that the rounding is the only one, and
nearest even is what `torch.round` does. Formats with float32's own exponents round its bits as an
integer instead. Only elementwise operators occur, so that `torch.compile` makes one loop of all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from opendojo.formats import Format
from opendojo.numerics.exact import DRAW_BITS

__all__ = ["to_codes", "to_lattice", "to_values"]

_EXPONENT, _MAGNITUDE, _SIGN = 0x7F800000, 0x7FFFFFFF, -0x80000000
_PLACES, _BIAS = 23, 127


def to_lattice(x: Tensor, chosen: Format, draw: Tensor | None = None) -> Tensor:
    """What remains of float32 numbers in a format; with `draw` (int32, 24 bits) stochastically."""
    if chosen.mantissa_bits == _PLACES:
        return x.clone()
    if chosen.wide:
        return _wide(x, chosen, draw)
    limit = chosen.largest
    if chosen.overflow != "saturate":
        limit = 2.0 ** (chosen.exponent_high + 1)  # the lattice goes on to there
    y = x.clamp(-limit if chosen.signed else 0.0, limit)
    quantum = y.view(torch.int32) & _EXPONENT
    quantum.clamp_min_((chosen.exponent_low + _BIAS) << _PLACES)
    quantum.sub_(chosen.mantissa_bits << _PLACES)  # now the bits of a binade's gap
    inverse = (2 * _BIAS << _PLACES) - quantum
    steps = y * inverse.view(torch.float32)
    whole = steps.round_() if draw is None else _drawn(steps, draw)
    q = whole.mul_(quantum.view(torch.float32))
    if chosen.subnormals == "printed":
        q = _with_printed(y, q, chosen, draw)
    if _ordinary(q, chosen.largest):
        return q if chosen.signed else q.abs_()
    if chosen.overflow != "saturate":
        beyond = math.inf if chosen.overflow == "infinity" else math.nan
        q = torch.where(q.abs() > chosen.largest, torch.full_like(q, beyond).copysign(q), q)
    return _specials(x, q, chosen)


def to_codes(q: Tensor, chosen: Format) -> Tensor:
    """Codes, int32, of float32 numbers that the format has."""
    places = chosen.mantissa_bits
    bits = q.view(torch.int32)
    magnitude = bits & _MAGNITUDE
    code = magnitude >> (_PLACES - places)
    if not chosen.wide:
        code = code - ((_BIAS - chosen.bias) << places)
        small = magnitude < ((chosen.exponent_low + _BIAS) << _PLACES)
        count = (q.abs() * 2.0**-chosen.quantum_exponent).clamp_max(2.0**places)
        code = torch.where(small, count.to(torch.int32), code)
    if chosen.specials == "ieee":
        top = chosen.largest_code + 1
        code = torch.where(magnitude == _EXPONENT, top, code)
        code = torch.where(magnitude > _EXPONENT, top | (1 << (places - 1)), code)
    elif chosen.specials == "one_nan":
        code = torch.where(magnitude > _EXPONENT, chosen.largest_code + 1, code)
    if not chosen.signed:
        return code
    return code | (((bits >> 31) & 1) << (chosen.bits - 1))


def to_values(code: Tensor, chosen: Format) -> Tensor:
    """The float32 numbers of int32 codes."""
    places, width = chosen.mantissa_bits, chosen.exponent_bits + chosen.mantissa_bits
    if width == 31:
        return code.view(torch.float32)
    magnitude = code & ((1 << width) - 1)
    bits = magnitude << (_PLACES - places)
    if not chosen.wide:
        bits = bits + ((_BIAS - chosen.bias) << _PLACES)
    value = bits.view(torch.float32)
    if not chosen.wide:
        small = magnitude.to(torch.float32) * 2.0**chosen.quantum_exponent
        value = torch.where(magnitude < (1 << places), small, value)
    if chosen.specials != "none":
        value = torch.where(magnitude > chosen.largest_code, math.nan, value)
    if chosen.specials == "ieee":
        value = torch.where(magnitude == chosen.largest_code + 1, math.inf, value)
    if not chosen.signed:
        return value
    sign = ((code >> width) & 1) << 31
    return (value.view(torch.int32) | sign).view(torch.float32)


def _wide(x: Tensor, chosen: Format, draw: Tensor | None) -> Tensor:
    """Bits below the mantissa are rounded away as an integer; a carry goes into the exponent."""
    dropped = _PLACES - chosen.mantissa_bits
    bits = x.view(torch.int32)
    if draw is None:
        rounded = (bits >> dropped).bitwise_and_(1).add_(bits)
        rounded.add_((1 << (dropped - 1)) - 1).bitwise_and_(~((1 << dropped) - 1))
    else:
        kept = bits & ~((1 << dropped) - 1)
        rest = (bits & ((1 << dropped) - 1)) << (DRAW_BITS - dropped)
        rounded = kept + ((draw < rest).to(torch.int32) << dropped)
    if _ordinary(x, chosen.largest):
        return rounded.view(torch.float32)
    magnitude = bits & _MAGNITUDE
    quiet = (bits & _SIGN) | 0x7FC00000
    rounded = torch.where(magnitude == _EXPONENT, bits, rounded)  # infinity stays
    rounded = torch.where(magnitude > _EXPONENT, quiet, rounded)
    if chosen.overflow == "saturate":
        top = (bits & _SIGN) | (chosen.largest_code << dropped)
        over = (rounded & _MAGNITUDE) == _EXPONENT
        rounded = torch.where(over, top, rounded)
    return rounded.view(torch.float32)


def _ordinary(q: Tensor, largest: float) -> bool:
    """Whether nothing overflowed and nothing is NaN, where to ask is cheaper than to select.

    One look at the least and the largest saves a processor five passes over its cache. A compiled
    loop has no passes, and an accelerator would have to be waited for.
    """
    if torch.compiler.is_compiling() or q.device.type != "cpu":
        return False
    low, high = torch.aminmax(q)
    return bool((low >= -largest) & (high <= largest))


def _drawn(steps: Tensor, draw: Tensor) -> Tensor:
    whole = steps.trunc()
    rest = (steps - whole).abs_()
    up = draw.to(torch.float32) * 2.0**-DRAW_BITS < rest
    return (whole.abs() + up).copysign_(steps)


def _with_printed(y: Tensor, q: Tensor, chosen: Format, draw: Tensor | None) -> Tensor:
    """Subnormals half as large, and the gap between them and the least normal number."""
    last = (1 << chosen.mantissa_bits) - 1
    steps = y * 2.0**-chosen.quantum_exponent
    size = steps.abs()
    if draw is None:
        small = size.round()
        over = (size >= last + (last + 2) / 2).to(torch.float32)
    else:
        small = _drawn(size, draw)
        rest = (size - last) / (last + 2)
        over = (draw.to(torch.float32) * 2.0**-DRAW_BITS < rest).to(torch.float32)
    small = torch.where(size < last, small, last + over * (last + 2))
    small = (small * 2.0**chosen.quantum_exponent).copysign(y)
    return torch.where(y.abs() < chosen.least_normal, small, q)


def _specials(x: Tensor, q: Tensor, chosen: Format) -> Tensor:
    """What becomes of NaN, and of the zero below 0 where there is no sign."""
    if not chosen.signed:
        q = q.abs()
    if chosen.specials != "none":
        return q
    if chosen.nan == "zero":
        instead = torch.zeros_like(x).copysign(x).neg()
    elif chosen.signed:
        instead = torch.full_like(x, chosen.largest).copysign(x)
    else:
        instead = torch.full_like(x, chosen.largest)
    return torch.where(x.isnan(), instead, q)
