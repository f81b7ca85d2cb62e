"""`opendojo evaluate`: drivers on held-out roads, floors beside the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

if TYPE_CHECKING:
    from opendojo.evaluate import Driver

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateArguments(Common):
    """Drive on fixed roads that nothing is trained on; print scores with their floors."""

    run: Path | None = None
    """Folder of a trained network (`.../network`); without it only the floors drive."""
    blind: Path | None = None
    """Folder of a network that was trained without pixels, as one more floor."""
    driver: Annotated[
        tuple[Literal["stop", "constant-velocity", "expert"], ...], tyro.conf.UseAppendAction
    ] = ()
    """Floors to drive; all of them by default."""
    roads: int = 8
    """Roads in each of the three sets."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(EvaluateArguments, "evaluate", arguments, EvaluateArguments.__doc__ or "")
    from opendojo.evaluate import table
    from opendojo.recipes import Exam

    exam = Exam(roads=chosen.roads)
    drivers = _drivers(chosen)
    names = [driver.name for driver in drivers]
    progress = Progress()

    def told(name: str) -> None:
        progress("closed loop", names.index(name), len(names), name)

    scores = table(drivers, exam.seed_sets, exam.drive, on_driver=told)
    progress.close()
    if chosen.json:
        print_document(scores)
        return 0
    print(f"{'driver':<18} {'score':>6} {'min':>6} {'max':>6}  success")
    for name, result in scores["drivers"].items():
        score, success = result["score"], 100 * result["success"]["mean"]
        print(
            f"{name:<18} {score['mean']:6.1f} {score['min']:6.1f} {score['max']:6.1f}"
            f"  {success:.0f} %"
        )
    return 0


def _drivers(chosen: EvaluateArguments) -> list[Driver]:
    from opendojo.evaluate import (
        ConstantVelocityDriver,
        ExpertDriver,
        NetworkDriver,
        StopDriver,
    )
    from opendojo.train import load_network

    floors: dict[str, Any] = {
        "stop": StopDriver,
        "constant-velocity": ConstantVelocityDriver,
        "expert": ExpertDriver,
    }
    networks = [NetworkDriver(load_network(p)) for p in (chosen.run, chosen.blind) if p]
    return [*networks, *(floors[name]() for name in chosen.driver or floors)]
