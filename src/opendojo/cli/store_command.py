"""`opendojo store verify|stats|view|tensors|export STORE`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from opendojo.cli.show import Common, parse, print_document
from opendojo.cli.store_export_command import Export, export_store
from opendojo.cli.store_tensors_command import Tensors, show_tensors
from opendojo.cli.store_view_command import View, make_view
from opendojo.store import Store, store_stats, verify_at

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Common):
    """Check every file of a store by size and hash, and every index against its video."""

    path: Annotated[str, tyro.conf.Positional]
    """The store: a folder, or an address that fsspec reads."""
    decode: bool = False
    """Decode every frame as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Common):
    """Say what a store holds: clips, frames, bytes, measured quality, flagged shares."""

    path: Annotated[str, tyro.conf.Positional]
    """The store: a folder, or an address that fsspec reads."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 3 where the store is damaged."""
    kind = (
        Annotated[Verify, tyro.conf.subcommand("verify")]
        | Annotated[Stats, tyro.conf.subcommand("stats")]
        | Annotated[View, tyro.conf.subcommand("view")]
        | Annotated[Tensors, tyro.conf.subcommand("tensors")]
        | Annotated[Export, tyro.conf.subcommand("export")]
    )
    chosen: Any = parse(kind, "store", arguments, "Look after a frame store.")  # type: ignore[arg-type]
    handlers = {
        Verify: _verify,
        Stats: _stats,
        View: make_view,
        Tensors: show_tensors,
        Export: export_store,
    }
    return handlers[type(chosen)](chosen)


def _verify(chosen: Verify) -> int:
    store, faults = verify_at(chosen.path, decode=chosen.decode)
    clips, frames = (len(store.episodes), store.frames) if store is not None else (0, 0)
    bad = [fault for fault in faults if not fault.harmless]
    if chosen.json:
        print_document(
            {
                "path": chosen.path,
                "ok": not bad,
                "clips": clips,
                "frames": frames,
                "faults": [dataclasses.asdict(fault) for fault in faults],
            }
        )
    else:
        for fault in faults:
            print(f"{'note' if fault.harmless else 'FAULT'}: {fault.file}: {fault.cause}")
            print(f"  {fault.remedy}")
        state = f"{len(bad)} faults" if bad else "whole"
        print(f"{chosen.path}: {clips:,} clips, {frames:,} frames: {state}")
    sys.stdout.flush()
    return 3 if bad else 0


def _stats(chosen: Stats) -> int:
    stats = store_stats(Store.open(chosen.path))
    if chosen.json:
        print_document(stats)
        return 0
    print(
        f"{stats['path']}: {stats['clips']:,} clips, {stats['frames']:,} frames of "
        f"{stats['width_px']}x{stats['height_px']} as {stats['codec']}, groups of "
        f"{stats['gop_frames']}, {stats['bytes'] / 1e6:,.1f} MB"
    )
    for name, row in stats["datasets"].items():
        print(
            f"  {name}: {row['clips']:,} clips, {row['frames']:,} frames, {row['seconds']:,.0f} s, "
            f"{row['drawn']:,} drawn, {row['with_path']:,} with a path"
        )
        for camera, counted in row["by_camera"].items():
            print(
                f"    {camera}: {counted['bytes_per_frame']:,.0f} bytes a frame, luma PSNR "
                f"{counted['psnr_db']:.1f} dB (least of a clip {counted['least_psnr_db']:.1f})"
            )
        shares = [f"{flag} {share:.1%}" for flag, share in row["flagged"].items() if share]
        print(f"    flagged: {', '.join(shares) or 'no frame'}")
    return 0
