"""`opendojo world OUT`: draw a fleet as ordinary recordings; `opendojo world view`: one picture."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Annotated

import tyro

from opendojo.cli.show import Progress, parse, print_document
from opendojo.cli.world_options import WorldOptions, world_config

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldArguments(WorldOptions):
    """Draw a fleet of drives, or look at a world.

    `opendojo world OUT` lets an expert drive through made-up towns and records it: a folder per
    drive with one MP4 per camera, one Parquet log and drive.json, ready for `opendojo ingest`.
    Equal options give equal bytes. Drives that are there already are passed over.

    `opendojo world view` draws one picture of one world instead, to see what the options mean: see
    `opendojo world view --help`. (A folder named view is `./view`.)

    To watch somebody drive, use `opendojo drive`.
    """

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder for the drives."""
    drives: int = 24
    """Recordings, each on a road of its own."""
    seconds: float = 30.0
    """Length of each."""
    seed: int = 0
    """Decides towns, routes, traffic and looks."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    if arguments[:1] == ["view"]:
        from opendojo.cli.world_view_command import run_view

        return run_view(arguments[1:])
    chosen = parse(WorldArguments, "world", arguments, cleandoc(WorldArguments.__doc__ or ""))
    from opendojo.world import record_fleet

    progress = Progress()
    counts = record_fleet(
        chosen.out,
        drives=chosen.drives,
        seconds=chosen.seconds,
        seed=chosen.seed,
        config=world_config(chosen),
        on_progress=lambda done, total: progress("drawing a fleet", done, total, "frames"),
    )
    progress.close()
    if chosen.json:
        print_document({"path": str(chosen.out), **counts})
    else:
        print(f"{chosen.out}: " + ", ".join(f"{value} {name}" for name, value in counts.items()))
    return 0
