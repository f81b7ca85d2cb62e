"""The exam between rounds: three sets of held-out roads, the same for every network.

`clean` is what it must not forget; `events` has a rare event on each road; `night` is the dark.
Roads are of evaluation seeds: their towns come from other parameters of the generator.

    scores = examine(NetworkDriver(network), ExamConfig())     # {"clean": {"1000000": 54.1, ...}}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from opendojo.evaluate import DriveConfig, Driver, drive
from opendojo.flywheel.stage import EVENTS, stage
from opendojo.world import EVALUATION_SEEDS, World, WorldConfig
from opendojo.world.draw.look import Weather, draw_looks

__all__ = ["SETS", "ExamConfig", "examine"]

SETS = ("clean", "events", "night")
"""Names of the sets of scenes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamConfig:
    """Roads of each set."""

    roads: int = 16
    """Roads in a set, each a world of its own."""
    route_m: float = 200.0
    """Length of each."""
    limit_s: float = 30.0
    """Time after which a drive ends."""
    world: WorldConfig = field(
        default_factory=lambda: WorldConfig(towns=("country", "highway"), agents=8)
    )
    """Towns, traffic and rig."""
    first: int = 500_000
    """Place among the evaluation seeds from which roads are taken: apart from published lists."""

    def __post_init__(self) -> None:
        if self.roads < 1:
            raise ValueError(f"exam.roads {self.roads}: must be at least 1")


def examine(
    driver: Driver, config: ExamConfig, on_set: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, float]]:
    """Driving scores, 0 to 100, by set and seed."""
    out: dict[str, dict[str, float]] = {}
    for name in SETS:
        on_set(name)
        world, seeds = _worlds(name, config)
        how = DriveConfig(world=world.config, limit_s=config.limit_s, windows=False)
        drives = drive(driver, seeds, how, world=world)
        out[name] = {str(route.seed): route.score for route in drives.routes}
    return out


def _worlds(name: str, config: ExamConfig) -> tuple[World, list[int]]:
    """The worlds of a set, with their events on the stage."""
    made = replace(config.world, route_m=config.route_m, preset="clean")
    step = made.worlds_per_town
    seeds = [EVALUATION_SEEDS[config.first + step * k] for k in range(config.roads)]
    if name == "night":
        made = replace(made, preset="hard")
        seeds = _nights(config)
    world = World(seeds, made)
    if name == "events":
        kinds = [EVENTS[k % 3] for k in range(config.roads)]
        stage(world, kinds, [2.0 + 0.5 * (k % 5) for k in range(config.roads)])
    return world, seeds


def _nights(config: ExamConfig) -> list[int]:
    """Evaluation seeds whose look is of the night."""
    found: list[int] = []
    at = config.first + 100_000
    while len(found) < config.roads:
        some = [EVALUATION_SEEDS[at + k] for k in range(16)]
        weather = draw_looks(some, "hard", torch.device("cpu")).weather.tolist()
        found += [s for s, w in zip(some, weather, strict=True) if w == Weather.NIGHT]
        at += 16
    return found[: config.roads]
