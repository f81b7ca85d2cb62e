"""Writing the catalogue: each publication's segment takes in those not much larger than itself.

So does a log-structured merge tree (O'Neil et al., Acta Informatica 1996): n clips lie in at most
some log2(n) segments, and each was rewritten at most log2(n) times.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.store.atomic import file_sha256, sync_file, sync_folder, write_array
from opendojo.store.catalogue import CATALOGUE, Segment

__all__ = ["Addition", "id_sum", "remove_segments", "write_segment"]

_SUM_MODULUS = 1 << 128


def id_sum(clip_ids: Sequence[str]) -> int:
    """A sum of hashes that names a set of clips, in whatever order they are counted.

    Additive hashes of sets are sound where nobody builds collisions on purpose (Bellare and
    Micciancio, EUROCRYPT 1997); clip ids are hashes of content themselves.
    """
    digests = (hashlib.sha256(clip.encode()).digest()[:16] for clip in clip_ids)
    return sum(int.from_bytes(digest, "little") for digest in digests) % _SUM_MODULUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What a publication adds to the catalogue."""

    rows: npt.NDArray[Any]
    """EPISODE_DTYPE, in any order."""
    gops: npt.NDArray[np.uint8]
    names: dict[str, Any]
    """`datasets` and `rigs` that `rows` counts in."""
    files: list[dict[str, Any]]
    """Rows of files.parquet."""
    frames: int


def write_segment(
    root: Path, listed: list[dict[str, Any]], files: Any, added: Addition
) -> list[dict[str, Any]]:
    """Write a segment of what is added and of the segments it outgrows; return the new list.

    Nothing lists the new folder before the pointer does.
    """
    kept, taken = list(listed), list[dict[str, Any]]()
    clips = len(added.rows)
    while kept and kept[-1]["clips"] <= 2 * clips:
        taken.append(kept.pop())
        clips += taken[-1]["clips"]
    olds = [Segment(files, line["name"]) for line in taken]
    name = uuid.uuid4().hex
    folder = root / CATALOGUE / name
    folder.mkdir(parents=True)
    rows, gops, names = _merged(added, olds)
    write_array(folder / "episodes.npy", rows)
    write_array(folder / "gops.npy", gops)
    (folder / "names.json").write_text(json.dumps(names))
    _write_files(folder / "files.parquet", added.files, olds)
    written = sorted(folder.iterdir())
    for file in written:
        sync_file(file)
    for place in (folder, folder.parent, root):
        sync_folder(place)
    fresh = id_sum([clip.decode() for clip in added.rows["clip_id"].tolist()])
    line = {
        "name": name,
        "clips": len(rows),
        "instants": int(rows["instants"].sum()),
        "frames": added.frames + sum(old["frames"] for old in taken),
        "sum": f"{sum((int(old['sum'], 16) for old in taken), fresh) % _SUM_MODULUS:032x}",
        "sha256": {file.name: file_sha256(file) for file in written},
    }
    return [*kept, line]


def _merged(
    added: Addition, olds: list[Segment]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], dict[str, Any]]:
    datasets: dict[str, int] = {}
    rigs: dict[tuple[str, ...], int] = {}
    all_rows: list[npt.NDArray[Any]] = []
    all_gops: list[npt.NDArray[np.uint8]] = []
    gop_row = 0
    sources = [(added.rows, added.gops, added.names), *((s.rows, s.gops, s.names) for s in olds)]
    for given, gops, names in sources:
        rows = given.copy()
        known = [datasets.setdefault(name, len(datasets)) for name in names["datasets"]]
        rows["dataset"] = np.array(known)[given["dataset"]]
        known = [rigs.setdefault(tuple(rig), len(rigs)) for rig in names["rigs"]]
        rows["rig"] = np.array(known)[given["rig"]]
        rows["gop_row"] += np.uint64(gop_row)
        gop_row += len(gops)
        all_rows.append(rows)
        all_gops.append(gops)
    rows = np.concatenate(all_rows)
    rows = rows[np.argsort(rows["clip_id"], kind="stable")]
    return rows, np.concatenate(all_gops), {"datasets": list(datasets), "rigs": list(rigs)}


def _write_files(path: Path, added: list[dict[str, Any]], olds: list[Segment]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fresh = pa.Table.from_pylist(added)
    tables = [fresh, *(old.file_table().cast(fresh.schema) for old in olds)]
    pq.write_table(pa.concat_tables(tables), str(path))


def remove_segments(root: Path, kept: set[str]) -> None:
    """Remove the segments that are not in `kept`."""
    for folder in (root / CATALOGUE).iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder)
