"""Ways the ego might drive for the next four seconds, rolled out through its own bicycle.

Each proposal keeps an offset from the route's middle line and a share of its pace, and slows by the
Intelligent Driver Model for whoever is in its strip, with the values of PDM-Closed (Dauner et al.
2023): gap 1.0 m, headway 1.5 s, a 1.5, b 3.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opendojo.world.body import VEHICLE
from opendojo.world.draw.scene import Kind
from opendojo.world.exact import sin_cos, wrapped
from opendojo.world.giveway import FRONT_M
from opendojo.world.judge import Plans
from opendojo.world.judge_terms import INSTANTS, STEP_S

if TYPE_CHECKING:
    from opendojo.world.course import Course
    from opendojo.world.forecast import Others
    from opendojo.world.vehicle import Ego

__all__ = ["EVERY", "OFFSETS_M", "SHARES", "Obstacles", "Rolled", "roll"]

SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)
"""Of the pace; the first are preferred among equals."""
OFFSETS_M = (0.0, -1.0, 1.0)
"""From the middle line, positive to the left."""
EVERY = 2
"""Others are looked at in each so manieth instant."""

_GAP_M, _HEADWAY_S, _ACCEL_MPS2, _BRAKE_MPS2 = 1.0, 1.5, 1.5, 3.0
_EASE_MPS2 = 2.0
"""Hardest braking down to a lower pace."""
_HARDEST_MPS2 = 6.0
_MARGIN_M = 0.3
"""Room to either side of the strip."""
_SHORT_M = 0.5
"""A halt is aimed at so far before a line, the standstill gap being 1 m."""
_FORESEE_S = 2.0
"""People on foot stop the ego that long before they enter its strip."""
_SHARE = 1.0 - math.exp(-STEP_S / VEHICLE.lag_s)
_LAG_S = VEHICLE.lag_s + 0.5 * STEP_S
_COARSE_M, _BACK_M, _REACH_M = 5, 15, 90
"""Steps, start and end of the search for others' feet, from the ego."""


_Row = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacles:
    """Others in the route's own coordinates, [n, t, a]; only those in some strip's way."""

    begin_m: Tensor
    """s of their near ends."""
    middle_m: Tensor
    low_m: Tensor
    high_m: Tensor
    """d of their right and left sides; low > high where the slot does not matter."""
    along_mps: Tensor
    """Their speed along the route."""

    @classmethod
    def of(cls, course: Course, others: Others, s_m: Tensor) -> Obstacles:
        """Where `others` are on the routes, near s [n]."""
        n, instants, slots = others.x_m.shape
        x, y = others.x_m.reshape(n, -1), others.y_m.reshape(n, -1)
        steps = torch.arange(-_BACK_M, _REACH_M + 1, _COARSE_M, device=x.device)
        coarse = s_m[:, None] + steps
        marks = course.at(coarse)
        dx, dy = x[..., None] - marks.x_m[:, None], y[..., None] - marks.y_m[:, None]
        far = dx * dx + dy * dy
        least = far.amin(2, keepdim=True)
        guess = torch.where(far == least, coarse[:, None], torch.inf).amin(2)
        s, d, here = course.foot(x, y, guess)
        shape = (n, instants, slots)
        s, d, cos_r, sin_r = (v.view(shape) for v in (s, d, here.cos, here.sin))
        cos = others.cos * cos_r + others.sin * sin_r
        sin = others.sin * cos_r - others.cos * sin_r
        half_l, half_w = others.length_m * 0.5, others.width_m * 0.5
        along, across = (
            cos.abs() * half_l + sin.abs() * half_w,
            sin.abs() * half_l + cos.abs() * half_w,
        )
        counts = others.mask & (d.abs() < 8.0)
        low, high = d - across, d + across
        low = torch.where(counts, low, torch.full_like(low, 1e6))
        high = torch.where(counts, high, torch.full_like(high, -1e6))
        on_foot = others.kind == Kind.PEDESTRIAN
        low, high = _foreseen(low, high, on_foot)
        return cls(
            begin_m=s - along, middle_m=s, low_m=low, high_m=high,
            along_mps=others.speed_mps * cos,
        )  # fmt: skip

    def blocks(self, low_m: Tensor, high_m: Tensor) -> Tensor:
        """Who is in strips from low to high [n, o]: bool [n, o, t, a]."""
        low = (low_m - _MARGIN_M)[:, :, None, None]
        high = (high_m + _MARGIN_M)[:, :, None, None]
        return (self.high_m[:, None] > low) & (self.low_m[:, None] < high)


def _foreseen(low: Tensor, high: Tensor, on_foot: Tensor) -> tuple[Tensor, Tensor]:
    """Strips of people widened by those that they take up in the next two seconds."""
    ahead = round(_FORESEE_S / (EVERY * STEP_S))
    wide_low, wide_high = low, high
    for i in range(1, min(ahead, low.shape[1] - 1) + 1):
        later_low = torch.cat([low[:, i:], low[:, -1:].expand(-1, i, -1)], 1)
        later_high = torch.cat([high[:, i:], high[:, -1:].expand(-1, i, -1)], 1)
        wide_low = torch.minimum(wide_low, later_low)
        wide_high = torch.maximum(wide_high, later_high)
    return torch.where(on_foot, wide_low, low), torch.where(on_foot, wide_high, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """Proposals as they would be driven."""

    plans: Plans
    """[n, p, 41]."""
    s_m: Tensor
    d_m: Tensor
    """float32 [n, p, 41]: the body's middle on the route."""
    control: Tensor
    """float32 [n, p, 2]: the first steer and accel."""


def roll(
    ego: Ego,
    course: Course,
    s_m: Tensor,
    obstacles: Obstacles,
    hold_m: Tensor,
    proposals: list[tuple[float, float]],
    *,
    brake: bool = False,
    steps: int = INSTANTS - 1,
) -> Rolled:
    """Drive proposals (share of the pace, offset), each through the ego's own bicycle and delays.

    Args:
        ego: the vehicles [n].
        course: their routes.
        s_m: about where on them their rear axles are, [n].
        obstacles: who is around, at each `EVERY`-th instant.
        hold_m: where the bumper has to halt, [n].
        proposals: p of them.
        brake: the last proposal brakes as hard as it can.
        steps: how many steps of 0.1 s to drive; 0 gives the controls alone.
    """
    shape = (len(s_m), len(proposals))
    share, offset = torch.tensor(proposals, device=s_m.device).unbind(1)
    body = _Body(ego, shape)
    s, d, _ = course.foot(ego.x_m[:, None], ego.y_m[:, None], s_m[:, None])
    half = VEHICLE.width_m * 0.5
    low, high = torch.minimum(d, offset[None]) - half, torch.maximum(d, offset[None]) + half
    begin = torch.where(obstacles.blocks(low, high), obstacles.begin_m[:, None], torch.inf)
    s = s.expand(shape)
    rows: list[_Row] = []
    accel, first = torch.zeros(()), torch.zeros(())
    for i in range(steps + 1):
        steer, s, d, cos, sin, curvature, pace = _steering(body, course, s, offset)
        rows.append(_middle(body, s, d, cos, sin, curvature))
        if i % EVERY == 0:  # held for the steps between
            k = min(i // EVERY, begin.shape[2] - 1)
            gap, closing = _leader(obstacles, begin[:, :, k], k, s, body.speed)
            halt = (hold_m[:, None] + _SHORT_M) - (s + FRONT_M)
            closing = torch.where(halt < gap, body.speed, closing)
            accel = _idm(body.speed, pace * share, torch.minimum(gap, halt), closing)
            if brake:
                hard = torch.full_like(accel[:, :1], -_HARDEST_MPS2)
                accel = torch.cat([accel[:, :-1], hard], 1)
        if i == 0:
            first = torch.stack([steer, accel], -1)
        body.move(steer, accel)
        s = s + body.speed * (cos * STEP_S) / (1.0 - curvature * d).clamp(min=0.3)
    x, y, yaw, speed, s, d = (torch.stack(list(column), -1) for column in zip(*rows, strict=True))
    plans = Plans(x_m=x, y_m=y, yaw_rad=wrapped(yaw), speed_mps=speed)
    return Rolled(plans=plans, s_m=s, d_m=d, control=first)


class _Body:
    """The ego p times over, [n, p]: `vehicle.move_ego` in whole steps, with fewer operations.

    The heading is kept as a direction too, turned by short angles, and the tangent of the steering
    angle is a series; both agree with `move_ego` to some 1e-6.
    """

    def __init__(self, ego: Ego, shape: tuple[int, int]) -> None:
        self.x, self.y, self.yaw = (
            v[:, None].expand(shape) for v in (ego.x_m, ego.y_m, ego.yaw_rad)
        )
        self.sin, self.cos = (v[:, None].expand(shape) for v in sin_cos(ego.yaw_rad))
        self.speed = ego.speed_mps[:, None].expand(shape)
        self.steer = ego.steer_rad[:, None].expand(shape)
        self.accel = ego.accel_mps2[:, None].expand(shape)
        self.late_s = (ego.latency_s + _LAG_S)[:, None]
        self._most = (ego.grip * 9.81)[:, None]
        age = torch.ceil(ego.latency_s * (1.0 / STEP_S) - 1e-3)[:, None]
        depth = ego.queue.shape[1]
        self._older = [age >= i for i in range(1, depth + 1)]
        self._queue = [ego.queue[:, i, None].unbind(-1) for i in range(depth)]

    def move(self, steer: Tensor, accel: Tensor) -> None:
        """One step of 0.1 s."""
        self._queue.insert(0, (steer, accel))
        for is_older, (old_steer, old_accel) in zip(self._older, self._queue[1:], strict=True):
            steer = torch.where(is_older, old_steer, steer)
            accel = torch.where(is_older, old_accel, accel)
        self._queue.pop()
        accel = accel.clamp(VEHICLE.min_accel_mps2, VEHICLE.max_accel_mps2)
        steer = steer.clamp(-VEHICLE.max_steer_rad, VEHICLE.max_steer_rad)
        turn = VEHICLE.max_steer_rate * STEP_S
        self.steer = self.steer + ((steer - self.steer) * _SHARE).clamp(-turn, turn)
        self.accel = self.accel + (accel - self.accel) * _SHARE
        faster = (self.speed + self.accel * STEP_S).clamp(min=0.0)
        way = (self.speed + faster) * (0.5 * STEP_S)
        q = self.steer * self.steer
        series = 1 / 3 + q * (2 / 15 + q * (17 / 315 + q * (62 / 2835)))
        bend = self.steer * (1.0 + q * series) * (1.0 / VEHICLE.wheelbase_m)
        most = self._most / (self.speed * self.speed).clamp(min=1e-3)
        turned = way * torch.maximum(torch.minimum(bend, most), -most)
        h = turned * 0.5
        q = h * h
        sin, cos = h * (1.0 - q * (1 / 6 - q * (1 / 120))), 1.0 - q * (0.5 - q * (1 / 24))
        mid_cos, mid_sin = self.cos * cos - self.sin * sin, self.sin * cos + self.cos * sin
        self.x, self.y = self.x + mid_cos * way, self.y + mid_sin * way
        self.cos, self.sin = mid_cos * cos - mid_sin * sin, mid_sin * cos + mid_cos * sin
        self.yaw, self.speed = self.yaw + turned, faster


def _steering(body: _Body, course: Course, guess: Tensor, offset: Tensor) -> tuple[Tensor, ...]:
    """The steering towards the offset line; s and d of the rear axle, the cosine and sine of its
    heading to the route, the route's curvature there and the pace a little ahead.

    In arc length the bicycle obeys d' = sin(h), h' = k - curvature, so k = curvature - d / L^2
    - 2 sin(h) / L brings it back critically damped over the length L, which grows with the speed
    because the steering lags.
    """
    p = guess.shape[1]
    both = course.at(torch.cat([guess, guess + body.speed * body.late_s], 1))
    dx, dy = body.x - both.x_m[:, :p], body.y - both.y_m[:, :p]
    cos_r, sin_r, curvature = both.cos[:, :p], both.sin[:, :p], both.curvature[:, :p]
    along, d = dx * cos_r + dy * sin_r, dy * cos_r - dx * sin_r
    cos = body.cos * cos_r + body.sin * sin_r
    sin = body.sin * cos_r - body.cos * sin_r
    back = 1.0 / (3.0 + 0.45 * body.speed)
    off = (d - offset).clamp(-1.5, 1.5)
    bend = both.curvature[:, p:]
    bend = bend / (1.0 - bend * offset).clamp(min=0.3) - (off * back + 2.0 * sin) * back
    tangent = (VEHICLE.wheelbase_m * bend).clamp(-0.6, 0.6)
    square = tangent * tangent
    # the arctangent's series, within 0.2 degrees over the steering's range
    steer = tangent * (1.0 - square * (1 / 3 - square * (1 / 5 - square * (1 / 7))))
    steer = steer.clamp(-VEHICLE.max_steer_rad, VEHICLE.max_steer_rad)
    return steer, guess + along, d, cos, sin, curvature, both.pace_mps[:, p:]


def _middle(body: _Body, s: Tensor, d: Tensor, cos: Tensor, sin: Tensor, bend: Tensor) -> _Row:
    """The rear axle's x, y, heading, speed, and the s and d of the body's middle."""
    way = VEHICLE.centre_m
    middle_s = s + way * cos / (1.0 - bend * d).clamp(min=0.3)
    middle_d = d + way * sin - bend * (0.5 * way * way)
    return body.x, body.y, body.yaw, body.speed, middle_s, middle_d


def _leader(
    obstacles: Obstacles, begin: Tensor, k: int, s: Tensor, speed: Tensor
) -> tuple[Tensor, Tensor]:
    """The gap to the nearest obstacle ahead in the strip and the speed of closing, [n, p]."""
    ahead = obstacles.middle_m[:, None, k] > (s + VEHICLE.centre_m)[..., None]
    gap = torch.where(ahead, begin - (s + FRONT_M)[..., None], math.inf)
    least = gap.amin(2)
    along = obstacles.along_mps[:, None, k].expand_as(gap)
    # of equally near ones the slowest
    slow = torch.where(gap == least[..., None], along, math.inf).amin(2)
    closing = torch.where(torch.isinf(least), torch.zeros_like(speed), speed - slow)
    return least, closing


def _idm(speed: Tensor, pace: Tensor, gap: Tensor, closing: Tensor) -> Tensor:
    """Acceleration by the IDM (Treiber, Hennecke, Helbing 2000), delta 4."""
    ratio = speed / pace.clamp(min=0.5)
    ratio = ratio * ratio
    free = (_ACCEL_MPS2 * (1.0 - ratio * ratio)).clamp(min=-_EASE_MPS2)
    brake = closing * speed * (0.5 / math.sqrt(_ACCEL_MPS2 * _BRAKE_MPS2))
    near = (_GAP_M + (speed * _HEADWAY_S + brake).clamp(min=0.0)) / gap.clamp(min=0.1)
    return (free - _ACCEL_MPS2 * near * near).clamp(min=-_HARDEST_MPS2)
