"""The shuffle, and the mixing of stores."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opendojo.loader import Mixture, permuted


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 1000))
def test_permutation_is_one_to_one(count: int, seed: int, epoch: int) -> None:
    order = permuted(np.arange(count), count, seed=seed, epoch=epoch)
    assert np.array_equal(np.sort(order), np.arange(count))


def test_permutation_looks_shuffled_and_is_found_element_by_element() -> None:
    count = 10_007
    order = permuted(np.arange(count), count, seed=1, epoch=0)
    alone = [permuted(np.array([i]), count, seed=1, epoch=0)[0] for i in range(0, count, 997)]
    assert np.array_equal(order[::997], alone)
    other = permuted(np.arange(count), count, seed=1, epoch=1)
    assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.05
    assert abs(np.corrcoef(order, other)[0, 1]) < 0.05
    assert len(permuted(np.arange(5), 10**12, seed=0, epoch=0)) == 5


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
    st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.5]), min_size=3, max_size=3),
    st.integers(1, 4),
    st.integers(0, 2**40),
)
def test_every_window_comes_as_often_as_its_weight_says(
    windows: list[int], weights: list[float], run: int, seed: int
) -> None:
    mixture = Mixture(windows, weights[: len(windows)], seed=seed, run=run)
    seen: Counter[int] = Counter()
    epochs = 4
    for epoch in range(epochs):
        seen.update(mixture.windows(epoch, np.arange(len(mixture))).tolist())
    first = 0
    for count, weight in zip(windows, weights, strict=False):
        times = [seen[window] for window in range(first, first + count)]
        draws = max(1, round(count * weight))
        assert sum(times) == epochs * draws
        assert max(times) - min(times) <= 1  # all of them before any comes again
        first += count


def test_runs_keep_neighbours_together_and_places_are_found_alone() -> None:
    mixture = Mixture([101], (1.0,), seed=5, run=4)
    order = mixture.windows(3, np.arange(101))
    steps = np.diff(order)[np.arange(100) % 4 != 3]
    assert np.count_nonzero(steps == 1) > 70
    assert order[50] == mixture.windows(3, np.array([50]))[0]
    later = mixture.windows(4, np.arange(101))
    assert set(order[-1:].tolist()) != set(later[-1:].tolist())
