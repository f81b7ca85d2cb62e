"""LeRobotDatasets of strangers, as lerobot 0.4 (v3.0) and 0.1 to 0.3 (v2.1) write them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from recordings import marked

KEYS = ("observation.images.front", "observation.images.wrist_left")
FPS = 10
V3_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
V3_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
V2_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
V2_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


def write_video(path: Path, pictures: list[int], codec: str = "libx264") -> None:
    """`marked` pictures of 64x48, a key frame every other one, as LeRobot encodes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=FPS, options={"g": "2", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for k, number in enumerate(pictures):
            picture = marked(64, 48, number)
            picture.pts, picture.time_base = k, Fraction(1, FPS)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def rows(episode: int, length: int, first: int) -> dict[str, Any]:
    """A data table's columns for one episode."""
    frame = np.arange(length)
    state = np.stack([3.0 + episode + frame / 10, np.full(length, 12.5)], 1).astype(np.float32)
    return {
        "observation.state": list(state),
        "action": list(np.full((length, 1), 0.5, np.float32)),
        "timestamp": (frame / FPS).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(length, episode),
        "index": first + frame,
        "task_index": np.zeros(length, np.int64),
    }


def make_lerobot(folder: Path, *, version: str = "v3.0", lengths: tuple[int, ...] = (7, 5)) -> Path:
    """Write a data set; camera 0 of episode e shows pictures 20 e and up, camera 1 from 50 on."""
    features: dict[str, Any] = {
        key: {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"]}
        for key in KEYS
    }
    state = {"dtype": "float32", "shape": [2], "names": ["speed_mps", "battery"]}
    features |= {"observation.state": state}
    features["action"] = {"dtype": "float32", "shape": [1], "names": ["speed"]}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    three = version == "v3.0"
    info = {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": V3_DATA if three else V2_DATA,
        "video_path": V3_VIDEO if three else V2_VIDEO,
        "features": features,
    }
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info, indent=4))
    (_make_3 if three else _make_2)(folder, lengths)
    return folder


def pictures(episode: int, camera: int, length: int) -> list[int]:
    """Numbers of the `marked` pictures that a camera saw."""
    return [20 * episode + 50 * camera + k for k in range(length)]


def _make_3(folder: Path, lengths: tuple[int, ...]) -> None:
    starts = [sum(lengths[:e]) for e in range(len(lengths))]
    episodes: list[dict[str, Any]] = []
    for e, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        entry: dict[str, Any] = {"episode_index": e, "tasks": ["drive"], "length": length}
        entry |= {"dataset_from_index": start, "dataset_to_index": start + length}
        places = ("data", "meta/episodes", *(f"videos/{key}" for key in KEYS))
        entry |= {f"{place}/{what}_index": 0 for place in places for what in ("chunk", "file")}
        for key in KEYS:
            entry[f"videos/{key}/from_timestamp"] = start / FPS
            entry[f"videos/{key}/to_timestamp"] = (start + length) / FPS
        entry["stats/action/mean"] = [0.5]
        episodes.append(entry)
    for c, key in enumerate(KEYS):
        shown = [number for e, n in enumerate(lengths) for number in pictures(e, c, n)]
        write_video(folder / f"videos/{key}/chunk-000/file-000.mp4", shown)
    tables = [pa.table(rows(e, n, s)) for e, (s, n) in enumerate(zip(starts, lengths, strict=True))]
    _write(pa.concat_tables(tables), folder / "data/chunk-000/file-000.parquet")
    _write(pa.Table.from_pylist(episodes), folder / "meta/episodes/chunk-000/file-000.parquet")


def _make_2(folder: Path, lengths: tuple[int, ...]) -> None:
    lines = []
    for e, length in enumerate(lengths):
        name = f"episode_{e:06d}"
        for c, key in enumerate(KEYS):
            path = folder / f"videos/chunk-000/{key}/{name}.mp4"
            write_video(path, pictures(e, c, length))
        _write(
            pa.table(rows(e, length, sum(lengths[:e]))), folder / f"data/chunk-000/{name}.parquet"
        )
        lines.append(json.dumps({"episode_index": e, "tasks": ["drive"], "length": length}))
    (folder / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, str(path))
