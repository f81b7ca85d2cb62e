"""The built-in work of `opendojo machine tune`: a short training on made-up pictures."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
from torch import Tensor, nn

from opendojo.machine import Meter
from opendojo.model import DrivingNet, NetConfig
from opendojo.model.export_driving import step_graph

__all__ = ["work"]

_WARM_UP_STEPS = 3


def work(seconds: float, batch: int, size: str) -> dict[str, Any]:
    """Train for some seconds after a warm-up; frames, seconds and energy of them."""
    if seconds <= 0 or batch < 1:
        raise ValueError("--seconds must be above 0, --batch at least 1")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = NetConfig(size=size)  # type: ignore[arg-type] - it checks the name itself
    graph = step_graph(DrivingNet(config))
    module = graph.module.to(device).train()
    drawn = graph.draw(batch, torch.Generator().manual_seed(0))
    feeds = tuple(drawn[port.name].to(device) for port in graph.inputs)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    for _ in range(_WARM_UP_STEPS):
        _step(module, feeds, optimizer)
    _settle(device)
    meter = Meter()
    steps, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        _step(module, feeds, optimizer)
        steps += 1
        if steps % 8 == 0:
            _settle(device)
    _settle(device)
    return {
        "frames": steps * batch * len(config.cameras),
        "seconds": time.perf_counter() - began_s,
        "threads": torch.get_num_threads(),
        "device": device,
        "energy": dataclasses.asdict(meter.stop()),
    }


def _step(module: nn.Module, feeds: tuple[Tensor, ...], optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss = torch.stack([out.square().mean() for out in module(*feeds)]).sum()
    loss.backward()
    optimizer.step()


def _settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
