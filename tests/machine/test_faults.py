"""Yield, faults, power and the Crysis question against simulations and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from opendojo.machine.crysis import render
from opendojo.machine.faults import FAILURES, SILENT, Guard, checkpoint_interval_s, outcome
from opendojo.machine.package import (
    Cooling,
    assembly_yield,
    bad_core_cost,
    defect_pmf,
    die_yield,
    dies_per_wafer,
    edge_bytes_per_s,
    held_clock,
    supply,
)
from opendojo.machine.power import capped, chip_w, energy_usd, facility_w, joules_per


def _simulate(
    random: np.random.Generator, mtbf_s: float, silent: float, guard: Guard, *, work_s: float,
    checkpoint_s: float, restart_s: float, segments: int,
) -> float:  # fmt: skip
    """Useful share by playing failures, restarts and replays one after another."""
    clock = 0.0
    for _ in range(segments):
        while True:
            ran = work_s * (1 + guard.overhead)
            hits = random.poisson(silent * guard.caught * ran)
            lasts = ran + checkpoint_s + guard.replay_s * hits
            fails = random.exponential(mtbf_s)
            clock += min(fails, lasts)
            if fails > lasts:
                break
            while (fails := random.exponential(mtbf_s)) < restart_s:
                clock += fails
            clock += restart_s
    return segments * work_s / clock


@pytest.mark.parametrize(
    "guard", [Guard(), Guard(overhead=0.05, caught=0.9, replay_s=40.0)], ids=["bare", "guarded"]
)
def test_the_expectation_is_that_of_a_simulation(guard: Guard) -> None:
    result = outcome(100, checkpoint_s=50, restart_s=200, interval_s=700, guard=guard,
                     failures_per_chip_s=1e-5, silent_per_chip_s=3e-5)  # fmt: skip
    played = _simulate(np.random.default_rng(1), 1000.0, 3e-3, guard, work_s=700, checkpoint_s=50,
                       restart_s=200, segments=40_000)  # fmt: skip
    assert result.useful == pytest.approx(played, rel=0.015)


def test_the_interval_is_the_best_one_and_near_youngs() -> None:
    for checkpoint_s, mtbf_s in ((10.0, 1e5), (60.0, 11_000.0), (300.0, 3_000.0)):
        best = checkpoint_interval_s(checkpoint_s, mtbf_s)

        def useful(interval_s: float, c: float = checkpoint_s, m: float = mtbf_s) -> float:
            return outcome(1, checkpoint_s=c, restart_s=100, interval_s=interval_s,
                           failures_per_chip_s=1 / m, silent_per_chip_s=0).useful  # fmt: skip

        searched = max(useful(best * factor) for factor in np.geomspace(0.2, 5, 201))
        assert useful(best) >= searched * (1 - 1e-4)
        assert useful(best) > max(useful(best / 2), useful(best * 2))
    assert checkpoint_interval_s(1, 1e8) == pytest.approx(math.sqrt(2e8), rel=1e-3)
    assert checkpoint_interval_s(10, 4) == 4


def test_rates_are_those_of_the_report() -> None:
    assert 1 / (FAILURES.value * 16_384) == pytest.approx(3.1 * 3600, rel=0.01)
    assert 1 / SILENT.value / 86_400 == pytest.approx(147_456)
    caught = outcome(16_384, checkpoint_s=60, restart_s=600, guard=Guard(caught=0.75))
    assert caught.caught_per_day + caught.uncaught_per_day == pytest.approx(1 / 9)
    assert caught.caught_per_day == pytest.approx(0.75 / 9)


def test_a_machine_that_never_lives_long_enough_does_nothing() -> None:
    assert outcome(10**9, checkpoint_s=600, restart_s=600).useful == 0.0
    with pytest.raises(ValueError, match="caught share"):
        outcome(1, checkpoint_s=1, restart_s=1, guard=Guard(caught=2))
    with pytest.raises(ValueError, match="above 0"):
        outcome(0, checkpoint_s=1, restart_s=1)
    with pytest.raises(ValueError, match="at least 0"):
        outcome(1, checkpoint_s=1, restart_s=-1)


def test_yield_is_that_of_clustered_defects_thrown_at_dies() -> None:
    random = np.random.default_rng(2)
    dies, mean, share, clustering, spares = 400_000, 645 * 0.0009, 0.8, 2.0, 1
    fixed = random.poisson(random.gamma(clustering, mean * (1 - share) / clustering, dies))
    cores = random.poisson(random.gamma(clustering, mean * share / clustering, dies))
    thrown = float(np.mean((fixed == 0) & (cores <= spares)))
    formula = die_yield(645, 0.0009, clustering, spare_cores=spares, repairable_share=share)
    assert formula == pytest.approx(thrown, abs=0.003)


def test_yield_of_the_table() -> None:
    assert die_yield(645, 0.0009, math.inf) == pytest.approx(0.560, abs=5e-4)
    assert die_yield(645, 0.0009, 1) == pytest.approx(0.633, abs=5e-4)
    assert die_yield(645, 0.0009, 2, spare_cores=6, repairable_share=0.8) == pytest.approx(
        0.893, abs=5e-4
    )
    assert sum(defect_pmf(n, 3.0, 0.7) for n in range(400)) == pytest.approx(1)
    assert assembly_yield(25, 25, 0.995) == pytest.approx(0.882, abs=5e-4)
    assert assembly_yield(25, 24, 0.995) > assembly_yield(25, 25, 0.995)
    assert dies_per_wafer(645) == 83
    assert bad_core_cost(18, 20, 6, 6) == (0.0, 0.0)
    assert bad_core_cost(18, 20, 6, 7) == (1 / 360, 1 / 20)
    assert edge_bytes_per_s(144, 112e9) == pytest.approx(2.016e12)
    assert supply(15_000, 52, 0.01)[0] == pytest.approx(288, abs=1)


def test_a_warm_die_slows_down_to_what_is_shed() -> None:
    base = {"nominal_w": 600.0, "idle_share": 0.2, "coolant_c": 30.0, "limit_c": 90.0}
    assert held_clock(Cooling(**base, kelvin_per_w=0.1)) == 1.0
    clock = held_clock(Cooling(**base, kelvin_per_w=0.2))
    assert 600 * (0.2 + 0.8 * clock**3) == pytest.approx(60 / 0.2)
    assert held_clock(Cooling(**base, kelvin_per_w=0.01, supply_w=300)) == pytest.approx(clock)
    assert held_clock(Cooling(**base, kelvin_per_w=10.0)) == pytest.approx(0, abs=1e-9)


def test_power_by_hand() -> None:
    assert chip_w(100, 700, 0) == 100
    assert chip_w(100, 700, 1) == 700
    assert chip_w(100, 700, 0.5, exponent=1) == 400
    assert chip_w(100, 700, 0.5) > 400
    assert facility_w(5600, 1000, 1.1) == pytest.approx(7260)
    half = capped(400, 100, 700, 1.0)
    assert half.clock == pytest.approx(0.5 ** (1 / 3))
    assert half.slowdown == pytest.approx(1 / half.clock)
    assert capped(400, 100, 700, 0.0).slowdown == 1
    assert capped(900, 100, 700, 0.5).power_w == 700
    assert joules_per(700, 1400) == 0.5
    assert energy_usd(3.6e6, 0.1) == pytest.approx(0.1)
    for wrong in (lambda: chip_w(1, 2, 1.5), lambda: facility_w(1, 1, 0.9),
                  lambda: capped(50, 100, 700, 1), lambda: joules_per(1, 0)):  # fmt: skip
        with pytest.raises(ValueError, match=r"must be|not above"):
            wrong()


def test_crysis_by_hand() -> None:
    answer = render(3840, 2160, 1e9, chips=("GTX 1080 Ti", "H100", "D1"))
    assert answer.bytes_per_s == pytest.approx(24.9e15, rel=1e-2)
    assert answer.flops_per_s == pytest.approx(1.4e20, rel=2e-2)
    assert answer.machines[0].count == pytest.approx(1e9 / 80)
    assert answer.machines[1].count == pytest.approx(2.1e6, rel=0.02)
    assert answer.machines[2].low > 2.9 * 6.0e6
    for one in answer.machines:
        assert one.low < one.count < one.high
    small = render(1920, 1080, 1e9, game="remastered", chips=("RTX 3080",))
    assert small.machines[0].count == pytest.approx(1e9 / 37.46 / 4)
    with pytest.raises(ValueError, match="above 0"):
        render(0, 1, 1)
    with pytest.raises(ValueError, match="none of"):
        render(1, 1, 1, game="doom")
