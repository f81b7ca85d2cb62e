"""The trainer's benchmark still runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks/train.py"


@pytest.mark.slow
def test_train_runs_small(tmp_path: Path) -> None:
    call = [sys.executable, str(BENCHMARK), "--smoke", "--work", str(tmp_path)]
    run = subprocess.run(call, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["benchmark"] == "train"
    assert {name.split(".")[0] for name in told["figures"]} == {"same", "loop", "driving"}
    assert all(bar["ok"] is None for bar in told["bars"].values())
    assert told["figures"]["same.worst"]["median"] <= 1e-5
    assert list(tmp_path.iterdir()) == []
