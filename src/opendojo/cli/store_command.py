"""`opendojo store verify|stats PATH`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from opendojo.cli.show import Common, parse, print_document
from opendojo.store import Store, store_stats, verify_store

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Common):
    """Check every file of a store by size and hash, and every index against its video."""

    path: Annotated[Path, tyro.conf.Positional]
    """The store's folder."""
    decode: bool = False
    """Decode every frame as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Common):
    """Say what a store holds: clips, frames, seconds, bytes, by dataset."""

    path: Annotated[Path, tyro.conf.Positional]
    """The store's folder."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 3 where the store is damaged."""
    kind = (
        Annotated[Verify, tyro.conf.subcommand("verify")]
        | Annotated[Stats, tyro.conf.subcommand("stats")]
    )
    chosen: Verify | Stats = parse(kind, "store", arguments, "Look after a frame store.")  # type: ignore[arg-type]
    return _verify(chosen) if isinstance(chosen, Verify) else _stats(chosen)


def _verify(chosen: Verify) -> int:
    store = Store.open(chosen.path)
    faults = verify_store(store, decode=chosen.decode)
    bad = [fault for fault in faults if not fault.harmless]
    if chosen.json:
        print_document(
            {
                "path": str(chosen.path),
                "ok": not bad,
                "clips": len(store.episodes),
                "frames": store.frames,
                "faults": [dataclasses.asdict(fault) for fault in faults],
            }
        )
    else:
        for fault in faults:
            print(f"{'note' if fault.harmless else 'FAULT'}: {fault.file}: {fault.cause}")
            print(f"  {fault.remedy}")
        state = f"{len(bad)} faults" if bad else "whole"
        print(f"{chosen.path}: {len(store.episodes)} clips, {store.frames:,} frames: {state}")
    sys.stdout.flush()
    return 3 if bad else 0


def _stats(chosen: Stats) -> int:
    stats = store_stats(Store.open(chosen.path))
    if chosen.json:
        print_document(stats)
        return 0
    print(
        f"{stats['path']}: {stats['clips']} clips, {stats['frames']:,} frames of "
        f"{stats['width_px']}x{stats['height_px']}, {stats['bytes'] / 1e6:.1f} MB"
    )
    for name, row in stats["datasets"].items():
        print(
            f"  {name}: {row['clips']} clips, {row['frames']:,} frames, {row['seconds']:.0f} s, "
            f"{row['video_bytes_per_frame']:.0f} bytes a frame, {row['with_path']} with a path"
        )
    return 0
