"""The tables that make a dataset a LeRobotDataset v3.0, so that others' tools read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opendojo.store.atomic import sync_file
from opendojo.store.codec import CODECS
from opendojo.store.layout import CHUNK_FILES, LOG_COLUMNS, StoreSpec, video_key

if TYPE_CHECKING:
    import pyarrow as pa

    from opendojo.store.part import StagedClip, StagedPart

__all__ = ["data_table", "episode_table", "info_json", "write_tasks"]

TASK = "drive"
"""The one task of LeRobot's task table."""


def info_json(dataset: str, fps: int, cameras: list[str], spec: StoreSpec, total: Any) -> Any:
    """The `meta/info.json` of a dataset, as LeRobotDataset v3.0 has it.

    `total` holds `episodes` and `frames` (LeRobot counts an instant as one frame).
    """

    def column(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [1], "names": None}

    features: dict[str, Any] = {
        video_key(name): {
            "dtype": "video",
            "shape": [spec.height_px, spec.width_px, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": spec.height_px,
                "video.width": spec.width_px,
                "video.codec": CODECS[spec.codec].stream,
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": 3,
                "has_audio": False,
            },
        }
        for name in cameras
    }
    features["timestamp"] = column("float32")
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = column("int64")
    for name in ("time_s", *LOG_COLUMNS):
        features[name] = column("float64")
    return {
        "codebase_version": "v3.0",
        "robot_type": "car",
        "total_episodes": total["episodes"],
        "total_frames": total["frames"],
        "total_tasks": 1,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{total['episodes']}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }


def data_table(part: StagedPart, clips: list[StagedClip], counted: dict[str, int]) -> pa.Table:
    """One row per instant: LeRobot's counters, true time, log.

    `counted` holds the dataset's `clips` and `instants` before this part.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    log = pq.read_table(str(part.folder / "log.parquet"))
    rows = pa.concat_tables([log.slice(clip.row, clip.instants) for clip in clips])
    counts = np.array([clip.instants for clip in clips])
    frame = np.concatenate([np.arange(count) for count in counts])
    return pa.table(
        {
            "timestamp": (frame / part.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": counted["clips"] + np.repeat(np.arange(len(clips)), counts),
            "index": counted["instants"] + np.arange(len(frame)),
            "task_index": np.zeros(len(frame), np.int64),
            **{name: rows.column(name) for name in ("time_s", *LOG_COLUMNS)},
        }
    )


def episode_table(
    part: StagedPart, clips: list[StagedClip], number: int, counted: dict[str, int]
) -> pa.Table:
    """One row per clip: LeRobot's ranges and places, and what OpenDojo knows beside them."""
    import pyarrow as pa

    counts = np.array([clip.instants for clip in clips])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chunk, file = divmod(number, CHUNK_FILES)
    columns: dict[str, Any] = {
        "episode_index": counted["clips"] + np.arange(len(clips)),
        "tasks": [[TASK]] * len(clips),
        "length": counts,
        "dataset_from_index": counted["instants"] + starts,
        "dataset_to_index": counted["instants"] + starts + counts,
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
        columns[f"{place}/chunk_index"] = [chunk] * len(clips)
        columns[f"{place}/file_index"] = [file] * len(clips)
    for place, name in enumerate(part.camera_names):
        begin = np.array([clip.row for clip in clips]) / part.fps
        columns[f"videos/{video_key(name)}/from_timestamp"] = begin
        columns[f"videos/{video_key(name)}/to_timestamp"] = begin + counts / part.fps
        columns[f"psnr_db/{name}"] = [clip.psnr_db[place] for clip in clips]
        columns[f"crf/{name}"] = [clip.crf[place] for clip in clips]
    return pa.table(columns)


def write_tasks(path: Path) -> None:
    """Write LeRobot's task table, as pandas would."""
    import pyarrow as pa
    import pyarrow.parquet as pq

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
