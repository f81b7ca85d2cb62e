"""The gate: promotes what is better, and noise as rarely as it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from opendojo.flywheel.gate import GateConfig, gate, paired


def scores(values: np.ndarray) -> dict[str, float]:
    return {str(k): float(v) for k, v in enumerate(values)}


def test_p_is_exact_for_few_scenes() -> None:
    change = np.array([3.0, 1.0, -0.5, 2.0])
    told = paired(scores(np.zeros(4)), scores(change))
    signs = np.array(list(itertools.product([1, -1], repeat=4)))
    assert told.p == pytest.approx((signs @ change >= change.sum() - 1e-9).mean())
    assert told.difference == pytest.approx(1.375)
    assert told.low <= told.difference <= told.high


def test_noise_is_promoted_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(0)
    promoted = 0
    for _ in range(80):
        old = rng.uniform(0, 100, 24)
        new = old + rng.normal(0, 20, 24)
        told = gate({"hard": (scores(old), scores(new)), "clean": (scores(old), scores(old))})
        promoted += told.promote
    assert promoted <= 10, "5 % were 4, for both sides of the interval are 10 %"
    assert promoted >= 1


def test_better_is_promoted_and_pairing_helps() -> None:
    rng = np.random.default_rng(1)
    old = rng.uniform(0, 100, 24)
    new = old + 4.0 + rng.normal(0, 5, 24)
    told = gate({"hard": (scores(old), scores(new)), "clean": (scores(old), scores(old))})
    assert told.promote
    assert told.sets["better"].low > 0
    shuffled = scores(rng.permutation(new))
    assert not gate({"hard": (scores(old), shuffled), "clean": (scores(old), scores(old))}).promote


def test_forgetting_is_refused_however_good_the_rest() -> None:
    old = np.linspace(20, 80, 24)
    pairs = {"hard": (scores(old), scores(old + 15)), "clean": (scores(old), scores(old * 0.985))}
    told = gate(pairs)
    assert not told.promote
    assert "forgot" in told.why
    pairs["clean"] = (scores(old), scores(old * 0.995))
    assert gate(pairs).promote


def test_two_sets_are_one_where_they_are_asked_for_together() -> None:
    old = np.linspace(20, 80, 6)
    config = GateConfig(better_on=("events", "night"))
    pairs = {name: (scores(old), scores(old + 5)) for name in ("events", "night", "clean")}
    assert gate(pairs, config).sets["better"].scenes == 12


def test_scenes_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="same scenes"):
        paired({"1": 1.0}, {"2": 1.0})
    with pytest.raises(ValueError, match="no scores on clean"):
        gate({"hard": ({"1": 1.0}, {"1": 1.0})})
