"""What the network is trained to make small; exactly 0, without gradient, where labels are absent.

All losses are means over what is labelled. A batch with no label at all gives 0 and zero gradients
rather than 0 / 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from opendojo.model.planner import SPEED_SCALE_MPS
from opendojo.model.sizes import NetConfig

__all__ = [
    "agents_loss",
    "forecast_loss",
    "grid_loss",
    "imitation_loss",
    "motion_loss",
    "path_loss",
    "score_loss",
]

_BEND = 0.1
"""Scaled error below which the path loss is quadratic: 10 cm at 1 s."""
_SOFT = 1e-3
"""Error below which the forecast loss is quadratic, a quarter of one grey level."""
_GRAIN = 0.05
"""Gap over which a candidate's share of the imitation target falls by e, in (m/s)^2."""
_RARE = 4.0
"""What an occupied cell counts beside an empty one."""
_MOVED_M = 0.5
"""A car that moves less than this until the path's first point has no turn rate to speak of."""


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask`, of their shape; 0 without gradient where that is nowhere."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def path_loss(
    path_m: Tensor,
    target_m: Tensor,
    mask: Tensor,
    times_s: Tensor | tuple[float, ...],
    ahead: float = 1.0,
    aside: float = 1.0,
) -> Tensor:
    """Smooth L1 of the path's error divided by its time, so that far points do not outweigh.

    path_m, target_m: [b, t, p, 2]; mask: bool [b, t, p]; times_s: [p]. One metre at one second
    counts like four at four seconds. Being too far ahead counts `ahead` times as much as being too
    far behind: with doubt, that plans a quantile below the median. An error to the side counts
    `aside` times one along the way. Returns a scalar.
    """
    times_s = torch.as_tensor(times_s, dtype=path_m.dtype, device=path_m.device)
    gap_m = torch.where(mask[..., None], path_m - target_m, 0.0)
    scaled = gap_m / times_s[:, None]
    error = F.smooth_l1_loss(scaled, torch.zeros_like(scaled), reduction="none", beta=_BEND)
    along, across = error.unbind(-1)
    along = torch.where(scaled[..., 0] > 0, ahead * along, along)
    return (along + aside * across).sum() / mask.sum().clamp(min=1)


def forecast_loss(forecast: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Charbonnier loss (Charbonnier et al., ICIP 1994), a smooth L1, of a picture to come.

    forecast, target: [b, t, h, w] in 0..1; mask: bool [b, t]. Returns a scalar.
    """
    gap = torch.where(mask[..., None, None], forecast - target, 0.0)
    error = ((gap * gap + _SOFT**2).sqrt() - _SOFT).sum()
    return error / (mask.sum() * target[0, 0].numel()).clamp(min=1)


def imitation_loss(imitation: Tensor, gap: Tensor, mask: Tensor) -> Tensor:
    """How far the imitation's distribution is from the expert's, a Kullback-Leibler divergence.

    imitation: logits [..., K]; gap: `planner.gaps` [..., K] of the candidates from the driven path;
    mask: bool [...]. The target is softmax(-gap / grain), as Hydra-MDP's.
    """
    known = mask[..., None]
    target = (torch.where(known, gap, 0.0) / -_GRAIN).softmax(-1)
    apart = torch.where(known, imitation, 0.0).log_softmax(-1)
    divergence = F.kl_div(apart, target, reduction="none").sum(-1)
    return _mean(divergence, mask)


def score_loss(scores: Tensor, terms: Tensor, mask: Tensor) -> Tensor:
    """Binary cross entropy of sub-scores: logits, terms 0..1 and mask bool [..., m, s] each."""
    wanted = torch.where(mask, terms, 0.0)
    shown = torch.where(mask, scores, 0.0)
    return _mean(F.binary_cross_entropy_with_logits(shown, wanted, reduction="none"), mask)


def grid_loss(logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of cells: logits and truth bool [b, t, layers, gy, gx], mask bool [b, t]."""
    logits = torch.where(mask[..., None, None, None], logits.float(), 0.0)
    rare = torch.tensor(_RARE, device=logits.device)
    error = F.binary_cross_entropy_with_logits(
        logits, truth.float(), reduction="none", pos_weight=rare
    )
    return _mean(error.mean((-3, -2, -1)), mask)


def agents_loss(
    found: Tensor, agents: Tensor, mask: Tensor, known: Tensor, config: NetConfig
) -> Tensor:
    """Cells that hold an agent's middle, and the numbers of each (CenterPoint, CVPR 2021).

    found: [b, t, 8, gy, gx], `heads.Ground.agents`; agents: [b, t, n, 6]; mask: bool [b, t, n];
    known: bool [b, t]. Agents beyond the grid do not count.
    """
    cells = config.grid_cells
    agents = torch.where(mask[..., None], agents, 1.0).float()
    low = agents.new_tensor([config.grid_x_m[0], config.grid_y_m[0]])
    high = agents.new_tensor([config.grid_x_m[1], config.grid_y_m[1]])
    place = (agents[..., :2] - low) / (high - low) * cells
    cell = place.floor()
    inside = mask & known[..., None] & ((cell >= 0) & (cell < cells)).all(-1)
    column, row = cell.clamp(0, cells - 1).long().unbind(-1)
    number = row * cells + column
    flat = torch.where(known[..., None, None, None], found.float(), 0.0).flatten(-2)
    here = torch.zeros_like(flat[:, :, 0]).scatter_reduce(-1, number, inside.float(), "amax")
    rare = torch.tensor(_RARE, device=flat.device)
    heat = F.binary_cross_entropy_with_logits(
        flat[:, :, 0], here, reduction="none", pos_weight=rare
    )
    yaw, size, speed = agents[..., 2], agents[..., 3:5].clamp(min=0.1).log(), agents[..., 5:] / 10
    wanted = torch.cat(
        [place - cell - 0.5, yaw.sin()[..., None], yaw.cos()[..., None], size, speed], -1
    )
    rows = number[:, :, None].expand(-1, -1, wanted.shape[-1], -1)
    read = flat[:, :, 1:].gather(-1, rows).transpose(-1, -2)
    error = F.smooth_l1_loss(read, wanted, reduction="none", beta=_BEND).sum(-1)
    return _mean(heat.sum(-1), known) / cells + _mean(error, inside)


def motion_loss(
    moves: Tensor,
    speed_mps: Tensor,
    speed_mask: Tensor,
    path_m: Tensor,
    path_mask: Tensor,
    first_s: float,
) -> Tensor:
    """Smooth L1 of own motion: speed over 10 m/s, and the turn rate of the driven path's start.

    moves: [b, t, 2]; speed_mps: [b, t]; path_m: [b, t, p, 2] with its first point at
    `first_s`. An arc from the present heading to (x, y) turns by 2 atan2(y, x).
    """
    x, y = path_m[:, :, 0].unbind(-1)
    turns = path_mask[:, :, 0] & (x > _MOVED_M)
    rate = 2.0 * torch.atan2(torch.where(turns, y, 0.0), torch.where(turns, x, 1.0)) / first_s
    wanted = torch.stack([speed_mps / SPEED_SCALE_MPS, rate], -1)
    mask = torch.stack([speed_mask, turns], -1)
    shown = torch.where(mask, moves, 0.0)
    wanted = torch.where(mask, wanted, 0.0)
    return _mean(F.smooth_l1_loss(shown, wanted, reduction="none", beta=_BEND), mask)
