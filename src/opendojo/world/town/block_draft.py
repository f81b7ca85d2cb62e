"""A town on the drawing board: blocks add to it, `finish` turns it into a `Town`.

Blocks build for traffic that keeps to the right. A town for the left is the mirror image: y, yaw
and curvature change their signs, left and right neighbours change places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from opendojo.world.town.block_curves import (
    Curve,
    Floats,
    offset,
    outline,
    reverse,
    stationed,
    straight,
    thin,
)
from opendojo.world.town.block_sweep import overlaps
from opendojo.world.town.graph import (
    Area,
    AreaKind,
    Conflict,
    Lane,
    LaneKind,
    Line,
    Signal,
    Static,
    Town,
    Walk,
)

__all__ = ["Draft", "Track", "mirrored"]

_BEYOND_M = 12.0
_LAYERS: tuple[AreaKind, ...] = ("sidewalk", "island", "road", "crossing", "stop")
"""From the lowest to the topmost."""


@dataclass(slots=True, kw_only=True)
class Track:
    """A lane being drafted."""

    curve: Curve
    width_m: float
    limit_mps: float
    kind: LaneKind = "road"
    rank: tuple[int, ...] = ()
    """Who goes first in conflicts: the lower; at equal rank the lane drafted earlier."""
    next: list[int] = field(default_factory=list)
    left: int = -1
    right: int = -1
    signal: int = -1
    stop_m: float = math.inf


class Draft:
    """Collects tracks, paint, ground, signals and what stands."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.groups: list[list[int]] = []
        self.lines: list[Line] = []
        self.areas: dict[AreaKind, list[Area]] = {kind: [] for kind in _LAYERS}
        self.signals: list[Signal] = []
        self.walks: list[Walk] = []
        self.statics: list[Static] = []
        self.starts: list[int] = []

    def lane(self, track: Track) -> int:
        """Add a track; its index."""
        self.tracks.append(track)
        return len(self.tracks) - 1

    def group(self, lanes: Iterable[int]) -> None:
        """Lanes among which conflicts are to be looked for."""
        self.groups.append(list(lanes))

    def beside(self, lanes: Sequence[int]) -> None:
        """Lanes from left to right between which traffic may change."""
        for left, right in pairwise(lanes):
            self.tracks[left].right, self.tracks[right].left = right, left

    def polygon(self, kind: AreaKind, x_m: Floats, y_m: Floats) -> None:
        """Add an area."""
        self.areas[kind].append(Area(kind=kind, x_m=np.asarray(x_m), y_m=np.asarray(y_m)))

    def between(self, kind: AreaKind, left: Curve, right: Curve) -> None:
        """Add the area between two edges that run the same way."""
        self.polygon(kind, *outline(left, right))

    def run_on(self, curve: Curve, left_m: float, right_m: tuple[float, float]) -> None:
        """Road beyond both ends of a curve at the town's edges, so that bumpers stay on it.

        From one offset (to the left of the curve) to others at its start and its end.
        """
        before = reverse(straight(reverse(curve).end, _BEYOND_M))
        for part, right in ((before, right_m[0]), (straight(curve.end, _BEYOND_M), right_m[1])):
            self.between("road", offset(part, left_m), offset(part, right))

    def line(
        self,
        curve: Curve,
        *,
        width_m: float = 0.15,
        yellow: bool = False,
        dash_m: float = 0.0,
        gap_m: float = 0.0,
    ) -> None:
        """Paint along a curve."""
        x, y = thin(curve)
        self.lines.append(
            Line(x_m=x, y_m=y, width_m=width_m, yellow=yellow, dash_m=dash_m, gap_m=gap_m)
        )

    def finish(self, name: str, *, left_hand: bool) -> Town:
        """The town, mirrored for traffic that keeps to the left."""
        conflicts = self._conflicts()
        lanes = tuple(_lane(track, conflicts.get(i, ())) for i, track in enumerate(self.tracks))
        town = Town(
            name=name,
            left_hand=False,
            lanes=lanes,
            lines=tuple(self.lines),
            areas=tuple(area for kind in _LAYERS for area in self.areas[kind]),
            signals=tuple(self.signals),
            walks=tuple(self.walks),
            statics=tuple(self.statics),
            starts=tuple(self.starts),
        )
        return mirrored(town) if left_hand else town

    def _conflicts(self) -> dict[int, tuple[Conflict, ...]]:
        before: dict[int, set[int]] = {}
        for i, track in enumerate(self.tracks):
            for follower in track.next:
                before.setdefault(follower, set()).add(i)
        found: dict[int, list[Conflict]] = {}
        for group in self.groups:
            spans = overlaps([self.tracks[i].curve for i in group])
            for (a, b), (from_m, to_m) in sorted(spans.items()):
                one, other = group[a], group[b]
                if other in self.tracks[one].next or one in self.tracks[other].next:
                    continue
                fork = before.get(one, set()) & before.get(other, set())
                ranks = (self.tracks[one].rank, one), (self.tracks[other].rank, other)
                found.setdefault(one, []).append(
                    Conflict(
                        lane=other,
                        from_m=from_m,
                        to_m=to_m,
                        other_from_m=spans[b, a][0],
                        other_to_m=spans[b, a][1],
                        yields=not fork and ranks[0] > ranks[1],
                    )
                )
        return {lane: tuple(entries) for lane, entries in found.items()}


def _lane(track: Track, conflicts: tuple[Conflict, ...]) -> Lane:
    x, y, yaw, curvature, length = stationed(track.curve)
    stop_m = track.stop_m
    waits = [entry.from_m for entry in conflicts if entry.yields]
    if waits and track.kind in ("junction", "roundabout") and math.isinf(stop_m):
        stop_m = max(0.0, min(waits) - 0.5)
    return Lane(
        x_m=x,
        y_m=y,
        yaw_rad=yaw,
        curvature=curvature,
        length_m=length,
        width_m=track.width_m,
        limit_mps=track.limit_mps,
        kind=track.kind,
        next=tuple(track.next),
        left=track.left,
        right=track.right,
        signal=track.signal,
        stop_m=stop_m,
        conflicts=conflicts,
    )


def mirrored(town: Town) -> Town:
    """The mirror image in the x axis, for traffic of the other hand."""
    return replace(
        town,
        left_hand=not town.left_hand,
        lanes=tuple(
            replace(
                lane,
                y_m=-lane.y_m,
                yaw_rad=-lane.yaw_rad,
                curvature=-lane.curvature,
                left=lane.right,
                right=lane.left,
            )
            for lane in town.lanes
        ),
        lines=tuple(replace(line, y_m=-line.y_m) for line in town.lines),
        areas=tuple(
            replace(area, x_m=area.x_m[::-1].copy(), y_m=-area.y_m[::-1]) for area in town.areas
        ),
        signals=tuple(
            replace(signal, heads=tuple((x, -y, -yaw) for x, y, yaw in signal.heads))
            for signal in town.signals
        ),
        walks=tuple(replace(walk, y_m=-walk.y_m, yaw_rad=-walk.yaw_rad) for walk in town.walks),
        statics=tuple(replace(item, y_m=-item.y_m, yaw_rad=-item.yaw_rad) for item in town.statics),
    )
