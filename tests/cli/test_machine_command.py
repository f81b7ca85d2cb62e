"""`opendojo machine tune` from outside."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest

from fake_counters import FakeBoard, FakeNvml
from opendojo.cli import machine_command, main
from opendojo.machine.caps import Cap, NvmlCap

FRAMES = ["--", sys.executable, "-c", "print('{\"frames\": 50}')"]


def caps_of(monkeypatch: pytest.MonkeyPatch, *boards: FakeBoard) -> None:
    nvml = FakeNvml(*boards)
    caps: Sequence[Cap] = [NvmlCap(nvml, board) for board in boards]
    monkeypatch.setattr(machine_command, "find_caps", lambda: caps)


def test_caps_are_swept_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = FakeBoard()
    caps_of(monkeypatch, board)
    words = ["machine", "tune", "--caps-w", "300", "500", "--cooldown-s", "0", "--json", *FRAMES]
    assert main(words) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert [trial["value"] for trial in document["trials"]] == [500.0, 300.0]
    assert {"frames_per_s", "watts", "joules_per_frame", "measured"} <= document["best"].keys()
    assert err.count("frames/s") == 2
    assert board.limit_mw == 700_000


def test_a_machine_without_caps_or_rights_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caps_of(monkeypatch)
    assert main(["machine", "tune", *FRAMES]) == 4
    assert "machine tune --threads 1 2" in capsys.readouterr().err
    caps_of(monkeypatch, FakeBoard(may_set=False))
    assert main(["machine", "tune", *FRAMES]) == 4
    assert "sudo opendojo machine tune" in capsys.readouterr().err


def test_threads_are_swept_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "tune", "--threads", "1", "2", *FRAMES]) == 0
    out = capsys.readouterr().out
    assert "1 threads" in out and "2 threads" in out and "least per frame" in out


def test_a_cap_out_of_bounds_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caps_of(monkeypatch, FakeBoard())
    assert main(["machine", "tune", "--caps-w", "90", *FRAMES]) == 2
    assert "takes 200 to 700 W" in capsys.readouterr().err


def test_the_built_in_work_tells_frames_and_energy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "work", "--seconds", "0.1", "--batch", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] > 0 and told["frames"] % 6 == 0
    assert told["energy"]["core_s"] > 0
