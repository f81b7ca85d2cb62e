"""Closed loop: drivers on roads they have never seen, with the floors beside them.

drives = drive(NetworkDriver(network), seeds, DriveConfig())
drives.routes[0].score
table([ExpertDriver(), NetworkDriver(network), StopDriver()])    # three held-out seed sets
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opendojo.evaluate.driver import Driver, Observation
from opendojo.evaluate.score import Route, Trace, worth
from opendojo.world import EVALUATION_SEEDS, World, WorldConfig

__all__ = ["HELD_OUT_SETS", "DriveConfig", "Drives", "Moment", "Tracer", "drive", "roll", "table"]

HELD_OUT_SETS: tuple[tuple[int, ...], ...] = tuple(
    tuple(EVALUATION_SEEDS[100 * i : 100 * i + 8]) for i in range(3)
)
"""Three sets of eight roads that nothing is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveConfig:
    """How a closed-loop drive is run."""

    world: WorldConfig = field(default_factory=WorldConfig)
    """Roads, traffic, rig and step."""
    limit_s: float = 50.0
    """A drive ends here at the latest, so that creeping does not pay; of 200 routes of 250 m the
    expert took 44 s for the longest."""
    device: str = "cpu"
    """Where the world is drawn and stepped."""

    def __post_init__(self) -> None:
        if self.limit_s < self.world.step_s:
            raise ValueError(f"limit_s must be at least one step ({self.world.step_s} s)")

    @property
    def steps(self) -> int:
        """The most steps a drive takes."""
        return round(self.limit_s / self.world.step_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step of a batch of drives: the world as it stands, and what the driver makes of it."""

    time_s: float
    """Since the start."""
    world: World
    """Valid until the next moment is asked for."""
    frames: Tensor | None
    """What the cameras see, uint8 [n, camera, 6, h / 2, w / 2], where they were drawn."""
    path_m: Tensor | None
    """The plan [n, p, 2], where the driver has one."""
    ended: Tensor
    """bool [n]: off the road, collided or complete, now or before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drives:
    """A driver's drives over some roads."""

    driver: str
    """Its name."""
    routes: tuple[Route, ...]
    """One per seed, in order."""
    trace: Trace = field(repr=False)
    """Where it drove; rows after a route's end are not scored."""

    def mean(self, name: str) -> float:
        """Mean of a number of `Route` over the routes."""
        return float(np.mean([float(getattr(route, name)) for route in self.routes]))


def roll(
    driver: Driver, seeds: Sequence[int], config: DriveConfig, *, pixels: bool = False
) -> Iterator[Moment]:
    """Drive, moment by moment, until all drives have ended or the time is up.

    The cameras are drawn if the driver needs them or `pixels` is set.
    """
    world = World(seeds, config.world, device=config.device)
    driver.reset(len(seeds))
    ended = torch.zeros(len(seeds), dtype=torch.bool, device=config.device)
    for step in range(config.steps + 1):
        frames = world.render() if driver.needs_pixels or pixels else None
        seen = frames if driver.needs_pixels else None
        observation = Observation(frames=seen, speed_mps=world.speed_mps.clone(), world=world)
        control, path_m = driver.act(observation)
        ended = ended | world.off_road | world.collided | (world.progress_m >= world.route_m)
        yield Moment(
            time_s=step * config.world.step_s,
            world=world,
            frames=frames,
            path_m=path_m,
            ended=ended,
        )
        if bool(ended.all()):
            return
        world.step(control.to(world.speed_mps))


class Tracer:
    """Writes down where the vehicles of a roll are, moment by moment."""

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._rows: dict[str, list[np.ndarray]] = {}
        self._route_m = np.zeros(0)

    def add(self, moment: Moment) -> None:
        """Write one moment down."""
        world, ego = moment.world, moment.world.state.ego
        self._times_s.append(moment.time_s)
        self._route_m = world.route_m.cpu().double().numpy()
        columns = {
            "x_m": ego.x_m,
            "y_m": ego.y_m,
            "yaw_rad": ego.yaw_rad,
            "speed_mps": ego.speed_mps,
            "progress_m": world.progress_m,
            "off_road": world.off_road,
            "collided": world.collided,
            "off_lane": world.off_lane,
        }
        for name, column in columns.items():
            self._rows.setdefault(name, []).append(column.cpu().numpy().copy())

    def trace(self) -> Trace:
        """What was written so far."""
        columns = {name: np.stack(rows) for name, rows in self._rows.items()}
        wide: dict[str, Any] = {
            name: column if column.dtype == bool else column.astype(np.float64)
            for name, column in columns.items()
        }
        return Trace(time_s=np.asarray(self._times_s), route_m=self._route_m, **wide)


def drive(driver: Driver, seeds: Sequence[int], config: DriveConfig | None = None) -> Drives:
    """Drive one road per seed, all at once, and score each up to where it ended."""
    tracer = Tracer()
    for moment in roll(driver, seeds, config or DriveConfig()):
        tracer.add(moment)
    trace = tracer.trace()
    routes = tuple(worth(trace, i, seed) for i, seed in enumerate(seeds))
    return Drives(driver=driver.name, routes=routes, trace=trace)


def table(
    drivers: Sequence[Driver],
    seed_sets: Sequence[Sequence[int]] | None = None,
    config: DriveConfig | None = None,
    *,
    on_driver: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Every driver over fixed sets of held-out roads: plain values, ready for JSON.

    For each driver and each number of `Route`: the mean over the sets, each set's mean, and the
    lowest and highest of those. `fingerprint` is a hash of the seeds and the configuration; two
    tables compare only if it is equal. `on_driver` hears each driver's name before it drives.
    """
    sets = [list(seeds) for seeds in (HELD_OUT_SETS if seed_sets is None else seed_sets)]
    config = config or DriveConfig()
    flat = [seed for seeds in sets for seed in seeds]
    results: dict[str, Any] = {}
    for driver in drivers:
        if on_driver:
            on_driver(driver.name)
        routes = drive(driver, flat, config).routes
        results[driver.name] = _summary(routes, [len(seeds) for seeds in sets])
    resolved = dataclasses.asdict(config)
    resolved.pop("device")  # where it runs must not change what is driven
    return {
        "score": "driving score of OpenDojo, 0 to 100; not CARLA's",
        "drivers": results,
        "seed_sets": sets,
        "limit_s": config.limit_s,
        "fingerprint": _fingerprint({"seed_sets": sets, "config": resolved}),
    }


def _summary(routes: Sequence[Route], sizes: Sequence[int]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    names = [f.name for f in dataclasses.fields(Route) if f.name != "seed"]
    bounds = np.cumsum([0, *sizes])
    for name in names:
        values = [
            float(np.mean([float(getattr(route, name)) for route in routes[low:high]]))
            for low, high in itertools.pairwise(bounds)
        ]
        summary[name] = {
            "mean": float(np.mean(values)),
            "values": values,
            "min": min(values),
            "max": max(values),
        }
    summary["routes"] = [route.as_dict() for route in routes]
    return summary


def _fingerprint(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
