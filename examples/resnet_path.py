"""Somebody else's network, first example: ResNet-18 that plans from one instant.

    pip install transformers
    PYTHONPATH=examples opendojo train demo --network resnet_path:factory --stores s --run r

A trainee is any `torch.nn.Module` whose `forward(batch)` returns named losses. This one looks at
every camera with one shared ResNet-18 (He et al., CVPR 2016; Hugging Face transformers builds it
from a configuration), averages what the cameras say, adds the speed, and plans a path for each
instant of the window by itself. Nothing in it is of OpenDojo but batch and graph.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from opendojo.loader import Batch
from opendojo.model.export import Graph, Port

POINTS = 16
"""Points of the path, as the loader labels it by default."""
CAMERAS, HEIGHT_PX, WIDTH_PX = 3, 64, 128


class ResNetPath(nn.Module):
    """ResNet-18 features of every camera and the speed to a path."""

    def __init__(self) -> None:
        super().__init__()
        config = ResNetConfig(
            layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512]
        )
        self.backbone = ResNetModel(config)
        self.head = nn.Sequential(nn.Linear(512 + 2, 128), nn.ReLU(), nn.Linear(128, 2 * POINTS))

    def plan(self, rgb: Tensor, camera_mask: Tensor, speed_mps: Tensor, known: Tensor) -> Tensor:
        """uint8 [n, c, 3, h, w], bool [n, c], [n] and bool [n] to a path [n, p, 2] in metres."""
        n, cameras = camera_mask.shape
        pictures = rgb.flatten(0, 1).float() / 127.5 - 1.0
        seen = self.backbone(pictures).pooler_output.view(n, cameras, -1)
        there = camera_mask[..., None].to(seen.dtype)
        mean = (seen * there).sum(1) / there.sum(1).clamp(min=1.0)
        told = torch.stack([torch.where(known, speed_mps, 0.0) / 10.0, known.to(seen.dtype)], 1)
        return self.head(torch.cat([mean, told], 1)).view(n, POINTS, 2) * 10.0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The batch's loss: a smooth error of the path where it is known, in metres."""
        b, t = batch.speed_mps.shape
        cameras = batch.camera_mask[:, None].expand(-1, t, -1).flatten(0, 1)
        speed_mps, known = batch.speed_mps.flatten(), batch.speed_mask.flatten()
        path_m = self.plan(batch.rgb().flatten(0, 1), cameras, speed_mps, known)
        error = F.smooth_l1_loss(path_m.view(b, t, POINTS, 2), batch.path_m, reduction="none")
        mask = batch.path_mask[..., None].to(error.dtype)
        return {"path": (error * mask).sum() / (2 * mask.sum()).clamp(min=1.0)}

    def graphs(self) -> list[Graph]:
        """What `opendojo export` writes."""
        return [
            Graph(
                name="plan",
                module=_Plan(self).eval(),
                inputs=(
                    Port(name="rgb", dtype=torch.uint8, shape=(CAMERAS, 3, HEIGHT_PX, WIDTH_PX),
                         high=255),
                    Port(name="camera_mask", dtype=torch.bool, shape=(CAMERAS,)),
                    Port(name="speed_mps", dtype=torch.float32, shape=(), high=25.0),
                    Port(name="speed_known", dtype=torch.bool, shape=()),
                ),
                outputs=("path_m",),
            )
        ]  # fmt: skip


class _Plan(nn.Module):
    """`ResNetPath.plan` as a module of its own: what is exported is a `forward`."""

    def __init__(self, network: ResNetPath) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: Tensor, camera_mask: Tensor, speed_mps: Tensor, known: Tensor) -> Tensor:
        return self.network.plan(rgb, camera_mask, speed_mps, known)


def factory() -> nn.Module:
    """What `--network resnet_path:factory` calls."""
    return ResNetPath()
