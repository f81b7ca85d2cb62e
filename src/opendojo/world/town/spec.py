"""What kind of town is to be built: ranges from which a seed draws.

Held-out towns differ in the ranges themselves (radii, widths, angles, sizes, limits), not only in
the seeds, so that a driver judged on them meets shapes that training never showed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["HELD_OUT_SPECS", "TRAINING_SPECS", "Range", "TownKind", "TownSpec"]

Range = tuple[float, float]
"""Low and high end of a uniform draw."""

TownKind = Literal["country", "highway", "mixed", "roundabout", "urban"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TownSpec:
    """Ranges of a generator; each kind reads those that concern it."""

    name: str
    """First part of the names of its towns."""
    kind: TownKind
    left_hand: float = 0.3
    """Share of towns in which traffic keeps to the left."""
    yellow: float = 0.5
    """Share of towns with yellow centre lines."""
    lane_m: Range = (3.0, 3.4)
    """Width of a lane."""
    limit_mps: Range = (9.0, 14.0)
    """Speed limit."""
    radius_m: Range = (35.0, 120.0)
    """Radius of bends of the road; of the corners of streets in urban towns."""
    length_m: float = 760.0
    """Length of a road that ends at the town's edges (country, highway)."""
    block_m: Range = (85.0, 110.0)
    """Distance of neighbouring junctions (urban, mixed)."""
    nodes: tuple[int, int] = (3, 4)
    """Fewest and most junctions along a side of the grid (urban, mixed)."""
    skew_rad: Range = (0.0, 0.12)
    """How far arms of junctions lean away from the grid's directions (urban, mixed)."""
    turn_m: Range = (6.5, 8.5)
    """Radius of the middle line of the tightest turn at a junction's corner."""
    avenues: tuple[int, int] = (0, 1)
    """Fewest and most streets with two lanes a way in either direction of the grid."""
    signals: float = 0.5
    """Share of X crossings and of half the T crossings that have lights."""
    walks: float = 0.8
    """Share of arms of urban junctions with a crossing for people."""
    sidewalk_m: Range = (2.0, 3.0)
    """Width of sidewalks; (0, 0) for none."""
    buildings: float = 0.85
    """Share of the frontage that is tried for buildings."""
    ring_m: Range = (13.5, 17.5)
    """Radius of the middle of a roundabout's ring."""
    arms: tuple[int, int] = (3, 4)
    """Fewest and most arms of the one roundabout (roundabout)."""
    reach_m: Range = (105.0, 140.0)
    """From the roundabout's middle to the outer junctions (roundabout)."""
    ways: tuple[int, int] = (2, 3)
    """Fewest and most lanes a way (highway)."""
    taper_m: Range = (50.0, 60.0)
    """Length over which lanes open and close (highway)."""
    ramp_m: Range = (24.0, 32.0)
    """How far ramps lead away from the highway."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name in ("lane_m", "limit_mps", "radius_m", "block_m", "turn_m", "ring_m", "reach_m"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high:
                raise ValueError(f"{name}: give 0 < low <= high, not {(low, high)}")
        if self.turn_m[0] < 6.0:
            raise ValueError("turn_m: a car needs at least 6 m")
        if self.ring_m[0] < 13.0:
            raise ValueError("ring_m: at least 13 m, smaller rings leave no room for entries")
        if not (2 <= self.nodes[0] <= self.nodes[1] and 3 <= self.arms[0] <= self.arms[1] <= 5):
            raise ValueError("give nodes from 2 up and arms within 3 to 5")
        if self.ways[0] < 2:
            raise ValueError("ways: a highway has at least two lanes a way")


TRAINING_SPECS: dict[str, TownSpec] = {
    "country": TownSpec(
        name="country",
        kind="country",
        lane_m=(3.2, 3.7),
        limit_mps=(11.0, 20.0),
        radius_m=(45.0, 150.0),
    ),
    "highway": TownSpec(
        name="highway",
        kind="highway",
        lane_m=(3.4, 3.75),
        limit_mps=(22.0, 30.0),
        radius_m=(450.0, 900.0),
        length_m=840.0,
        ramp_m=(24.0, 32.0),
    ),
    "mixed": TownSpec(
        name="mixed",
        kind="mixed",
        skew_rad=(0.06, 0.2),
        radius_m=(16.0, 26.0),
        signals=0.6,
        nodes=(3, 4),
    ),
    "roundabout": TownSpec(
        name="roundabout",
        kind="roundabout",
        limit_mps=(11.0, 15.0),
        radius_m=(28.0, 45.0),
        sidewalk_m=(0.0, 0.0),
        walks=0.0,
        buildings=0.15,
    ),
    "urban": TownSpec(name="urban", kind="urban", radius_m=(16.0, 26.0)),
}
"""Towns for training, by kind."""

HELD_OUT_SPECS: dict[str, TownSpec] = {
    "country": TownSpec(
        name="held-out-country",
        kind="country",
        lane_m=(2.8, 3.1),
        limit_mps=(21.0, 25.0),
        radius_m=(160.0, 320.0),
    ),
    "highway": TownSpec(
        name="held-out-highway",
        kind="highway",
        lane_m=(3.1, 3.35),
        limit_mps=(31.0, 36.0),
        radius_m=(1000.0, 1600.0),
        length_m=840.0,
        taper_m=(38.0, 46.0),
        ramp_m=(36.0, 44.0),
    ),
    "mixed": TownSpec(
        name="held-out-mixed",
        kind="mixed",
        lane_m=(2.8, 2.95),
        limit_mps=(7.0, 8.5),
        radius_m=(11.0, 15.0),
        block_m=(114.0, 128.0),
        skew_rad=(0.22, 0.3),
        turn_m=(9.0, 11.0),
        signals=0.6,
        sidewalk_m=(3.2, 4.0),
        ring_m=(18.5, 21.0),
        nodes=(3, 3),
    ),
    "roundabout": TownSpec(
        name="held-out-roundabout",
        kind="roundabout",
        lane_m=(3.5, 3.8),
        limit_mps=(16.0, 19.0),
        radius_m=(50.0, 65.0),
        turn_m=(9.0, 11.0),
        sidewalk_m=(0.0, 0.0),
        walks=0.0,
        buildings=0.15,
        ring_m=(20.0, 24.0),
        arms=(5, 5),
        reach_m=(145.0, 165.0),
    ),
    "urban": TownSpec(
        name="held-out-urban",
        kind="urban",
        lane_m=(2.8, 2.95),
        limit_mps=(7.0, 8.5),
        radius_m=(11.0, 15.0),
        block_m=(114.0, 128.0),
        skew_rad=(0.16, 0.24),
        turn_m=(9.0, 11.0),
        sidewalk_m=(3.2, 4.0),
        nodes=(3, 4),
    ),
}
"""Towns for judging only: by kind, with other ranges than the training ones."""
