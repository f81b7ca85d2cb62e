"""`opendojo ingest PATH ... --store STORE`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document
from opendojo.ingest import IngestReport, ingest
from opendojo.store import Store, StoreSpec

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestArguments(Common):
    """Bring recordings into a store: videos, drives, picture folders, comma2k19 segments.

    What the store has already is passed over; what cannot be read is named in rejects.jsonl.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files and folders of recordings."""
    store: Path
    """The store's folder; made where it is not there."""
    spec: StoreSpec = field(default_factory=StoreSpec)
    """How a new store keeps frames; a store that is there keeps its own."""
    workers: int | None = None
    """Processes; one per core by default."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 3 where nothing at all could be read."""
    chosen = parse(IngestArguments, "ingest", arguments, IngestArguments.__doc__ or "")
    if not chosen.paths:
        raise ValueError("name at least one file or folder to ingest")
    store = Store.create(chosen.store, chosen.spec)
    progress = Progress()

    def told(report: IngestReport) -> None:
        progress("ingesting", report.frames_new, 0, f"frames, {report.frames_per_s:,.0f}/s")

    report = ingest(chosen.paths, store, workers=chosen.workers, on_progress=told)
    progress.close()
    rejects = chosen.store / "rejects.jsonl"
    if chosen.json:
        document = dataclasses.asdict(report)
        document["frames_per_s"] = report.frames_per_s
        print_document({"store": str(chosen.store), "rejects_file": str(rejects), **document})
    else:
        print(
            f"{chosen.store}: {report.clips_new} clips and {report.frames_new:,} frames new, "
            f"{report.clips_known} clips known, {report.rejects} rejected, "
            f"{report.damaged} kept in part, {report.frames_per_s:,.0f} frames/s"
        )
        if report.rejects or report.damaged:
            print(f"see {rejects}")
    return 3 if report.rejects and not report.clips_new + report.clips_known else 0
