"""`opendojo evaluate`: drivers on held-out roads, floors beside the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document
from opendojo.cli.world_options import map_files

if TYPE_CHECKING:
    from opendojo.evaluate import DriveConfig, Driver

__all__ = ["run"]

Kind = Literal["country", "urban", "roundabout", "highway", "mixed"]
Floor = Literal["expert", "replay", "idm", "constant-turn-rate", "constant-velocity", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateArguments(Common):
    """Drive on fixed roads that nothing is trained on; print scores with their floors."""

    run: Path | None = None
    """Folder of a trained network (`.../network`), driven as it is and with shuffled frames, or a
    file that `opendojo export` wrote; without it only the floors drive."""
    blind: Path | None = None
    """Folder of a network that was trained without pixels, as one more floor."""
    driver: Annotated[tuple[Floor, ...], tyro.conf.UseAppendAction] = ()
    """A driver to add to the floors, or with --only to drive alone; may be repeated."""
    only: bool = False
    """Leave out the floors that were not asked for."""
    towns: tuple[Kind, ...] = ()
    """Kinds of towns to take in turn; all of them by default."""
    map: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A CommonRoad file to drive on in place of towns, among its recorded road users; a folder
    means all its *.xml; may be repeated. Each set has every file once, from a start and on a way of
    its own; --roads and --towns do not count."""
    traffic: Literal["recorded", "drawn"] = "recorded"
    """With --map: the road users of the file, or traffic as in towns."""
    preset: Literal["clean", "hard", "adversarial"] = "clean"
    """Traffic, looks and faults."""
    roads: int = 5
    """Roads in each set, each in a town of its own."""
    sets: int = 3
    """Sets of roads."""
    route_m: float = 250.0
    """Length of a road."""
    limit_s: float = 90.0
    """Time after which a drive ends, wherever it is."""
    sweep: Literal["cameras", "latency", "preset", "rig"] | None = None
    """Drive again with cameras dropped, controls delayed, worse traffic, or a rig that is off."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(EvaluateArguments, "evaluate", arguments, EvaluateArguments.__doc__ or "")
    from opendojo.evaluate import sweep, table

    seed_sets, config = _roads(chosen)
    drivers = _drivers(chosen)
    progress, done = Progress(), 0

    def told(name: str) -> None:
        nonlocal done
        progress("closed loop", done, max(len(drivers), done), name)
        done += 1

    if chosen.sweep:
        found = sweep(chosen.sweep, drivers, seed_sets, config, on_driver=told)
    else:
        found = table(drivers, seed_sets, config, on_driver=told)
    progress.close()
    if chosen.json:
        print_document(found)
        return 0
    for variant in found.get("variants", [{"name": "", "table": found}]):
        _show(variant["name"], variant["table"])
    return 0


def _show(title: str, scores: Mapping[str, Any]) -> None:
    """One table, best driver first."""
    if title:
        print(f"\n{title}")
    print(f"{'driver':<18} {'score':>6} {'95 %':>14}  {'success':>8} {'95 %':>12} {'dojo':>6}")
    drivers = scores["drivers"]
    for name in sorted(drivers, key=lambda name: -drivers[name]["score"]["mean"]):
        result = drivers[name]
        score, success = result["score"], result["success"]
        dojo = f"{result['terms']['score']['mean']:6.3f}" if "terms" in result else f"{'':>6}"
        print(
            f"{name:<18} {score['mean']:6.1f} {score['low']:6.1f} to {score['high']:5.1f}"
            f"  {100 * success['mean']:6.0f} % {100 * success['low']:5.0f} to"
            f" {100 * success['high']:3.0f} {dojo}"
        )
    known = scores["published"]
    print(
        f"{scores['interval']}; scenes {scores['scenes_hash']}"
        + (f", published as {known}" if known else "")
    )


def _roads(chosen: EvaluateArguments) -> tuple[tuple[tuple[int, ...], ...], DriveConfig]:
    """Seeds and configuration."""
    import dataclasses

    from opendojo.evaluate import DriveConfig, held_out
    from opendojo.world import TOWNS

    scenes = held_out(chosen.preset, chosen.towns or TOWNS, chosen.roads, chosen.sets)
    maps = map_files(chosen.map)
    config = dataclasses.replace(
        scenes.config, route_m=chosen.route_m, maps=maps, traffic=chosen.traffic
    )
    if maps:  # every file once in each set
        sets = tuple(tuple(range(len(maps) * i, len(maps) * (i + 1))) for i in range(chosen.sets))
        return sets, DriveConfig(world=config, limit_s=chosen.limit_s)
    return scenes.sets, DriveConfig(world=config, limit_s=chosen.limit_s)


def _drivers(chosen: EvaluateArguments) -> list[Driver]:
    from opendojo.evaluate import FLOORS, NetworkDriver, ShuffledDriver
    from opendojo.evaluate.onnx_driver import OnnxDriver
    from opendojo.model.export_run import is_exported, open_exported
    from opendojo.train import load_network

    drivers: list[Driver] = []
    if chosen.run is not None and is_exported(chosen.run):
        drivers.append(OnnxDriver(open_exported(chosen.run)))
    elif chosen.run is not None:
        network = load_network(chosen.run)
        drivers.append(NetworkDriver(network))
        if not network.config.blind:
            drivers.append(ShuffledDriver(network))
    if chosen.blind is not None:
        drivers.append(NetworkDriver(load_network(chosen.blind)))
    only = chosen.only and (chosen.driver or drivers)
    wanted = [name for name in FLOORS if not only or name in chosen.driver]
    return [*drivers, *(FLOORS[name]() for name in wanted)]
