"""A scenario read from a file: the town, who drove there, what an ego is to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from opendojo.world.draw.scene import Kind
from opendojo.world.town.commonroad_signs import Light
from opendojo.world.town.graph import Floats, Signal, Town

__all__ = ["Aim", "Scenario", "Task", "Track"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One road user through a recording; arrays [t], rising in time, places in the town."""

    id: int
    """The obstacle's number in the file."""
    kind: Kind
    what: str
    """The file's word for it: car, bus, motorcycle, ..."""
    static: bool
    """Stands still all the time; its arrays have one entry."""
    length_m: float
    width_m: float
    height_m: float
    """Not in files: the usual one."""
    steps: npt.NDArray[np.int64]
    """Time in units of `Scenario.step_s`."""
    x_m: Floats
    y_m: Floats
    """The body's middle."""
    yaw_rad: Floats
    """Unwrapped."""
    speed_mps: Floats
    accel_mps2: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where a task ends, if any of its aims is met; what is not given is open."""

    lanes: tuple[int, ...]
    """Lanes of the town, any of them; none: given by the outline, or open."""
    x_m: Floats
    y_m: Floats
    """Corners of the region; none: given by lanes, or open."""
    from_s: float
    to_s: float
    yaw_rad: tuple[float, float] | None
    speed_mps: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A planning problem: an ego's first state and its aims."""

    id: int
    time_s: float
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    lane: int
    s_m: float
    d_m: float
    """The lane under it, -1 for none, and where on it."""
    aims: tuple[Aim, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A map with what was recorded on it."""

    name: str
    town: Town
    step_s: float
    """Between the time steps of tracks."""
    tracks: tuple[Track, ...] = field(repr=False)
    tasks: tuple[Task, ...] = field(repr=False)
    offset_m: tuple[float, float]
    """A place in the file is one in the town plus this."""
    lanes: dict[int, int] = field(repr=False)
    """Lane of each lanelet that is one."""
    lamps: tuple[tuple[Signal, Light], ...] = field(repr=False)
    """What the town's signals are in the file."""

    @property
    def steps(self) -> int:
        """Time steps that the recording spans, at least 1."""
        return max((int(track.steps[-1]) for track in self.tracks), default=0) + 1
