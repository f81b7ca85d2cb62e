"""What a network costs: parameters, and arithmetic per frame, counted on the real operators."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from opendojo.model.network import DrivingNet
from opendojo.model.sizes import MEMORY_STEPS, NetConfig

__all__ = ["flops_per_frame", "parameters"]


def parameters(config: NetConfig) -> int:
    """Number of learnt values."""
    with torch.device("meta"):
        return sum(p.numel() for p in DrivingNet(config).parameters())


def flops_per_frame(config: NetConfig) -> float:
    """Floating point operations of a forward pass per frame of one camera.

    A multiply and an add are two. Matrix products and convolutions are counted, the rest (below a
    hundredth) is not. All heads and the memory are included, over a window of eight steps with
    every camera there; a training step takes about three times as many.
    """
    network = DrivingNet(config)
    t, c = MEMORY_STEPS, len(config.cameras)
    frames = torch.zeros(1, t, c, 6, config.height_px // 2, config.width_px // 2).byte()
    there = torch.ones(1, c, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(frames, there, torch.zeros(1, t), torch.ones(1, t, dtype=torch.bool))
    return counter.get_total_flops() / (t * c)
