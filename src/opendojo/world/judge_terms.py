"""Rules of the judge that need no map: what becomes of numbers along a plan.

A plan is 41 instants, 0.1 s apart. The rules are those of NAVSIM v2's scorer (github.com/
autonomousvision/navsim, `pdm_scorer.py` and `pdm_comfort_metrics.py`; Dauner et al. 2024, Cao et
al. 2025), written anew for batches of tensors [n worlds, p plans, t instants]. The composite is the
`dojo score`. It is not comparable with EPDMS on NAVSIM: other scenes, other traffic, other maps,
and another rule where nobody moves (`progress_share`).

Everything is made of exactly rounded operations (see `exact`), because the planner's choice among
its proposals reaches the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opendojo.world.exact import wrapped

__all__ = [
    "EXPERT_STOOD_M",
    "INSTANTS",
    "STEP_S",
    "Motion",
    "Terms",
    "alike",
    "comfortable",
    "dojo_score",
    "keeps_direction",
    "keeps_lane",
    "motion",
    "progress_m",
    "progress_share",
    "slopes",
    "unwrapped",
]

INSTANTS = 41
"""Instants of a plan: now and 4 s ahead."""
STEP_S = 0.1
"""Time between instants."""

LON_ACCEL_MPS2 = (-4.05, 2.40)
LAT_ACCEL_MPS2 = 4.89
JERK_MPS3 = 8.37
LON_JERK_MPS3 = 4.13
YAW_RATE_RADPS = 0.95
YAW_ACCEL_RADPS2 = 1.93
"""Limits of comfort."""

ALIKE = (0.7, 0.5, 0.1, 0.1)
"""Limits of two successive plans' root mean square differences: acceleration (m/s2), jerk (m/s3),
yaw rate (rad/s), yaw acceleration (rad/s2)."""

EXPERT_STOOD_M = 5.0
"""Standing earns full progress only where the expert moved less than this."""

_OFF_CENTRE_M, _OFF_CENTRE_S = 0.5, 2.0
_DIRECTION_S, _DIRECTION_M = 1.0, (2.0, 6.0)
_FASTEST_GAIN_MPS2 = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Sub-scores of plans, float32 [n, p]; 1 is best."""

    nc: Tensor
    """No collision at fault: 1; with things 0.5; with road users 0."""
    dac: Tensor
    """Drivable area: 1 while all corners stay on the road, else 0."""
    ddc: Tensor
    """Driving direction: 1, 0.5, 0 by the way driven off the route's lanes."""
    tlc: Tensor
    """Traffic lights: 0 if the body is over a stop line while its light is red."""
    ep: Tensor
    """Progress along the route, as a share of the best's, 0 to 1."""
    ttc: Tensor
    """Time to collision: 0 if going straight on for up to 0.9 s would meet somebody."""
    lk: Tensor
    """Lane keeping: 0 after 2 s on end more than 0.5 m off the route's middle line."""
    c: Tensor
    """Comfort of the plan alone; not part of the composite, which has `hc`."""
    hc: Tensor
    """Comfort of the plan with what was driven before it."""
    ec: Tensor
    """Likeness with the plan before it."""
    progress_m: Tensor
    """Way along the route, at least 0."""
    impact_mps: Tensor
    """Relative speed at the first collision at fault; 0 without one."""
    collision_s: Tensor
    """Time of the first collision at fault; inf without one."""

    @property
    def multiplier(self) -> Tensor:
        """NC x DAC x DDC x TLC."""
        return self.nc * self.dac * self.ddc * self.tlc

    @property
    def score(self) -> Tensor:
        """The dojo score, 0 to 1."""
        return dojo_score(self)


def dojo_score(terms: Terms) -> Tensor:
    """The composite, [n, p]: NC DAC DDC TLC (5 EP + 5 TTC + 2 LK + 2 HC + 2 EC) / 16.

    The weights are those of NAVSIM's EPDMS, the numbers are not comparable with it.
    """
    weighted = 5.0 * terms.ep + 5.0 * terms.ttc + 2.0 * terms.lk + 2.0 * terms.hc + 2.0 * terms.ec
    return terms.multiplier * weighted * (1.0 / 16.0)


def progress_m(s_m: Tensor, step_s: float = STEP_S) -> Tensor:
    """Way gained along the route, [n, p], from the body's arc lengths [n, p, t]; at least 0.

    NAVSIM takes the last less the first. Here a step counts at most what the one before it did and
    what 10 m/s2 adds, so that a leap, of the car or of its foot on a route that meets itself, earns
    nothing. The first step counts in full up to 7 m (70 m/s at 10 Hz).
    """
    gain = _FASTEST_GAIN_MPS2 * step_s * step_s
    before = torch.full_like(s_m[..., 0], 70.0 * step_s)
    total = torch.zeros_like(before)
    for i in range(1, s_m.shape[-1]):
        before = torch.minimum(s_m[..., i] - s_m[..., i - 1], before.clamp(min=0.0) + gain)
        total = total + before
    return total.clamp(min=0.0)


def progress_share(
    progress: Tensor, multiplier: Tensor, expert: tuple[Tensor, Tensor] | None
) -> Tensor:
    """EP [n, p]: way gained over the best's, the best being max(way x multiplier).

    With an expert (its way and its multiplier, [n]) each plan is held to the better of itself and
    the expert, as NAVSIM holds one to PDM-Closed. Where that best is 5 m or less, NAVSIM gives
    everybody 1, and a driver that stands collects it; here EP = 0 then, unless the expert also
    moved less than 5 m. Without an expert the plans are held to the best among themselves.
    """
    earned = progress * multiplier
    if expert is None:
        best = earned.amax(1, keepdim=True)
        return (progress / best.clamp(min=0.1)).clamp(0.0, 1.0)
    expert_m, expert_multiplier = expert
    best = torch.maximum(earned, (expert_m * expert_multiplier)[:, None])
    share = (progress / best.clamp(min=EXPERT_STOOD_M)).clamp(0.0, 1.0)
    stood = (expert_m < EXPERT_STOOD_M).to(torch.float32)[:, None].expand_as(share)
    return torch.where(best > EXPERT_STOOD_M, share, stood)


def keeps_lane(d_m: Tensor, junction: Tensor, step_s: float = STEP_S) -> Tensor:
    """LK [n, p] from the body's offsets from the route's middle line and whether it is in a
    junction, [n, p, t]. Instants in junctions neither count nor break a run, as in NAVSIM.
    """
    most = math.ceil(_OFF_CENTRE_S / step_s - 1e-6)
    off = d_m.abs() > _OFF_CENTRE_M
    run = torch.zeros_like(d_m[..., 0])
    longest = run
    for i in range(d_m.shape[-1]):
        counted = torch.where(off[..., i], run + 1.0, torch.zeros_like(run))
        run = torch.where(junction[..., i], run, counted)
        longest = torch.maximum(longest, run)
    return (longest < most).to(torch.float32)


def keeps_direction(moved_m: Tensor, off_route: Tensor, step_s: float = STEP_S) -> Tensor:
    """DDC [n, p]: the most way made within 1 s while off the route's lanes: below 2 m 1, 6 m 0.5.

    `moved_m` [n, p, t]: way of the body's middle since the instant before, 0 at the first;
    `off_route` [n, p, t]: its middle is on none of the route's lanes, nor in a junction. NAVSIM's
    windows hold 11 steps of 0.1 s; these hold the 10 that make a second.
    """
    way = torch.where(off_route, moved_m, torch.zeros_like(moved_m))
    count = way.shape[-1]
    size = min(round(_DIRECTION_S / step_s), count)
    window = way[..., : count - size + 1]
    for i in range(1, size):
        window = window + way[..., i : count - size + 1 + i]
    most = window.amax(-1)
    return torch.where(most < _DIRECTION_M[0], 1.0, torch.where(most < _DIRECTION_M[1], 0.5, 0.0))


def unwrapped(yaw_rad: Tensor) -> Tensor:
    """Headings [..., t] without jumps by full turns."""
    turned = wrapped(yaw_rad[..., 1:] - yaw_rad[..., :-1])
    heading = [yaw_rad[..., 0]]
    for i in range(turned.shape[-1]):
        heading.append(heading[-1] + turned[..., i])
    return torch.stack(heading, -1)


def slopes(values: Tensor, step_s: float, window: int) -> Tensor:
    """Derivatives of `values` [..., t >= 3] by local quadratics (Savitzky and Golay 1964).

    As `evaluate.score.slopes`, for batches: least squares over `window` instants around each (fewer
    where t is smaller), one-sided at the ends.
    """
    count = values.shape[-1]
    window = min(window, count if count % 2 else count - 1)
    half = window // 2
    fit = np.linalg.pinv(np.vander(np.arange(-half, half + 1.0), 3)) / step_s
    inner = torch.zeros_like(values[..., half : count - half])
    for j in range(1, half + 1):
        pair = values[..., half + j : count - half + j] - values[..., half - j : count - half - j]
        inner = inner + pair * float(fit[1, half + j])
    at = np.arange(-half, 0)[:, None]
    rows = torch.tensor(2.0 * fit[0] * at + fit[1], dtype=values.dtype, device=values.device)
    # the far end is the near one, read backwards
    ends = torch.stack([values[..., :window], -values[..., count - window :].flip(-1)], -2)
    edge = torch.zeros_like(ends[..., :half])
    for j in range(window):
        edge = edge + ends[..., j : j + 1] * rows[:, j]
    return torch.cat([edge[..., 0, :], inner, edge[..., 1, :].flip(-1)], -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How plans move, smoothed: float32 [..., t]."""

    lon_mps2: Tensor
    lat_mps2: Tensor
    lon_mps3: Tensor
    lat_mps3: Tensor
    yaw_radps: Tensor
    yaw_radps2: Tensor


def motion(speed_mps: Tensor, yaw_rad: Tensor, step_s: float = STEP_S) -> Motion:
    """Accelerations, jerks and turning of plans [..., t] from their speed and heading.

    First derivatives over 7 instants, second ones over 15 more, as `evaluate.score.comfort_share`.
    NAVSIM smooths accelerations of its simulator by a quadratic instead; these are derived from the
    motion itself.
    """
    both = torch.stack([speed_mps, unwrapped(yaw_rad)])
    lon, yaw_rate = slopes(both, step_s, 7).unbind(0)
    lat = speed_mps * yaw_rate
    lon_jerk, lat_jerk, yaw_accel = slopes(torch.stack([lon, lat, yaw_rate]), step_s, 15).unbind(0)
    return Motion(
        lon_mps2=lon, lat_mps2=lat, lon_mps3=lon_jerk, lat_mps3=lat_jerk,
        yaw_radps=yaw_rate, yaw_radps2=yaw_accel,
    )  # fmt: skip


def comfortable(moves: Motion) -> Tensor:
    """C or HC, float32 [...]: all six limits hold at every instant."""
    jerk2 = moves.lon_mps3 * moves.lon_mps3 + moves.lat_mps3 * moves.lat_mps3
    good = (
        (moves.lon_mps2 >= LON_ACCEL_MPS2[0])
        & (moves.lon_mps2 <= LON_ACCEL_MPS2[1])
        & (moves.lat_mps2.abs() <= LAT_ACCEL_MPS2)
        & (jerk2 <= JERK_MPS3 * JERK_MPS3)
        & (moves.lon_mps3.abs() <= LON_JERK_MPS3)
        & (moves.yaw_radps.abs() <= YAW_RATE_RADPS)
        & (moves.yaw_radps2.abs() <= YAW_ACCEL_RADPS2)
    )
    return good.all(-1).to(torch.float32)


def alike(now: Motion, before: Motion, shift: int) -> Tensor:
    """EC, float32 [...]: the plan made `shift` instants before agrees with the one made now.

    The root mean squares over the shared instants of the differences in acceleration, jerk (both
    the lengths of their vectors), yaw rate and yaw acceleration are within `ALIKE`.
    """
    ways = [_features(now), _features(before)]
    shared = ways[0].shape[-1] - shift
    gap = ways[0][..., :shared] - ways[1][..., shift : shift + shared]
    square = gap * gap
    total = torch.zeros_like(square[..., 0])
    for i in range(shared):
        total = total + square[..., i]
    good = [total[i] <= limit * limit * shared for i, limit in enumerate(ALIKE)]
    return (good[0] & good[1] & good[2] & good[3]).to(torch.float32)


def _features(moves: Motion) -> Tensor:
    """What `alike` compares, [4, ..., t]."""
    accel = torch.sqrt(moves.lon_mps2 * moves.lon_mps2 + moves.lat_mps2 * moves.lat_mps2)
    jerk = torch.sqrt(moves.lon_mps3 * moves.lon_mps3 + moves.lat_mps3 * moves.lat_mps3)
    return torch.stack([accel, jerk, moves.yaw_radps, moves.yaw_radps2])
