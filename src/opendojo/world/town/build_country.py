"""A country road: a chain of straights, clothoids and arcs, one lane each way."""

from __future__ import annotations

import math

import numpy as np

from opendojo.world.town.block_curves import chain
from opendojo.world.town.block_draft import Draft
from opendojo.world.town.block_streets import Street, lay_street
from opendojo.world.town.build_network import draw
from opendojo.world.town.spec import TownSpec

__all__ = ["lay_country"]

_MAX_HEADING_RAD = math.radians(75.0)
"""The heading stays within this of the start's, so the road cannot meet itself."""
_RAMP_M = (12.0, 30.0)
_HEIGHT_M = 320.0


def lay_country(draft: Draft, spec: TownSpec, rng: np.random.Generator) -> None:
    """The road with its two lanes, which end at the edges of the town."""
    curve = chain((0.0, 0.0, 0.0), _pieces(rng, spec))
    if float(np.ptp(curve.y_m)) > _HEIGHT_M:
        raise ValueError("the road strays too far")
    street = Street(
        curve=curve,
        ways=1,
        lane_m=draw(rng, spec.lane_m),
        limit_mps=draw(rng, spec.limit_mps),
        sidewalk_m=0.0,
        yellow=bool(rng.random() < spec.yellow),
        edge_lines=True,
        gutter_m=float(rng.uniform(0.4, 0.9)),
    )
    lay_street(draft, street)
    draft.run_on(curve, street.half_m, (-street.half_m, -street.half_m))
    draft.starts = [*street.ahead, *street.back]


def _pieces(rng: np.random.Generator, spec: TownSpec) -> list[tuple[float, float, float]]:
    """Lengths and curvatures, `spec.length_m` in all, straight at both ends."""
    pieces = [(float(rng.uniform(20.0, 40.0)), 0.0, 0.0)]
    heading, side = 0.0, 1.0 if rng.random() < 0.5 else -1.0
    while (left := spec.length_m - sum(piece[0] for piece in pieces)) > 40.0:
        if rng.random() < 0.25 and len(pieces) > 1:
            pieces.append((min(float(rng.uniform(20.0, 60.0)), left), 0.0, 0.0))
            continue
        radius = draw(rng, spec.radius_m)
        ramp = draw(rng, _RAMP_M) * min(2.0, math.sqrt(radius / 60.0))
        arc = float(rng.uniform(0.3, 1.1)) * min(radius, 90.0)
        side = -side if rng.random() < 0.75 else side
        if abs(heading + side * (arc + ramp) / radius) > _MAX_HEADING_RAD:
            side = -side
        # towards the other side there is always room for some of it
        room = (_MAX_HEADING_RAD - side * heading) * radius - ramp
        arc = min(arc, room, left - 2.0 * ramp - 5.0)
        if arc < 5.0:
            pieces.append((min(20.0, left), 0.0, 0.0))
            continue
        bend = side / radius
        pieces += [(ramp, 0.0, bend), (arc, bend, bend), (ramp, bend, 0.0)]
        heading += side * (arc + ramp) / radius
    pieces.append((max(left, 1.0), 0.0, 0.0))
    return pieces
