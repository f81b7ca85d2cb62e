"""Rates that are counted: model FLOPs, shares of peak, energy with its method."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks_kit import Numbers, Small
from torch import Tensor, nn

from opendojo.train import OptimConfig, TrainConfig, read_metrics, train
from opendojo.train.gauge import Gauge, Peak, model_flops, peak_of

CONFIG = TrainConfig(steps=5, checkpoint_every=4, threads=1, optim=OptimConfig(warmup_steps=1))


def test_model_flops_are_three_times_the_forward_pass() -> None:
    trainee = Small()
    batch = next(Numbers().batches(0))
    assert model_flops(trainee, batch) == 3 * 2 * (6 * 16 + 16 * 1)


def test_counting_leaves_buffers_and_random_state_alone() -> None:
    trainee = Small()
    before = {name: tensor.clone() for name, tensor in trainee.state_dict().items()}
    state = torch.get_rng_state()
    model_flops(trainee, next(Numbers().batches(0)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainee.state_dict().items())


def test_a_trainee_that_cannot_be_counted_is_trained_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Eight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)

        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"loss": self.layer(batch["x"].reshape(8, 6)).square().mean()}

    rows: list[dict[str, Any]] = []
    train(tmp_path, Eight, Numbers(), CONFIG, on_step=rows.append)
    assert "could not be counted" in capsys.readouterr().err
    assert rows[-1]["model_flops_per_s"] is None and rows[-1]["peak_share"] is None


def test_every_row_carries_rates_with_how_they_were_got(tmp_path: Path) -> None:
    train(tmp_path, Small, Numbers(), CONFIG)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert len(rows) == 5
    for row in rows:
        assert row["frames_per_s"] > 0 and 0 <= row["data_wait_share"] <= 1
        assert row["model_flops_per_s"] == pytest.approx(
            8 * 672 * row["frames_per_s"] / row["frames"], rel=1e-6
        )
        assert 0 < row["peak_share"] < 1 and row["peak_source"] in ("measured", "known")
        assert row["energy_method"] in ("rapl", "cpu_model", "none", "nvml")
        assert isinstance(row["energy_measured"], bool)
        joules = row["joules_per_frame"]
        assert joules is None or joules >= 0


def test_energy_is_of_the_frames_since_the_last_reading() -> None:
    class Steady:
        joules = 0.0

        def stop(self) -> Any:
            self.joules += 6.0
            return types.SimpleNamespace(joules=self.joules, method="fake", measured=True)

    gauge = Gauge(Peak(flops_per_s=1.0, source="known"), every_s=0.0)
    gauge._meter = Steady()  # type: ignore[assignment]
    assert gauge.energy(3)["joules_per_frame"] == 2.0
    assert gauge.energy(12)["joules_per_frame"] == 0.5
    slow = Gauge(Peak(flops_per_s=1.0, source="known"), every_s=1e9)
    slow._meter = Steady()  # type: ignore[assignment]
    assert slow.energy(3) == slow.energy(12), "the meter is not read at every step"


@pytest.mark.parametrize(("method", "per_frame"), [("cpu_model", 4.0), ("rapl", 2.0)])
def test_a_meter_of_one_process_stands_for_all_ranks(method: str, per_frame: float) -> None:
    reading = types.SimpleNamespace(joules=6.0, method=method, measured=False)
    gauge = Gauge(Peak(flops_per_s=1.0, source="known"), ranks=2, every_s=0.0)
    gauge._meter = types.SimpleNamespace(stop=lambda: reading)  # type: ignore[assignment]
    assert gauge.energy(3)["joules_per_frame"] == per_frame


def test_several_ranks_add_up_and_share_one_peak_each() -> None:
    gauge = Gauge(Peak(flops_per_s=100.0, source="known"), ranks=2)
    told = gauge.rates(50.0, 1.0)
    assert told == {"model_flops_per_s": 100.0, "peak_share": 0.5, "peak_source": "known"}


def test_a_measured_peak_says_so() -> None:
    peak = peak_of(torch.device("cpu"), "fp32")
    assert peak.source == "measured" and peak.flops_per_s > 1e9


def test_tensorboard_shows_what_the_metrics_say(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = dataclasses.replace(CONFIG, tensorboard=True)
    train(tmp_path, Small, Numbers(), config, stop=lambda: True)
    train(tmp_path, Small, Numbers(), config)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    shown = events.Scalars("loss_square")
    assert [event.step for event in shown] == [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [event.value for event in shown] == pytest.approx([row["loss_square"] for row in rows])


def test_tensorboard_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = dataclasses.replace(CONFIG, tensorboard=True)
    with pytest.raises(ValueError, match=r"pip install 'opendojo\[track\]'"):
        train(tmp_path, Small, Numbers(), config)


def test_time_of_all_attempts_is_summed(tmp_path: Path) -> None:
    first = train(tmp_path, Small, Numbers(), CONFIG, stop=lambda: True)
    spent = json.loads((tmp_path / "spent.json").read_text())
    assert spent["seconds"] >= first.seconds
    assert train(tmp_path, Small, Numbers(), CONFIG).seconds > first.seconds
