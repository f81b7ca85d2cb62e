"""A LeRobotDataset, version 3.0 or 2.x, of anyone's: every episode is a clip.

`meta/info.json` names the features and the paths; in 3.0 the episodes' places stand in
`meta/episodes/*.parquet` and many episodes follow one another in one video, from `from_timestamp`
to `to_timestamp`; in 2.x each episode has a video and a table of its own. Read are features of the
kind `video`; what is kept as single pictures is not.

Times are those of the videos, from the episode's first frame on; where the table has a column
`time_s`, as this project writes it, that is taken. Of the other columns only those are taken that
name a quantity and its unit as `clip.Log` does (`speed_mps`, alone or among a feature's `names`):
nothing tells what the rest means for a vehicle. Cameras are uncalibrated unless this project's own
column `cameras` is there.

An episode is known by the packets of its part of the video, so adding episodes to a data set does
not change those it has.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from opendojo.clip import BadClip, Camera, Clip, Floats, Log
from opendojo.ingest.content import check_file, content_id, shown
from opendojo.ingest.foreign import BROKEN, HIGHEST_RATE_HZ, inside, words
from opendojo.ingest.lerobot_media import EpisodeReader, Tables, Videos
from opendojo.ingest.rig import camera_names, check_names
from opendojo.ingest.video import ASSUMED_FOV_DEG
from opendojo.store.layout import camera_from_json

__all__ = ["CONTROL_PATH", "is_dataset", "open_lerobot"]

CONTROL_PATH = Path("meta/info.json")
_EPISODES_2 = Path("meta/episodes.jsonl")
_MOST_FRAMES = 10_000_000
_WIDE = re.compile(r"\{[^}]*\d{3,}[^}]*\}")
"""A field of hundreds of characters in a path's template: no data set has one."""
_REMEDY = "download the data set again"


def is_dataset(folder: Path) -> bool:
    """Whether a folder has the control file of a LeRobotDataset beside its data."""
    control = folder / CONTROL_PATH
    return control.is_file() and any((folder / name).is_dir() for name in ("data", "videos"))


def open_lerobot(folder: Path) -> Iterator[Clip | BadClip]:
    """The clips of a data set, in the order of its episodes."""
    with contextlib.ExitStack() as held:
        yield from _clips(folder, held)


def _clips(folder: Path, held: contextlib.ExitStack) -> Iterator[Clip | BadClip]:
    try:
        info = _Info.read(folder)
        columns = ("time_s", "timestamp", *(column for column, _ in info.columns.values()))
        videos, tables = Videos(), Tables(tuple(dict.fromkeys(columns)))
        held.callback(videos.close)
        for entry in info.episodes():
            try:
                yield _clip(info, entry, videos, tables)
            except BadClip as bad:
                yield bad
            except BROKEN as fault:
                number = entry.get("episode_index", "?")
                yield BadClip(shown(folder), f"episode {number}: {words(fault)}", remedy=_REMEDY)
    except BadClip as bad:
        yield bad
    except BROKEN as fault:
        yield BadClip(shown(folder / CONTROL_PATH), words(fault), remedy=_REMEDY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Info:
    """What `meta/info.json` says."""

    folder: Path
    version: int
    fps: float
    chunk_files: int
    data_path: str
    video_path: str
    keys: tuple[str, ...]
    """Video features."""
    columns: dict[str, tuple[str, int | None]]
    """Log column to the table's column and the place in it, None where it is a single number."""

    @classmethod
    def read(cls, folder: Path) -> _Info:
        """Raises `BadClip` where it is not of a kind that is read."""
        file = folder / CONTROL_PATH
        check_file(file)
        info: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = str(info["codebase_version"])
        if not version.startswith(("v3.", "v2.")):
            raise BadClip(
                shown(file), f"is of version {version[:20]}", remedy="3.0 and 2.x are read"
            )
        features: dict[str, Any] = info["features"]
        keys = tuple(key for key, feature in features.items() if feature["dtype"] == "video")
        if not keys:
            raise BadClip(
                shown(file), "has no feature of video", remedy="record it with use_videos=True"
            )
        fps = float(info["fps"])
        if not 0.0 < fps <= HIGHEST_RATE_HZ:
            raise ValueError(f"fps is {fps}")
        return cls(
            folder=folder,
            version=int(version[1]),
            fps=fps,
            chunk_files=int(info.get("chunks_size", 1000)),
            data_path=str(info["data_path"]),
            video_path=str(info["video_path"]),
            keys=keys,
            columns=_log_columns(features),
        )

    def episodes(self) -> Iterator[dict[str, Any]]:
        """Each episode's entry, without its statistics."""
        if self.version == 2:
            file = self.folder / _EPISODES_2
            check_file(file)
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    yield dict(json.loads(line))
            return
        import pyarrow.parquet as pq

        files = sorted((self.folder / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise BadClip(
                shown(self.folder), "has no meta/episodes: it was not finished", remedy=_REMEDY
            )
        for file in files:
            check_file(file)
            with pq.ParquetFile(file) as table:
                names = [n for n in table.schema_arrow.names if not n.startswith("stats/")]
                for batch in table.iter_batches(batch_size=256, columns=names):
                    yield from batch.to_pylist()

    def path(self, template: str, key: str, entry: dict[str, Any]) -> Path:
        """A file of an episode; `key` is a video's, or `data`."""
        number = int(entry["episode_index"])
        values: dict[str, Any] = {"video_key": key, "episode_index": number}
        values["episode_chunk"] = number // max(self.chunk_files, 1)
        if self.version == 3:
            place = key if key == "data" else f"videos/{key}"
            for name in ("chunk_index", "file_index"):
                values[name] = int(entry[f"{place}/{name}"])
        if _WIDE.search(template):
            raise ValueError(f"{template!r} is not a path")
        return self.folder / inside(template.format(**values))


def _log_columns(features: dict[str, Any]) -> dict[str, tuple[str, int | None]]:
    """Where the columns of a log are, by the names that features and their parts have."""
    found: dict[str, tuple[str, int | None]] = {}
    for key, feature in features.items():
        if not str(feature["dtype"]).startswith("float"):
            continue
        names = feature.get("names")
        alone = key.rpartition(".")[2]
        if feature["shape"] in ([], [1]) and alone in Log.names():
            found.setdefault(alone, (key, None))
        elif isinstance(names, list):
            for place, name in enumerate(names):
                if name in Log.names():
                    found.setdefault(name, (key, place))
    return found


def _clip(info: _Info, entry: dict[str, Any], looks: Videos, tables: Tables) -> Clip:
    frames = int(entry["length"])
    if not 0 < frames <= _MOST_FRAMES:
        raise ValueError(f"its length is {frames}")
    videos = [info.path(info.video_path, key, entry) for key in info.keys]
    begins_s = [_begin_s(info, key, entry) for key in info.keys]
    for video in videos:
        check_file(video)
    table = _table(info, entry, frames, tables)
    times_s = table.pop("time_s", None)
    stamps_s = table.pop("timestamp", None)
    own = _own_cameras(info, entry)
    files = tuple(str(video.absolute()) for video in videos)
    seen = [
        looks.look(place, file, begin_s, info.fps, frames, sized=own is None)
        for place, (file, begin_s) in enumerate(zip(files, begins_s, strict=True))
    ]
    read = EpisodeReader(
        files=files,
        begins_s=tuple(begins_s),
        rate_hz=info.fps,
        instants=frames,
        times_s=None if times_s is None else tuple(times_s.tolist()),
    )
    log = None
    at_s = times_s if times_s is not None else stamps_s
    if at_s is not None and table:
        log = Log(time_s=at_s, **{name: c for name, c in table.items() if not np.isnan(c).all()})
    numbers = b"".join(column.tobytes() for column in table.values())
    return Clip(
        clip_id=content_id("lerobot", [], extra=b"".join(packets for packets, _ in seen) + numbers),
        source=f"{shown(info.folder)}/episode-{int(entry['episode_index']):06d}",
        origin="drawn" if entry.get("origin") == "drawn" else "recorded",
        cameras=own or _guessed_cameras(info, [size for _, size in seen]),
        rate_hz=_rate_hz(info, entry),
        read=read,
        log=log,
    )


def _rate_hz(info: _Info, entry: dict[str, Any]) -> float:
    own = entry.get("rate_hz")
    return float(own) if isinstance(own, float) and 0.0 < own <= HIGHEST_RATE_HZ else info.fps


def _begin_s(info: _Info, key: str, entry: dict[str, Any]) -> float:
    begin_s = float(entry[f"videos/{key}/from_timestamp"]) if info.version == 3 else 0.0
    if not 0.0 <= begin_s < 1e9:
        raise ValueError(f"{key} begins at {begin_s} s")
    return begin_s


def _own_cameras(info: _Info, entry: dict[str, Any]) -> tuple[Camera, ...] | None:
    """The cameras as this project wrote them, if it did."""
    lines = entry.get("cameras")
    if not isinstance(lines, list) or len(lines) != len(info.keys):
        return None
    cameras = tuple(camera_from_json(line) for line in lines)
    check_names([camera.name for camera in cameras])
    return cameras


def _guessed_cameras(info: _Info, sizes: list[tuple[int, int]]) -> tuple[Camera, ...]:
    names = camera_names([key.removeprefix("observation.images.") for key in info.keys])
    return tuple(
        Camera.with_fov(name, width, height, ASSUMED_FOV_DEG, calibrated=False)
        for name, (width, height) in zip(names, sizes, strict=True)
    )


def _table(info: _Info, entry: dict[str, Any], frames: int, tables: Tables) -> dict[str, Floats]:
    """Columns of the episode's rows under the names of a log, with `timestamp` and `time_s`."""
    file = info.path(info.data_path, "data", entry)
    check_file(file)
    table = tables.rows(file, int(entry["episode_index"]))
    there = set(table.column_names)
    wanted = {name: (name, None) for name in ("time_s", "timestamp") if name in there}
    wanted |= {name: at for name, at in info.columns.items() if at[0] in there}
    if table.num_rows != frames:
        raise BadClip(
            shown(file), f"has {table.num_rows} rows of the episode's {frames}", remedy=_REMEDY
        )
    out: dict[str, Floats] = {}
    for name, (column, place) in wanted.items():
        values = table.column(column).to_pylist()
        out[name] = np.array([v if np.ndim(v) == 0 else v[place or 0] for v in values], np.float64)
    for name in ("time_s", "timestamp"):
        times_s = out.get(name, np.zeros(0))
        if np.any(~np.isfinite(times_s)) or np.any(np.diff(times_s) <= 0):
            raise BadClip(shown(file), f"its {name} does not rise", remedy=_REMEDY)
    return out
