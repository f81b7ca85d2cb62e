"""Inputs of networks that tests make up."""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.loader.lens import lens_rows
from opendojo.model import DrivingNet, Motion, NetConfig
from opendojo.world import front_three, tesla_eight

SMALL = NetConfig(width_px=64, height_px=32, forecast_width_px=16, forecast_height_px=8)


def lens_of(b: int, c: int = 3, width: int = 64, height: int = 32) -> Tensor:
    """Rows of the first c cameras of a shipped rig, [b, c, 16]."""
    rig = (front_three if c <= 3 else tesla_eight)(width, height)[:c]
    rows = lens_rows(rig, [camera.name for camera in rig])
    return torch.from_numpy(rows).expand(b, -1, -1).clone()


def inputs(b=2, t=8, c=3, height=32, width=64, seed=0):
    """Frames, mask, lens and motion of b windows."""
    g = torch.Generator().manual_seed(seed)
    shape = (b, t, c, 6, height // 2, width // 2)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=g)
    there = torch.ones(b, c, dtype=torch.bool)
    motion = Motion.of(torch.rand(b, t, generator=g) * 10)
    return frames, there, lens_of(b, c, width, height), motion


def awake(config: NetConfig = SMALL) -> DrivingNet:
    """A network whose zeroed last layers say something, as after some training."""
    network = DrivingNet(config)
    head = network.plan_head
    lasts = [network.ego.last, head.last, head.liking, head.worth]
    if network.ground_head is not None and network.forecast_head is not None:
        lasts += [network.ground_head.last, network.ground_head.field, network.forecast_head.last]
    with torch.no_grad():
        head.command.normal_()
        for last in lasts:
            last.weight.normal_(std=0.1)
    return network
