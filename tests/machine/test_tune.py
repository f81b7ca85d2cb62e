"""Caps are put back whatever happens, and a sweep tells frames, watts and joules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fake_counters import FakeBoard, FakeNvml, make_rapl
from opendojo.machine import Energy
from opendojo.machine.caps import NoRights, find_caps, kept, set_all
from opendojo.machine.tune import (
    Trial,
    best_trial,
    default_caps_w,
    measure_command,
    sweep_caps,
    sweep_threads,
)

SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    home = make_rapl(tmp_path / "rapl", {"0": 0, "1": 0, "0:0": 0})
    for key, watts in (("0", 200), ("1", 180)):
        zone = home / f"intel-rapl:{key}"
        (zone / "constraint_0_power_limit_uw").write_text(f"{watts}000000\n")
        (zone / "constraint_0_max_power_uw").write_text("240000000\n")
    return home


def caps_now(home: Path) -> list[int]:
    files = sorted(home.glob("*/constraint_0_power_limit_uw"))
    # a file of the kernel is never seen half written, as this one may be: empty is no cap at all
    return [int(file.read_text() or 0) // 1_000_000 for file in files]


def worked(frames: int = 100, seconds: float = 1.0, joules: float | None = 50.0) -> Trial:
    energy = Energy(
        joules=joules,
        low=joules,
        high=joules,
        method="rapl",
        measured=True,
        scope="",
        core_s=seconds,
        wall_s=seconds,
    )
    return Trial(frames=frames, seconds=seconds, energy=energy)


def test_caps_of_boards_come_before_those_of_packages(packages: Path) -> None:
    board = FakeBoard()
    (found,) = find_caps(nvml=FakeNvml(board), powercap=packages, visible="0")
    assert (found.name, found.bounds_w(), found.read_w()) == ("Fake H1", (200.0, 700.0), 700.0)
    both = find_caps(nvml=None, powercap=packages)
    assert [cap.read_w() for cap in both] == [200.0, 180.0]
    assert both[0].bounds_w() == (80.0, 240.0)
    assert find_caps(nvml=None, powercap=packages / "none") == []


def test_a_sweep_tries_every_cap_and_puts_the_former_ones_back(packages: Path) -> None:
    caps = find_caps(nvml=None, powercap=packages)
    seen: list[list[int]] = []

    def work(_: Mapping[str, str]) -> Trial:
        seen.append(caps_now(packages))
        return worked()

    trials = sweep_caps(caps, (100, 240, 150), work, cooldown_s=0)
    assert seen == [[240, 240], [150, 150], [100, 100]]
    assert [(t.setting, t.value) for t in trials] == [
        ("cap_w", 240),
        ("cap_w", 150),
        ("cap_w", 100),
    ]
    assert caps_now(packages) == [200, 180]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_caps_are_put_back_when_the_work_fails(packages: Path, error: type[BaseException]) -> None:
    def work(_: Mapping[str, str]) -> Trial:
        assert caps_now(packages) == [100, 100]
        raise error

    with pytest.raises(error):
        sweep_caps(find_caps(nvml=None, powercap=packages), (100,), work)
    assert caps_now(packages) == [200, 180]


def test_a_board_is_put_back_too() -> None:
    board = FakeBoard(limit_mw=650_000)
    caps = find_caps(nvml=FakeNvml(board), visible="0")
    with pytest.raises(ZeroDivisionError), kept(caps):
        set_all(caps, 100.0)  # below what it takes
        assert board.limit_mw == 200_000
        raise ZeroDivisionError
    assert board.limit_mw == 650_000


def test_the_other_caps_are_put_back_where_one_is_lost() -> None:
    first, second = FakeBoard(), FakeBoard(uuid="GPU-1", limit_mw=500_000)
    caps = find_caps(nvml=FakeNvml(first, second), visible="0,1")
    with pytest.raises(OSError, match="by hand: Fake H1"), kept(caps):
        set_all(caps, 300.0)
        first.lost = True
    assert second.limit_mw == 500_000


def test_without_rights_nothing_is_tried() -> None:
    board = FakeBoard(may_set=False)
    caps = find_caps(nvml=FakeNvml(board), visible="0")

    def work(_: Mapping[str, str]) -> Trial:
        raise AssertionError("must not run")

    with pytest.raises(NoRights, match="Insufficient Permissions"):
        sweep_caps(caps, (300,), work)
    assert board.limit_mw == 700_000


SWEEP = """
import signal, sys, time
from pathlib import Path
from opendojo.machine.caps import find_caps
from opendojo.machine.tune import measure_command, sweep_caps
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which may be around the tests, ignores it
caps = find_caps(nvml=None, powercap=Path(sys.argv[1]))
work = measure_command([sys.executable, "-c", f"import os, time; open({sys.argv[2]!r}, 'w')"
                        ".write(str(os.getpid())); time.sleep(60)"], 1)
sweep_caps(caps, (100,), work)
"""


def until(true: Callable[[], bool], limit_s: float = 20.0) -> None:
    end_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end_s, "it took too long"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_sweep_leaves_the_former_caps(
    packages: Path, tmp_path: Path, number: signal.Signals
) -> None:
    told = tmp_path / "pid"
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", SWEEP, str(packages), str(told)]
    sweep = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: told.exists() and told.read_text() != "")
        assert caps_now(packages) == [100, 100]
        sweep.send_signal(number)
        sweep.wait(timeout=30)
        until(lambda: caps_now(packages) == [200, 180])
        child = int(told.read_text())
        if number == signal.SIGKILL:
            os.kill(child, signal.SIGKILL)  # nobody was left to end it
        else:
            assert not Path(f"/proc/{child}").exists(), "the command outlived the sweep"
    finally:
        sweep.kill()
        sweep.wait()


def test_threads_are_told_to_the_command() -> None:
    code = (
        "import os, time\n"
        "while time.process_time() < 0.3: pass\n"  # the counter's tick is 0.01 s
        "print('{\"frames\": %s00}' % os.environ['OMP_NUM_THREADS'])"
    )
    trials = sweep_threads((1, 2), measure_command([sys.executable, "-c", code]))
    assert [(t.value, t.frames) for t in trials] == [(1, 100), (2, 200)]
    assert all(t.seconds > 0 and t.energy.core_s > 0.2 for t in trials)


def test_a_command_may_meter_itself_and_leave_its_start_out() -> None:
    told = {"frames": 10, "seconds": 2.0, "energy": {**_plain(worked(joules=8.0).energy)}}
    command = [sys.executable, "-c", f"print('a note'); print('''{json.dumps(told)}''')"]
    trial = measure_command(command)({})
    assert (trial.frames_per_s, trial.watts) == (5.0, 8.0)
    assert trial.as_dict()["joules_per_frame"] == pytest.approx(0.8)


def _plain(energy: Energy) -> dict[str, object]:
    import dataclasses

    return dataclasses.asdict(energy)


def test_a_command_without_frames_or_with_a_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="give --frames"):
        measure_command([sys.executable, "-c", "print('hello')"])({})
    with pytest.raises(ValueError, match="ended with code 3"):
        measure_command([sys.executable, "-c", "raise SystemExit(3)"], 5)({})
    assert measure_command([sys.executable, "-c", ""], 5)({}).frames == 5


def test_the_best_is_the_least_per_frame_among_the_quick_enough() -> None:
    def trial(value: float, frames: int, joules: float | None) -> Trial:
        one = worked(frames, 1.0, joules)
        return Trial(setting="cap_w", value=value, frames=frames, seconds=1.0, energy=one.energy)

    trials = [trial(700, 1000, 700.0), trial(500, 980, 500.0), trial(300, 700, 250.0)]
    found = best_trial(trials)
    assert found is not None and found.value == 500
    loose = best_trial(trials, slowdown=0.4)
    assert loose is not None and loose.value == 300
    unknown = best_trial([trial(1, 90, None), trial(2, 100, None)], slowdown=0.5)
    assert unknown is not None and unknown.value == 2  # fewer core-seconds per frame
    assert best_trial([]) is None


def test_default_caps_span_what_all_take(packages: Path) -> None:
    caps = find_caps(nvml=None, powercap=packages)
    assert default_caps_w(caps) == (80.0, 120.0, 160.0, 200.0, 240.0)
