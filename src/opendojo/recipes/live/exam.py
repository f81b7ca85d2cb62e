"""What the world's judge says of some of the network's own candidates, as labels.

Of an instant a few candidates are judged: most of them drawn among those near the expert's plan,
where the choice is hard, the rest among all. The draw depends on the world's seed and the step
alone. The judge sees them at its own instants, ten a second.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from opendojo.model.sizes import SUB_SCORES, NetConfig
from opendojo.model.vocabulary import Trajectories, Vocabulary
from opendojo.world import World
from opendojo.world.exact import hashed
from opendojo.world.judge import Plans
from opendojo.world.judge_terms import INSTANTS, STEP_S
from opendojo.world.planner import Choice

__all__ = ["JUDGED", "Examiner"]

JUDGED = 8
"""Candidates judged at an instant."""
_NEAR, _AMONG = 5, 48
"""So many of them are drawn among so many that are nearest to the expert's plan."""


class Examiner:
    """Draws candidates of a network's vocabulary and has them judged."""

    def __init__(self, net: NetConfig) -> None:
        self.vocabulary = Vocabulary(net)
        points = round(net.path_horizon_s / STEP_S)
        if abs(points * STEP_S - net.path_horizon_s) > 1e-6 or points != INSTANTS - 1:
            raise ValueError(
                f"path_horizon_s {net.path_horizon_s}: the judge looks {STEP_S * (INSTANTS - 1)} s "
                "ahead, and so must a network that learns from it"
            )
        self._fine = Vocabulary(replace(net, path_points=points))
        """The same candidates at the judge's instants."""

    @property
    def times_s(self) -> Tensor:
        """Times of the path's points, float32 [p]."""
        return torch.arange(1, self.vocabulary.points + 1) * self.vocabulary.step_s

    def judged(
        self, world: World, choice: Choice, path_m: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """Numbers int64 [n, m] of candidates and their sub-scores float32 [n, m, s]."""
        numbers = self._drawn(world, path_m, step)
        plans = in_world(world, self._fine.some(world.speed_mps, numbers))
        own = choice.plan[:, None]  # the measure of progress
        beside = (own[..., 0], own[..., 1], own[..., 2], choice.speed_mps[:, None])
        whole = Plans(
            **{
                name: torch.cat([getattr(plans, name), other], 1)
                for name, other in zip(Plans.__slots__, beside, strict=True)
            }
        )
        terms = world.terms(whole)
        return numbers, torch.stack([getattr(terms, name)[:, :JUDGED] for name in SUB_SCORES], -1)

    def _drawn(self, world: World, path_m: Tensor, step: int) -> Tensor:
        candidates = self.vocabulary(world.speed_mps)
        gap = (candidates.places_m - path_m[:, None]).square().sum(-1).mean(-1)
        near = gap.topk(_AMONG, 1, largest=False).indices
        keys = torch.tensor(world.seeds)[:, None], torch.tensor(step), torch.arange(JUDGED)
        draw = hashed(*keys)
        close = near.gather(1, draw[:, :_NEAR] % _AMONG)
        return torch.cat([close, draw[:, _NEAR:] % gap.shape[1]], 1)


def in_world(world: World, some: Trajectories) -> Plans:
    """Candidates [n, m, 40] of the judge's instants as its plans [n, m, 41], in world axes."""
    ego, m = world.state.ego, some.x_m.shape[1]

    def joined(values: Tensor, now: Tensor) -> Tensor:
        return torch.cat([now[:, None, None].expand(-1, m, 1), values], 2)

    zero = torch.zeros_like(ego.x_m)
    x, y = joined(some.x_m, zero), joined(some.y_m, zero)
    cos, sin = ego.yaw_rad.cos()[:, None, None], ego.yaw_rad.sin()[:, None, None]
    return Plans(
        x_m=ego.x_m[:, None, None] + cos * x - sin * y,
        y_m=ego.y_m[:, None, None] + sin * x + cos * y,
        yaw_rad=ego.yaw_rad[:, None, None] + joined(some.yaw_rad, zero),
        speed_mps=joined(some.speed_mps, ego.speed_mps),
    )
