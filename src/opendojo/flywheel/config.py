"""What a flywheel run is told, whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from opendojo.flywheel.exam import ExamConfig
from opendojo.flywheel.fleet import FleetConfig
from opendojo.flywheel.gate import GateConfig
from opendojo.flywheel.lesson import LessonConfig
from opendojo.flywheel.mine import MineConfig
from opendojo.model import NetConfig
from opendojo.store import StoreSpec
from opendojo.train import OptimConfig, TrainConfig

__all__ = ["FlywheelConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlywheelConfig:
    """A flywheel: what the fleet drives, what is looked for, how it is learnt, who is promoted."""

    rounds: int = 3
    """Rounds after the first network."""
    seed: int = 0
    """Of the whole run."""
    net: NetConfig = field(default_factory=NetConfig)
    """The network."""
    store: StoreSpec = field(default_factory=StoreSpec)
    """How frames are kept."""
    first_fleet: FleetConfig = field(default_factory=lambda: FleetConfig(drives=36, rare=0.0))
    """Plain drives that the first network learns from."""
    first_windows: int = 480
    """Windows of them, at random, that are labelled."""
    first_train: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=240, checkpoint_every=40)
    )
    """Training of the first network."""
    fleet: FleetConfig = field(default_factory=FleetConfig)
    """What is driven in each round."""
    mine: MineConfig = field(default_factory=MineConfig)
    """What is looked for, and the budget."""
    lesson: LessonConfig = field(default_factory=LessonConfig)
    """How old and new lessons are mixed."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=120, checkpoint_every=40, optim=OptimConfig(lr=8e-4, warmup_steps=10)
        )
    )
    """Training of each round, from the present network on."""
    exam: ExamConfig = field(default_factory=ExamConfig)
    """Roads on which networks are judged."""
    gate: GateConfig = field(
        default_factory=lambda: GateConfig(better_on=("events", "night"), keep_on=("clean",))
    )
    """Who is promoted."""

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds {self.rounds}: must not be below 0")
        if (self.store.width_px, self.store.height_px) != (self.net.width_px, self.net.height_px):
            raise ValueError("store and net must have one frame size")
        names = tuple(camera.name for camera in self.fleet.world.cameras)
        if names != self.net.cameras:
            raise ValueError("fleet.world.cameras and net.cameras must be the same")

    def resolved(self) -> dict[str, Any]:
        """Every value but the number of rounds, which may grow: for the record beside a run."""
        told = json.loads(json.dumps(asdict(self), default=str))
        told.pop("rounds")
        return told

    def fleet_of(self, number: int) -> FleetConfig:
        """The fleet of a round: 0 is the first network's."""
        made = self.first_fleet if number == 0 else self.fleet
        return replace(made, seed=made.seed + self.seed)
