"""The two heads: where the car should go, and what its first camera will see.

The last layer of each starts at zero. The path starts from driving straight on at the present
speed; the head learns what to add. The forecast starts from the last picture; the head learns how
it moves: a flow that says for each pixel of the future where in the present to fetch it (the
inverse warp of Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015). It cannot invent,
only move, so that a few minutes of training generalise: alone, on four real highway clips with 35
windows to learn from, a flow left 80% of the copy's mean absolute error on their held-out last
fifth, an added residual picture 105%.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.sizes import NetConfig

__all__ = ["SPEED_SCALE_MPS", "ForecastHead", "PathHead"]

SPEED_SCALE_MPS = 10.0
"""Speeds enter and leave the network divided by this."""

_HISTORY = 4
"""Pictures the flow is estimated from: the last and three before it."""
_FLOW_SCALE = 0.5
"""Flow of an output of 1, in half pictures."""


class PathHead(nn.Module):
    """Memory to the path over the next seconds, in the vehicle's axes."""

    times_s: Tensor

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.points = config.path_points
        self.hidden = nn.Linear(config.memory, config.widths.hidden)
        self.last = nn.Linear(config.widths.hidden, 2 * config.path_points + 1)
        times_s = torch.tensor(config.path_times_s)
        self.register_buffer("times_s", times_s, persistent=False)

    def forward(self, memory: Tensor) -> Tensor:
        """[..., m] to float32 [..., points, 2]: x forward and y left in metres.

        Where the speed is not known (the last of the memory's entries is 0) the head's own guess
        of it stands in.
        """
        out = self.last(F.relu(self.hidden(memory)))
        known = memory[..., -1:] > 0.5
        guess = F.softplus(out[..., -1:])
        speed_mps = torch.where(known, memory[..., -2:-1], guess) * SPEED_SCALE_MPS
        bend = out[..., :-1].unflatten(-1, (self.points, 2)) * self.times_s[:, None]
        straight = speed_mps * self.times_s
        return bend + torch.stack([straight, torch.zeros_like(straight)], -1)


class ForecastHead(nn.Module):
    """The last small pictures and the memory to the picture some frames ahead."""

    place: Tensor

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        c = config.widths.forecast
        self.first = nn.Conv2d(_HISTORY + 2, c, 4, 2, 1)
        self.context = nn.Linear(config.memory, c)
        self.near = nn.Conv2d(c, c, 3, 1, 1)
        self.wide = nn.Conv2d(c, c, 3, 1, 2, dilation=2)
        self.last = nn.Conv2d(c, 2, 3, 1, 1)
        rows = torch.linspace(-1.0, 1.0, config.forecast_height_px)
        columns = torch.linspace(-1.0, 1.0, config.forecast_width_px)
        place = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        self.register_buffer("place", place, persistent=False)

    def forward(self, memory: Tensor, luma: Tensor) -> Tensor:
        """Warp the last picture by the flow to come.

        memory: [b, t, m]; luma: [b, t, hf, wf] in 0..1. Returns [b, t, hf, wf] in 0..1; step k
        looks at pictures k - 3 to k, the first standing in for those before it.
        """
        b, t, height, width = luma.shape
        padded = torch.cat([luma[:, :1].expand(-1, _HISTORY - 1, -1, -1), luma], 1)
        past = padded.unfold(1, _HISTORY, 1).movedim(-1, 2).flatten(0, 1)
        flow = self._flow(past, memory.flatten(0, 1))
        fetch = self.place + F.interpolate(flow, (height, width), mode="bilinear").movedim(1, -1)
        moved = F.grid_sample(past[:, -1:], fetch, padding_mode="border", align_corners=True)
        return moved.view(b, t, height, width)

    def _flow(self, past: Tensor, memory: Tensor) -> Tensor:
        """Estimate flow [n, 2, hf/2, wf/2] from pictures [n, history, hf, wf] and memory [n, m]."""
        place = self.place.movedim(-1, 0).expand(len(past), -1, -1, -1)
        steps = past[:, 1:] - past[:, :-1]
        x = torch.cat([3.0 * (past[:, -1:] - 0.4), 3.0 * steps, place], 1)
        x = F.relu(self.first(x) + self.context(memory)[:, :, None, None])
        return _FLOW_SCALE * self.last(F.relu(self.wide(F.relu(self.near(x)))))
