"""What a world is made of: rig, rates, towns, traffic, looks, the vehicle's body and its limits."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from opendojo.clip import Camera
from opendojo.world.rig import front_three
from opendojo.world.town.spec import TownKind
from opendojo.world.vehicle import MAX_LATENCY_S

__all__ = ["EVALUATION_SEEDS", "TOWNS", "TRAINING_SEEDS", "Preset", "WorldConfig"]

TRAINING_SEEDS = range(1_000_000)
"""Worlds that may be trained on: a world is a function of its seed and configuration alone."""
EVALUATION_SEEDS = range(1_000_000, 2_000_000)
"""Worlds held out for judging drivers: their towns come from other parameters of the generator."""

TOWNS: tuple[TownKind, ...] = get_args(TownKind)
"""Every kind of town."""

Preset = Literal["clean", "hard", "adversarial"]
"""Traffic, looks and faults together: `clean` keeps all rules in dry daylight; `hard` adds rule
breakers, rain, night, noise and faults; `adversarial` is for judging alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """One kind of world; `World` makes as many of it as it is given seeds."""

    cameras: tuple[Camera, ...] = front_three()
    """The rig: any cameras of one even picture size; `rig` ships three."""
    step_s: float = 0.1
    """Time of one step; the ego moves in two halves of it."""
    route_m: float = 250.0
    """Way along the route that is to be driven; the route goes on beyond it."""
    towns: tuple[str, ...] = TOWNS
    """Kinds of towns to take in turn."""
    worlds_per_town: int = 4
    """Neighbouring seeds that share a town; they differ in route, traffic and looks. A town takes
    some 15 MB and half a second."""
    preset: Preset = "clean"
    """Traffic, looks and faults."""
    maps: tuple[str | Path, ...] = ()
    """CommonRoad files in the place of `towns`, taken in turn; see `maps`."""
    traffic: Literal["recorded", "drawn"] = "recorded"
    """Who drives on `maps`: those in the files, where they have any, or traffic as in towns."""
    agents: int = 16
    """Slots for other road users in a world; seeds leave some empty."""
    noise: float = 1.0
    """A factor on the cameras' noise; 0 leaves it out."""
    rig_error: float = 0.0
    """Errors of the cameras' mounts and focal lengths, unknown to who drives: 1 for 2 degrees,
    5 cm and 2 percent, drawn per world."""
    dead: tuple[int, ...] = ()
    """Places in the rig of cameras that are always black."""
    latency_s: float = 0.0
    """From a control to the actuators, at most 0.2 s."""
    compiled: bool = False
    """Draw by `torch.compile`: faster by some times, after half a minute at the first picture."""

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ValueError("a world needs a camera: use rig.front_three()")
        width, height = self.cameras[0].width_px, self.cameras[0].height_px
        if width % 2 or height % 4:
            raise ValueError(f"pictures of {width}x{height}: give an even width, a fourfold height")
        for camera in self.cameras:
            if (camera.width_px, camera.height_px) != (width, height):
                raise ValueError(f"camera {camera.name}: give all cameras one picture size")
            if camera.mount.z_m <= 0.0:
                raise ValueError(f"camera {camera.name}: must be above the ground")
        for kind in self.towns:
            if kind not in TOWNS:
                near = difflib.get_close_matches(kind, TOWNS, 1) or TOWNS
                raise ValueError(f"there are no towns of kind {kind!r}: did you mean {near[0]!r}?")
        if isinstance(self.maps, str | Path):
            raise ValueError(f"maps={self.maps!r}: give a tuple of files, even of one")
        if self.traffic not in ("recorded", "drawn"):
            raise ValueError(f"traffic {self.traffic!r}: give recorded or drawn")
        if not self.towns or self.worlds_per_town < 1:
            raise ValueError("towns needs a kind, and worlds_per_town must be 1 or more")
        if self.preset not in get_args(Preset):
            raise ValueError(f"preset {self.preset!r}: give one of {', '.join(get_args(Preset))}")
        if self.step_s <= 0.0 or self.route_m <= 0.0:
            raise ValueError("step_s and route_m must be above zero")
        if self.agents < 1 or self.noise < 0.0 or self.rig_error < 0.0:
            raise ValueError("agents must be 1 or more, noise and rig_error not below zero")
        if any(not 0 <= place < len(self.cameras) for place in self.dead):
            raise ValueError(f"dead cameras {self.dead}: there are only {len(self.cameras)}")
        if not 0.0 <= self.latency_s <= MAX_LATENCY_S:
            raise ValueError(f"latency_s must be between 0 and {MAX_LATENCY_S}")

    @property
    def width_px(self) -> int:
        """Columns of every camera's picture."""
        return self.cameras[0].width_px

    @property
    def height_px(self) -> int:
        """Rows of every camera's picture."""
        return self.cameras[0].height_px
