"""Publishing: staged parts become part of the store in one instant, once.

Order: files are renamed into place, folders synced, LeRobot's own `info.json` renewed, and last of
all `store.json`, the pointer, replaced. A kill before that leaves the old store and some files that
nothing lists, which the next writer sweeps away; a kill after it leaves the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opendojo.store.atomic import file_sha256, locked, sync_file, sync_folder, write_json
from opendojo.store.layout import (
    LOG_COLUMNS,
    TASK,
    StoreSpec,
    info_json,
    nominal_fps,
    part_path,
    video_key,
)
from opendojo.store.part import StagedClip, StagedPart

__all__ = ["publish_parts", "staging_folder", "sweep"]

POINTER = "store.json"
LOCK = ".lock"
STAGING = ".staging"


@contextlib.contextmanager
def staging_folder(root: Path) -> Iterator[Path]:
    """A folder to stage in, on the store's own disk; gone afterwards, whatever happens.

    Its lock is held while the process lives, so a sweep can tell a dead writer's folder.
    """
    with contextlib.ExitStack() as held:
        with locked(root / LOCK):  # no sweep sees the folder before its lock is held
            (root / STAGING).mkdir(exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=root / STAGING))
            file = held.enter_context((folder / LOCK).open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish_parts(root: Path, spec: StoreSpec, parts: Sequence[StagedPart]) -> int:
    """Make staged parts visible; return the frames added. Clips already there are left out."""
    with locked(root / LOCK):
        pointer = json.loads((root / POINTER).read_text())
        known = {clip for part in pointer["parts"] for clip in part["clips"]}
        frames = 0
        for part in parts:
            new = [c for c in part.clips if c.instants and c.clip_id not in known]
            new = list({clip.clip_id: clip for clip in new}.values())
            if not new:
                continue
            pointer["parts"].append(_place(root, pointer, part, new))
            known |= {clip.clip_id for clip in new}
            frames += sum(clip.frames for clip in new)
        if frames:
            renew_infos(root, spec, pointer)
            write_json(root / POINTER, pointer)
    return frames


def _place(
    root: Path, pointer: dict[str, Any], part: StagedPart, clips: list[StagedClip]
) -> dict[str, Any]:
    home = root / part.dataset
    before = [p for p in pointer["parts"] if p["dataset"] == part.dataset]
    number = 1 + max((p["part"] for p in before), default=-1)
    first_episode = sum(len(p["clips"]) for p in before)
    first_row = sum(p["instants"] for p in before)

    data, episodes = _tables(part, clips, number, first_episode, first_row)
    pq.write_table(data, str(part.folder / "data.parquet"))
    pq.write_table(episodes, str(part.folder / "episodes.parquet"))
    sync_file(part.folder / "data.parquet")
    sync_file(part.folder / "episodes.parquet")

    targets = {
        "data.parquet": part_path("data", number, ".parquet"),
        "episodes.parquet": part_path("meta/episodes", number, ".parquet"),
        "index.arrow": part_path("index", number, ".arrow"),
    }
    for name in part.camera_names:
        targets[f"{name}.mp4"] = part_path(f"videos/{video_key(name)}", number, ".mp4")
    files: dict[str, Any] = {}
    for name, target in targets.items():
        staged, final = part.folder / name, home / target
        files[target] = [staged.stat().st_size, file_sha256(staged)]
        final.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(final)
        sync_folder(final.parent)
    return {
        "dataset": part.dataset,
        "part": number,
        "fps": part.fps,
        "cameras": list(part.camera_names),
        "clips": [clip.clip_id for clip in clips],
        "instants": data.num_rows,
        "files": files,
    }


def _tables(
    part: StagedPart, clips: list[StagedClip], number: int, first_episode: int, first_row: int
) -> tuple[pa.Table, pa.Table]:
    log = pq.read_table(str(part.folder / "log.parquet"))
    kept = [log.slice(clip.row, clip.instants) for clip in clips]
    frame = np.concatenate([np.arange(clip.instants) for clip in clips])
    counts = np.array([clip.instants for clip in clips])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rows = pa.concat_tables(kept)
    data = pa.table(
        {
            "timestamp": (frame / part.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": first_episode + np.repeat(np.arange(len(clips)), counts),
            "index": first_row + np.arange(len(frame)),
            "task_index": np.zeros(len(frame), np.int64),
            **{name: rows.column(name) for name in ("time_s", *LOG_COLUMNS)},
        }
    )
    chunk, file = divmod(number, 1000)
    episodes: dict[str, Any] = {
        "episode_index": first_episode + np.arange(len(clips)),
        "tasks": [[TASK]] * len(clips),
        "length": counts,
        "dataset_from_index": first_row + starts,
        "dataset_to_index": first_row + starts + counts,
        "clip_id": [clip.clip_id for clip in clips],
        "source": [clip.source for clip in clips],
        "origin": [clip.origin for clip in clips],
        "rate_hz": [clip.rate_hz for clip in clips],
        "cameras": [list(clip.cameras) for clip in clips],
        "row": [clip.row for clip in clips],
        "data_row": starts,
    }
    places = ["data", "meta/episodes", *(f"videos/{video_key(n)}" for n in part.camera_names)]
    for place in places:
        episodes[f"{place}/chunk_index"] = [chunk] * len(clips)
        episodes[f"{place}/file_index"] = [file] * len(clips)
    for name in part.camera_names:
        begin = np.array([clip.row for clip in clips]) / part.fps
        episodes[f"videos/{video_key(name)}/from_timestamp"] = begin
        episodes[f"videos/{video_key(name)}/to_timestamp"] = begin + counts / part.fps
    return data, pa.table(episodes)


def renew_infos(root: Path, spec: StoreSpec, pointer: dict[str, Any]) -> None:
    """Write LeRobot's `info.json` and task table of each dataset from the pointer."""
    datasets: dict[str, list[dict[str, Any]]] = {}
    for part in pointer["parts"]:
        datasets.setdefault(part["dataset"], []).append(part)
    for name, parts in datasets.items():
        meta = root / name / "meta"
        total = {
            "episodes": sum(len(part["clips"]) for part in parts),
            "frames": sum(part["instants"] for part in parts),
        }
        fps = nominal_fps(parts[0]["fps"])
        info = info_json(name, fps, parts[0]["cameras"], spec, total)
        if not (meta / "tasks.parquet").exists():
            _write_tasks(meta / "tasks.parquet")
        if (
            not (meta / "info.json").exists()
            or json.loads((meta / "info.json").read_text()) != info
        ):
            write_json(meta / "info.json", info)


def _write_tasks(path: Path) -> None:
    column = {"name": "__index_level_0__", "field_name": "__index_level_0__", "metadata": None}
    described = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [],
        "columns": [
            {**column, "name": "task_index", "field_name": "task_index", "pandas_type": "int64",
             "numpy_type": "int64"},
            {**column, "name": None, "pandas_type": "unicode", "numpy_type": "object"},
        ],
        "pandas_version": "2.2.0",
    }  # fmt: skip
    table = pa.table({"task_index": [0], "__index_level_0__": [TASK]})
    table = table.replace_schema_metadata({"pandas": json.dumps(described)})
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(table, str(partial))
    sync_file(partial)
    partial.rename(path)


def sweep(root: Path, spec: StoreSpec) -> list[str]:
    """Remove what a killed writer left: unlisted files, dead staging folders. Returns their names.

    Only a writer calls this, before it starts; nothing that `store.json` lists is touched.
    """
    with locked(root / LOCK):
        pointer = json.loads((root / POINTER).read_text())
        removed = [str(path.relative_to(root)) for path in leftovers(root, pointer)]
        for name in removed:
            path = root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        renew_infos(root, spec, pointer)
    return removed


def leftovers(root: Path, pointer: dict[str, Any]) -> list[Path]:
    """Files and staging folders that belong to nothing the pointer lists."""
    listed = {root / part["dataset"] / name for part in pointer["parts"] for name in part["files"]}
    kept = {root / part["dataset"] / "meta" / name
            for part in pointer["parts"] for name in ("info.json", "tasks.parquet")}  # fmt: skip
    found: list[Path] = []
    for path in sorted(root.glob("*hz-*/**/*")):
        if path.is_file() and path not in listed and path not in kept:
            found.append(path)
    staging = root / STAGING
    if staging.is_dir():
        found += [folder for folder in sorted(staging.iterdir()) if not _is_held(folder)]
    found += sorted(root.glob(f".{POINTER}-*"))
    return found


def _is_held(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
