"""Drives of the present network in the world, every instant labelled by the expert.

DAgger (Ross, Gordon and Bagnell, AISTATS 2011): the network meets the states its own mistakes lead
to, and the expert, who sees the world's insides, says what it would do there. In some worlds the
expert drives, pushed off its way now and then; a world whose drive has ended is put back to its
start, and the other of the two drives on. The network's memory of the drive before fades within
0.7 s of the new one; batches hold no window that spans both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.evaluate import Driver, Observation
from opendojo.evaluate.closed_loop import packed
from opendojo.evaluate.floors import in_vehicle_axes
from opendojo.model.sizes import SUB_SCORES
from opendojo.recipes.live.around import Surveyor
from opendojo.recipes.live.exam import JUDGED, Examiner
from opendojo.world import World
from opendojo.world.judge_terms import STEP_S
from opendojo.world.planner import Choice
from opendojo.world.pushes import Pushes

__all__ = ["Instant", "drive_and_label"]

_STUCK_S = 8.0
"""A drive whose network stands for so long where the expert would go is put back."""
_ASTRAY_M, _ASTRAY_S = 5.0, 1.0
"""And so is one that is this far beside its route, or has been off its lanes for so long: it took
another road than it was told to, and no picture shows the way back that the expert knows of. With
such drives kept, the network's own rounds taught bends at two thirds of their curvature."""
_GOLDEN = 0.5 * (5.0**0.5 - 1.0)
_ASKED_EVERY = 2
"""The judge is asked at each so manieth step: neighbours hardly differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One step of n worlds."""

    yuv: Tensor
    """uint8 [n, c, 3 h / 2 * w], planar."""
    speed_mps: Tensor
    """float32 [n]."""
    command: Tensor
    """int64 [n]: 1 and up, see `model.Motion`."""
    episode: Tensor
    """int64 [n]: how often the world was put back."""
    path_m: Tensor
    """float32 [n, p, 2]: the expert's plan from here, in the vehicle's axes."""
    judged: Tensor
    """int64 [n, m]: numbers of candidates."""
    terms: Tensor
    """float32 [n, m, s]: their sub-scores; not a number where the judge was not asked."""
    occupancy: Tensor
    """bool [n, 2, gy, gx]: as `around.Around`, and so are the next."""
    road: Tensor
    """bool [n, 3, gy, gx]."""
    agents: Tensor
    """float32 [n, a, 6]."""
    agents_mask: Tensor
    """bool [n, a]."""


def expert_path(world: World, choice: Choice, times_s: Tensor) -> Tensor:
    """The expert's plan at `times_s` [p] in the vehicles' axes, float32 [n, p, 2]."""
    at = times_s / STEP_S
    low = at.floor().clamp(max=choice.plan.shape[1] - 2).to(torch.int64)
    share = (at - low)[:, None]
    plan = choice.plan[:, low, :2] * (1.0 - share) + choice.plan[:, low + 1, :2] * share
    return in_vehicle_axes(world.state.ego, plan[..., 0], plan[..., 1])


def drive_and_label(
    world: World,
    driver: Driver | None,
    steps: int,
    examiner: Examiner,
    surveyor: Surveyor,
    *,
    expert_share: float,
) -> Iterator[Instant]:
    """Drive `steps` steps and tell each; `driver` None leaves all worlds to the expert."""
    n = len(world.seeds)
    times_s = examiner.times_s
    unasked = torch.zeros(n, JUDGED, dtype=torch.int64)
    unknown = torch.full((n, JUDGED, len(SUB_SCORES)), torch.nan)
    world.reset()
    if driver is not None:
        driver.reset(n)
    pushes = [Pushes(key, steps, world.config.step_s) for key in world.seeds]
    # worlds in a row share a town: those that the network drives are spread over all
    mine = (torch.arange(n, dtype=torch.float64) * _GOLDEN) % 1.0 < 1.0 - expert_share
    if driver is None:
        mine.zero_()
    both = driver is not None and expert_share < 1.0
    episode, patience = torch.zeros(n, dtype=torch.int64), _Patience(n)
    for step in range(steps):
        pictures = world.render()
        choice = world.choice()
        path_m = expert_path(world, choice, times_s)
        judged, terms = unasked, unknown
        if step % _ASKED_EVERY == 0:
            judged, terms = examiner.judged(world, choice, path_m, step)
        around = surveyor.around(world)
        yield Instant(
            yuv=pictures.flatten(2), speed_mps=world.speed_mps.clone(), command=world.command + 1,
            episode=episode.clone(), path_m=path_m,
            judged=judged, terms=terms, occupancy=around.occupancy, road=around.road,
            agents=around.agents, agents_mask=around.agents_mask,
        )  # fmt: skip
        speeds = world.speed_mps.tolist()
        push = [one.at(step, speed) for one, speed in zip(pushes, speeds, strict=True)]
        control = choice.control + torch.tensor(push)
        if bool(mine.any()):
            assert driver is not None
            shown = Observation(
                frames=packed(pictures), speed_mps=world.speed_mps.clone(), world=world
            )
            own, _ = driver.act(shown)
            control = torch.where(mine[:, None], own.to(control), control)
        world.step(control)
        over = patience.over(world, choice)
        if bool(over.any()):
            world.reset(over)
            episode = episode + over
            if both:
                mine = mine ^ over


class _Patience:
    """Which drives have ended, come to nothing, or lost their way."""

    def __init__(self, n: int) -> None:
        self._stood_s, self._astray_s = torch.zeros(n), torch.zeros(n)

    def over(self, world: World, choice: Choice) -> Tensor:
        """bool [n]: those to put back after a step; their clocks begin anew."""
        step_s, goes = world.config.step_s, choice.speed_mps[:, 20] > 1.0
        stands = (world.speed_mps < 0.3) & goes
        self._stood_s = torch.where(stands, self._stood_s + step_s, 0.0)
        self._astray_s = torch.where(world.off_lane, self._astray_s + step_s, 0.0)
        over = world.off_road | world.collided | (world.progress_m >= world.route_m)
        over |= (self._stood_s > _STUCK_S) | (self._astray_s > _ASTRAY_S)
        over |= world.state.d_m.abs() > _ASTRAY_M
        self._stood_s[over] = self._astray_s[over] = 0.0
        return over
