"""A roundabout: a ring of lanes, anticlockwise, whose entries give way to it.

Each arm's traffic leaves the ring a little before the arm's direction and joins it a little behind.
The approach lanes are prolonged along the entry's bend up to the give-way line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from opendojo.world.town.block_curves import (
    Curve,
    Pose,
    chain,
    connect,
    cut,
    fillet_reach,
    offset,
    thin,
)
from opendojo.world.town.block_draft import Draft, Track
from opendojo.world.town.block_streets import Arm

__all__ = ["Ring", "lay_ring", "plan_ring"]

_ENTRY_M = 9.0  # radius of the bend into the ring
_LEAD_M = 2.0
_STUB_M = 7.0  # of the entry, behind the give-way line
_LIMIT_MPS = 8.5
_HALF_M = 2.75  # half the ring's width
_TAB_RAD = 0.03


@dataclass(slots=True, kw_only=True)
class Ring:
    """A roundabout with its arms anticlockwise."""

    arms: list[Arm]
    x_m: float
    y_m: float
    radius_m: float
    spread_rad: list[float] = field(default_factory=list)
    """For each arm, the angle from its direction to where its traffic joins and leaves."""
    entries: list[Curve] = field(default_factory=list)
    exits: list[Curve] = field(default_factory=list)

    def pose(self, angle_rad: float) -> Pose:
        """A point of the ring, with its direction."""
        return (
            self.x_m + self.radius_m * math.cos(angle_rad),
            self.y_m + self.radius_m * math.sin(angle_rad),
            angle_rad + math.pi / 2.0,
        )


def _spread(radius_m: float, across_m: float) -> tuple[float, float]:
    """The least angle that leaves room for the entry's bend, and the arm's mouth for it."""
    angle = math.radians(18.0)
    while True:
        along = (radius_m * math.sin(angle) - across_m) / math.cos(angle)
        if along > _ENTRY_M * fillet_reach(math.pi / 2.0 - angle):
            corner = radius_m * math.cos(angle) + along * math.sin(angle)
            return angle, corner + along + _LEAD_M
        angle += math.radians(0.5)


def plan_ring(arms: list[Arm], x_m: float, y_m: float, radius_m: float) -> Ring:
    """Settle mouths, entries and exits, before the streets are laid. One lane a way."""
    arms = sorted(arms, key=lambda arm: arm.yaw_rad % (2.0 * math.pi))
    ring = Ring(arms=arms, x_m=x_m, y_m=y_m, radius_m=radius_m)
    for arm in arms:
        across = arm.street.across_m(0)
        angle, arm.mouth_m = _spread(radius_m, across)
        arm.yielding = True
        ring.spread_rad.append(angle)
        x, y, yaw = arm.pose(arm.mouth_m, across)
        entry = connect((x, y, yaw + math.pi), ring.pose(arm.yaw_rad + angle))
        leave = connect(ring.pose(arm.yaw_rad - angle), arm.pose(arm.mouth_m, -across))
        ring.entries.append(entry)
        ring.exits.append(leave)
        arm.tail = cut(entry, 0.0, entry.length_m - _STUB_M)
    return ring


def lay_ring(draft: Draft, ring: Ring) -> None:
    """Lanes and ground; the streets' lanes are there."""
    joins, leaves, stubs = [], [], []
    count = len(ring.arms)
    for i, arm in enumerate(ring.arms):
        angle, spread = arm.yaw_rad, ring.spread_rad[i]
        after = ring.arms[(i + 1) % count].yaw_rad - ring.spread_rad[(i + 1) % count]
        gap = (after - angle - spread) % (2.0 * math.pi)
        joins.append(_piece(draft, ring, angle - spread, 2.0 * spread))
        leaves.append(_piece(draft, ring, angle + spread, gap))
        approach = arm.inward[0]
        entry = ring.entries[i]
        stub = _lane(draft, cut(entry, arm.tail_m, entry.length_m), arm, rank=1)
        draft.tracks[approach].next.append(stub)
        draft.tracks[stub].next = [leaves[i]]
        stubs.append(stub)
        _bar(draft, draft.tracks[approach])
    group = [*joins, *leaves, *stubs]
    for i, arm in enumerate(ring.arms):
        out = _lane(draft, ring.exits[i], arm, rank=0)
        draft.tracks[out].next = [arm.outward[0]]
        draft.tracks[joins[i]].next = [leaves[i]]
        draft.tracks[leaves[i - 1]].next = [joins[i], out]
        group.append(out)
    draft.group(group)
    _ground(draft, ring)


def _piece(draft: Draft, ring: Ring, from_rad: float, turn_rad: float) -> int:
    bend = 1.0 / ring.radius_m
    curve = chain(ring.pose(from_rad), [(turn_rad * ring.radius_m, bend, bend)])
    track = Track(curve=curve, width_m=4.0, limit_mps=_LIMIT_MPS, kind="roundabout", rank=(0,))
    return draft.lane(track)


def _lane(draft: Draft, curve: Curve, arm: Arm, *, rank: int) -> int:
    track = Track(
        curve=curve,
        width_m=arm.street.lane_m,
        limit_mps=min(arm.street.limit_mps, _LIMIT_MPS),
        kind="roundabout",
        rank=(rank,),
    )
    return draft.lane(track)


def _bar(draft: Draft, approach: Track) -> None:
    """Teeth over the end of an approach."""
    x, y, yaw = approach.curve.end
    half, teeth = approach.width_m / 2.0, 4
    pitch = 2.0 * half / teeth
    for tooth in range(teeth):
        low = -half + (tooth + 0.2) * pitch
        corners = [(-0.5, low), (-0.1, low), (-0.1, low + 0.6 * pitch), (-0.5, low + 0.6 * pitch)]
        draft.polygon(
            "stop",
            np.array([x + a * math.cos(yaw) - b * math.sin(yaw) for a, b in corners]),
            np.array([y + a * math.sin(yaw) + b * math.cos(yaw) for a, b in corners]),
        )


def _ground(draft: Draft, ring: Ring) -> None:
    """The ring in sectors (it has a hole), the entries' and exits' strips, the islands."""
    inner, outer = ring.radius_m - _HALF_M, ring.radius_m + _HALF_M
    walk = max(arm.street.sidewalk_m for arm in ring.arms)
    if walk:
        _disc(draft, "sidewalk", ring, outer + walk)
    _disc(draft, "island", ring, inner + 0.3)
    sectors = 3
    for sector in range(sectors):
        low, high = (sector + np.array([0.0, 1.0])) * (2.0 * math.pi / sectors)
        angle = np.linspace(low, high, 40)
        # each reaches into its neighbours, a little narrower there
        far = np.concatenate([[low - _TAB_RAD], angle, [high + _TAB_RAD]])
        inset = np.zeros(len(far))
        inset[[0, -1]] = 0.05
        radius = np.concatenate([outer - inset, (inner + inset)[::-1]])
        turn = np.concatenate([far, far[::-1]])
        draft.polygon("road", ring.x_m + radius * np.cos(turn), ring.y_m + radius * np.sin(turn))
    circle = chain(
        (ring.x_m + inner + 0.4, ring.y_m, math.pi / 2.0),
        [(2.0 * math.pi * (inner + 0.4), 1.0 / (inner + 0.4), 1.0 / (inner + 0.4))],
    )
    draft.line(circle)
    for i, arm in enumerate(ring.arms):
        _flare(draft, ring, i, arm, walk)


def _flare(draft: Draft, ring: Ring, i: int, arm: Arm, walk: float) -> None:
    """Strips of an arm's entry and exit; what they leave between them is the splitter island."""
    street = arm.street
    wide, near = street.half_m - street.across_m(0), street.across_m(0)
    entry, leave = ring.entries[i], ring.exits[i]
    for curve in (entry, leave):
        left, right = offset(curve, near), offset(curve, -wide)
        draft.between("road", left, right)
        if walk:
            draft.between("sidewalk", left, offset(curve, -wide - walk))
    ex, ey = thin(offset(entry, near - 0.2))
    lx, ly = thin(offset(leave, near - 0.2))
    draft.polygon("island", np.concatenate([lx, ex]), np.concatenate([ly, ey]))


def _disc(draft: Draft, kind: str, ring: Ring, radius_m: float) -> None:
    angle = np.linspace(0.0, 2.0 * math.pi, 96, endpoint=False)
    draft.polygon(
        "island" if kind == "island" else "sidewalk",
        ring.x_m + radius_m * np.cos(angle),
        ring.y_m + radius_m * np.sin(angle),
    )
