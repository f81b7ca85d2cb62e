"""The driving network: cameras and speed in, path and forecast out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.encoder import Encoder
from opendojo.model.heads import SPEED_SCALE_MPS, ForecastHead, PathHead
from opendojo.model.sizes import MEMORY_STEPS, NetConfig

__all__ = ["DrivingNet", "Output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the network says at every time step of a batch."""

    path_m: Tensor
    """float32 [b, t, p, 2]: where the car should be at the path's times, x forward, y left."""
    forecast: Tensor | None
    """float32 [b, t, hf, wf] in 0..1: luma of the first camera `forecast_steps` frames ahead; None
    of a blind network, and where no step was asked for."""


def _start(network: nn.Module, last: Sequence[nn.Module]) -> None:
    """Start every layer so that it passes its input's variance on, but the `last` ones at zero.

    He et al., ICCV 2015. PyTorch's own start shrinks a signal to a third per layer with its ReLU:
    what tells two pictures apart came out of eight layers at 5% of the biases, and 250 steps
    learnt nothing from it.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if module in last:
                nn.init.zeros_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class DrivingNet(nn.Module):
    """Encoder per time step, a short causal memory, a path head and a forecast head."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = None if config.blind else Encoder(config)
        self.memory = nn.GRU(config.features or 2, config.widths.hidden, batch_first=True)
        self.path_head = PathHead(config)
        self.forecast_head = None if config.blind else ForecastHead(config)
        heads = (self.path_head, self.forecast_head)
        _start(self, [head.last for head in heads if head is not None])
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode(self, frames: Tensor, camera_mask: Tensor) -> Tensor:
        """Features of single time steps, without memory.

        frames: uint8 [n, c, 6, h/2, w/2]; camera_mask: bool [n, c]. Returns float32 [n, d], where
        d is 0 for a blind network.
        """
        if self.encoder is None:
            return self.path_head.last.weight.new_zeros(len(camera_mask), 0)
        return self.encoder(frames, camera_mask)

    def recall(self, features: Tensor, speed_mps: Tensor, speed_mask: Tensor) -> Tensor:
        """Memory of each step, from itself and at most seven steps before it.

        features: [b, t, d]; speed_mps: [b, t]; speed_mask: bool [b, t], where the speed is known.
        Returns [b, t, m]: the recurrent state; the step's own features, so that what is seen now
        need not pass the gates; the scaled speed; whether it is known.

        Of the speed only the present one counts, unless the network is blind: from a row of speeds
        it could read that braking has begun and go on with it (de Haan, Jayaraman and Levine,
        "Causal Confusion in Imitation Learning", NeurIPS 2019). A precaution: that it helps here
        has not been shown (`docs/log.md`).
        """
        known = speed_mask.to(features.dtype)
        speed = torch.where(speed_mask, speed_mps, 0.0).to(features.dtype) / SPEED_SCALE_MPS
        speed = torch.stack([speed, known], -1)
        x = speed if self.encoder is None else features
        state, _ = self.memory(x[:, :MEMORY_STEPS])
        if x.shape[1] > MEMORY_STEPS:
            state = torch.cat([state, self._later(x)], 1)
        return torch.cat([state, features, speed], -1)

    def _later(self, x: Tensor) -> Tensor:
        """States of the steps beyond the first eight, each from its own last eight inputs."""
        windows = x[:, 1:].unfold(1, MEMORY_STEPS, 1).movedim(-1, 2)
        b, later = windows.shape[:2]
        _, last = self.memory(windows.flatten(0, 1))
        return last[0].view(b, later, -1)

    def plan(self, memory: Tensor) -> Tensor:
        """Path from memory: [b, t, m] to float32 [b, t, p, 2] in metres."""
        return self.path_head(memory)

    def forecast(self, memory: Tensor, luma: Tensor) -> Tensor:
        """Picture of the first camera `forecast_steps` ahead.

        memory: [b, t, m]; luma: [b, t, hf, wf] in 0..1, from `small_luma`. Returns the like.
        """
        assert self.forecast_head is not None, "a blind network makes no forecast"
        return self.forecast_head(memory, luma)

    def small_luma(self, frames: Tensor) -> Tensor:
        """Area mean of the luma: uint8 [..., 6, h/2, w/2] to float32 [..., hf, wf] in 0..1."""
        luma = frames[..., :4, :, :].float().mean(-3)
        small = self.config.forecast_height_px, self.config.forecast_width_px
        factor = luma.shape[-2] // small[0], luma.shape[-1] // small[1]
        pooled = F.avg_pool2d(luma.reshape(-1, 1, *luma.shape[-2:]), factor)
        return pooled.view(*luma.shape[:-2], *small) / 255.0

    def forward(
        self,
        frames: Tensor,
        camera_mask: Tensor,
        speed_mps: Tensor,
        speed_mask: Tensor,
        forecast_until: int | None = None,
    ) -> Output:
        """Path and forecast of every step of a batch of windows.

        frames: uint8 [b, t, c, 6, h/2, w/2]; camera_mask: bool [b, c]; speed_mps: [b, t];
        speed_mask: bool [b, t]. `forecast_until` limits the forecast to the first so many steps:
        in training the last ones have no picture to be compared with.
        """
        b, t = speed_mps.shape
        masks = camera_mask[:, None].expand(-1, t, -1).flatten(0, 1)
        features = self.encode(frames.flatten(0, 1), masks).view(b, t, self.config.features)
        memory = self.recall(features, speed_mps, speed_mask)
        seen = None
        if self.forecast_head is not None and forecast_until != 0:
            luma = self.small_luma(frames[:, :forecast_until, 0])
            seen = self.forecast(memory[:, :forecast_until], luma)
        return Output(path_m=self.plan(memory), forecast=seen)
