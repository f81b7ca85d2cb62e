"""The slow reference: codes and values of every format in rational arithmetic.

Written from the definitions alone, number by number, so that the fast kernels have something to
be wrong against. A finite number is a `Fraction`; infinities, NaN and the zero below 0 are floats.
Stochastic rounding takes a draw of 24 bits and goes away from 0 where draw / 2^24 is below the
fraction that nearest rounding would look at: a number that the format has never changes.
"""

from __future__ import annotations

import math
from fractions import Fraction

from opendojo.formats import Format

__all__ = ["DRAW_BITS", "decode_exact", "encode_exact", "quantise_exact"]

DRAW_BITS = 24
"""Bits of a draw of stochastic rounding."""


def decode_exact(code: int, chosen: Format) -> Fraction | float:
    """The value of a code; a float for infinities, NaN and the zero below 0."""
    magnitude = code & ((1 << (chosen.exponent_bits + chosen.mantissa_bits)) - 1)
    below_0 = chosen.signed and bool(code >> (chosen.bits - 1))
    if magnitude > chosen.largest_code:
        infinite = chosen.specials == "ieee" and magnitude == chosen.largest_code + 1
        value = math.inf if infinite else math.nan
        return math.copysign(value, -1.0 if below_0 else 1.0)
    exponent, mantissa = divmod(magnitude, 1 << chosen.mantissa_bits)
    fraction = Fraction(mantissa, 1 << chosen.mantissa_bits)
    if exponent == 0:
        printed = chosen.subnormals == "printed"
        found = fraction * _power(-chosen.bias if printed else 1 - chosen.bias)
    else:
        found = (1 + fraction) * _power(exponent - chosen.bias)
    if below_0:
        return -found if found else -0.0
    return found


def encode_exact(value: float, chosen: Format, draw: int | None = None) -> int:
    """The code of a float: of the nearest number, ties to even; with a `draw`, stochastically.

    A NaN's code is the quiet one of its sign. Where a format has none, its `nan` decides.
    """
    below_0 = math.copysign(1.0, value) < 0
    if math.isnan(value):
        if chosen.specials != "none":
            magnitude = _nan_code(chosen)
        elif chosen.nan == "zero":
            magnitude, below_0 = 0, not below_0
        else:
            magnitude, below_0 = chosen.largest_code, below_0 and chosen.signed
    elif below_0 and not chosen.signed:
        magnitude, below_0 = 0, False
    elif math.isinf(value):
        magnitude = _overflow_code(chosen)
    else:
        magnitude = _rounded(abs(Fraction(value)), chosen, draw)
    return magnitude | (int(below_0 and chosen.signed) << (chosen.bits - 1))


def quantise_exact(value: float, chosen: Format, draw: int | None = None) -> float:
    """The float that remains of a float; every value of a format is a float."""
    return float(decode_exact(encode_exact(value, chosen, draw), chosen))


def _rounded(value: Fraction, chosen: Format, draw: int | None) -> int:
    low, places = chosen.exponent_low, chosen.mantissa_bits
    if chosen.subnormals == "printed" and value < _power(low):
        return _rounded_printed(value, chosen, draw)
    exponent = max(_exponent_of(value), low) if value else low
    count, rest = divmod(value / _power(exponent - places), 1)
    code = ((exponent - low) << places) + int(count)  # a carry goes into the exponent by itself
    code += _up(rest, odd=bool(code & 1), draw=draw)
    return code if code <= chosen.largest_code else _overflow_code(chosen)


def _rounded_printed(value: Fraction, chosen: Format, draw: int | None) -> int:
    """Below the least normal number where the paper's subnormals leave a gap under it."""
    last = (1 << chosen.mantissa_bits) - 1
    steps = value / _power(-chosen.bias - chosen.mantissa_bits)
    if steps < last:
        count, rest = divmod(steps, 1)
    else:
        count, rest = last, (steps - last) / (last + 2)
    code = int(count)
    return code + _up(rest, odd=bool(code & 1), draw=draw)


def _up(rest: Fraction, *, odd: bool, draw: int | None) -> int:
    if draw is not None:
        return int(Fraction(draw, 1 << DRAW_BITS) < rest)
    half = Fraction(1, 2)
    return int(rest > half or (rest == half and odd))


def _overflow_code(chosen: Format) -> int:
    if chosen.overflow == "saturate":
        return chosen.largest_code
    return chosen.largest_code + 1 if chosen.overflow == "infinity" else _nan_code(chosen)


def _nan_code(chosen: Format) -> int:
    if chosen.specials == "one_nan":
        return chosen.largest_code + 1
    return (chosen.largest_code + 1) | (1 << (chosen.mantissa_bits - 1))


def _exponent_of(value: Fraction) -> int:
    """The exponent of the power of two at or below a number above 0."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if _power(guess) <= value else guess - 1


def _power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent
