"""A drawn world: towns, traffic, a vehicle and its cameras, batched in PyTorch.

A fresh machine makes its own labelled drives with it, and judges drivers in closed loop, with no
data set, display or server. Towns, looks and traffic are functions of a seed; one bird's-eye atlas
serves the pictures and the scores. Flat ground and box-shaped road users: it makes the loop honest
and shows no real-road skill.

    world = World([1_000_000, 1_000_001], WorldConfig())
    frames = world.render()             # uint8 [2, 3, 96, 128], planar YUV 4:2:0
    world.step(world.expert())

`record_fleet` writes drives of it as folders of ordinary recordings.
"""

from opendojo.world.bird import BirdEye
from opendojo.world.body import VEHICLE, Vehicle
from opendojo.world.config import EVALUATION_SEEDS, TOWNS, TRAINING_SEEDS, WorldConfig
from opendojo.world.fleet import record_fleet
from opendojo.world.rig import front_only, front_three, perturbed, read_rig, tesla_eight
from opendojo.world.state import State
from opendojo.world.vehicle import Ego
from opendojo.world.world import World

__all__ = [
    "EVALUATION_SEEDS",
    "TOWNS",
    "TRAINING_SEEDS",
    "VEHICLE",
    "BirdEye",
    "Ego",
    "State",
    "Vehicle",
    "World",
    "WorldConfig",
    "front_only",
    "front_three",
    "perturbed",
    "read_rig",
    "record_fleet",
    "tesla_eight",
]
