"""Closed loop: a driver on roads it has never seen, moment by moment.

drives = drive(NetworkDriver(network), seeds, DriveConfig())
drives.routes[0].score
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from opendojo.evaluate.driver import Driver, Observation
from opendojo.evaluate.score import Route, Trace, worth
from opendojo.evaluate.trace import Moment, Tracer
from opendojo.evaluate.windows import EVERY, driven_terms
from opendojo.world import World, WorldConfig
from opendojo.world.judge_terms import INSTANTS, STEP_S
from opendojo.world.threads import few_threads

__all__ = ["DriveConfig", "Drives", "Moment", "drive", "packed", "roll"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveConfig:
    """How a closed-loop drive is run."""

    world: WorldConfig = field(default_factory=WorldConfig)
    """Roads, traffic, rig and step."""
    limit_s: float = 90.0
    """A drive ends here at the latest, so that creeping does not pay: 250 m at 2.8 m/s, which
    leaves time for two red lights in a town."""
    device: str = "cpu"
    """Where the world is drawn and stepped."""
    windows: bool = True
    """Judge rolling windows too; the expert is then asked for a plan once a second."""

    def __post_init__(self) -> None:
        if self.limit_s < self.world.step_s:
            raise ValueError(f"limit_s must be at least one step ({self.world.step_s} s)")

    @property
    def steps(self) -> int:
        """The most steps a drive takes."""
        return round(self.limit_s / self.world.step_s)


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
    driver: Driver,
    seeds: Sequence[int],
    config: DriveConfig,
    *,
    pixels: bool = False,
    beyond: bool = False,
    world: World | None = None,
) -> Iterator[Moment]:
    """Drive, moment by moment, until all drives have ended or the time is up.

    Args:
        driver: who drives.
        seeds: a world for each.
        config: how.
        pixels: draw the cameras even if the driver does not need them.
        beyond: go on until the windows that hold the drives' ends are over.
        world: the worlds of these seeds and this configuration, to be put back to their start;
            they are made where not given.
    """
    if world is None:
        world = World(seeds, config.world, device=config.device)
    world.reset()
    driver.reset(len(seeds))
    ended = torch.zeros(len(seeds), dtype=torch.bool, device=config.device)
    over: int | None = None
    threads = torch.get_num_threads()
    for step in range(config.steps + 1):
        frames = packed(world.render()) if driver.needs_pixels or pixels else None
        seen = frames if driver.needs_pixels else None
        observation = Observation(frames=seen, speed_mps=world.speed_mps.clone(), world=world)
        with few_threads(threads if driver.needs_pixels else 1):
            control, path_m = driver.act(observation)
        ended = ended | world.off_road | world.collided | (world.progress_m >= world.route_m)
        yield Moment(
            time_s=step * config.world.step_s,
            world=world,
            frames=frames,
            path_m=path_m,
            ended=ended,
        )
        if over is None and bool(ended.all()):
            over = max(step + EVERY - 1, INSTANTS - 1) if beyond else step
        if step == over:
            return
        world.step(control.to(world.speed_mps))


def packed(pictures: Tensor) -> Tensor:
    """Planar pictures [n, c, 3 h / 2, w] as networks take them: [n, c, 6, h / 2, w / 2]."""
    n, c, rows, width = pictures.shape
    height = rows * 2 // 3
    luma = pictures[:, :, :height].unflatten(2, (-1, 2)).unflatten(4, (-1, 2))
    luma = luma.permute(0, 1, 3, 5, 2, 4).flatten(2, 3)
    chroma = pictures[:, :, height:].reshape(n, c, 2, height // 2, width // 2)
    return torch.cat([luma, chroma], 2)


def drive(
    driver: Driver,
    seeds: Sequence[int],
    config: DriveConfig | None = None,
    *,
    world: World | None = None,
) -> Drives:
    """Drive one road per seed, all at once, and score each up to where it ended.

    `world` as in `roll`.
    """
    config = config or DriveConfig()
    if world is None:
        world = World(seeds, config.world, device=config.device)
    windows = config.windows and abs(config.world.step_s - STEP_S) < 1e-9
    tracer = Tracer(EVERY if windows else 0)
    for moment in roll(driver, seeds, config, beyond=windows, world=world):
        with few_threads():
            tracer.add(moment)
    trace = tracer.trace()
    terms: list[dict[str, float]] = [{} for _ in seeds]
    if windows:
        with few_threads():
            terms = driven_terms(world, tracer.log, [trace.end(i) for i in range(len(seeds))])
    routes = tuple(worth(trace, i, seed, terms[i]) for i, seed in enumerate(seeds))
    return Drives(driver=driver.name, routes=routes, trace=trace)
