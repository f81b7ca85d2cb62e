from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from batches import make_batch
from opendojo.evaluate.driver import path_times
from opendojo.evaluate.open_loop import constant_velocity_path, open_loop, stop_path
from opendojo.loader import Batch
from opendojo.model import DrivingNet, NetConfig, Output


class Answers:
    """A network whose answers are known: it gives back what the test put in."""

    def __init__(self, path_m: Tensor, forecast: Tensor | None) -> None:
        self.config = NetConfig()
        self.output = Output(path_m=path_m, forecast=forecast)
        self.small_luma = DrivingNet.small_luma.__get__(self)

    def eval(self) -> Answers:
        return self

    def parameters(self):
        yield torch.zeros(1)

    def __call__(self, *inputs: Tensor) -> Output:
        return self.output


class Batches:
    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def batches(self, epoch: int):
        yield self.batch
        yield self.batch


def batch_of(speeds_mps: list[float]) -> Batch:
    """Each vehicle keeps its speed; its front picture brightens by 2 levels a frame."""
    b, t, p = len(speeds_mps), 8, 16
    speed = torch.tensor(speeds_mps)[:, None].expand(b, t).clone()
    path = constant_velocity_path(torch.tensor(speeds_mps), path_times(Answers(speed, None)))
    level = 100 + 2 * torch.arange(t, dtype=torch.uint8)
    frames = level.view(1, t, 1, 1, 1, 1).expand(b, t, 3, 6, 32, 64).clone()
    return make_batch(
        frames,
        camera_mask=torch.ones(b, 3, dtype=torch.bool),
        time_s=torch.zeros(b, t, dtype=torch.float64),
        speed_mps=speed,
        speed_mask=torch.ones(b, t, dtype=torch.bool),
        path_m=path[:, None].expand(b, t, p, 2).clone(),
        path_mask=torch.ones(b, t, p, dtype=torch.bool),
        drawn=torch.tensor([i % 2 == 0 for i in range(b)]),
        window_id=torch.arange(b),
    )


def test_floor_paths() -> None:
    times_s = torch.tensor([1.0, 2.0, 4.0])
    assert constant_velocity_path(torch.tensor([8.0]), times_s)[0, :, 0].tolist() == [8, 16, 32]
    # 8 m/s at 4 m/s2: halted after 2 s and 8 m
    assert stop_path(torch.tensor([8.0]), times_s)[0, :, 0].tolist() == [6, 8, 8]


def test_errors_are_those_put_in() -> None:
    batch = batch_of([5.0, 10.0])
    # the front camera brightens by 2 levels a step, from 100: each forecast is 3 levels off
    ahead = (100.0 + 2.0 * (torch.arange(8.0) + 4) - 3.0) / 255.0
    forecast = ahead.view(1, 8, 1, 1).expand(2, 8, 16, 32)
    network = Answers(batch.path_m + torch.tensor([0.0, 1.5]), forecast)
    result = open_loop(network, Batches(batch), max_batches=1)
    everything = result["path"]["all"]
    assert everything["network"] == pytest.approx({"ade_m": 1.5, "fde_m": 1.5, "windows": 2})
    assert everything["constant-velocity"]["ade_m"] == pytest.approx(0.0, abs=1e-5)
    assert everything["stop"]["ade_m"] > 5.0
    seen = result["forecast"]["all"]
    assert seen["network"]["mae"] == pytest.approx(3.0, abs=1e-3)
    assert seen["copy"]["mae"] == pytest.approx(8.0, abs=1e-3)
    assert seen["copy"]["rmse"] == pytest.approx(8.0, abs=1e-3)


def test_what_is_unknown_does_not_count() -> None:
    batch = batch_of([5.0, 10.0, 7.0])
    batch.path_mask[0, -1, 8:] = False  # window 0: known for 2 s only
    batch.speed_mask[1, -1] = False  # window 1: no speed, so no floor to set beside it
    planned = batch.path_m.clone()
    planned[0, -1, 8:] += 100.0
    planned[1] += 100.0
    planned[2, -1, -1, 1] = 4.0
    batch.camera_mask[2, 0] = False
    result = open_loop(Answers(planned, torch.zeros(3, 8, 16, 32)), Batches(batch), 1)
    network = result["path"]["all"]["network"]
    assert network["ade_m"] == pytest.approx(4.0 / 16, abs=1e-5)
    assert network["fde_m"] == pytest.approx(4.0, abs=1e-5)
    assert network["windows"] == 1
    assert result["forecast"]["all"]["network"]["windows"] == 2


def test_drawn_and_recorded_apart() -> None:
    batch = batch_of([5.0, 10.0, 7.0])
    planned = batch.path_m.clone()
    planned[1] += torch.tensor([3.0, 4.0])
    result = open_loop(Answers(planned, torch.zeros(3, 8, 16, 32)), Batches(batch))
    assert result["path"]["drawn"]["network"]["ade_m"] == pytest.approx(0.0)
    assert result["path"]["recorded"]["network"]["ade_m"] == pytest.approx(5.0)
    assert [result["path"][g]["network"]["windows"] for g in ("all", "drawn", "recorded")] == [
        6,
        4,
        2,
    ]


def test_a_blind_network_is_set_beside_and_forecasts_nothing() -> None:
    batch = batch_of([5.0])
    blind = Answers(batch.path_m + 1.0, None)
    result = open_loop(blind, Batches(batch), 1, blind=blind)
    assert result["path"]["all"]["blind"]["ade_m"] == pytest.approx(2**0.5)
    assert result["forecast"]["all"] == {}


def test_windows_too_short_for_the_forecast_are_refused() -> None:
    batch = batch_of([5.0])
    network = Answers(batch.path_m, torch.zeros(1, 8, 16, 32))
    short = dataclasses.replace(batch, yuv=batch.yuv[:, :4])
    with pytest.raises(ValueError, match=r"WindowSpec\.frames"):
        open_loop(network, Batches(short), 1)
