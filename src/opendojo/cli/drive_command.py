"""`opendojo drive`: watch a driver in a world, as a film."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from opendojo.cli.show import Progress, parse, print_document
from opendojo.cli.world_options import WorldOptions, world_config

if TYPE_CHECKING:
    from opendojo.evaluate import Driver
    from opendojo.world import WorldConfig

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveArguments(WorldOptions):
    """Drive a road in closed loop and film it: the cameras with the plan and boxes around road
    users, the view from above, speed, and the judge's sub-scores of the last four seconds.

    Without RUN the world's expert drives, who is told where everything is.
    """

    run: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = None
    """Folder of a training run, or a file that `opendojo export` wrote: its network drives."""
    driver: (
        Literal[
            "network", "shuffled", "expert", "replay", "idm", "constant-turn-rate",
            "constant-velocity", "stop",
        ]
        | None
    ) = None  # fmt: skip
    """Who drives: network where RUN is given, else expert. shuffled: the network, shown pictures of
    five seconds ago."""
    seed: int = 1_000_000
    """Which world: from 1,000,000 on those kept for judging, below those to train on."""
    out: Path = Path("drive.mp4")
    """The film's file."""
    route_m: float = 250.0
    """Length of the road."""
    limit_s: float = 90.0
    """Time after which the drive ends, wherever it is."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(DriveArguments, "drive", arguments, cleandoc(DriveArguments.__doc__ or ""))
    if chosen.out.suffix.lower() != ".mp4":
        raise ValueError(f"--out {chosen.out}: give it the ending .mp4")
    import torch

    from opendojo.evaluate import DriveConfig, film, record
    from opendojo.evaluate.onnx_driver import OnnxDriver

    torch.set_num_threads(1)  # one world is too small to share out
    config = world_config(chosen, route_m=chosen.route_m)
    driver = _driver(chosen, config)
    progress = Progress()
    whole = DriveConfig(world=config, limit_s=chosen.limit_s)
    recording = record(
        driver,
        chosen.seed,
        whole,
        on_step=lambda share: progress("driving", round(100 * share), 100, "% of the road"),
    )
    film(recording, chosen.out, lambda done, total: progress("filming", done, total, "frames"))
    progress.close()
    route = recording.route
    latency = driver.latency() if isinstance(driver, OnnxDriver) else None
    if chosen.json:
        print_document(
            {"path": str(chosen.out), "driver": driver.name, "ending": recording.ending,
             "route": route.as_dict(), **({"latency": latency} if latency else {})}
        )  # fmt: skip
        return 0
    dojo = f", dojo score {route.terms['windows_score']:.2f}" if route.terms else ""
    print(
        f"{chosen.out}: {driver.name} {recording.ending} after {route.seconds:.1f} s and "
        f"{100 * route.completion:.0f} % of the road, driving score {route.score:.0f}{dojo}"
    )
    if latency is not None and latency["instants"]:
        print(f"latency of one instant: p50 {latency['p50_ms']:.1f} ms, p95 "
              f"{latency['p95_ms']:.1f} ms, p99 {latency['p99_ms']:.1f} ms")  # fmt: skip
    return 0


def _driver(chosen: DriveArguments, config: WorldConfig) -> Driver:
    """Who drives; refuses a network whose cameras the rig lacks."""
    from opendojo.evaluate import FLOORS, NetworkDriver, ShuffledDriver
    from opendojo.evaluate.onnx_driver import OnnxDriver
    from opendojo.model.export_run import is_exported, open_exported
    from opendojo.train import load_network

    name = chosen.driver or ("network" if chosen.run is not None else "expert")
    if name not in ("network", "shuffled"):
        return FLOORS[name]()
    if chosen.run is None:
        raise ValueError(f"--driver {name} needs RUN, the folder of a trained network")
    there = [camera.name for camera in config.cameras]
    if is_exported(chosen.run):
        if name == "shuffled":
            raise ValueError(f"--driver shuffled needs the folder of a run, not {chosen.run}")
        driver = OnnxDriver(open_exported(chosen.run))
        _same_cameras(driver.cameras, there)
        return driver
    network = load_network(chosen.run)
    _same_cameras(network.config.cameras, there)
    return (NetworkDriver if name == "network" else ShuffledDriver)(network)


def _same_cameras(wanted: tuple[str, ...], there: list[str]) -> None:
    if list(wanted) != there:
        raise ValueError(
            f"the network looks through {', '.join(wanted)}; the rig has {', '.join(there)}: "
            "give --rig a TOML file with those cameras in that order"
        )
