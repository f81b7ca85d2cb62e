"""Rolling windows: the judge's sub-scores of what was driven, 4 s at a time.

One window begins at each whole second of a drive, up to the first that holds the drive's end. It is
judged as a plan would be (`world.judge`), but what the others did is known, not foreseen:

    NC DAC DDC TLC (5 EP + 5 TTC + 2 LK + 2 HC + 2 EC) / 16     the dojo score, 0 to 1

- EP holds the way made to that of the expert's own plan from the window's first state. Where
  neither is worth more than 5 m, standing earns 1 only if the expert stood as well, else 0.
- HC includes the second before the window, where there is one.
- EC compares the plan at the window's start with the one made half a second before. A driver that
  shows no plan, and a drive's first window, get 1.

A route's figures are means over its windows. Infractions multiply within a window, nothing ends it.
A driver that stands keeps TTC, LK, HC and EC, 11 of 16, in every window after the first: a mean of
windows alone would pay it for waiting. So the route's `score` is that mean times the share of the
route that was completed, as in HUGSIM's HD-Score; the bare mean is beside it as `windows_score`.
The numbers cannot be compared with EPDMS on NAVSIM: other scenes, other traffic, other maps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from opendojo.evaluate.trace import Log
from opendojo.world import World
from opendojo.world.course import Course
from opendojo.world.forecast import Others
from opendojo.world.judge import Before, Plans
from opendojo.world.judge_terms import INSTANTS, STEP_S, Terms, alike, motion

__all__ = ["EVERY", "TERMS", "driven_terms", "plan_motion", "starts", "window_terms"]

EVERY = 10
"""Steps from one window to the next."""
TERMS = ("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk", "hc", "ec")
"""The sub-scores of a window."""
_SHIFT = 5
_CHUNK = 256
_SHORT_M = 0.05


def starts(end: int, last: int) -> range:
    """First steps of the windows of a drive that ended at step `end` of a log up to step `last`."""
    reach = INSTANTS - 1
    newest = EVERY * math.ceil(max(end - reach, 0) / EVERY)
    while newest + reach > last:
        newest -= EVERY
    return range(0, newest + 1, EVERY)


def driven_terms(world: World, log: Log, ends: Sequence[int]) -> list[dict[str, float]]:
    """For each drive of a log the means over its windows; empty for drives of less than 4 s.

    Beside `TERMS`: `windows_score`, the dojo score; `windows`, how many; `at_fault`, 1 if some
    window holds a collision through the driver's fault; `at_fault_mps`, the highest relative speed
    of those.
    """
    last = len(log.ego) - 1
    pairs = [(i, k) for i, end in enumerate(ends) for k in starts(end, last)]
    if not pairs:
        return [{} for _ in ends]
    rows, first = torch.tensor(pairs, device=world.device).unbind(1)
    terms = window_terms(world, log, rows, first)
    columns = {name: getattr(terms, name)[:, 0] for name in TERMS}
    columns["windows_score"] = terms.score[:, 0]
    found: list[dict[str, float]] = []
    for i in range(len(ends)):
        mine = rows == i
        if not bool(mine.any()):
            found.append({})
            continue
        means = {name: float(column[mine].double().mean()) for name, column in columns.items()}
        means["windows"] = float(mine.sum())
        means["at_fault"] = float((terms.nc[mine] < 1.0).any())
        means["at_fault_mps"] = float(terms.impact_mps[mine].max())
        found.append(means)
    return found


@torch.no_grad()
def window_terms(world: World, log: Log, rows: Tensor, first: Tensor) -> Terms:
    """The terms [m, 1] of m windows: of drives `rows` [m], from steps `first` [m] on."""
    ego = {name: torch.stack([getattr(e, name) for e in log.ego], 1) for name in _EGO}
    s_m = torch.stack(log.s_m, 1)
    others = Others.from_states(log.agents)
    parts: list[Terms] = []
    # first windows have no past, so they are judged apart
    for past in (0, EVERY):
        chosen = torch.nonzero((first >= EVERY) == (past > 0))[:, 0]
        for at in chosen.split(_CHUNK) if len(chosen) else ():
            parts.append(_judged(world, log, ego, s_m, others, rows[at], first[at], past))
    order = torch.cat([torch.nonzero(first < EVERY)[:, 0], torch.nonzero(first >= EVERY)[:, 0]])
    back = order.argsort()
    return Terms(
        **{f.name: torch.cat([getattr(p, f.name) for p in parts])[back] for f in fields(Terms)}
    )


_EGO = ("x_m", "y_m", "yaw_rad", "speed_mps")


def _judged(
    world: World,
    log: Log,
    ego: dict[str, Tensor],
    s_m: Tensor,
    others: Others,
    rows: Tensor,
    first: Tensor,
    past: int,
) -> Terms:
    """Terms of windows that all have, or all lack, `past` steps before them."""
    steps = first[:, None] + torch.arange(INSTANTS, device=first.device)
    row = rows[:, None]
    plans = Plans(**{name: column[row, steps][:, None] for name, column in ego.items()})
    meanwhile = Others(**{name: getattr(others, name)[row, steps] for name in Others.__slots__})
    before = None
    if past:
        old = first[:, None] + torch.arange(-past, 0, device=first.device)
        before = Before(speed_mps=ego["speed_mps"][row, old], yaw_rad=ego["yaw_rad"][row, old])
    expert = [log.expert[int(k)] for k in first]
    way, multiplier = (
        torch.stack([pair[part][i] for pair, i in zip(expert, rows, strict=True)])
        for part in (0, 1)
    )
    course = Course(**{f.name: getattr(world.course, f.name)[rows] for f in fields(Course)})
    terms = world.judge.terms(
        course,
        plans,
        meanwhile,
        first.to(torch.float32) * world.config.step_s,
        s_m[rows, first],
        before=before,
        expert=(way, multiplier),
    )
    return dataclasses.replace(terms, ec=_consistency(log, rows, first)) if past else terms


def _consistency(log: Log, rows: Tensor, first: Tensor) -> Tensor:
    """EC [m, 1] of the plans at the windows' starts; 1 where the driver shows none."""
    if log.plans_m[0] is None:
        return torch.ones(len(rows), 1, device=rows.device)

    def planned(at: Tensor) -> tuple[Tensor, Tensor]:
        pairs = list(zip(rows.tolist(), at.tolist(), strict=True))
        paths = [log.plans_m[k] for _, k in pairs]
        path_m = torch.stack(
            [p[i] for p, (i, _) in zip(paths, pairs, strict=True) if p is not None]
        )
        return plan_motion(path_m.to(rows.device))

    now, old = (motion(*planned(at), STEP_S) for at in (first, first - _SHIFT))
    return alike(now, old, _SHIFT)[:, None]


def plan_motion(path_m: Tensor) -> tuple[Tensor, Tensor]:
    """Speed and heading [m, 41] of plans [m, p, 2] whose points spread evenly over 4 s.

    Both are those of the way from point to point, at its middle, and interpolated between; where a
    plan stands still it keeps its heading.
    """
    m, p, _ = path_m.shape
    step_s = STEP_S * (INSTANTS - 1) / p
    points = torch.cat([path_m.new_zeros(m, 1, 2), path_m], 1)
    leg = points.diff(dim=1)
    length = leg.norm(dim=-1)
    yaw = torch.atan2(leg[..., 1], leg[..., 0])
    kept = [torch.where(length[:, 0] < _SHORT_M, 0.0, yaw[:, 0])]
    for i in range(1, p):
        kept.append(torch.where(length[:, i] < _SHORT_M, kept[-1], yaw[:, i]))
    values = torch.stack([length / step_s, torch.stack(kept, 1)])
    at = torch.arange(INSTANTS, device=path_m.device) * (STEP_S / step_s) - 0.5
    low = at.floor().clamp(0, max(p - 2, 0)).to(torch.int64)
    share = (at - low).clamp(0.0, 1.0)
    high = (low + 1).clamp(max=p - 1)
    speed, heading = values[..., low] + (values[..., high] - values[..., low]) * share
    return speed, heading
