"""The feature queue: what was seen a while ago, and what was seen some way back.

A car that stands remembers by time, one that drives by distance, or a queue of moments alone
forgets at a red light what it passed before it (Tesla's talks, 2021). Each instant is joined by the
newest entry of at least each age in `AGES_S`, and by the newest of at least each way driven in
`WAYS_M`, never more than `MEMORY_STEPS` - 1 instants back. Ego motion stands beside an entry: its
age, or the way since.

Of past speeds only the way driven enters, and never together with the time it took: from a row of
speeds the network could read that braking has begun and go on with it (de Haan, Jayaraman and
Levine, "Causal Confusion in Imitation Learning", NeurIPS 2019). A precaution: that it helps here
has not been shown (`docs/log.md`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.motion import Motion
from opendojo.model.sizes import MEMORY_STEPS, NetConfig

__all__ = ["AGES_S", "WAYS_M", "BlindMemory", "Queue", "entries"]

AGES_S = (0.1, 0.3, 0.7)
"""Ages of entries kept by time."""
WAYS_M = (1.0, 2.5, 5.0)
"""Ways of entries kept by distance."""

_SLOTS = len(AGES_S) + len(WAYS_M)
_SLACK_S = 0.01
_SPEED_SCALE_MPS = 10.0


def entries(motion: Motion) -> tuple[Tensor, Tensor]:
    """Which instants join each: weights float32 [b, t, slots, t], 1 at the entry, and what is told
    beside each slot, float32 [b, t, slots, 2]: whether it is filled, and its age (s) or way (10 m).

    Ways are trapezia of the known speeds; across an unknown one there is none.
    """
    time_s = motion.time_s.double()
    steps = time_s.shape[1]
    speed = torch.where(motion.speed_mask, motion.speed_mps, 0.0).double()
    way = _running(0.5 * (speed[:, 1:] + speed[:, :-1]) * time_s.diff(dim=1))
    unknown = _running((~(motion.speed_mask[:, 1:] & motion.speed_mask[:, :-1])).double())
    number = torch.arange(steps, device=time_s.device)
    back = number[:, None] - number
    near = (back > 0) & (back < MEMORY_STEPS)
    age_s = time_s[:, :, None] - time_s[:, None]
    way_m = way[:, :, None] - way[:, None]
    known = near & (unknown[:, :, None] == unknown[:, None])
    ages = [near & (age_s >= age - _SLACK_S) for age in AGES_S]
    ways = [known & (way_m >= least) for least in WAYS_M]
    fits = torch.stack([*(fit.expand_as(age_s) for fit in ages), *ways], 2)
    newest = torch.where(fits, number, -1).amax(-1, keepdim=True)
    chosen = (fits & (number == newest)).float()
    told = torch.stack([age_s, way_m * 0.1], 2).float().repeat_interleave(_SLOTS // 2, 2)
    beside = torch.stack([chosen.sum(-1), (chosen * told).sum(-1)], -1)
    return chosen, beside


def _running(values: Tensor) -> Tensor:
    """Sums up to each instant, [b, t] of [b, t - 1]."""
    return F.pad(values.cumsum(1), (1, 0))


class Queue(nn.Module):
    """Scene tokens joined, each by what stood at its own place in the queue's entries."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        token, past = config.widths.token, config.widths.past
        self.keep = nn.Linear(token, past)
        self.past = nn.Linear(_SLOTS * past, token)
        self.moved = nn.Linear(_SLOTS * 2, token)
        self.norm = nn.LayerNorm(token)

    def forward(self, scene: Tensor, motion: Motion) -> Tensor:
        """Scene tokens [b, t, q, d] to memory [b, t, q, d]."""
        b, t, places, _ = scene.shape
        chosen, beside = entries(motion)
        kept = F.relu(self.keep(scene)).flatten(2)
        found = (chosen.to(kept.dtype).flatten(1, 2) @ kept).view(b, t, _SLOTS, places, -1)
        found = self.past(found.transpose(2, 3).flatten(3))
        moved = self.moved(beside.to(scene.dtype).flatten(2))
        return self.norm(scene + F.relu(found + moved[:, :, None]))


class BlindMemory(nn.Module):
    """What a network without eyes remembers: its own speeds of the last instants."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.first = nn.Linear(2 * MEMORY_STEPS, config.widths.token)

    def forward(self, motion: Motion) -> Tensor:
        """Memory [b, t, 1, d]."""
        known = motion.speed_mask.float()
        speed = torch.where(motion.speed_mask, motion.speed_mps, 0.0) / _SPEED_SCALE_MPS
        rows = F.pad(torch.stack([speed, known], 1), (MEMORY_STEPS - 1, 0))
        history = rows.unfold(2, MEMORY_STEPS, 1).transpose(1, 2).flatten(2)
        return F.relu(self.first(history.to(self.first.weight.dtype)))[:, :, None]
