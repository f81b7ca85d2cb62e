"""An expert that looks at the world's insides: what imitation learns from and scores are held to.

After PDM-Closed (Dauner et al. 2023; 92 and 93 of 100 on nuPlan's Val14): 15 proposals, five shares
of the pace at three offsets, are driven for four seconds through the ego's own bicycle, judged
against what others are foreseen to do, and the best is taken. If even that meets somebody within
two seconds, through the ego's fault, the brakes are hit. It has no memory.

    planner = Planner(towns)
    choice = planner.plan(course, ego, agents, time_s, s_m)
    ego = move_ego(ego, choice.control, 0.1)
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opendojo.world.forecast import Forecaster, Others
from opendojo.world.giveway import GiveWay
from opendojo.world.judge import Judge, Plans, judged
from opendojo.world.judge_terms import INSTANTS, Terms
from opendojo.world.proposals import EVERY, OFFSETS_M, SHARES, Obstacles, Rolled, roll

if TYPE_CHECKING:
    from opendojo.world.course import Course
    from opendojo.world.town.towns import Towns
    from opendojo.world.traffic.agents import Agents
    from opendojo.world.vehicle import Ego

__all__ = ["Choice", "Planner"]

PROPOSALS = [(share, offset) for offset in OFFSETS_M for share in SHARES]
_BRAKE_S = 2.0
"""The brakes are hit for a collision at fault that is nearer than this."""
_NEAREST, _WITHIN_M = 8, 60.0
"""Others that are heeded."""
_ROOM_M = 0.1
"""Corners that come so near to a plan's limit of the drivable area count as beyond it: at the inner
kerbs of tight exits the judge's tolerance is used up by a hand's breadth of tracking error."""
_ASIDE = 0.02
"""What the middle line is worth: it keeps the choice from wavering between offsets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the expert does now, and means to do."""

    control: Tensor
    """float32 [n, 2]: steer and accel."""
    plan: Tensor
    """float32 [n, 41, 3]: x, y and heading of the rear axle at 10 Hz, from now, in world axes."""
    speed_mps: Tensor
    """float32 [n, 41]."""
    terms: Terms
    """[n, 1]: as the planner judged it, against the forecast and with a little room to the road's
    edge; EC is 1, HC equal to C, EP its share of the best proposal's way."""
    index: Tensor
    """int64 [n]: the proposal taken, 15 for the brakes."""


class Planner:
    """Plans for any ego in its towns."""

    def __init__(self, towns: Towns) -> None:
        self._forecaster, self._judge, self._give = Forecaster(towns), Judge(towns), GiveWay(towns)
        prefer = [-_ASIDE * abs(offset) for _, offset in PROPOSALS]
        self._prefer = torch.tensor([*prefer, 0.0], device=towns.length_m.device)

    def plan(self, course: Course, ego: Ego, agents: Agents, time_s: Tensor, s_m: Tensor) -> Choice:
        """The best of 15 proposals, or the brakes.

        Args:
            course: the routes of n worlds.
            ego: the vehicles; all their delays are known to the expert.
            agents: who is around.
            time_s: float32 [n], for the lights' state now; what they show later is not looked up.
            s_m: float32 [n], where on the routes the rear axles are, to some metres.
        """
        near = self._near(course, ego, agents)
        obstacles = Obstacles.of(course, near.at(list(range(0, INSTANTS, EVERY))), s_m)
        hold = self._give.hold_m(course, agents, time_s, s_m, ego.speed_mps)
        rolled = roll(ego, course, s_m, obstacles, hold, [*PROPOSALS, (0.0, 0.0)], brake=True)
        terms = self._judged(course, rolled.plans, (rolled.s_m, rolled.d_m), near, time_s)
        key = terms.score * (1.0 + self._prefer)
        # where nothing is worth anything: on the road, and meeting others as late as possible
        key = key + 0.005 * terms.dac + 0.01 / 4.2 * terms.collision_s.clamp(max=4.2)
        free = key[:, :-1]
        order = torch.arange(free.shape[1], device=key.device)
        best = torch.where(free == free.amax(1, keepdim=True), order, len(PROPOSALS)).amin(1)
        soon = terms.collision_s.gather(1, best[:, None])[:, 0] <= _BRAKE_S
        best = torch.where(soon, len(PROPOSALS), best)
        return _chosen(rolled, terms, best)

    def terms(
        self, course: Course, ego: Ego, agents: Agents, time_s: Tensor, s_m: Tensor, plans: Plans
    ) -> Terms:
        """Any plans [n, p, 41] from where the egos are, judged as the proposals are."""
        x, y, _, _ = plans.middle()
        along = course.follow(x, y, s_m)
        return self._judged(course, plans, along, self._near(course, ego, agents), time_s)

    def idm_on_centreline(
        self, course: Course, ego: Ego, agents: Agents, time_s: Tensor, s_m: Tensor
    ) -> Tensor:
        """A cheap driver, for a floor: the first proposal's control, unjudged, [n, 2]."""
        near = self._near(course, ego, agents, instants=INSTANTS)
        obstacles = Obstacles.of(course, near.at([0]), s_m)
        hold = self._give.hold_m(course, agents, time_s, s_m, ego.speed_mps)
        return roll(ego, course, s_m, obstacles, hold, PROPOSALS[:1], steps=0).control[:, 0]

    def _near(self, course: Course, ego: Ego, agents: Agents, instants: int = INSTANTS) -> Others:
        others = self._forecaster.others(course.town, agents, instants)
        return others.nearest(*ego.middle(), _NEAREST, _WITHIN_M)

    def _judged(
        self,
        course: Course,
        plans: Plans,
        along: tuple[Tensor, Tensor],
        near: Others,
        time_s: Tensor,
    ) -> Terms:
        """Terms of plans, asked at every other instant; the lights stay as they are."""
        red = self._judge.red(course, time_s, 1).expand(-1, -1, INSTANTS)
        footing = self._judge.footing(course, plans, along, red, EVERY)
        footing = replace(footing, edge_m=footing.edge_m - _ROOM_M)
        return judged(plans, near, footing, every=EVERY)


def _chosen(rolled: Rolled, terms: Terms, best: Tensor) -> Choice:
    """The proposals `best` [n]."""

    def of(values: Tensor) -> Tensor:
        rows = best.view(-1, *[1] * (values.dim() - 1)).expand(-1, 1, *values.shape[2:])
        return values.gather(1, rows)

    plans = Plans(**{name: of(getattr(rolled.plans, name)) for name in Plans.__slots__})
    return Choice(
        control=of(rolled.control)[:, 0],
        plan=torch.stack([plans.x_m, plans.y_m, plans.yaw_rad], -1)[:, 0],
        speed_mps=plans.speed_mps[:, 0],
        terms=Terms(**{f.name: of(getattr(terms, f.name)) for f in fields(Terms)}),
        index=best,
    )
