"""A shuffle that costs no memory: a keyed permutation of the numbers 0 to n - 1.

A Feistel network is a bijection whatever its round function is (Luby and Rackoff, SIAM J. Computing
17, 1988). It permutes the numbers of an even count of bits; a result outside 0 to n - 1 is put
through again until it falls inside ("cycle walking", Black and Rogaway, CT-RSA 2002), which keeps
it a bijection and takes fewer than four turns on average. Any element is found alone, so an epoch
is resumed at any place from (seed, epoch, place).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["permuted"]

_ROUNDS = 6
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Multipliers of SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014)."""


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _M1
    value = (value ^ (value >> np.uint64(27))) * _M2
    return value ^ (value >> np.uint64(31))


def permuted(
    places: npt.NDArray[np.int64], count: int, *, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """The elements at `places` of the shuffle of 0 to count - 1 that (seed, epoch) name."""
    assert count > 0
    half = np.uint64(max(1, (max(count - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    rounds = np.arange(_ROUNDS, dtype=np.uint64)
    key = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) + np.uint64(epoch + 1)
    keys = _mix(_mix(key) + rounds)
    value = places.astype(np.uint64)
    outside = np.ones(len(value), bool)
    while outside.any():
        left, right = value[outside] >> half, value[outside] & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right + round_key) & mask)
        value[outside] = (left << half) | right
        outside = value >= count
    return value.astype(np.int64)
