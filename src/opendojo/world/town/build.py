"""Towns from seeds.

`build(seed, spec)` draws a plan (a grid, a wheel around a roundabout, a chain of bends, a highway),
lays its blocks, and sets up what stands beside the roads. A plan that cannot be built is drawn
anew; the outcome is a function of seed and spec alone.
"""

from __future__ import annotations

import zlib

import numpy as np

from opendojo.world.town.block_draft import Draft
from opendojo.world.town.build_country import lay_country
from opendojo.world.town.build_highway import lay_highway
from opendojo.world.town.build_network import grid_plan, lay_network, wheel_plan
from opendojo.world.town.build_statics import (
    Site,
    place_buildings,
    place_poles,
    place_trees,
    take_roads,
)
from opendojo.world.town.graph import Town
from opendojo.world.town.spec import HELD_OUT_SPECS, TRAINING_SPECS, TownSpec

__all__ = ["HELD_OUT_SPECS", "TRAINING_SPECS", "TownSpec", "build"]

_TRIES = 64


def build(seed: int, spec: TownSpec) -> Town:
    """The town of a seed; seeds are whole numbers from 0 to 2**63 - 1."""
    kind = zlib.crc32(spec.name.encode())
    for attempt in range(_TRIES):
        rng = np.random.Generator(np.random.Philox(key=[seed, kind * _TRIES + attempt]))
        left_hand = bool(rng.random() < spec.left_hand)
        draft = Draft()
        try:
            _lay(draft, spec, rng)
        except ValueError:
            continue
        _furnish(draft, spec, rng)
        return draft.finish(f"{spec.name}-{seed}", left_hand=left_hand)
    raise ValueError(f"{spec.name}: no plan fits in {_TRIES} tries; give it wider ranges")


def _lay(draft: Draft, spec: TownSpec, rng: np.random.Generator) -> None:
    if spec.kind == "country":
        lay_country(draft, spec, rng)
    elif spec.kind == "highway":
        lay_highway(draft, spec, rng)
    elif spec.kind == "roundabout":
        lay_network(draft, wheel_plan(rng, spec), spec, rng)
    else:
        lay_network(draft, grid_plan(rng, spec), spec, rng)


def _furnish(draft: Draft, spec: TownSpec, rng: np.random.Generator) -> None:
    """Buildings, trees and poles, on the right of the outermost lanes."""
    site = Site(draft)
    outer = [i for i, t in enumerate(draft.tracks) if t.right < 0 and t.kind in ("road", "ramp")]
    half = {i: draft.tracks[i].width_m / 2.0 for i in outer}
    streets = spec.kind in ("mixed", "urban")
    walk = spec.sidewalk_m[1] if streets else 0.0
    verge = {"country": 1.6, "highway": 3.4, "roundabout": 1.7}.get(spec.kind, walk + 0.9)
    take_roads(site, draft, verge - 0.4)
    if streets:
        lamps = [(i, half[i] + verge + 0.6) for i in outer]
        place_poles(draft, site, rng, lamps, 32.0, 6.0)
    elif spec.kind == "country":
        posts = [(i, half[i] + verge + 0.6) for i in outer]
        place_poles(draft, site, rng, posts, 50.0, 1.0)
    else:
        masts = [(i, half[i] + verge + 1.0) for i in outer if draft.tracks[i].kind == "road"]
        place_poles(draft, site, rng, masts, 45.0, 9.0)
    if spec.kind != "highway":
        share = 0.12 if spec.kind == "country" else 1.0
        plots = [(i, half[i] + verge + (1.5 if streets else 8.0)) for i in outer]
        if spec.kind == "country":
            spec = TownSpec(name=spec.name, kind=spec.kind, buildings=share)
        place_buildings(draft, site, rng, spec, plots)
    pitch = {"country": 11.0, "highway": 16.0, "roundabout": 12.0}.get(spec.kind, 17.0)
    rows = [(i, half[i] + verge + (0.8 if streets else 2.5)) for i in outer]
    place_trees(draft, site, rng, rows, pitch, 4.0 if streets else 25.0)
