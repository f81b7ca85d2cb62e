"""Open loop: plans against what was driven, forecasts against what was seen, floors beside both.

Open-loop error says little about driving (constant velocity often looks good in it); it is a tool
for finding bugs. The closed-loop score is the one to quote.

    errors = open_loop(network, held_out_loader, blind=blind_network)
    errors["path"]["all"]["network"]["ade_m"]
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from opendojo.evaluate.driver import BRAKE_MPS2, path_times
from opendojo.loader import Batch, Loader
from opendojo.model import DrivingNet, Output, motion_of

__all__ = ["constant_velocity_path", "open_loop", "stop_path"]

_LEVELS = 255.0
"""Luma levels in 1.0: forecast errors are quoted in levels of 8 bits."""


def constant_velocity_path(speed_mps: Tensor, times_s: Tensor) -> Tensor:
    """Straight on at the present speed: [n] and [p] to positions [n, p, 2] in metres."""
    ahead = speed_mps[:, None] * times_s
    return torch.stack([ahead, torch.zeros_like(ahead)], -1)


def stop_path(speed_mps: Tensor, times_s: Tensor) -> Tensor:
    """Straight on, braking to a halt at `BRAKE_MPS2`: [n] and [p] to [n, p, 2] in metres."""
    braking_s = torch.minimum(times_s, speed_mps[:, None] / BRAKE_MPS2)
    ahead = speed_mps[:, None] * braking_s - 0.5 * BRAKE_MPS2 * braking_s.square()
    return torch.stack([ahead, torch.zeros_like(ahead)], -1)


@torch.inference_mode()
def open_loop(
    network: DrivingNet,
    loader: Loader,
    max_batches: int | None = None,
    *,
    blind: DrivingNet | None = None,
) -> dict[str, Any]:
    """Path and forecast errors on the loader's windows: plain values, ready for JSON.

    `path[group][driver]` has `ade_m` and `fde_m`: the mean over windows of the mean distance along
    the 4 s plan, and of the distance at its end. Plans are taken at each window's last frame, where
    the network has seen all of it. Only windows whose driven path is known to the end and whose
    speed is known there count, so that both errors, and every driver's, are over the same ones.

    `forecast[group][who]` has `mae` and `rmse` in luma levels (0 to 255) of the front camera's
    small picture 0.4 s ahead, for the `network` and for `copy`, which repeats the last picture
    seen. It is taken at every frame of a window whose future the window still holds, and averaged
    over them.

    The groups are `all` windows, and `drawn` and `recorded` ones apart; `windows` counts them.
    """
    paths: dict[str, _Mean] = defaultdict(_Mean)
    forecasts: dict[str, _Mean] = defaultdict(_Mean)
    network.eval()
    for index, batch in enumerate(loader.batches(0)):
        if index == max_batches:
            break
        output = _run(network, batch)
        plans = {"network": output.path_m[:, -1].float().cpu(), **_floors(network, batch)}
        if blind is not None:
            plans["blind"] = _run(blind.eval(), batch).path_m[:, -1].float().cpu()
        _add_paths(paths, plans, batch)
        if output.forecast is not None:
            _add_forecasts(forecasts, network, output.forecast.float().cpu(), batch)
    return {
        "path": _nested(paths),
        "path_horizon_s": network.config.path_horizon_s,
        "forecast": _nested(forecasts),
        "forecast_ahead_s": network.config.forecast_steps / 10.0,
    }


class _Mean:
    """Running means of several numbers, each over its own count."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, name: str, values: Tensor) -> None:
        self.sums[name] += float(values.double().sum())
        self.counts[name] += values.numel()

    def mean(self, name: str) -> float | None:
        return self.sums[name] / self.counts[name] if self.counts[name] else None


def _run(network: DrivingNet, batch: Batch) -> Output:
    device = next(network.parameters()).device
    seen = (tensor.to(device) for tensor in (batch.frames, batch.camera_mask, batch.lens))
    return network(*seen, motion_of(batch).to(device))


def _floors(network: DrivingNet, batch: Batch) -> dict[str, Tensor]:
    speed_mps, times_s = batch.speed_mps[:, -1], path_times(network)
    return {
        "constant-velocity": constant_velocity_path(speed_mps, times_s),
        "stop": stop_path(speed_mps, times_s),
    }


def _groups(batch: Batch) -> dict[str, Tensor]:
    return {"all": torch.ones_like(batch.drawn), "drawn": batch.drawn, "recorded": ~batch.drawn}


def _add_paths(paths: dict[str, _Mean], plans: dict[str, Tensor], batch: Batch) -> None:
    usable = batch.speed_mask[:, -1] & batch.path_mask[:, -1].all(1)
    for driver, plan in plans.items():
        distance = (plan - batch.path_m[:, -1]).norm(dim=-1)
        for group, member in _groups(batch).items():
            chosen = usable & member
            paths[f"{group}/{driver}"].add("ade_m", distance[chosen].mean(1))
            paths[f"{group}/{driver}"].add("fde_m", distance[chosen, -1])


def _add_forecasts(
    forecasts: dict[str, _Mean], network: DrivingNet, forecast: Tensor, batch: Batch
) -> None:
    steps = network.config.forecast_steps
    instants = batch.yuv.shape[1]
    held = instants - steps
    if held < 1:
        raise ValueError(
            f"windows of {instants} frames cannot hold a forecast {steps} frames"
            " ahead; use a longer WindowSpec.frames"
        )
    luma = network.small_luma(batch.frames[:, :, 0])
    answers = {"network": forecast[:, :held], "copy": luma[:, :held]}
    for who, answer in answers.items():
        error = (answer - luma[:, steps:]).flatten(1) * _LEVELS
        for group, member in _groups(batch).items():
            chosen = member & batch.camera_mask[:, 0]
            forecasts[f"{group}/{who}"].add("mae", error.abs().mean(1)[chosen])
            forecasts[f"{group}/{who}"].add("mse", error.square().mean(1)[chosen])


def _nested(means: dict[str, _Mean]) -> dict[str, Any]:
    """Group, then who, then numbers: mse becomes rmse, counts become `windows`."""
    nested: dict[str, Any] = {"all": {}, "drawn": {}, "recorded": {}}
    for key, mean in means.items():
        group, who = key.split("/")
        numbers: dict[str, Any] = {}
        for name, count in mean.counts.items():
            value = mean.mean(name)
            if name == "mse":
                numbers["rmse"] = None if value is None else value**0.5
            else:
                numbers[name] = value
            numbers["windows"] = count
        nested[group][who] = numbers
    return nested
