"""The launcher with the real `torchrun`: deaths, hangs, refusals, and what counts as success."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ranks_kit import ROWS, ids_by_epoch

from opendojo.train import LaunchFailed
from opendojo.train.launch import Stopped, is_worker, launch, stop_all
from opendojo.train.launch import _stopped as stopped


@pytest.fixture(autouse=True)
def path_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def launched(
    folder: Path, how: str, parallel: str = "ddp", ranks: int = 2, **more: Any
) -> Stopped | None:
    folder.mkdir(exist_ok=True)
    words = [str(folder / "run"), parallel, how]
    return launch(words, folder / "run", ranks=ranks, module="launched_kit", **more)


def done(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run/done.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_rank_that_dies_costs_no_bit_and_no_sample(tmp_path: Path, parallel: str) -> None:
    assert launched(tmp_path / "whole", "well", parallel) is None
    for how in ("die-0-5", "die-1-9", "die-1-15"):
        assert launched(tmp_path / how, how, parallel) is None
        assert (tmp_path / how / "fired").exists()
        assert done(tmp_path / how)["digest"] == done(tmp_path / "whole")["digest"]
        epochs = ids_by_epoch(tmp_path / how, 15)
        assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(ROWS))
    again = launched(tmp_path / "whole", "well", parallel)
    assert again is None, "a finished run is a success at once"


@pytest.mark.slow
def test_a_rank_that_hangs_is_ended_and_the_run_finished(tmp_path: Path) -> None:
    assert launched(tmp_path, "hang", stall_s=20.0) is None
    assert done(tmp_path)["steps"] == 15


@pytest.mark.slow
def test_under_the_guard_two_ranks_come_to_the_same_bits(tmp_path: Path) -> None:
    for how in ("well", "guard"):
        assert launched(tmp_path / how, how) is None
    assert done(tmp_path / "guard")["digest"] == done(tmp_path / "well")["digest"]
    told = json.loads((tmp_path / "guard/run/guard.json").read_text())
    assert (told["steps"], told["suspicions"], told["guarded_share_of_flops"]) == (15, 0, 1.0)


@pytest.mark.slow
def test_a_faulty_rank_is_left_out_and_the_others_finish(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launched(tmp_path, "broken-2", ranks=4) is None
    assert done(tmp_path)["steps"] == 15
    told = capfd.readouterr().err
    assert "rank 2: wrong numbers from" in told and "going on with 3 of 4 ranks" in told
    assert json.loads((tmp_path / "run/guard.json").read_text())["suspicions"] == 0


@pytest.mark.slow
def test_a_fault_of_the_only_rank_left_is_the_end(tmp_path: Path) -> None:
    stopped = launched(tmp_path, "broken-0", ranks=1)
    assert stopped is not None and stopped.code == 3 and stopped.faulty == (0,)


@pytest.mark.slow
def test_a_failure_while_parting_is_still_a_success(tmp_path: Path) -> None:
    assert launched(tmp_path, "late", restarts=0) is None


@pytest.mark.slow
def test_what_a_restart_would_not_mend_ends_all_ranks(tmp_path: Path) -> None:
    assert launched(tmp_path, "bad") == Stopped(code=2, sentence="this will never do")


@pytest.mark.slow
def test_ranks_that_never_finish_are_given_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LaunchFailed, match="2 attempts"):
        launch(["x"], tmp_path, ranks=1, module="no_such_module", restarts=0, attempts=2)
    assert "attempt 2 of 2 failed" in capfd.readouterr().err


def test_a_record_of_another_launch_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_all(tmp_path, 2, "nobody launched this")
    assert not (tmp_path / "stopped.json").exists()
    monkeypatch.setenv("OPENDOJO_LAUNCH", "earlier")
    stop_all(tmp_path, 3, "the one before")
    assert stopped(tmp_path, "earlier") == Stopped(code=3, sentence="the one before")
    assert stopped(tmp_path, "this one") is None


def test_a_process_knows_whether_it_is_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert not is_worker()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert is_worker()
    assert os.environ["RANK"] == "0"
