"""The judge: sub-scores of plans with the definitions of NAVSIM v2, on our towns.

A plan is given by the poses of the rear axle and the speeds at 41 instants; others' boxes over the
same time are what they did, or are foreseen to do. `judge_terms` holds the rules that need neither
boxes nor maps; here are collisions (NC, TTC) and what is looked up in the town (DAC, DDC, TLC, LK).

    judge = Judge(towns)
    terms = judge.terms(course, plans, others, time_s, s_m)
    terms.score                      # the dojo score [n, p]; not comparable with EPDMS on NAVSIM
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opendojo.world.body import VEHICLE
from opendojo.world.draw.scene import Kind
from opendojo.world.exact import sin_cos
from opendojo.world.forecast import Others
from opendojo.world.judge_terms import (
    STEP_S,
    Motion,
    Terms,
    alike,
    comfortable,
    keeps_direction,
    keeps_lane,
    motion,
    progress_m,
    progress_share,
)
from opendojo.world.town.atlas import EDGE_STEP_M

if TYPE_CHECKING:
    from opendojo.world.course import Course
    from opendojo.world.town.towns import Towns

__all__ = [
    "Before",
    "Footing",
    "Judge",
    "Plans",
    "collisions",
    "judged",
    "over_stop_line",
    "time_to_collision",
]

STOPPED_MPS = 0.05
"""Below this an ego or another stands, for the question of fault."""
ROLLING_MPS = 0.005
"""Below this time to collision is not asked for."""
LOOK_AHEAD = (0, 3, 6, 9)
"""Instants by which the ego is moved on for TTC: up to 0.9 s."""
_COS_30 = math.sqrt(3.0) / 2.0
_RADIUS_M = math.hypot(VEHICLE.length_m, VEHICLE.width_m) / 2.0
_BESIDE_M = 6.0
_LINES = 3
"""Most stop lines that a plan may come to."""
LINE_PAST_M = 0.3
"""The line is this far past the place where a lane's traffic halts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """Where the ego would be, float32 [n, p, t]: the rear axle's place, its heading and speed."""

    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    speed_mps: Tensor

    def middle(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The body's middle x, y and its heading's cosine and sine."""
        sin, cos = sin_cos(self.yaw_rad)
        return self.x_m + cos * VEHICLE.centre_m, self.y_m + sin * VEHICLE.centre_m, cos, sin

    def at(self, every: int) -> Plans:
        """Each `every`-th instant."""
        return Plans(**{name: getattr(self, name)[..., ::every] for name in Plans.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What is under plans, [n, p, t]."""

    edge_m: Tensor
    """float32: the least distance of the four corners from the road's edge, positive on it."""
    off_route: Tensor
    """bool: the middle is on no lane of the route nor one beside it that runs its way."""
    junction: Tensor
    """bool: the middle is on a lane of a junction or roundabout."""
    straddles: Tensor
    """bool: the body is in two lanes."""
    s_m: Tensor
    d_m: Tensor
    """float32: the middle's foot on the route's middle line."""
    stop_m: Tensor
    """float32 [n, k]: where the route crosses stop lines of lights; inf where there are no more."""
    red: Tensor
    """bool [n, k, t]: whether those lights are red."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meetings:
    """Boxes of plans that touch boxes of others, [n, p, t, a]."""

    hit: Tensor
    behind: Tensor
    """bool: the other's middle is within 30 degrees of straight behind the rear axle."""
    ahead: Tensor
    """bool: within 30 degrees of straight ahead."""
    front: Tensor
    """bool: the front bumper touches."""
    impact_mps: Tensor
    """float32: their relative speed."""


def _touch(
    dx: Tensor, dy: Tensor, cos_a: Tensor, sin_a: Tensor, half_a: tuple[float, float],
    cos_b: Tensor, sin_b: Tensor, half_b: tuple[Tensor, Tensor],
) -> Tensor:  # fmt: skip
    """Whether boxes overlap: separating axes along the sides of both; d is from a to b."""
    c = (cos_a * cos_b + sin_a * sin_b).abs()
    s = (cos_a * sin_b - sin_a * cos_b).abs()
    (long_a, wide_a), (long_b, wide_b) = half_a, half_b
    return (
        ((dx * cos_a + dy * sin_a).abs() < long_a + c * long_b + s * wide_b)
        & ((dy * cos_a - dx * sin_a).abs() < wide_a + s * long_b + c * wide_b)
        & ((dx * cos_b + dy * sin_b).abs() < long_b + c * long_a + s * wide_a)
        & ((dy * cos_b - dx * sin_b).abs() < wide_b + s * long_a + c * wide_a)
    )


def _meetings(
    middle: tuple[Tensor, ...], speed_mps: Tensor, others: Others, moved_m: Tensor | None = None
) -> _Meetings:
    """Which boxes touch; `middle` and the speed are [n, p, q], others [n, q, a].

    `moved_m` [n, p, q] says how far boxes were moved on along their headings: "ahead" and "behind"
    are seen from where they were before.

    Pairs too far apart are dropped first; what is left is tested one by one, so that no pair's
    answer depends on the others.
    """
    x, y = middle[:2]
    half_l, half_w = others.length_m * 0.5, others.width_m * 0.5
    reach = torch.sqrt(half_l * half_l + half_w * half_w) + _RADIUS_M
    reach = torch.where(others.mask, reach, torch.zeros_like(reach))
    dx = others.x_m[:, None] - x[..., None]
    dy = others.y_m[:, None] - y[..., None]
    close = dx * dx + dy * dy < (reach * reach)[:, None]
    hit = torch.zeros_like(close)
    behind, ahead, front = (torch.zeros_like(close) for _ in range(3))
    impact = torch.zeros_like(dx)
    at = close.nonzero(as_tuple=True)
    if at[0].numel():
        mine, theirs = at[:3], (at[0], at[2], at[3])
        cos, sin, speed = middle[2][mine], middle[3][mine], speed_mps[mine]
        cos_b, sin_b = others.cos[theirs], others.sin[theirs]
        half_b = (half_l[theirs], half_w[theirs])
        dx, dy = dx[at], dy[at]
        half = (VEHICLE.length_m / 2.0, VEHICLE.width_m / 2.0)
        hit[at] = _touch(dx, dy, cos, sin, half, cos_b, sin_b, half_b)
        bumper_x, bumper_y = dx - cos * half[0], dy - sin * half[0]
        front[at] = _touch(bumper_x, bumper_y, cos, sin, (0.0, half[1]), cos_b, sin_b, half_b)
        back = VEHICLE.centre_m if moved_m is None else moved_m[mine] + VEHICLE.centre_m
        rear_x, rear_y = dx + cos * back, dy + sin * back
        along = rear_x * cos + rear_y * sin
        limit = torch.sqrt(rear_x * rear_x + rear_y * rear_y) * _COS_30
        ahead[at], behind[at] = along > limit, along < -limit
        other = others.speed_mps[theirs]
        vx, vy = cos * speed - cos_b * other, sin * speed - sin_b * other
        impact[at] = torch.sqrt(vx * vx + vy * vy)
    return _Meetings(hit=hit, behind=behind, ahead=ahead, front=front, impact_mps=impact)


def collisions(
    plans: Plans, others: Others, straddles: Tensor, step_s: float = STEP_S
) -> tuple[Tensor, Tensor, Tensor]:
    """NC, the relative speed at the first collision at fault, and its time (inf: none), [n, p].

    As NAVSIM: of a contact the ego is at fault if it moves and the other stands; or if the front
    bumper touches and the other is not behind; or if the other touches the side and the ego
    straddles lanes (or is off the road, which `straddles` includes). Contacts without fault, and
    all that there are at the first instant, end that other's part. 0 for road users, 0.5 for
    things.
    """
    meets = _meetings(plans.middle(), plans.speed_mps, others)
    moving = (plans.speed_mps > STOPPED_MPS)[..., None]
    stands = (others.speed_mps <= STOPPED_MPS)[:, None]
    fault = moving & (stands | (~meets.behind & (meets.front | straddles[..., None])))
    worth = torch.where(others.kind >= Kind.CAR, 0.0, 0.5)[:, None]
    score = torch.ones_like(plans.x_m[..., 0])
    impact, first_s = torch.zeros_like(score), torch.full_like(score, math.inf)
    open_ = ~meets.hit[:, :, 0]
    for i in range(1, plans.x_m.shape[2]):
        hit = meets.hit[:, :, i] & open_
        guilty = hit & fault[:, :, i]
        open_ = open_ & ~(hit & ~guilty)
        score = torch.minimum(score, torch.where(guilty, worth[:, :, i], 1.0).amin(2))
        new = guilty.any(2) & torch.isinf(first_s)
        speed = torch.where(guilty, meets.impact_mps[:, :, i], 0.0).amax(2)
        impact = torch.where(new, speed, impact)
        first_s = torch.where(new, i * step_s, first_s)
    return score, impact, first_s


def time_to_collision(
    plans: Plans, others: Others, wary: Tensor, every: int = 1, step_s: float = STEP_S
) -> Tensor:
    """TTC [n, p]: 0 if the ego, going on straight at its speed for 0, 0.3, 0.6 or 0.9 s, would meet
    somebody ahead of it; where it is `wary` ([n, p, t]: straddles lanes, off the road, in a
    junction) anybody who is not behind counts.

    As NAVSIM, instants up to 3.1 s are asked (so that 0.9 s more are known), not those below
    5 mm/s; somebody who would be met but does not count is left out from then on. `every`: ask at
    each so manieth instant alone.
    """
    last = plans.x_m.shape[2] - 1 - LOOK_AHEAD[-1]
    asked = list(range(0, last + 1, every))
    then = others.at([i + k for i in asked for k in LOOK_AHEAD])
    x, y, cos, sin = (v[..., asked] for v in plans.middle())
    speed = plans.speed_mps[..., asked]
    after_s = torch.tensor(LOOK_AHEAD, dtype=torch.float32, device=x.device) * step_s
    moved = speed[..., None] * after_s
    on_x, on_y = x[..., None] + cos[..., None] * moved, y[..., None] + sin[..., None] * moved
    cos, sin, speed, cautious = (
        v[..., None].expand_as(moved).flatten(2) for v in (cos, sin, speed, wary[..., asked])
    )
    middle = (on_x.flatten(2), on_y.flatten(2), cos, sin)
    meets = _meetings(middle, speed, then, moved.flatten(2))
    counts = meets.ahead | (cautious[..., None] & ~meets.behind)
    hit = meets.hit & (speed >= ROLLING_MPS)[..., None]
    bad = torch.zeros_like(hit[:, :, 0])
    open_ = ~meets.hit[:, :, 0]
    for i in range(hit.shape[2]):
        now = hit[:, :, i] & open_
        bad = bad | (now & counts[:, :, i])
        open_ = open_ & ~(now & ~counts[:, :, i])
    return (~bad.any(2)).to(torch.float32)


def over_stop_line(s_m: Tensor, d_m: Tensor, stop_m: Tensor, red: Tensor) -> Tensor:
    """TLC [n, p]: 0 if at some instant the body is over a stop line of the route while it is red.

    NAVSIM forbids the whole way through the junction while that is red; here it is the line alone,
    across the road's width (6 m to either side of the route), so that who entered on green may
    leave. The body counts as straight along the route.
    """
    half = VEHICLE.length_m / 2.0
    # only the next lines matter, from the one that the rearmost instant may be over
    passed = (stop_m < (s_m.amin((1, 2)) - half)[:, None]).sum(1, keepdim=True)
    index = passed + torch.arange(_LINES, device=s_m.device)
    index = index.clamp(max=stop_m.shape[1] - 1)
    lines = stop_m.gather(1, index)
    red = red.gather(1, index[..., None].expand(-1, -1, red.shape[2]))
    bad = torch.zeros_like(s_m[..., 0], dtype=torch.bool)
    near = d_m.abs() < _BESIDE_M
    for k in range(_LINES):
        line = lines[:, k, None, None]
        over = near & (s_m - half < line) & (s_m + half > line)
        bad = bad | (over & red[:, None, k]).any(2)
    return (~bad).to(torch.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What the judge is told about the time before the plans."""

    speed_mps: Tensor
    yaw_rad: Tensor
    """float32 [n, h]: as driven, each instant up to the one before now."""
    plan_speed_mps: Tensor | None = None
    plan_yaw_rad: Tensor | None = None
    """float32 [n, t]: the plan made `shift` instants ago."""
    shift: int = 5
    """NAVSIM compares plans made half a second apart."""


def judged(
    plans: Plans,
    others: Others,
    footing: Footing,
    *,
    before: Before | None = None,
    expert: tuple[Tensor, Tensor] | None = None,
    every: int = 1,
    step_s: float = STEP_S,
) -> Terms:
    """All terms of plans, from what is under them and who is around.

    Args:
        plans: poses of the ego, t instants `step_s` apart.
        others: the road users and things over the same instants.
        footing: at each `every`-th instant; `s_m` and `d_m` at all.
        before: for HC and EC; without it HC is C, and EC is 1.
        expert: its way (m) and multiplier, [n], for EP; see `progress_share`.
        every: boxes and places are asked for at each so manieth instant, time to collision at each
            (2 every - 1)-th: 1 for scores.
        step_s: the time between instants.
    """
    some, wide = plans.at(every), step_s * every
    seen = others.at(list(range(0, plans.x_m.shape[2], every)))
    moves = motion(plans.speed_mps, plans.yaw_rad, step_s)
    off_road = footing.edge_m < -EDGE_STEP_M
    wary = footing.straddles | off_road
    nc, impact, collision_s = collisions(some, seen, wary, wide)
    x, y, _, _ = some.middle()
    dx, dy = x[..., 1:] - x[..., :-1], y[..., 1:] - y[..., :-1]
    way = torch.cat([torch.zeros_like(x[..., :1]), torch.sqrt(dx * dx + dy * dy)], -1)
    dac = (~off_road.any(2)).to(torch.float32)
    ddc = keeps_direction(way, footing.off_route & ~footing.junction, wide)
    rows = slice(None, None, every)
    tlc = over_stop_line(
        footing.s_m[..., rows], footing.d_m[..., rows], footing.stop_m, footing.red
    )
    careful = _each(wary | footing.junction, plans, every)
    comfort = comfortable(moves)
    progress = progress_m(footing.s_m, step_s)
    hc, ec = _with_past(plans, moves, comfort, before, step_s)
    return Terms(
        nc=nc, dac=dac, ddc=ddc, tlc=tlc, c=comfort, hc=hc, ec=ec,
        ep=progress_share(progress, nc * dac * ddc * tlc, expert),
        ttc=time_to_collision(plans, others, careful, 2 * every - 1, step_s),
        lk=keeps_lane(footing.d_m[..., rows], footing.junction, wide),
        progress_m=progress, impact_mps=impact, collision_s=collision_s,
    )  # fmt: skip


def _each(flags: Tensor, plans: Plans, every: int) -> Tensor:
    """Flags of each `every`-th instant, held over those between."""
    return flags.repeat_interleave(every, 2)[..., : plans.x_m.shape[2]]


def _with_past(
    plans: Plans, moves: Motion, comfort: Tensor, before: Before | None, step_s: float
) -> tuple[Tensor, Tensor]:
    """HC and EC."""
    if before is None:
        return comfort, torch.ones_like(comfort)
    shape = (*plans.x_m.shape[:2], before.speed_mps.shape[1])
    speed = torch.cat([before.speed_mps[:, None].expand(shape), plans.speed_mps], 2)
    yaw = torch.cat([before.yaw_rad[:, None].expand(shape), plans.yaw_rad], 2)
    hc = comfortable(motion(speed, yaw, step_s))
    if before.plan_speed_mps is None or before.plan_yaw_rad is None:
        return hc, torch.ones_like(hc)
    old = motion(before.plan_speed_mps[:, None], before.plan_yaw_rad[:, None], step_s)
    return hc, alike(moves, old, before.shift)


class Judge:
    """Looks up what is under plans, and judges them."""

    def __init__(self, towns: Towns) -> None:
        self._towns = towns

    def terms(
        self,
        course: Course,
        plans: Plans,
        others: Others,
        time_s: Tensor,
        s_m: Tensor,
        *,
        before: Before | None = None,
        expert: tuple[Tensor, Tensor] | None = None,
    ) -> Terms:
        """The terms of plans on their routes.

        Args:
            course: the routes.
            plans: [n, p, t].
            others: what they do meanwhile, [n, t, a].
            time_s: float32 [n], the time of the first instant, for the lights.
            s_m: float32 [n], where on the route the ego is, about.
            before: for HC and EC.
            expert: for EP.
        """
        x, y, _, _ = plans.middle()
        along = course.follow(x, y, s_m)
        red = self.red(course, time_s, plans.x_m.shape[2])
        footing = self.footing(course, plans, along, red)
        return judged(plans, others, footing, before=before, expert=expert)

    def red(self, course: Course, time_s: Tensor, instants: int, step_s: float = STEP_S) -> Tensor:
        """Whether the lights of the course's stop lines are red: bool [n, k, t]."""
        steps = torch.arange(instants, device=time_s.device, dtype=torch.float32) * step_s
        times = (time_s[:, None] + steps).view(-1)
        state = self._towns.signal_state(course.town.repeat_interleave(instants), times)
        state = state.view(len(time_s), instants, -1)
        pick = course.stop_signal[:, None].expand(-1, instants, -1)
        return (state.gather(2, pick) == 0).transpose(1, 2)

    def footing(
        self,
        course: Course,
        plans: Plans,
        along: tuple[Tensor, Tensor],
        red: Tensor,
        every: int = 1,
    ) -> Footing:
        """What is under each `every`-th instant of plans, whose middles' s and d are `along`."""
        x, y, cos, sin = plans.at(every).middle()
        long, wide = VEHICLE.length_m / 2.0, VEHICLE.width_m / 2.0
        signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1], [0, 0]], device=x.device)
        ahead, aside = (signs[:, 0] * long), (signs[:, 1] * wide)
        px = x[..., None] + cos[..., None] * ahead - sin[..., None] * aside
        py = y[..., None] + sin[..., None] * ahead + cos[..., None] * aside
        flat_x, flat_y = px.flatten(1), py.flatten(1)
        edge = self._towns.edge_m(course.town, flat_x, flat_y).view(px.shape)[..., :4].amin(-1)
        lane = self._towns.lane_at(course.town, flat_x, flat_y)
        centre = lane.view(px.shape)[..., 4]
        none = course.on_route.shape[1] - 1
        index = torch.where(centre < 0, none, centre).flatten(1)
        off = ~course.on_route.gather(1, index).view(centre.shape)
        table = self._towns.junction[course.town]
        junction = table.gather(1, centre.clamp(min=0).flatten(1)).view(centre.shape) & (
            centre >= 0
        )
        corner = lane.view(px.shape)
        left, right = corner[..., (0, 2)], corner[..., (1, 3)]
        split = ((left >= 0) & (right >= 0) & (left != right)).any(-1)
        straddles = torch.where(junction, along[1][..., ::every].abs() > 1.0, split)
        return Footing(
            edge_m=edge, off_route=off, junction=junction, straddles=straddles,
            s_m=along[0], d_m=along[1], stop_m=course.stop_m + LINE_PAST_M, red=red[..., ::every],
        )  # fmt: skip
