"""Maps: lane graphs with paint, lights, crossings and what stands beside the road.

A town is drawn from a seed or read from a file, and baked into one bird's-eye atlas that serves
the pictures and the scores alike.

    from opendojo.world.town import TRAINING_SPECS, build
    town = build(7, TRAINING_SPECS["urban"])
    print(town.name, len(town.lanes), "lanes", len(town.signals), "signals")
"""

from opendojo.world.town.build import HELD_OUT_SPECS, TRAINING_SPECS, TownSpec, build
from opendojo.world.town.graph import Lane, Signal, Town, Walk

__all__ = [
    "HELD_OUT_SPECS",
    "TRAINING_SPECS",
    "Lane",
    "Signal",
    "Town",
    "TownSpec",
    "Walk",
    "build",
]
