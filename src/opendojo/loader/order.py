"""A shuffle that costs no memory: a keyed permutation of the numbers 0 to n - 1.

A Feistel network is a bijection whatever its round function is (Luby and Rackoff, SIAM J. Computing
17, 1988). It permutes the numbers of an even count of bits; a result outside 0 to n - 1 is put
through again until it falls inside ("cycle walking", Black and Rogaway, CT-RSA 2002), which keeps
it a bijection and takes fewer than four turns on average. Any element is found alone, so an epoch
is resumed at any place from (seed, epoch, place).

Several stores are mixed by two such shuffles. An epoch is a shuffle of N draws, each store giving
`round(weight * windows)` of them. The draws of one store are numbered over all epochs, and a second
shuffle per store deals its windows out in that order: every window comes once before any comes
again, whatever the weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Mixture", "permuted"]

Ints = npt.NDArray[np.int64]

_ROUNDS = 6
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Multipliers of SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014)."""
_WORD = 0xFFFFFFFFFFFFFFFF


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _M1
    value = (value ^ (value >> np.uint64(27))) * _M2
    return value ^ (value >> np.uint64(31))


def permuted(places: Ints, count: int, *, seed: int, epoch: int) -> Ints:
    """The elements at `places` of the shuffle of 0 to count - 1 that (seed, epoch) name."""
    assert count > 0
    half = np.uint64(max(1, (max(count - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    rounds = np.arange(_ROUNDS, dtype=np.uint64)
    key = _mix(np.array([seed & _WORD], np.uint64)) + np.uint64(epoch + 1)
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


def _in_runs(places: Ints, count: int, run: int, *, seed: int, epoch: int) -> Ints:
    """As `permuted`, but runs of `run` neighbours stay together; those past the last whole run
    come at the end."""
    runs = count // run
    if run == 1 or runs == 0:
        return permuted(places, count, seed=seed, epoch=epoch)
    out = places.copy()
    whole = places < runs * run
    moved = permuted(places[whole] // run, runs, seed=seed, epoch=epoch)
    out[whole] = moved * run + places[whole] % run
    return out


class Mixture:
    """The endless order in which the windows of several stores are drawn.

    Windows are numbered through all stores. `run` neighbours are drawn together, so that what they
    share is decoded once.
    """

    def __init__(
        self, windows: Sequence[int], weights: Sequence[float], *, seed: int, run: int = 1
    ) -> None:
        draws = [
            max(1, round(weight * count)) if weight * count > 0 else 0
            for count, weight in zip(windows, weights, strict=True)
        ]
        self._seed = seed
        self._run = run
        self._windows = list(windows)
        self._draws = draws
        self._draw_ends = np.cumsum(draws, dtype=np.int64)
        self._first = np.cumsum([0, *windows], dtype=np.int64)

    def __len__(self) -> int:
        """Draws in an epoch."""
        return int(self._draw_ends[-1]) if len(self._draw_ends) else 0

    def windows(self, epoch: int, places: Ints) -> Ints:
        """Numbers of the windows at `places` of an epoch, int64 of the same length."""
        draws = _in_runs(places, len(self), self._run, seed=self._seed, epoch=epoch)
        store = np.searchsorted(self._draw_ends, draws, side="right")
        out = np.empty_like(draws)
        for number in np.unique(store).tolist():
            mine = store == number
            within = draws[mine] - (self._draw_ends[number] - self._draws[number])
            out[mine] = self._first[number] + self._dealt(number, epoch, within)
        return out

    def _dealt(self, store: int, epoch: int, draws: Ints) -> Ints:
        count = self._windows[store]
        passes, places = np.divmod(epoch * self._draws[store] + draws, count)
        key = (self._seed + (store + 1) * 0x9E3779B97F4A7C15) & _WORD
        out = np.empty_like(places)
        for number in np.unique(passes).tolist():
            mine = passes == number
            found = _in_runs(places[mine], count, self._run, seed=key, epoch=number)
            if self._run > 1:
                # So that not the same windows are the remainder that comes at the end.
                turn = _mix(np.array([key + number & _WORD], np.uint64))[0] % np.uint64(count)
                found = (found + int(turn)) % count
            out[mine] = found
        return out
