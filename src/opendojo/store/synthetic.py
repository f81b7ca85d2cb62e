"""A store of any size from a small real one, to test and measure what a fleet's would do.

    synthetic_store("/tmp/big", clips=715_000, template=Store.open("small"))

Each part is a hard link to a part of the template (a symbolic link where the disk or its limit of
links refuses one), so a store of 10^9 frames costs folder entries and a catalogue, yet every window
of it really decodes. Its clip ids are made up; the Parquet tables still tell of the template's
clips, so it is no dataset to train on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.store.atomic import write_json
from opendojo.store.catalogue import CLIP_ID_BYTES, EPISODE_DTYPE
from opendojo.store.files import POINTER, LocalFiles
from opendojo.store.layout import part_path
from opendojo.store.segments import Addition, write_segment
from opendojo.store.store import Store

__all__ = ["synthetic_store"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Cycle:
    """The template's parts once through; the synthetic store repeats them."""

    rows: npt.NDArray[Any]
    """Its clips in the order of their parts; `rig` counts in `rigs`."""
    gops: npt.NDArray[np.uint8]
    """Flags of their groups, in the same order."""
    rigs: list[tuple[str, ...]]
    files: list[dict[str, Any]]
    """As the catalogue lists them."""
    parts: int


def synthetic_store(path: str | Path, clips: int, template: Store) -> Store:
    """Make a store of `clips` clips in an empty folder out of the parts of a local template.

    The template's first dataset is taken. Raises `ValueError` where it is empty or the folder is
    not.
    """
    if not len(template.episodes):
        raise ValueError(f"{template.url} holds no clips: ingest some first")
    root = Path(path)
    name = template.episodes.dataset_names[0]
    cycle = _cycle(template, name)
    Store.create(root, template.spec)
    files = _link(template.path / name, root / name, cycle, -(-clips // len(cycle.rows)))
    for table in ("info.json", "tasks.parquet"):
        shutil.copy(template.path / name / "meta" / table, root / name / "meta" / table)
    pointer = json.loads((root / POINTER).read_text())
    counted = dict(template.pointer["datasets"][name])
    rows, gops = _repeated(cycle, clips)
    instants = int(rows["instants"].sum(dtype=np.int64))
    added = Addition(
        rows=rows,
        gops=gops,
        names={"datasets": [name], "rigs": cycle.rigs},
        files=files,
        frames=instants * len(counted["cameras"]),
    )
    pointer["segments"] = write_segment(root, [], LocalFiles(root), added)
    pointer["generation"] += 1
    counted |= {
        "parts": 1 + max(line["part"] for line in files),
        "clips": clips,
        "instants": instants,
        "bytes": sum(line["bytes"] for line in files),
    }
    pointer["datasets"][name] = counted
    write_json(root / POINTER, pointer)
    return Store.open(root)


def _cycle(template: Store, dataset: str) -> _Cycle:
    kept: list[npt.NDArray[Any]] = []
    rigs: dict[tuple[str, ...], int] = {}
    files: list[dict[str, Any]] = []
    for segment in template.segments:
        names = segment.names
        rows = segment.rows[segment.rows["dataset"] == names["datasets"].index(dataset)].copy()
        known = [rigs.setdefault(tuple(rig), len(rigs)) for rig in names["rigs"]]
        rows["rig"] = np.array(known)[rows["rig"]]
        kept.append(rows)
        files += [line for line in segment.file_table().to_pylist() if line["dataset"] == dataset]
    rows = np.concatenate(kept)
    rows = rows[np.lexsort((rows["row"], rows["part"]))]
    rows["dataset"] = 0
    places = [template.episodes.find(clip.decode()) for clip in rows["clip_id"].tolist()]
    gops = [template.episodes.gop_flags(place) for place in places if place is not None]
    counts = np.array([len(flags) for flags in gops])
    rows["gop_row"] = np.cumsum(counts) - counts
    return _Cycle(
        rows=rows,
        gops=np.concatenate(gops),
        rigs=list(rigs),
        files=files,
        parts=template.pointer["datasets"][dataset]["parts"],
    )


def _repeated(cycle: _Cycle, clips: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    count = len(cycle.rows)
    rounds = -(-clips // count)
    rows: npt.NDArray[Any] = np.tile(cycle.rows, rounds)[:clips].astype(EPISODE_DTYPE)
    number = np.arange(clips, dtype=np.uint64)
    turn = number // np.uint64(count)
    digits = np.random.default_rng(clips).bytes(clips * CLIP_ID_BYTES // 2).hex()
    rows["clip_id"] = np.frombuffer(digits.encode(), f"S{CLIP_ID_BYTES}")
    rows["number"] = number
    rows["part"] += (turn * np.uint64(cycle.parts)).astype(np.uint32)
    rows["gop_row"] += turn * np.uint64(len(cycle.gops))
    rest = clips % count  # of the last round
    cut = rounds * len(cycle.gops)
    if rest:
        cut -= len(cycle.gops) - int(cycle.rows["gop_row"][rest])
    return rows, np.tile(cycle.gops, rounds)[:cut]


def _link(source: Path, home: Path, cycle: _Cycle, rounds: int) -> list[dict[str, Any]]:
    """Link every file of every part; return the lines of the catalogue's file list."""
    files: list[dict[str, Any]] = []
    made: set[str] = set()
    for turn in range(rounds):
        for line in cycle.files:
            kind, suffix = line["path"].split("/chunk-")[0], Path(line["path"]).suffix
            part = line["part"] + turn * cycle.parts
            target = home / part_path(kind, part, suffix)
            if str(target.parent) not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(str(target.parent))
            _link_file(source / line["path"], target)
            files.append({**line, "part": part, "path": part_path(kind, part, suffix)})
    return files


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or more links than it counts
        target.symlink_to(source.absolute())
