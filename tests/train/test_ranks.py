"""Several ranks: killed, changed in number, they end with the weights that they should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from opendojo.train import parallel

KIT = Path(__file__).parent / "ranks_kit.py"


def kit(*words: str | Path) -> dict[str, Any]:
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, str(KIT), *map(str, words)]
    run = subprocess.run(call, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def check_kills(told: dict[str, Any]) -> None:
    assert told.pop("whole")["steps"] == 15
    assert told
    for seed, outcome in told.items():
        assert outcome == {"attempts": 2, "same": True, "once": True}, seed


def test_a_killed_rank_costs_no_bit_and_no_sample(tmp_path: Path) -> None:
    check_kills(kit("kills", "ddp", tmp_path, 1))


@pytest.mark.slow
def test_a_killed_rank_of_a_sharded_run_costs_no_bit_and_no_sample(tmp_path: Path) -> None:
    check_kills(kit("kills", "fsdp", tmp_path, 1))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_forty_kills_of_any_rank_at_any_step(tmp_path: Path, parallel: str) -> None:
    told = kit("kills", parallel, tmp_path, *range(40))
    assert len(told) == 41
    check_kills(told)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_rank_then_two_then_one(tmp_path: Path, parallel: str) -> None:
    told = kit("worlds", parallel, tmp_path)
    alone, mixed = told["losses"]
    assert len(alone) == len(mixed) == 15
    assert mixed == pytest.approx(alone, rel=1e-5)
    assert told["same_order"]
    assert told["frames"] == [15 * 8] * 2 and told["steps"] == [15, 15]


def test_what_fsdp_cannot_shard_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Linear(2, 2)
    module.register_parameter("heat", nn.Parameter(torch.tensor(1.0)))
    monkeypatch.setattr(parallel, "ranks_of", lambda: 2)
    with pytest.raises(ValueError, match=r"heat is a parameter without dimensions.*shape \(1,\)"):
        parallel.shared(module, "fsdp", torch.device("cpu"))
