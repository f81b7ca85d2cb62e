"""A drawn world: roads, traffic, a vehicle and its cameras, batched in PyTorch.

A fresh machine makes its own labelled drives with it, and judges drivers in closed loop, with no
data set, display or server. Roads, looks and traffic are functions of a seed; one description of
the road serves the pictures and the scores. Flat ground, two lanes, other cars that keep their
lane: it makes the loop honest and shows no real-road skill.

    world = World([1_000_000, 1_000_001], WorldConfig())
    frames = world.render()             # uint8 [2, 3, 6, 32, 64]
    world.step(world.expert())

`record_fleet` writes drives of it as folders of ordinary recordings.
"""

from opendojo.world.bird import BirdEye
from opendojo.world.config import (
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    VEHICLE,
    Vehicle,
    WorldConfig,
    default_rig,
)
from opendojo.world.fleet import record_fleet
from opendojo.world.state import Cars, Ego, State
from opendojo.world.world import World

__all__ = [
    "EVALUATION_SEEDS",
    "TRAINING_SEEDS",
    "VEHICLE",
    "BirdEye",
    "Cars",
    "Ego",
    "State",
    "Vehicle",
    "World",
    "WorldConfig",
    "default_rig",
    "record_fleet",
]
