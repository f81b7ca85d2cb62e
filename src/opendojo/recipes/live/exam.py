"""What the world's judge says of some of the network's own candidates, as labels.

Of each instant a few candidates are judged: most of them drawn among those near the expert's plan,
where the choice is hard, the rest among all. The draw depends on the world's seed and the step
alone. Comfort is left out: candidates are known at the path's points, and a jerk needs more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.model.sizes import SUB_SCORES
from opendojo.model.vocabulary import Trajectories, Vocabulary
from opendojo.world import World
from opendojo.world.exact import hashed
from opendojo.world.judge import Plans
from opendojo.world.judge_terms import INSTANTS, STEP_S
from opendojo.world.planner import Choice

__all__ = ["JUDGED", "SCORED", "examine", "in_world"]

JUDGED = 8
"""Candidates judged at each instant."""
_NEAR, _AMONG = 5, 48
"""So many of them are drawn among so many that are nearest to the expert's plan."""
SCORED = torch.tensor([name != "c" for name in SUB_SCORES])
"""Which sub-scores are labels."""


def examine(
    world: World, choice: Choice, path_m: Tensor, vocabulary: Vocabulary, step: int
) -> tuple[Tensor, Tensor]:
    """Numbers int64 [n, m] of candidates and their sub-scores float32 [n, m, s]."""
    candidates = vocabulary(world.speed_mps)
    gap = (candidates.places_m - path_m[:, None]).square().sum(-1).mean(-1)
    near = gap.topk(_AMONG, 1, largest=False).indices
    keys = torch.tensor(world.seeds)[:, None], torch.tensor(step), torch.arange(JUDGED)
    draw = hashed(*keys)
    close = near.gather(1, draw[:, :_NEAR] % _AMONG)
    numbers = torch.cat([close, draw[:, _NEAR:] % gap.shape[1]], 1)
    plans = in_world(world, candidates.taken(numbers), vocabulary.step_s)
    own = choice.plan[:, None]
    beside = (own[..., 0], own[..., 1], own[..., 2], choice.speed_mps[:, None])
    names = Plans.__slots__
    whole = Plans(
        **{
            name: torch.cat([getattr(plans, name), other], 1)
            for name, other in zip(names, beside, strict=True)
        }
    )
    terms = world.terms(whole)
    return numbers, torch.stack([getattr(terms, name)[:, :JUDGED] for name in SUB_SCORES], -1)


def in_world(world: World, some: Trajectories, step_s: float) -> Plans:
    """Candidates [n, m, p] as plans [n, m, 41] of the judge, in world axes."""
    ego, m = world.state.ego, some.x_m.shape[1]
    at = torch.arange(INSTANTS) * STEP_S / step_s
    low = at.floor().clamp(max=some.x_m.shape[2] - 1).to(torch.int64)
    share = at - low

    def dense(values: Tensor, now: Tensor) -> Tensor:
        knots = torch.cat([now[:, None, None].expand(-1, m, 1), values], 2)
        return knots[..., low] * (1.0 - share) + knots[..., low + 1] * share

    zero = torch.zeros_like(ego.x_m)
    x, y = dense(some.x_m, zero), dense(some.y_m, zero)
    cos, sin = ego.yaw_rad.cos()[:, None, None], ego.yaw_rad.sin()[:, None, None]
    return Plans(
        x_m=ego.x_m[:, None, None] + cos * x - sin * y,
        y_m=ego.y_m[:, None, None] + sin * x + cos * y,
        yaw_rad=ego.yaw_rad[:, None, None] + dense(some.yaw_rad, zero),
        speed_mps=dense(some.speed_mps, ego.speed_mps),
    )
