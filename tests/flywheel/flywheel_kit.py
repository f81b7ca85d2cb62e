"""A flywheel run of seconds; as a program it runs it in a folder, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from opendojo.flywheel.config import FlywheelConfig
from opendojo.flywheel.exam import ExamConfig
from opendojo.flywheel.fleet import FleetConfig
from opendojo.flywheel.lesson import LessonConfig
from opendojo.flywheel.mine import MineConfig
from opendojo.flywheel.run import run_flywheel
from opendojo.train import TrainConfig
from opendojo.world import WorldConfig

DRAWN = WorldConfig(towns=("country",), agents=2)


def small(seed: int = 0) -> FlywheelConfig:
    """One round with two drives, four windows, two steps, one road."""
    train = TrainConfig(steps=2, checkpoint_every=1, threads=1)
    return FlywheelConfig(
        rounds=1,
        seed=seed,
        first_fleet=FleetConfig(drives=2, seconds=4.0, rare=0.0, world=DRAWN),
        first_windows=4,
        first_train=train,
        fleet=FleetConfig(drives=2, seconds=4.0, rare=0.5, engaged=0.5, world=DRAWN),
        mine=MineConfig(budget=4),
        lesson=LessonConfig(batch=2),
        train=train,
        exam=ExamConfig(roads=1, route_m=30.0, limit_s=2.0, world=DRAWN),
    )


if __name__ == "__main__":
    run_flywheel(small(), Path(sys.argv[1]))
