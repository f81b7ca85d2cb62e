"""Joules: from counters that wrap and vanish, from a table, or not at all."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import opendojo.machine
from fake_counters import cpuinfo, make_rapl, set_uj
from opendojo.machine import Meter, cores_for, machine_facts


@pytest.fixture
def rapl(tmp_path: Path) -> Path:
    return make_rapl(tmp_path, {"0": 1_000_000, "1": 5_000_000}, limit_uj=10_000_000)


def test_counters_are_read_as_differences(rapl: Path) -> None:
    meter = Meter(powercap=rapl, nvml=None)
    set_uj(rapl, "0", 4_000_000)
    energy = meter.stop()
    assert energy.joules == pytest.approx(3.0)
    assert energy.measured
    assert energy.method == "rapl"


def test_a_counter_that_wraps_never_goes_negative(rapl: Path) -> None:
    meter = Meter(powercap=rapl, nvml=None)
    set_uj(rapl, "1", 500_000)
    assert meter.stop().joules == pytest.approx(5.5)


def test_a_counter_that_vanishes_leaves_an_estimate(rapl: Path, tmp_path: Path) -> None:
    meter = Meter(powercap=rapl, nvml=None, cpuinfo=cpuinfo(tmp_path, "AuthenticAMD", 26, 2))
    (rapl / "intel-rapl:0" / "energy_uj").unlink()
    energy = meter.stop()
    assert energy.method == "cpu_model"
    assert not energy.measured


def test_estimate_is_core_seconds_times_watts(tmp_path: Path) -> None:
    meter = Meter(powercap=tmp_path, nvml=None, cpuinfo=cpuinfo(tmp_path, "AuthenticAMD", 26, 2))
    sum(i * i for i in range(300_000))
    energy = meter.stop()
    assert energy.core_s > 0
    assert energy.joules == pytest.approx(energy.core_s * 500 / 256)
    assert energy.low is not None
    assert energy.high is not None
    assert energy.low < energy.joules < energy.high


def test_unknown_processor_gives_core_seconds_and_no_joules(tmp_path: Path) -> None:
    energy = Meter(powercap=tmp_path, nvml=None, cpuinfo=cpuinfo(tmp_path, "Elbrus", 4, 4)).stop()
    assert energy.joules is None
    assert energy.core_s >= 0
    assert energy.per(10)["joules_per_frame"] is None


def test_sums_are_measured_only_if_both_parts_are(rapl: Path, tmp_path: Path) -> None:
    measured = Meter(powercap=rapl, nvml=None).stop()
    known = cpuinfo(tmp_path, "AuthenticAMD", 26, 2)
    estimated = Meter(powercap=tmp_path / "none", nvml=None, cpuinfo=known).stop()
    assert (measured + measured).measured
    both = measured + estimated
    assert not both.measured
    assert both.method == "rapl+cpu_model"


def test_every_processor_in_the_table_has_a_source_and_a_grade() -> None:
    folder = Path(opendojo.machine.__file__).parent
    table = tomllib.loads((folder / "cpus.toml").read_text())
    for cpu in table["cpu"]:
        assert cpu["source"]
        assert cpu["grade"] in ("published", "claimed", "inferred")
        assert 1.0 < cpu["tdp_w"] / cpu["threads"] < 6.0


def test_cores_for_a_fleet() -> None:
    assert cores_for(7931)["cores"] == pytest.approx(185_185.185 / 7931)
    with pytest.raises(ValueError, match="above 0"):
        cores_for(0)


def test_facts_of_this_machine() -> None:
    facts = machine_facts()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**28
