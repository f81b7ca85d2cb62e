"""Road users: drivers, cyclists and people on foot, or recorded tracks in their place.

A world's traffic is a function of its seed, its town and the ego's way, exactly, whatever other
worlds share the batch::

    traffic = Traffic(towns, town, seeds, TrafficConfig.clean())
    state = traffic.start(ego)
    state = traffic.step(state, ego, step, 0.1)
"""

from opendojo.world.traffic.agents import Agents, Neighbour
from opendojo.world.traffic.config import TrafficConfig
from opendojo.world.traffic.replay import Replay, ReplayState
from opendojo.world.traffic.state import TrafficState
from opendojo.world.traffic.traffic import Traffic

__all__ = [
    "Agents",
    "Neighbour",
    "Replay",
    "ReplayState",
    "Traffic",
    "TrafficConfig",
    "TrafficState",
]
