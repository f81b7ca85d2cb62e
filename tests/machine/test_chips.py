"""Chips, packages and pods: the tables hold together, and wrong files are refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opendojo.cli import main
from opendojo.machine.chips import all_chips, find_chip, load_chips
from opendojo.machine.pods import (
    all_packages,
    all_pods,
    find_package,
    find_pod,
    judge_package,
    load_packages,
)

_GOOD = """
[[chip]]
name = "Mine"
vendor = "Me"
year = 2030
source = "my design"
grade = "claimed"
cores = 16
clock_hz = 1e9
link_bytes_per_s = 100e9
nic_bytes_per_s = 10e9
idle_w = 5
tdp_w = 50
rates_flops_per_s = { bf16 = 1e14 }
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_every_figure_has_unit_grade_source_and_a_range_around_it() -> None:
    assert len(all_chips()) > 40
    for chip in all_chips():
        for name, figure in chip.figures().items():
            assert figure.unit, (chip.name, name)
            assert figure.source, (chip.name, name)
            assert figure.low <= figure.value <= figure.high, (chip.name, name)
            if figure.grade == "unknown":
                assert figure.low < figure.high, (chip.name, name)


def test_rates_are_what_cores_do_in_a_clock() -> None:
    """A sparse rate, or one of another clock, would be off by two: FLOP of a core in a clock."""
    for name, flops in (("V100", 1024), ("A100", 2048), ("H100", 4096), ("H200", 4096),
                        ("H100 PCIe", 4096), ("B200", 8192), ("D1", 512), ("dojo1", 512),
                        ("MI300X", 2048), ("TPU v4", 131072)):  # fmt: skip
        chip = find_chip(name)
        assert chip.rate("bf16").value == pytest.approx(
            chip.cores.value * chip.clock_hz.value * flops, rel=0.02
        ), name


def test_a_tile_is_25_dies_and_links_are_one_direction() -> None:
    die, tile = find_chip("D1"), find_chip("dojo1")
    assert tile.cores.value == 25 * die.cores.value
    assert tile.rate("fp8").value == 25 * die.rate("fp8").value
    assert die.link_bytes_per_s.value == 576 * 112e9 / 8
    assert find_chip("H100").link_bytes_per_s.value == 450e9
    assert die.rate("bf16").others[0].value == 376e12
    assert find_pod("ExaPOD").chips() == 120


@pytest.mark.parametrize(
    ("written", "gigabytes"),
    [("A100", 80), ("A100-40GB", 40), ("A100-80GB", 80), ("B200", 180), ("B300", 270),
     ("Dojo D1 tile", 107), ("GB200", 186), ("GB300", 279), ("Gaudi 2", 96), ("H100-80GB SXM", 80),
     ("H100-96GB HBM2e 500W", 96), ("H200-141GB", 141), ("H200-NVL", 141), ("L40S", 48),
     ("L40S (PCIe fabric)", 48), ("MI300X", 192), ("RTX 3090", 24), ("TPU v4", 32), ("TPU v5e", 16),
     ("TPU v5p", 95), ("TPU v6e", 32), ("TPU7x Ironwood", 192), ("V100", 32), ("V100-16GB", 16),
     ("V100-32GB", 32)],
)  # fmt: skip
def test_accelerators_are_found_as_published_runs_write_them(written: str, gigabytes: int) -> None:
    capacity = find_chip(written).memories[0].capacity_bytes.value
    assert capacity == pytest.approx(gigabytes * 1e9, rel=0.01)


def test_pods_and_packages_name_chips_and_chips_name_pods() -> None:
    for pod in all_pods():
        assert find_chip(pod.chip)
        assert pod.scale_up_chips.value <= pod.chips()
    for package in all_packages():
        assert find_chip(package.chip)
    for chip in all_chips():
        assert not chip.pod or find_pod(chip.pod)


def test_ones_own_file_is_read_and_stand_ins_are_found(tmp_path: Path) -> None:
    chip = find_chip(str(_write(tmp_path, _GOOD)))
    assert chip.rate("fp16").value == 1e14
    assert chip.tdp_w.low == pytest.approx(45)
    with pytest.raises(ValueError, match="no rate for fp8"):
        chip.rate("fp8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tdp_w = 50", "tdp_W = 50", "tdp_w is missing|did you mean 'tdp_w'"),
        ("clock_hz = 1e9", "clock_hz = 1e9\nclok_hz = 1", "did you mean 'clock_hz'"),
        ("bf16 = 1e14", "bf16 = -1e14", "must be above 0"),
        ("bf16 = 1e14", "bf61 = 1e14", "did you mean 'bf16'"),
        ("{ bf16 = 1e14 }", "{}", "at least one format"),
        ("idle_w = 5", "idle_w = -5", "at least 0"),
        ("idle_w = 5", 'idle_w = "5 W"', "not a finite number"),
        ("idle_w = 5", "idle_w = nan", "not a finite number"),
        ("idle_w = 5", 'idle_w = { value = 5, unit = "kW" }', "the unit is W, not kW"),
        ("idle_w = 5", 'idle_w = { value = 5, grade = "unknown" }', "needs a range"),
        ("idle_w = 5", "idle_w = { value = 5, low = 6, high = 7 }", "outside its range"),
        ("idle_w = 5", 'idle_w = { value = 5, grade = "sure" }', "is none of"),
        ("idle_w = 5", "idle_w = { value = 5, others = [{ value = 6 }] }", "'source' must be"),
        ("year = 2030", "year = 2030.5", "whole number"),
        ("[[chip]]", "[chip]", "no \\[\\[chip\\]\\]"),
        ("cores = 16", "cores = ", "not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in _GOOD
    with pytest.raises(ValueError, match=said) as error:
        load_chips(_write(tmp_path, _GOOD.replace(old, new)))
    assert "\n" not in str(error.value)


def test_unknown_names_name_the_nearest() -> None:
    with pytest.raises(ValueError, match="H100"):
        find_chip("h10")
    with pytest.raises(ValueError, match="dojo2-exapod"):
        find_pod("dojo2exapot")
    with pytest.raises(ValueError, match="dojo2-tile"):
        find_package("dojo2tyle")
    assert find_package("Dojo Tile").chip == "Tesla D1"


def test_corners_of_a_package_enclose_it() -> None:
    for package in all_packages():
        worst, middle, best = (judge_package(package, c) for c in ("worst", "value", "best"))
        for name in ("die_yield", "assembly_yield", "good_packages_per_wafer", "held_clock"):
            assert getattr(worst, name) <= getattr(middle, name) <= getattr(best, name), name
    tile = judge_package(find_package("dojo-tile"))
    assert tile.amperes == pytest.approx(18_000, rel=0.01)
    assert tile.edge_bytes_per_s == pytest.approx(8.064e12)


def test_a_package_without_a_figure_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, '[[package]]\nname="a"\nchip="D1"\ntechnology="x"\nsource="s"\n'
                            'grade="claimed"\n')  # fmt: skip
    with pytest.raises(ValueError, match="clustering is missing"):
        load_packages(path)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["chips", "dojo2"], "chips"),
        (["package", "dojo-tile"], "worst"),
        (["crysis", "--fps", "1e6"], "machines"),
    ],
)
def test_commands_print_documents_and_text(
    words: list[str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["machine", *words, "--json"]) == 0
    assert key in json.loads(capsys.readouterr().out)
    assert main(["machine", *words]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_a_wrong_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "chips", "b20"]) == 2
    assert "B200" in capsys.readouterr().err
