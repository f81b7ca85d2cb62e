"""`opendojo machine calibrate` from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from opendojo.cli.machine_command import run
from opendojo.machine.chips import find_chip


def rate_now(size: int = 512) -> float:
    """FLOP/s of this test's own matrix product, with processor time."""
    a, b = torch.ones(size, size), torch.ones(size, size)
    took = list[float]()
    for _ in range(9):
        before = time.process_time()
        for _ in range(4):
            torch.mm(a, b)
        took.append((time.process_time() - before) / 4)
    return 2 * size**3 / sorted(took)[4]


@pytest.mark.slow
def test_a_calibration_is_a_chip_that_prices_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "here.toml"
    call = [sys.executable, "-m", "opendojo.cli", "machine", "calibrate", str(path), "--formats",
            "fp32", "--share", "0.2", "--seconds", "0.1", "--json"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, env=env, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    chip = find_chip(str(path))
    assert told["threads"] == 1
    assert told["kernels"] == len(chip.kernels) > 100
    assert all(k.seconds.grade == "measured" for k in chip.kernels)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert 0.25 < chip.rate("fp32").value / rate_now() < 4
    finally:
        torch.set_num_threads(threads)
    steps = dict[int, float]()
    for batch in (8, 32):
        assert run(["plan", "nano", "--on", str(path), "--batch", str(batch), "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)["plans"][0]
        assert plan["low_s"] < plan["step_s"] < plan["high_s"]
        steps[batch] = plan["step_s"]
    assert 1.5 < steps[32] / steps[8] < 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/folder/here.toml"], "there is no folder"),
        (["here.txt"], "call it here.toml"),
        (["--formats", "fp9"], "choose from fp32, bf16"),
        (["--share", "2"], "from 0.1 to 1"),
        (["--seconds", "0"], "above 0"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said) as error:
        run(["calibrate", *words])
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_machine_that_was_not_measured_says_how() -> None:
    with pytest.raises(ValueError, match=r"machine calibrate here\.toml"):
        run(["plan", "nano", "--on", "here"])
