"""`opendojo store export STORE --to lerobot|mcap --out FOLDER`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from opendojo.cli.show import Common, Progress, print_document
from opendojo.store import Store

__all__ = ["Export", "export_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(Common):
    """Write a store's clips as others' tools read them; no frame is coded again.

    What is complete in the folder is passed over, so the same call goes on where one stopped.
    """

    path: Annotated[str, tyro.conf.Positional]
    """The store: a folder, or an address that fsspec reads."""
    to: Literal["lerobot", "mcap"]
    """`lerobot` makes a LeRobotDataset v3.0 of each data set, `mcap` a recording of each clip that
    Foxglove opens."""
    out: Path
    """Folder for it."""
    link: bool = False
    """Make the videos of `lerobot` hard links of the store's. They take no room, but who changes
    one changes the store."""


def export_store(chosen: Export) -> int:
    """Run `opendojo store export`."""
    from opendojo.store.export import ExportReport, export

    store = Store.open(chosen.path)
    progress = Progress()

    def told(report: ExportReport) -> None:
        done = report.clips + report.clips_known
        progress(f"to {chosen.to}", done, len(store.episodes), "clips")

    try:
        report = export(store, chosen.to, chosen.out, link=chosen.link, on_progress=told)
    finally:
        progress.close()
    counts = dataclasses.asdict(report)
    if chosen.json:
        print_document({"path": chosen.path, "to": chosen.to, "out": str(chosen.out), **counts})
    else:
        print(
            f"{chosen.out}: {report.clips:,} clips and {report.frames:,} frames new, "
            f"{report.clips_known:,} clips were there, {report.bytes / 1e6:,.1f} MB"
        )
    return 0
