"""T and X crossings: mouths, turning lanes, who goes first, lights, ground.

Arms are kept anticlockwise, so with traffic on the right the next arm is the one to the right of
those who come in. Of an X crossing two opposite arms are major, of a T the bar. Without lights the
minor arms give way; turning traffic gives way to what goes straight on, left turns to right turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from opendojo.world.town.block_curves import (
    Curve,
    connect,
    fillet_reach,
    stationed,
    straight,
    thin,
    wrapped,
)
from opendojo.world.town.block_draft import Draft, Track
from opendojo.world.town.block_streets import WALK_M, Arm
from opendojo.world.town.block_sweep import SWEEP_M
from opendojo.world.town.graph import Conflict, Walk
from opendojo.world.town.signals import cycle

__all__ = ["Junction", "Turn", "lay_junction", "plan_junction"]

Turn = Literal["left", "right", "straight"]

_ORDER: dict[Turn, int] = {"straight": 0, "right": 1, "left": 2}
_FOUR: tuple[Turn, ...] = ("straight", "right", "straight", "left")
_FLAT_RAD = math.radians(150.0)  # arms further apart make no corner
_POLE_M = 0.7  # from the road's edge to a light


@dataclass(slots=True, kw_only=True)
class Junction:
    """A crossing with its arms anticlockwise."""

    arms: list[Arm]
    phases: list[list[int]]
    """Arms that have green together; empty where there are no lights."""
    greens_s: list[float]

    def turn(self, source: int, target: int) -> Turn:
        """How one turns from an arm to another."""
        if len(self.arms) == 4:
            return _FOUR[(target - source) % 4]
        stem = _stem(self.arms)
        if stem not in (source, target):
            return "straight"
        return "right" if (target - source) % 3 == 1 else "left"


def _stem(arms: Sequence[Arm]) -> int:
    """Of three arms the one that the other two, most nearly in line, pass by."""
    straightness = [
        abs(wrapped(arms[(i + 2) % 3].yaw_rad - arms[(i + 1) % 3].yaw_rad)) for i in range(3)
    ]
    return int(np.argmax(straightness))


def plan_junction(
    arms: list[Arm],
    rng: np.random.Generator,
    *,
    turn_m: float,
    lit: bool,
    walks: float,
) -> Junction:
    """Settle mouths, right of way, lights and walks, before the streets are laid."""
    arms = sorted(arms, key=lambda arm: arm.yaw_rad % (2.0 * math.pi))
    for arm in arms:
        arm.mouth_m = arm.street.half_m + 2.0
    for i, arm in enumerate(arms):
        other = arms[(i + 1) % len(arms)]
        apart = (other.yaw_rad - arm.yaw_rad) % (2.0 * math.pi)
        if apart < _FLAT_RAD:
            near, beyond = _corner(apart, _outer(arm), _outer(other))
            reach = fillet_reach(math.pi - apart) * turn_m
            arm.mouth_m = max(arm.mouth_m, near + reach)
            other.mouth_m = max(other.mouth_m, beyond + reach)
    major = _major(arms, rng)
    for i, arm in enumerate(arms):
        arm.walk = arm.street.sidewalk_m > 0.0 and bool(rng.random() < walks)
        arm.yielding = not lit and i not in major
        arm.bar = lit or arm.yielding
    phases: list[list[int]] = []
    if lit:
        minor = [i for i in range(len(arms)) if i not in major]
        alone = rng.random() < 0.3
        phases = [[i] for i in range(len(arms))] if alone else [major, minor]
        if rng.random() < 0.5:
            phases = phases[::-1]
    greens = [
        float(rng.uniform(8.0, 12.0) if len(p) == 1 else rng.uniform(12.0, 20.0)) for p in phases
    ]
    return Junction(arms=arms, phases=phases, greens_s=greens)


def _outer(arm: Arm) -> float:
    """From an arm's middle line to its outermost lane's."""
    return arm.street.across_m(arm.street.ways - 1)


def _corner(apart_rad: float, first_m: float, second_m: float) -> tuple[float, float]:
    """Where a line to the left of a ray meets one to the right of the next ray, along each."""
    sine, cosine = math.sin(apart_rad), math.cos(apart_rad)
    return (second_m + first_m * cosine) / sine, (first_m + second_m * cosine) / sine


def _major(arms: Sequence[Arm], rng: np.random.Generator) -> list[int]:
    """The arms that go first: two in line."""
    if len(arms) == 3:
        stem = _stem(arms)
        return [i for i in range(3) if i != stem]
    sizes = [(arms[i].street.ways + arms[i + 2].street.ways) for i in range(2)]
    first = int(rng.integers(2))
    if sizes[0] != sizes[1]:
        first = 0 if sizes[0] > sizes[1] else 1
    return [first, first + 2]


def lay_junction(draft: Draft, junction: Junction) -> None:
    """Turning lanes, lights, walks and ground; the streets' lanes are there."""
    _lights(draft, junction)
    group = []
    for source, arm in enumerate(junction.arms):
        for target in range(len(junction.arms)):
            if target != source:
                group += _turns(draft, junction, source, target)
        for lane in arm.inward:
            draft.tracks[lane].signal = arm.signal
        if arm.walk:
            _people(draft, arm)
    draft.group(group)
    for kind in ("road", "sidewalk"):
        _ground(draft, junction, kind)


def _turns(draft: Draft, junction: Junction, source: int, target: int) -> list[int]:
    """The lanes from one arm to another."""
    arm, other = junction.arms[source], junction.arms[target]
    turn = junction.turn(source, target)
    into, out = arm.inward, other.outward
    if turn == "right":
        pairs = [(into[-1], out[-1])]
    elif turn == "left":
        pairs = [(into[0], out[0])]
    else:
        # counted from the outermost, so that a lane too many is one for turning left
        pairs = list(zip(into[::-1], out[::-1], strict=False))
    lanes = []
    for start, end in pairs:
        first, last = draft.tracks[start], draft.tracks[end]
        lane = draft.lane(
            Track(
                curve=connect(first.curve.end, last.curve.start),
                width_m=min(first.width_m, last.width_m),
                limit_mps=min(first.limit_mps, last.limit_mps),
                kind="junction",
                rank=(int(arm.yielding), _ORDER[turn]),
                next=[end],
            )
        )
        first.next.append(lane)
        lanes.append(lane)
    return lanes


def _lights(draft: Draft, junction: Junction) -> None:
    """One signal a phase; each arm has a head at its stop line and one across the junction."""
    if not junction.phases:
        return
    heads = []
    for number, phase in enumerate(junction.phases):
        for i in phase:
            junction.arms[i].signal = len(draft.signals) + number
        heads.append(tuple(head for i in phase for head in _heads(junction, i)))
    draft.signals += cycle(junction.greens_s, heads)


def _heads(junction: Junction, i: int) -> list[tuple[float, float, float]]:
    arm, street = junction.arms[i], junction.arms[i].street
    near = arm.pose(arm.mouth_m + arm.stop_m - 0.4, street.half_m + _POLE_M)
    if len(junction.arms) == 4 or _stem(junction.arms) != i:
        across = next(
            j for j in range(len(junction.arms)) if j != i and junction.turn(i, j) == "straight"
        )
        other = junction.arms[across]
        far = other.pose(other.mouth_m + 0.3, -(other.street.half_m + _POLE_M))
    else:
        bar = junction.arms[(i + 1) % 3]
        sine = abs(math.sin(bar.yaw_rad - arm.yaw_rad))
        far = arm.pose(-(bar.street.half_m + 2.0) / sine, street.across_m(0))
    return [near, (far[0], far[1], near[2])]


def _people(draft: Draft, arm: Arm) -> None:
    """A walk straight across an arm, a metre longer than the road is wide at either end."""
    half, at = arm.street.half_m + 1.0, arm.walk_m
    x, y, yaw = arm.pose(arm.mouth_m + at, -half)
    reach, margin = WALK_M / 2.0, SWEEP_M / 2.0 + 0.25
    entries = []
    for i, lane in enumerate((*arm.inward, *arm.outward)):
        comes = i < len(arm.inward)
        across = arm.street.across_m(i % len(arm.inward)) * (1.0 if comes else -1.0)
        s = draft.tracks[lane].curve.length_m - at if comes else at
        entries.append(
            Conflict(
                lane=lane,
                from_m=half + across - margin,
                to_m=half + across + margin,
                other_from_m=s - reach,
                other_to_m=s + reach,
                yields=False,
            )
        )
    curve = straight((x, y, yaw + math.pi / 2.0), 2.0 * half)
    px, py, heading, _, length = stationed(curve)
    draft.walks.append(
        Walk(
            x_m=px,
            y_m=py,
            yaw_rad=heading,
            length_m=length,
            width_m=WALK_M,
            signal=arm.signal,
            conflicts=tuple(entries),
        )
    )


def _ground(draft: Draft, junction: Junction, kind: Literal["road", "sidewalk"]) -> None:
    """The polygon through the mouths, its corners rounded."""
    arms = junction.arms
    wide = [arm.street.sidewalk_m if kind == "sidewalk" else 0.0 for arm in arms]
    if kind == "sidewalk" and not any(wide):
        return
    half = [arm.street.half_m + extra for arm, extra in zip(arms, wide, strict=True)]
    xs, ys = [], []
    for i, arm in enumerate(arms):
        j = (i + 1) % len(arms)
        other = arms[j]
        start = arm.pose(arm.mouth_m, half[i])
        end = other.pose(other.mouth_m, -half[j])
        apart = (other.yaw_rad - arm.yaw_rad) % (2.0 * math.pi)
        x, y = _kerb(start, end, apart, arm.mouth_m, other.mouth_m, half[i], half[j])
        right = arm.pose(arm.mouth_m, -half[i])
        xs += [[right[0]], x]
        ys += [[right[1]], y]
    draft.polygon(kind, np.concatenate(xs), np.concatenate(ys))


def _kerb(
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    apart: float,
    first_m: float,
    second_m: float,
    first_half: float,
    second_half: float,
) -> tuple[list[float], list[float]]:
    """Points of the edge from an arm's mouth to the next arm's."""
    if apart < _FLAT_RAD:
        near, beyond = _corner(apart, first_half, second_half)
        if near > first_m - 0.6 or beyond > second_m - 0.6:
            return [start[0], end[0]], [start[1], end[1]]
    curve: Curve = connect((start[0], start[1], start[2] + math.pi), end)
    x, y = thin(curve)
    return list(x), list(y)
