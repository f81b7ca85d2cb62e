"""Somebody else's network, second example: a video transformer of Hugging Face transformers.

    pip install transformers
    PYTHONPATH=examples opendojo train demo --network video_path:factory --stores s --run r

VideoMAE (Tong et al., NeurIPS 2022) built from a configuration, without weights to download. It
looks at the eight instants of the first camera at once, as patches of 16x16 pixels by two instants;
a head plans the path of the newest instant from the mean of its tokens and the speed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEModel

from opendojo.loader import Batch
from opendojo.model.export import Graph, Port

POINTS = 16
"""Points of the path, as the loader labels it by default."""
STEPS, HEIGHT_PX, WIDTH_PX = 8, 64, 128


class VideoPath(nn.Module):
    """A video transformer with a path head."""

    def __init__(self, *, width: int = 192, layers: int = 6, heads: int = 6) -> None:
        super().__init__()
        config = VideoMAEConfig(
            image_size=(HEIGHT_PX, WIDTH_PX),
            patch_size=16,
            num_frames=STEPS,
            tubelet_size=2,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            use_mean_pooling=False,
            attn_implementation="eager",
        )
        self.backbone = VideoMAEModel(config)
        self.head = nn.Sequential(nn.Linear(width + 2, 128), nn.GELU(), nn.Linear(128, 2 * POINTS))

    def plan(self, video: Tensor, speed_mps: Tensor, known: Tensor) -> Tensor:
        """uint8 [n, t, 3, h, w], [n] and bool [n] to a path [n, p, 2] in metres."""
        tokens = self.backbone(video.float() / 127.5 - 1.0).last_hidden_state
        told = torch.stack([torch.where(known, speed_mps, 0.0) / 10.0, known.to(tokens.dtype)], 1)
        return self.head(torch.cat([tokens.mean(1), told], 1)).view(-1, POINTS, 2) * 10.0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The batch's loss: a smooth error of the newest instant's path, in metres."""
        video = batch.rgb()[:, :, 0]
        path_m = self.plan(video, batch.speed_mps[:, -1], batch.speed_mask[:, -1])
        error = F.smooth_l1_loss(path_m, batch.path_m[:, -1], reduction="none")
        mask = batch.path_mask[:, -1, :, None].to(error.dtype)
        return {"path": (error * mask).sum() / (2 * mask.sum()).clamp(min=1.0)}

    def frames_of(self, batch: Batch) -> int:
        """Pictures it looks at: those of one camera. frames/s count these, not the batch's."""
        return batch.speed_mps.numel()

    def graphs(self) -> list[Graph]:
        """What `opendojo export` writes."""
        return [
            Graph(
                name="plan",
                module=_Plan(self).eval(),
                inputs=(
                    Port(name="video", dtype=torch.uint8, shape=(STEPS, 3, HEIGHT_PX, WIDTH_PX),
                         high=255),
                    Port(name="speed_mps", dtype=torch.float32, shape=(), high=25.0),
                    Port(name="speed_known", dtype=torch.bool, shape=()),
                ),
                outputs=("path_m",),
            )
        ]  # fmt: skip


class _Plan(nn.Module):
    """`VideoPath.plan` as a module of its own: what is exported is a `forward`."""

    def __init__(self, network: VideoPath) -> None:
        super().__init__()
        self.network = network

    def forward(self, video: Tensor, speed_mps: Tensor, known: Tensor) -> Tensor:
        return self.network.plan(video, speed_mps, known)


def factory() -> nn.Module:
    """What `--network video_path:factory` calls."""
    return VideoPath()
