"""From memory to a plan: candidates, what each is worth, and the best one's path.

What is seen, the present speed and the command make a regressed path and, for every candidate of
the vocabulary, an imitation logit and one logit per sub-score of the world's judge (Hydra-MDP, Li
et al., arXiv 2406.06978). The imitation logit begins as the candidate's nearness to the regressed
path, which is learnt in some hundred steps; what is learnt per candidate comes on top, and lets a
plan have more than one way. A sub-score adds what is learnt per candidate to a map of worth on the
ground, read along the candidate (Zeng et al., "Neural Motion Planner", CVPR 2019).

The last layers of the sub-scores start at zero and have a gradient only where the judge spoke.
Never trained, they are equal for all candidates, and the choice rests on imitation alone.

The chosen candidate is moved to the regressed path where that is no farther than the vocabulary is
coarse, and stays where it is otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.motion import COMMANDS, Motion
from opendojo.model.sizes import SUB_SCORES, NetConfig
from opendojo.model.vocabulary import Trajectories, Vocabulary

__all__ = ["SPEED_SCALE_MPS", "Ego", "Plan", "PlanHead", "gaps"]

SPEED_SCALE_MPS = 10.0
"""Speeds enter and leave the network divided by this."""
_GRAIN = 0.5
"""Gap (see `gaps`) at which the refinement is halved: some five times the vocabulary's grain."""
_NEAR = 5.0
"""Imitation logit per m/s of distance over time from the regressed path, to begin with."""
_SMOOTH_MPS = 0.1
"""Below this distance that logit is quadratic."""
_EVERY = 2
"""Gaps and the map of worth are read at each so manieth point of a path."""
_SPANS = 2
"""Spans of time that the map of worth tells apart; `heads.GroundHead` makes as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the network means to do at every instant [...] of a batch; K candidates."""

    path_m: Tensor
    """float32 [..., p, 2]: where the car should be at the path's times, x forward, y left."""
    regressed_m: Tensor
    """float32 [..., p, 2]: the path before candidates were looked at."""
    candidates: Trajectories
    """float32 [..., K, p] each."""
    imitation: Tensor
    """float32 [..., K]: logits of driving like the expert."""
    scores: Tensor | None
    """float32 [..., K, s]: logits of `SUB_SCORES`; None where none was ever trained."""
    best: Tensor
    """int64 [...]: the candidate taken."""


def gaps(candidates: Trajectories, path_m: Tensor, times_s: Tensor, mask: Tensor) -> Tensor:
    """How far paths [..., p, 2] are from candidates [..., K, p]: float32 [..., K], in (m/s)^2.

    Mean square over known points (mask bool [..., p]) of the distance divided by its time.
    """
    some = slice(_EVERY - 1, None, _EVERY)
    weight = mask[..., some] / times_s[some].square()
    weight = weight / mask[..., some].sum(-1, keepdim=True).clamp(min=1)
    dx = candidates.x_m[..., some] - path_m[..., None, some, 0]
    dy = candidates.y_m[..., some] - path_m[..., None, some, 1]
    return ((dx * dx + dy * dy) * weight[..., None, :]).sum(-1)


class Ego(nn.Module):
    """Memory as one vector, and how the car moves by the look of it."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        widths = config.widths
        self.squeeze = nn.Linear(widths.token, widths.squeeze)
        self.flat = nn.Linear(config.tokens * widths.squeeze, widths.hidden)
        self.last = nn.Linear(widths.hidden, 2)

    def forward(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Memory [..., q, d] to what is seen [..., hidden], and its motion [..., 2].

        The motion is the present speed over `SPEED_SCALE_MPS` and the turn rate in rad/s.
        """
        seen = F.relu(self.flat(F.relu(self.squeeze(memory)).flatten(-2)))
        speed, turn = self.last(seen).float().unbind(-1)
        return seen, torch.stack([F.softplus(speed), turn], -1)


class PlanHead(nn.Module):
    """What is seen, with speed and command, to a plan."""

    times_s: Tensor

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        widths, self.points = config.widths, config.path_points
        self.vocabulary = Vocabulary(config)
        self.speed = nn.Linear(2, widths.hidden)
        self.command = nn.Parameter(torch.zeros(len(COMMANDS) - 1, widths.hidden))
        self.hidden = nn.Linear(widths.hidden, widths.hidden)
        self.last = nn.Linear(widths.hidden, 2 * config.path_points)
        self.table = nn.Parameter(torch.randn(len(self.vocabulary), widths.rank))
        self.near = nn.Parameter(torch.tensor([_NEAR]).log())  # FSDP shards no scalars
        self.liking = nn.Linear(widths.hidden, widths.rank)
        self.worth = nn.Linear(widths.hidden, len(SUB_SCORES) * (widths.rank + 1))
        self.grid = (*config.grid_x_m, *config.grid_y_m)
        self.imitation_weight = config.imitation_weight
        self.score_weights = config.score_weights
        times_s = torch.tensor(config.path_times_s)
        self.register_buffer("times_s", times_s, persistent=False)

    def think(self, seen: Tensor, moves: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
        """The plan's hidden layer [b, t, hidden], and the present speed [b, t] in m/s.

        seen, moves: as `Ego` gives them. Where the speed is not known, its look stands in. An
        unknown command adds nothing, and so does one that training never gave.
        """
        known = motion.speed_mask
        told = torch.where(known, motion.speed_mps, 0.0).to(moves.dtype) / SPEED_SCALE_MPS
        joined = torch.stack([told, known.to(told.dtype)], -1).to(seen.dtype)
        asked = F.one_hot(motion.command, len(COMMANDS))[..., 1:].to(seen.dtype)
        asked = asked @ self.command.to(seen.dtype)
        hidden = F.relu(self.hidden(F.relu(seen + self.speed(joined) + asked)))
        return hidden, torch.where(known, told, moves[..., 0]) * SPEED_SCALE_MPS

    def regress(self, hidden: Tensor, speed_mps: Tensor) -> Tensor:
        """A path float32 [..., p, 2]: straight on at the present speed, and what bends it."""
        bend = self.last(hidden).float().unflatten(-1, (self.points, 2)) * self.times_s[:, None]
        straight = speed_mps[..., None] * self.times_s
        return bend + torch.stack([straight, torch.zeros_like(straight)], -1)

    def imitate(self, hidden: Tensor, gap: Tensor) -> Tensor:
        """Imitation logits [..., K] of candidates at gaps [..., K] from the regressed path."""
        apart_mps = (gap + _SMOOTH_MPS**2).sqrt()
        learnt = self.liking(hidden).float() @ self.table.T.float() / self.table.shape[1]
        return learnt - self.near.exp() * apart_mps

    def judge(
        self,
        hidden: Tensor,
        candidates: Trajectories,
        field: Tensor | None,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """Logits of sub-scores [..., K, s] of candidates, all of them or those numbered `chosen`.

        chosen: int64 [..., K], the numbers of the candidates given; field: the map of worth
        [..., s * spans, gy, gx] of the bird's-eye grid, or None.
        """  # fmt: skip
        worth = self.worth(hidden).float().unflatten(-1, (len(SUB_SCORES), -1))
        told = self.table.float() if chosen is None else self.table.float()[chosen]
        scores = told @ worth[..., 1:].transpose(-1, -2) / self.table.shape[1]
        scores = scores + worth[..., None, :, 0]
        return scores if field is None else scores + self._along(candidates, field.float())

    def _along(self, candidates: Trajectories, field: Tensor) -> Tensor:
        """Mean of the map of worth along candidates, [..., K, s]."""
        some = slice(_EVERY - 1, None, _EVERY)
        x, y = candidates.x_m[..., some], candidates.y_m[..., some]
        x0, x1, y0, y1 = self.grid
        fetch = torch.stack([2 * (x - x0) / (x1 - x0) - 1, 2 * (y - y0) / (y1 - y0) - 1], -1)
        read = F.grid_sample(
            field.flatten(0, -4), fetch.flatten(0, -4), padding_mode="border", align_corners=False
        )
        parts = read.unflatten(1, (_SPANS, -1)).tensor_split(_SPANS, -1)
        mean = torch.stack([part[:, i].mean(-1) for i, part in enumerate(parts)]).mean(0)
        return mean.transpose(1, 2).reshape(*x.shape[:-1], len(SUB_SCORES))

    @property
    def judges(self) -> bool:
        """Whether sub-scores were ever trained: their last layers are no longer zero."""
        weight = self.worth.weight
        return not weight.is_meta and bool(weight.any())

    def choose(
        self,
        regressed_m: Tensor,
        candidates: Trajectories,
        gap: Tensor,
        imitation: Tensor,
        scores: Tensor | None,
    ) -> Plan:
        """The plan [...] of candidates with their logits."""  # fmt: skip
        value = self.imitation_weight * imitation.log_softmax(-1)
        if scores is not None:
            weights = torch.tensor(self.score_weights, device=scores.device)
            value = value + (F.logsigmoid(scores) * weights).sum(-1)
        best = value.argmax(-1)
        taken = candidates.taken(best[..., None]).places_m[..., 0, :, :]
        apart = gap.gather(-1, best[..., None])[..., None] / _GRAIN
        path_m = taken + (regressed_m - taken) / (1.0 + apart * apart)
        return Plan(
            path_m=path_m, regressed_m=regressed_m, candidates=candidates, imitation=imitation,
            scores=scores, best=best,
        )  # fmt: skip
