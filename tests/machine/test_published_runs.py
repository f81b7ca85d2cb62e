"""The model of published runs: what it must say whatever the calibration."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from opendojo.machine.calibration import defaults, fit, intervals, out_of_fold, predict_s
from opendojo.machine.cost import jobs_of, step_parts_s
from opendojo.machine.runs import Refused, Run, read_run, read_runs

_ROW = {
    "id": "made-1", "source": "Megatron", "year": "2023", "model": "GPT", "params": "3600000000",
    "layers": "30", "hidden": "3072", "seq_len": "2048", "vocab": "51200", "global_batch": "512",
    "micro_batch": "2", "tensor_parallel": "2", "pipeline_parallel": "2", "interleave": "1",
    "recompute": "full", "zero/fsdp": "", "precision": "bf16", "accelerator": "A100-80GB",
    "count": "64", "interconnect": "", "step_time_s": "3.9", "tokens_or_samples_per_s": "",
    "tflops_per_chip": "", "mfu": "", "notes": "", "unit": "", "core": "1", "domain": "llm",
}  # fmt: skip


def _run(**changed: str) -> Run:
    return read_run({**_ROW, **changed})


def _step_s(run: Run) -> float:
    return float(predict_s(jobs_of([run]), defaults())[0])


def test_measured_step_from_a_rate_is_batch_over_rate() -> None:
    by_rate = _run(step_time_s="", tokens_or_samples_per_s="1000000", unit="tokens/s")
    assert by_rate.measured_s == pytest.approx(512 * 2048 / 1e6)


def test_recompute_costs_up_to_a_third_more() -> None:
    ratio = _step_s(_run(recompute="full")) / _step_s(_run(recompute="none"))
    assert 1.15 < ratio < 1.36


def test_bubble_is_stages_less_one_over_microbatches_and_interleave() -> None:
    for interleave in (1, 2):
        parts = step_parts_s(
            jobs_of([_run(pipeline_parallel="4", interleave=str(interleave))]), defaults()
        )
        names = ("products", "attention", "traffic", "launches", "tensor", "expert", "ring")
        work = sum(float(parts[name][0]) for name in names)
        microbatches = 512 / (64 / 8) / 2
        share = float(parts["bubble"][0]) / work
        assert share == pytest.approx(3 / interleave / microbatches)


def test_a_hidden_size_that_tiles_badly_is_slower_than_a_larger_one() -> None:
    bad = step_parts_s(
        jobs_of([_run(hidden="3600", params="4e9", tensor_parallel="4")]), defaults()
    )
    good = step_parts_s(
        jobs_of([_run(hidden="3584", params="4e9", tensor_parallel="4")]), defaults()
    )
    assert bad["products"][0] > 1.1 * good["products"][0]


def test_a_network_without_a_shape_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="'Mystery'"):
        _run(model="Mystery", hidden="")


def test_missing_column_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("id,model\n1,GPT\n")
    with pytest.raises(ValueError, match="no column 'accelerator'"):
        read_runs(file)


def _written(tmp_path: Path) -> list[Run]:
    file = tmp_path / "runs.csv"
    rows = []
    for i, hidden in enumerate((2048, 2560, 3072, 4096, 5120, 6144) * 4):
        rows.append({**_ROW, "id": f"made-{i}", "model": f"GPT {i % 6}", "hidden": str(hidden),
                     "params": str(12 * 30 * hidden**2 + 51200 * hidden),
                     "micro_batch": str(1 + i // 6)})  # fmt: skip
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, _ROW)
        writer.writeheader()
        writer.writerows(rows)
    return read_runs(file)[0]


def test_fit_finds_factors_that_made_the_times_and_folds_do_not_see_them(tmp_path: Path) -> None:
    runs = _written(tmp_path)
    truth = {**defaults(), "matrix": 0.55, "megatron language": 0.1}
    for run, seconds in zip(runs, predict_s(jobs_of(runs), truth), strict=True):
        run.measured_s = float(seconds)
    error = np.log(predict_s(jobs_of(runs), fit(runs)) / [r.measured_s for r in runs])
    assert np.abs(error).max() < 0.02
    held_out = np.log(out_of_fold(runs, lambda run: run.family, 3) / [r.measured_s for r in runs])
    assert np.abs(held_out).max() < 0.05
    spoiled = [run for run in runs if run.row["model"] == "GPT 0"]
    before = out_of_fold(runs, lambda run: run.family, 0)
    for run in spoiled:
        run.measured_s *= 3
    after = out_of_fold(runs, lambda run: run.family, 0)
    mine = np.array([run in spoiled for run in runs])
    assert after[mine] == pytest.approx(before[mine])
    assert (intervals(runs, error) > 0).all()
