"""A store's clips in the formats of others' tools; no frame is encoded again.

    export(store, "mcap", Path("out"))

`lerobot` makes a LeRobotDataset v3.0 of each dataset, `mcap` a recording of each clip with
Foxglove's messages. Whatever is complete in `out` is passed over, so that an export which was
stopped goes on, and one of a store that grew adds what is new. Nothing appears under its name
before it is whole and on the disk.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from opendojo.store.atomic import write_json
from opendojo.store.export_lerobot import export_lerobot
from opendojo.store.export_mcap import export_mcap
from opendojo.store.export_report import ExportReport
from opendojo.store.store import Store

__all__ = ["EXPORT_FORMATS", "ExportReport", "export"]

EXPORT_FORMATS = ("lerobot", "mcap")
CONTROL = "export.json"


def export(
    store: Store,
    to: str,
    out: Path,
    *,
    link: bool = False,
    on_progress: Callable[[ExportReport], None] | None = None,
) -> ExportReport:
    """Write every clip of a store to the folder `out` in one of `EXPORT_FORMATS`.

    `link` makes the videos of `lerobot` hard links of the store's: no room is taken, but changing
    one changes the store. `on_progress` is called with the report so far after every file or
    dataset. Raises `ValueError` where the format is not known, cannot hold the store's codec or is
    an extra that is not installed, and where `out` holds something else; `OSError` where it cannot
    be written.
    """
    if to not in EXPORT_FORMATS:
        raise ValueError(f"to must be {' or '.join(EXPORT_FORMATS)}, not {to!r}")
    if to == "lerobot":
        steps = export_lerobot(store, out, link=link)
    elif link:
        raise ValueError(f"{to} is written anew, there is nothing to link: leave link out")
    else:
        steps = export_mcap(store, out)
    claimed = _claimed(store, to, out, steps)
    report = ExportReport()
    for step in claimed:
        report += step
        if on_progress is not None:
            on_progress(report)
    return report


def _claimed(
    store: Store, to: str, out: Path, steps: Iterator[ExportReport]
) -> Iterator[ExportReport]:
    """The steps of an export into a folder that is its own, or new."""
    document: dict[str, Any] = {
        "format": "opendojo-export",
        "to": to,
        "spec": dataclasses.asdict(store.spec),
    }
    control = out / CONTROL
    if control.is_file():
        if _read(control) != document:
            raise ValueError(f"{out} holds another export ({CONTROL}): choose another folder")
    elif out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds other things: choose an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(control, document)
    yield from steps


def _read(control: Path) -> Any:
    try:
        return json.loads(control.read_text())
    except ValueError:
        return None
