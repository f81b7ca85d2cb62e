"""`opendojo ingest PATH ... --store STORE`."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document
from opendojo.ingest import IngestOptions, IngestReport, ingest
from opendojo.store import Store, StoreSpec

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestArguments(Common):
    """Bring recordings into a store: videos, drives, picture folders, logs, segments.

    What the store has already is passed over; what cannot be read is named in rejects.jsonl. Run
    again after any interruption: it goes on where it was.

    --spec.codec and --spec.psnr-db choose the codec and the quality of a new store; --cluster
    stages on the machines of a Ray cluster.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files and folders of recordings."""
    store: Path
    """The store's folder; made where it is not there."""
    spec: StoreSpec = field(default_factory=StoreSpec)
    """How a new store keeps frames; a store that is there keeps its own."""
    workers: int | None = None
    """Processes; one per core by default."""
    options: Annotated[IngestOptions, tyro.conf.arg(name="")] = field(default_factory=IngestOptions)
    """How much of the machine it takes and how long it waits."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 3 where nothing at all could be read."""
    chosen = parse(IngestArguments, "ingest", arguments, IngestArguments.__doc__ or "")
    if not chosen.paths:
        raise ValueError("name at least one file or folder to ingest")
    store = Store.create(chosen.store, chosen.spec)
    progress = Progress()

    def told(report: IngestReport) -> None:
        progress("ingesting", report.frames_new, 0, f"frames, {report.frames_per_s:,.0f}/s")

    report = ingest(
        chosen.paths, store, workers=chosen.workers, options=chosen.options, on_progress=told
    )
    progress.close()
    rejects = chosen.store / "rejects.jsonl"
    if chosen.json:
        document = dataclasses.asdict(report)
        document["frames_per_s"] = report.frames_per_s
        print_document({"store": str(chosen.store), "rejects_file": str(rejects), **document})
    else:
        _print(chosen.store, report, rejects)
    return 3 if report.rejects and not report.clips_new + report.clips_known else 0


def _print(store: Path, report: IngestReport, rejects: Path) -> None:
    print(
        f"{store}: {report.clips_new} clips and {report.frames_new:,} frames new, "
        f"{report.clips_known} clips known, {report.rejects} rejected, "
        f"{report.damaged} kept in part, {report.frames_per_s:,.0f} frames/s"
    )
    for name, camera in sorted(report.cameras.items()):
        shares = ", ".join(f"{share:.1%} {flag}" for flag, share in camera.flagged.items())
        drift = ""
        if camera.drift_db is not None:
            size = "none" if math.isinf(camera.drift_db) else f"{camera.drift_db:.1f} dB"
            drift = f"; drift of the skipped loop filter {size}"
        print(
            f"  {name}: {camera.frames:,} frames, luma PSNR {camera.psnr_db:.1f} dB "
            f"(worst clip {camera.psnr_least_db:.1f}); {shares}{drift}"
        )
    if report.rejects or report.damaged:
        print(f"see {rejects}")
