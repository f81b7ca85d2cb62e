"""Counters that wrap, stand still, go back, vanish or may not be read; boards with and without."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

import pytest

from fake_counters import FakeBoard, FakeNvml, cpuinfo, make_rapl, name_zone, set_uj
from opendojo.machine import Meter
from opendojo.machine.meter_gpu import Boards, find_boards, load_nvml, visible_handles
from opendojo.machine.meter_rapl import RaplSource, find_rapl


def rapl_of(home: Path) -> RaplSource:
    source, notes = find_rapl(home)
    assert source is not None and notes == []
    return source


def test_many_turns_of_a_counter_are_all_counted_when_it_is_sampled(tmp_path: Path) -> None:
    """Three turns of 10 J at 5 W: start and end alone would see none of them."""
    source = rapl_of(make_rapl(tmp_path, {"0": 0}, limit_uj=10_000_000))
    source.begin(0.0)
    for step in range(1, 31):
        set_uj(tmp_path, "0", step * 1_000_000 % 10_000_000)
        source.sample(step * 0.005)  # so close that no turn can hide
    reading = source.end(0.151)
    assert reading is not None and reading.measured
    assert reading.joules == pytest.approx(30.0)


def test_a_gap_that_could_hide_a_turn_widens_the_range(tmp_path: Path) -> None:
    source = rapl_of(make_rapl(tmp_path, {"0": 0}, limit_uj=10_000_000))
    source.begin(0.0)
    set_uj(tmp_path, "0", 4_000_000)
    reading = source.end(2.0)  # 600 W could have turned it 119 times in 2 s
    assert reading is not None and not reading.measured
    assert reading.joules == pytest.approx(4.0)
    assert reading.high > 600.0


def test_it_is_sampled_often_enough_for_its_range(tmp_path: Path) -> None:
    usual = rapl_of(make_rapl(tmp_path / "usual", {"0": 0}))
    small = rapl_of(make_rapl(tmp_path / "small", {"0": 0}, limit_uj=6_000_000_000))
    assert usual.period_s == 60.0
    assert small.period_s == 5.0  # half a turn at 600 W


def test_memory_beside_packages_counts_once_and_the_whole_machine_not_at_all(
    tmp_path: Path,
) -> None:
    home = make_rapl(tmp_path, {"0": 0, "0:0": 0, "0:1": 0, "1": 0})
    for key, name in (("0", "package-0"), ("0:0", "core"), ("0:1", "dram"), ("1", "psys")):
        name_zone(home, key, name)
    source = rapl_of(home)
    source.begin(0.0)
    for key, joules in (("0", 100), ("0:0", 60), ("0:1", 20), ("1", 150)):
        set_uj(home, key, joules * 1_000_000)
    reading = source.end(2.0)
    assert reading is not None and reading.joules == pytest.approx(120.0)
    assert "memory" not in reading.excludes


def test_a_package_that_stands_still_is_not_believed(tmp_path: Path) -> None:
    source = rapl_of(make_rapl(tmp_path, {"0": 7}))
    source.begin(0.0)
    brief = source.end(0.2)
    assert brief is not None and brief.joules == 0
    assert source.end(1.5) is None


def test_a_counter_that_goes_back_without_a_range_is_lost(tmp_path: Path) -> None:
    source = rapl_of(make_rapl(tmp_path, {"0": 500}, limit_uj=0))
    source.begin(0.0)
    set_uj(tmp_path, "0", 100)
    assert source.end(0.1) is None


def test_a_counter_that_may_not_be_read_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_rapl(tmp_path / "rapl", {"0": 5})
    read_text = Path.read_text

    def refuse(path: Path, *arguments: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", refuse)  # root may read what chmod forbids
    meter = Meter(powercap=home, cpuinfo=cpuinfo(tmp_path, "AuthenticAMD", 26, 2), nvml=None)
    energy = meter.stop()
    assert energy.method == "cpu_model" and not energy.measured
    assert "sudo chmod a+r" in energy.inputs["notes"][0]


def test_a_board_with_a_counter_is_read_as_a_difference() -> None:
    board = FakeBoard()
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    board.total_mj = 1_003_000
    reading = boards.end(10.0)
    assert reading is not None and reading.measured and reading.method == "nvml"
    assert reading.joules == pytest.approx(3.0)
    assert reading.low < 3.0 < reading.high
    assert boards.period_s > 1.0  # a counter needs no thread that asks all the time


def test_several_boards_add_up() -> None:
    first, second = FakeBoard(), FakeBoard(uuid="GPU-1", total_mj=0)
    boards = Boards(FakeNvml(first, second), [first, second])
    boards.begin(0.0)
    first.total_mj, second.total_mj = 1_500_000, 250_000
    reading = boards.end(5.0)
    assert reading is not None and reading.joules == pytest.approx(750.0)
    assert reading.scope.startswith("2 GPU boards")


def test_power_is_integrated_by_trapezia_where_there_is_no_counter() -> None:
    board = FakeBoard(total_mj=None, power_mw=100_000)
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    for tenth in range(1, 11):  # a ramp from 100 W to 200 W over 1 s: 150 J
        board.power_mw = 100_000 + 10_000 * tenth
        boards.sample(tenth / 10)
    reading = boards.end(1.0)
    assert reading is not None and reading.method == "nvml_power" and reading.measured
    assert reading.joules == pytest.approx(150.0)
    assert boards.period_s == 0.1


def test_a_few_missing_samples_are_bridged_and_many_are_a_guess() -> None:
    board = FakeBoard(total_mj=None, power_mw=100_000)
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    for tenth in range(1, 31):
        board.power_mw = None if tenth in (7, 8, 9) else 100_000
        boards.sample(tenth / 10)
    brief = boards.end(3.0)
    assert brief is not None and brief.measured
    assert brief.joules == pytest.approx(300.0)
    assert brief.inputs["missing_samples"] == 3
    long = boards.end(30.0)  # nobody looked for 27 s
    assert long is not None and not long.measured
    assert long.low < 400.0 < 3000.0 <= long.high


def test_missing_samples_of_a_counter_lose_nothing() -> None:
    board = FakeBoard()
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    for second in range(1, 10):
        board.total_mj = None if second in (3, 4) else 1_000_000 + 200_000 * second
        boards.sample(float(second))
    reading = boards.end(9.0)
    assert reading is not None and reading.measured
    assert reading.joules == pytest.approx(1800.0)


def test_a_board_that_vanishes_is_a_guess_between_what_was_seen_and_its_limit() -> None:
    board = FakeBoard()
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    board.total_mj = 4_000_000
    boards.sample(10.0)  # 3,000 J in 10 s
    board.lost = True
    reading = boards.end(20.0)
    assert reading is not None and not reading.measured
    assert reading.joules == pytest.approx(6000.0)
    assert reading.low < 3000.0 and reading.high >= 3000.0 + 700.0 * 10
    assert reading.inputs["lost"] == ["Fake H1"]


def test_a_counter_that_stands_still_gives_way_to_samples() -> None:
    board = FakeBoard(power_mw=250_000)
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    reading = boards.end(4.0)
    assert reading is not None and not reading.measured
    assert reading.joules == pytest.approx(1000.0)
    boards.begin(4.0)
    for tenth in range(1, 21):
        boards.sample(4.0 + tenth / 10)
    reading = boards.end(6.0)
    assert reading is not None and reading.measured and reading.method == "nvml_power"
    assert reading.joules == pytest.approx(500.0)


def test_a_stretch_too_short_for_the_counter_has_a_range_above_nothing() -> None:
    board = FakeBoard(power_mw=250_000)
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    reading = boards.end(0.05)
    assert reading is not None
    assert reading.low == reading.joules == 0.0 and reading.high >= 12.0


def test_a_driver_loaded_anew_makes_no_negative_joules() -> None:
    board = FakeBoard(total_mj=9_000_000)
    boards = Boards(FakeNvml(board), [board])
    boards.begin(0.0)
    board.total_mj = 50_000
    reading = boards.end(2.0)
    assert reading is not None and not reading.measured
    assert 0 <= reading.low <= reading.joules <= reading.high
    assert reading.joules == pytest.approx(50.0)


def test_a_board_that_tells_nothing_is_named() -> None:
    mute, good = FakeBoard(name="Mute", total_mj=None, power_mw=None), FakeBoard(uuid="GPU-1")
    boards, notes = find_boards(FakeNvml(mute, good), "0,1")
    assert boards is not None and len(boards) == 1
    assert notes == ["Mute tells neither energy nor power"]


def test_only_the_boards_of_this_process_are_counted() -> None:
    first, second = FakeBoard(), FakeBoard(uuid="GPU-1")
    nvml = FakeNvml(first, second)
    assert visible_handles(nvml, None)[0] == [first, second]
    assert visible_handles(nvml, "1")[0] == [second]
    assert visible_handles(nvml, "GPU-1, 0")[0] == [second, first]
    assert visible_handles(nvml, "")[0] == visible_handles(nvml, "-1,0")[0] == []
    handles, notes = visible_handles(nvml, "MIG-77")
    assert handles == [first] and "whole board" in notes[0]
    assert visible_handles(nvml, "5") == ([], ["GPU 5 cannot be opened"])


def test_boards_and_processors_add_up_and_an_estimate_taints_the_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    board = FakeBoard()
    known = cpuinfo(tmp_path, "AuthenticAMD", 26, 2)
    meter = Meter(powercap=tmp_path / "none", cpuinfo=known, nvml=FakeNvml(board))
    board.total_mj = 1_005_000
    energy = meter.stop()
    assert energy.method == "nvml+cpu_model" and not energy.measured
    assert energy.parts["gpu"]["measured"] and not energy.parts["cpu"]["measured"]
    assert energy.joules == pytest.approx(5.0 + energy.parts["cpu"]["joules"])
    twice = energy + energy
    assert twice.method == "nvml+cpu_model"
    assert twice.parts["gpu"]["joules"] == pytest.approx(10.0)
    rapl = make_rapl(tmp_path / "rapl", {"0": 0})
    meter = Meter(powercap=rapl, cpuinfo=known, nvml=FakeNvml(board))
    set_uj(rapl, "0", 2_000_000)
    board.total_mj = 1_006_000
    energy = meter.stop()
    assert energy.method == "nvml+rapl" and energy.measured
    assert energy.joules == pytest.approx(3.0)


def test_boards_alone_are_measured_and_say_that_processors_are_left_out(tmp_path: Path) -> None:
    unknown = cpuinfo(tmp_path, "Elbrus", 4, 4)
    energy = Meter(powercap=tmp_path, cpuinfo=unknown, nvml=FakeNvml(FakeBoard())).stop()
    assert energy.method == "nvml" and energy.measured
    assert "processors" in energy.excludes


def test_windows_add_up_to_the_counter(tmp_path: Path) -> None:
    board = FakeBoard(total_mj=0)
    boards = Boards(FakeNvml(board), [board])
    total = 0.0
    for number in range(1, 6):
        boards.begin(float(number))
        board.total_mj = (board.total_mj or 0) + 1_000 * number
        reading = boards.end(number + 0.9)
        assert reading is not None
        total += reading.joules
    assert total == pytest.approx((board.total_mj or 0) / 1e3)


def test_the_sampling_thread_ends_with_the_meter(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    meter = Meter(powercap=make_rapl(tmp_path, {"0": 0}), nvml=None)
    (sampler,) = set(threading.enumerate()) - before
    del meter
    gc.collect()
    sampler.join(5.0)
    assert not sampler.is_alive()


def test_the_thread_asks_a_board_without_a_counter(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeBoard(total_mj=None))
    meter = Meter(powercap=tmp_path, nvml=nvml)
    asked, until_s = nvml.calls, time.monotonic() + 5.0
    while nvml.calls < asked + 2 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert nvml.calls >= asked + 2
    meter.stop()


def test_boards_without_the_library_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pynvml", None)
    load_nvml.cache_clear()
    (tmp_path / "nvidia0").touch()
    try:
        assert find_boards(devices=tmp_path)[1] == [
            "GPUs are not metered: pip install 'opendojo[energy]'"
        ]
        assert find_boards(devices=tmp_path / "none") == (None, [])
    finally:
        load_nvml.cache_clear()


@pytest.mark.gpu
@pytest.mark.slow
def test_the_counter_agrees_with_integrated_power() -> None:
    """A minute of products: counter and samples within 5 %."""
    import torch

    nvml, why = load_nvml()
    assert nvml is not None, why
    handles, _ = visible_handles(nvml, None)
    meter = Meter()
    sampled, at_s = 0.0, time.monotonic()
    watts = sum(nvml.nvmlDeviceGetPowerUsage(h) for h in handles) / 1e3
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    meter.start()
    until_s = at_s + 60.0
    while at_s < until_s:
        for _ in range(4):
            matrix @ matrix
        torch.cuda.synchronize()
        now_s, now = time.monotonic(), sum(nvml.nvmlDeviceGetPowerUsage(h) for h in handles) / 1e3
        sampled += 0.5 * (watts + now) * (now_s - at_s)
        watts, at_s = now, now_s
    counted = meter.stop().parts["gpu"]
    assert counted["method"] == "nvml"
    assert counted["joules"] == pytest.approx(sampled, rel=0.05)
