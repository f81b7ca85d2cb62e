"""`opendojo world OUT`: draw a fleet as ordinary recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldArguments(Common):
    """Draw a small fleet: a folder per drive, one MP4 per camera, one Parquet log.

    Drives that are there already are passed over.
    """

    out: Annotated[Path, tyro.conf.Positional]
    """Folder for the drives."""
    drives: int = 24
    """Recordings, each on a road of its own."""
    seconds: float = 30.0
    """Length of each."""
    seed: int = 0
    """Decides roads, traffic and looks."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(WorldArguments, "world", arguments, WorldArguments.__doc__ or "")
    from opendojo.world import record_fleet

    progress = Progress()
    counts = record_fleet(
        chosen.out,
        drives=chosen.drives,
        seconds=chosen.seconds,
        seed=chosen.seed,
        on_progress=lambda done, total: progress("drawing a fleet", done, total, "frames"),
    )
    progress.close()
    if chosen.json:
        print_document({"path": str(chosen.out), **counts})
    else:
        print(f"{chosen.out}: " + ", ".join(f"{value} {name}" for name, value in counts.items()))
    return 0
