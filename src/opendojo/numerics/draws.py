"""Random bits that depend on (seed, place) alone: not on shape, threads, device or what ran before.

A draw is a hash of an element's place in the flattened tensor, keyed by two words. The hash is two
rounds of `lowbias32` (Wellons, "Prospecting for Hash Functions", 2018: bias 0.17, the least known
of its length) with a key before each, so that two seeds do not permute one sequence. All in 32-bit
integers that wrap, which processors and accelerators do alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.numerics.exact import DRAW_BITS

__all__ = ["Key", "draws", "draws_exact", "key_of", "keys_from"]

Key = tuple[int, int] | Tensor
"""Two words of 32 bits, as signed numbers, or an int32 tensor of them."""

_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B
_GOLDEN = 0x9E3779B97F4A7C15


def key_of(seed: int) -> tuple[int, int]:
    """The two words of a seed, by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    word = (seed + _GOLDEN) % 2**64
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    word ^= word >> 31
    return _signed(word >> 32), _signed(word & 0xFFFFFFFF)


def keys_from(key: Tensor, number: int) -> Tensor:
    """The key of part `number` of something whose key is an int32 tensor of two words."""
    return _mixed(key + _signed((number * 0x9E3779B9) % 2**32))


def draws(first: int, count: int, key: Key, device: torch.device | None = None) -> Tensor:
    """Draws of `DRAW_BITS` bits for the places `first` to `first + count`: int32, [count].

    The places must not pass a multiple of 2^32.
    """
    high, low = divmod(first, 2**32)
    assert low + count <= 2**32
    place = torch.arange(count, dtype=torch.int32, device=device)
    if low:
        place = place + _signed(low)
    one, two = (key[0], key[1])
    more = _mixed_int(high)
    mixed = _mixed(place ^ (one ^ more if more else one))
    return (_mixed(mixed + two) >> (32 - DRAW_BITS)) & ((1 << DRAW_BITS) - 1)


def draws_exact(place: int, seed: int) -> int:
    """One draw in plain integers: the reference."""
    one, two = (word % 2**32 for word in key_of(seed))
    high, low = divmod(place, 2**32)
    mixed = _mixed_int(low ^ one ^ (_mixed_int(high) % 2**32)) % 2**32
    return (_mixed_int((mixed + two) % 2**32) % 2**32) >> (32 - DRAW_BITS)


def _mixed(word: Tensor) -> Tensor:
    word = word ^ ((word >> 16) & 0xFFFF)
    word = word * _FIRST
    word = word ^ ((word >> 15) & 0x1FFFF)
    word = word * _signed(_SECOND)
    return word ^ ((word >> 16) & 0xFFFF)


def _mixed_int(word: int) -> int:
    word ^= word >> 16
    word = (word * _FIRST) % 2**32
    word ^= word >> 15
    word = (word * _SECOND) % 2**32
    return _signed(word ^ (word >> 16))


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word
