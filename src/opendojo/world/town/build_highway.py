"""A highway: two carriageways with ramps off and on, merges and lane drops.

Everything on a carriageway is laid at offsets from the middle of the median, section by section:
lanes that go on, and one that opens (diverge), runs along, leaves as a ramp, comes back, closes
(merge).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from opendojo.world.town.block_curves import (
    Curve,
    Floats,
    chain,
    cut,
    ease,
    offset,
    reverse,
    swerve,
)
from opendojo.world.town.block_draft import Draft, Track
from opendojo.world.town.build_network import draw
from opendojo.world.town.spec import TownSpec

__all__ = ["lay_highway"]

_HARD_M = 2.2  # paved beyond the outermost lane
_SOFT_M = 0.6  # paved beside the innermost, and beside ramps
_RAMP_MPS = 15.0
_MEDIAN_M = (3.0, 7.0)
_DROP_SHARE = 0.6


@dataclass(slots=True, kw_only=True)
class _Way:
    """A carriageway in the making."""

    base: Curve
    """Middle of the median, in the direction of travel."""
    inner_m: float
    """From there to the innermost lane's left edge."""
    lane_m: float
    limit_mps: float
    count: int
    yellow: bool
    at_m: float = 0.0
    lanes: list[int] = field(default_factory=list)
    """The lanes of the last section laid, from the left."""
    edge: list[tuple[float, float]] = field(default_factory=list)
    """Starts and ends, by turns, of stretches: arc length, and the right edge in units of lanes."""
    dropped_m: float = math.inf
    """Where the rightmost lane ends."""

    def lane_at(self, lane: float) -> float:
        """Offset of a lane's middle to the left."""
        return -(self.inner_m + (lane + 0.5) * self.lane_m)

    def outermost(self, s_m: Floats) -> Floats:
        """Offset to the left of the outermost lane's right edge at arc lengths."""
        widest = np.zeros(len(s_m))
        for (from_m, first), (to_m, last) in zip(self.edge[::2], self.edge[1::2], strict=True):
            inside = (s_m >= from_m) & (s_m <= to_m)
            lane = first + (last - first) * ease((s_m - from_m) / (to_m - from_m))
            widest = np.where(inside, np.maximum(widest, lane), widest)
        return -(self.inner_m + (widest + 0.5) * self.lane_m)


def lay_highway(draft: Draft, spec: TownSpec, rng: np.random.Generator) -> None:
    """Both carriageways."""
    axis = _axis(rng, spec)
    median, lane_m = draw(rng, _MEDIAN_M), draw(rng, spec.lane_m)
    limit, yellow = draw(rng, spec.limit_mps), bool(rng.random() < spec.yellow)
    count = int(rng.integers(spec.ways[0], spec.ways[1] + 1))
    for base in (axis, reverse(axis)):
        way = _Way(
            base=base,
            inner_m=median / 2.0 + _SOFT_M,
            lane_m=lane_m,
            limit_mps=limit,
            count=count,
            yellow=yellow,
        )
        _carriageway(draft, way, spec, rng)


def _axis(rng: np.random.Generator, spec: TownSpec) -> Curve:
    """An S of two long bends between straights."""
    radius, ramp = draw(rng, spec.radius_m), 70.0
    side = 1.0 if rng.random() < 0.5 else -1.0
    parts = rng.uniform(0.6, 1.4, 3)
    rest = spec.length_m - 4.0 * ramp
    first, second, level = (float(p) for p in parts / parts.sum() * rest)
    bend = side / radius
    yaw = -bend * (first + ramp) / 2.0
    pieces = [
        (level / 2.0, 0.0, 0.0),
        (ramp, 0.0, bend),
        (first, bend, bend),
        (ramp, bend, 0.0),
        (ramp, 0.0, -bend),
        (second, -bend, -bend),
        (ramp, -bend, 0.0),
        (level / 2.0, 0.0, 0.0),
    ]
    return chain((0.0, 0.0, yaw), pieces)


def _carriageway(draft: Draft, way: _Way, spec: TownSpec, rng: np.random.Generator) -> None:
    """Off-ramp, on-ramp, and often a lane drop behind."""
    taper = draw(rng, spec.taper_m)
    starts = _section(draft, way, float(rng.uniform(50.0, 80.0)))
    draft.starts += starts
    slow = _open(draft, way, taper, float(rng.uniform(60.0, 80.0)))
    gap = float(rng.uniform(225.0, 250.0))
    ramp = _ramp(draft, way, slow, gap, draw(rng, spec.ramp_m))
    _section(draft, way, gap)
    _close(draft, way, ramp, float(rng.uniform(80.0, 100.0)), taper)
    if rng.random() < _DROP_SHARE and way.count > 2:
        _section(draft, way, 40.0)
        _drop(draft, way, taper)
    _section(draft, way, way.base.length_m - way.at_m)
    _ground(draft, way)


def _curve(way: _Way, length_m: float, from_lane: float, to_lane: float) -> Curve:
    """A stretch of the carriageway along a lane, or from a lane to another."""
    part = cut(way.base, way.at_m, way.at_m + length_m)
    low, high = way.lane_at(from_lane), way.lane_at(to_lane)
    if low == high:
        return offset(part, low)
    return swerve(part, low + (high - low) * ease(part.arc_m / length_m))


def _section(draft: Draft, way: _Way, length_m: float) -> list[int]:
    """Lanes straight on, with their paint; moves on by the length."""
    before, lanes = way.lanes, []
    for lane in range(way.count):
        track = Track(
            curve=_curve(way, length_m, lane, lane),
            width_m=way.lane_m,
            limit_mps=way.limit_mps,
            rank=(0,),
        )
        lanes.append(draft.lane(track))
        if before:
            draft.tracks[before[lane]].next.append(lanes[-1])
    draft.beside(lanes)
    way.edge += [(way.at_m, way.count - 0.5), (way.at_m + length_m, way.count - 0.5)]
    way.lanes = lanes
    way.at_m += length_m
    return lanes


def _beside(draft: Draft, way: _Way, length_m: float, from_lane: float, to_lane: float) -> int:
    """A lane on the right of the others, over a section not yet laid."""
    track = Track(
        curve=_curve(way, length_m, from_lane, to_lane),
        width_m=way.lane_m,
        limit_mps=way.limit_mps,
        kind="road" if from_lane == to_lane else "ramp",
        rank=(int(to_lane < from_lane),),
    )
    way.edge += [(way.at_m, from_lane + 0.5), (way.at_m + length_m, to_lane + 0.5)]
    return draft.lane(track)


def _open(draft: Draft, way: _Way, taper_m: float, length_m: float) -> int:
    """A lane opens on the right and runs along; returned is the latter."""
    last = way.lanes[-1]
    fork = _beside(draft, way, taper_m, way.count - 1, way.count)
    draft.tracks[last].next.append(fork)
    lanes = _section(draft, way, taper_m)
    draft.group([*lanes, fork])
    slow = _beside(draft, way, length_m, way.count, way.count)
    draft.line(
        _curve(way, length_m, way.count - 0.5, way.count - 0.5), width_m=0.25, dash_m=2.0, gap_m=4.0
    )
    draft.tracks[fork].next.append(slow)
    lanes = _section(draft, way, length_m)
    draft.beside([lanes[-1], slow])
    return slow


def _close(draft: Draft, way: _Way, ramp: int, length_m: float, taper_m: float) -> None:
    """A ramp comes in: it runs along, then merges into the rightmost lane."""
    fast = _beside(draft, way, length_m, way.count, way.count)
    draft.line(
        _curve(way, length_m, way.count - 0.5, way.count - 0.5), width_m=0.25, dash_m=2.0, gap_m=4.0
    )
    draft.tracks[ramp].next.append(fast)
    lanes = _section(draft, way, length_m)
    draft.tracks[fast].left = lanes[-1]
    draft.tracks[fast].stop_m = draft.tracks[fast].curve.length_m - 1.0
    merge = _beside(draft, way, taper_m, way.count, way.count - 1)
    draft.tracks[fast].next.append(merge)
    lanes = _section(draft, way, taper_m)
    draft.group([*lanes, merge])
    way.lanes = lanes
    _join(draft, way, merge)


def _drop(draft: Draft, way: _Way, taper_m: float) -> None:
    """The rightmost lane ends: it merges into the next one."""
    way.count -= 1
    way.dropped_m = way.at_m
    *others, last = way.lanes
    way.lanes = others
    merge = _beside(draft, way, taper_m, way.count, way.count - 1)
    draft.tracks[last].next.append(merge)
    draft.tracks[last].stop_m = draft.tracks[last].curve.length_m - 1.0
    # nobody changes into a lane that ends
    draft.tracks[others[-1]].right = -1
    lanes = _section(draft, way, taper_m)
    draft.group([*lanes, merge])
    _join(draft, way, merge)


def _join(draft: Draft, way: _Way, merge: int) -> None:
    """Let a merging lane lead on to what follows the rightmost one, laid at once."""
    _section(draft, way, 30.0)
    draft.tracks[merge].next.append(way.lanes[-1])


def _ramp(draft: Draft, way: _Way, slow: int, gap_m: float, away_m: float) -> int:
    """A road that leaves, runs apart and comes back."""
    curve, apart = _excursion(way, way.at_m, way.at_m + gap_m, gap_m, away_m)
    track = Track(
        curve=curve, width_m=way.lane_m, limit_mps=min(_RAMP_MPS, way.limit_mps), kind="ramp"
    )
    ramp = draft.lane(track)
    draft.tracks[slow].next.append(ramp)
    half = way.lane_m / 2.0
    # the ground reaches a little under the lanes before and behind
    wide, close = _excursion(way, way.at_m - 1.0, way.at_m + gap_m + 1.0, gap_m, away_m)
    shoulder = -half - _SOFT_M - (_HARD_M - _SOFT_M - 0.03) * (1.0 - close)
    draft.between("road", offset(wide, half + _SOFT_M), swerve(wide, shoulder))
    draft.line(offset(curve, -half), width_m=0.2)
    clear = curve.arc_m[away_m * apart > 0.3]
    line = cut(offset(curve, half), float(clear[0]), float(clear[-1]))
    draft.line(line, width_m=0.2, yellow=way.yellow)
    return ramp


def _excursion(
    way: _Way, from_m: float, to_m: float, gap_m: float, away_m: float
) -> tuple[Curve, Floats]:
    """A ramp between two arc lengths of its carriageway, and at each point how far it is away."""
    part = cut(way.base, from_m, to_m)
    s, swing = part.arc_m + from_m - way.at_m, 0.42 * gap_m
    apart = ease(s / swing) * ease((gap_m - s) / swing)
    return swerve(part, way.lane_at(way.count) - away_m * apart), apart


def _ground(draft: Draft, way: _Way) -> None:
    """Pavement from the median's edge to the hard shoulder, and the outer edge line."""
    outer = way.outermost(way.base.arc_m)
    left = offset(way.base, -(way.inner_m - _SOFT_M))
    draft.between("road", left, swerve(way.base, outer - _HARD_M))
    ends = float(outer[0]) - _HARD_M, float(outer[-1]) - _HARD_M
    draft.run_on(way.base, _SOFT_M - way.inner_m, ends)
    draft.line(offset(way.base, -way.inner_m), width_m=0.2, yellow=way.yellow)
    dropped = math.isfinite(way.dropped_m)
    for lane in range(1, way.count + int(dropped)):
        ends = dropped and lane == way.count
        part = cut(way.base, 0.0, way.dropped_m) if ends else way.base
        draft.line(offset(part, way.lane_at(lane - 0.5)), dash_m=4.0, gap_m=8.0)
    # the line starts anew where a ramp leaves or comes in
    breaks = np.flatnonzero(np.abs(np.diff(outer)) > 0.5) + 1
    for points in np.split(np.arange(len(outer)), breaks):
        part = cut(way.base, float(way.base.arc_m[points[0]]), float(way.base.arc_m[points[-1]]))
        draft.line(swerve(part, outer[points]), width_m=0.2)
