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

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from opendojo.clip import BadClip, Camera, Clip, Floats, Frame, Log
from opendojo.ingest.content import check_file, content_id, reason, shown
from opendojo.ingest.decoding import MEND, opened
from opendojo.ingest.fit import Fitter
from opendojo.ingest.rig import camera_names, check_names
from opendojo.ingest.video import ASSUMED_FOV_DEG
from opendojo.store.layout import camera_from_json

__all__ = ["CONTROL_PATH", "Episode", "is_dataset", "open_lerobot"]

CONTROL_PATH = Path("meta/info.json")
_EPISODES_2 = Path("meta/episodes.jsonl")
_HIGHEST_RATE_HZ = 1000.0
_MOST_FRAMES = 10_000_000
_WIDE = re.compile(r"\{[^}]*\d{3,}[^}]*\}")
"""A field of hundreds of characters in a path's template: no data set has one."""
_REMEDY = "download the data set again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Reads the videos of one episode in step; callable as `Clip.read`."""

    files: tuple[str, ...]
    """One video a camera."""
    begins_s: tuple[float, ...]
    """Where the episode begins in each."""
    rate_hz: float
    frames: int
    """As many as the episode should have."""
    times_s: tuple[float, ...] | None = field(default=None, repr=False)
    """Times from the first frame that its table tells."""

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """See `Clip.frames`."""
        fits = [Fitter(file, width_px, height_px) for file in self.files]
        runs = [
            window(file, begin_s, self.rate_hz)
            for file, begin_s in zip(self.files, self.begins_s, strict=True)
        ]
        for index in range(self.frames):
            step = []
            for file, run in zip(self.files, runs, strict=True):
                picture = next(run, None)
                if picture is None:
                    cause = f"ends after {index} of the episode's {self.frames} frames"
                    raise BadClip(shown(Path(file)), cause, remedy=MEND, frame=index)
                step.append(picture)
            time_s = step[0][1] if self.times_s is None else self.times_s[index]
            yield tuple(fit(picture, time_s) for fit, (picture, _) in zip(fits, step, strict=True))


def window(file: str, begin_s: float, rate_hz: float) -> Iterator[tuple[VideoFrame, float]]:
    """Pictures of a video from `begin_s` on with their times from there, strictly rising.

    Decoding begins at the key frame before it. Raises `BadClip` where the video is damaged.
    """
    half_s = 0.5 / rate_hz
    frames, last_s, byte = 0, -np.inf, None
    try:
        with opened(file) as (container, stream):
            if begin_s > half_s and stream.time_base is not None:
                container.seek(int((begin_s + 1e-6) / stream.time_base), stream=stream)
            for packet in container.demux(stream):
                byte = packet.pos if packet.pos is not None and packet.pos >= 0 else byte
                if packet.is_corrupt:
                    cause = "a damaged packet: the file is cut off or was altered"
                    raise BadClip(shown(Path(file)), cause, remedy=MEND, frame=frames, byte=byte)
                for picture in packet.decode():
                    time_s = last_s + 1.0 / rate_hz if picture.time is None else picture.time
                    if time_s < begin_s - half_s:
                        continue
                    if picture.is_corrupt:
                        cause = "a damaged picture"
                        raise BadClip(
                            shown(Path(file)), cause, remedy=MEND, frame=frames, byte=byte
                        )
                    time_s = max(time_s - begin_s, last_s + half_s)
                    yield picture, time_s
                    last_s, frames = time_s, frames + 1
    except FFmpegError as fault:
        raise BadClip(
            shown(Path(file)), reason(fault), remedy=MEND, frame=frames, byte=byte
        ) from fault


def is_dataset(folder: Path) -> bool:
    """Whether a folder has the control file of a LeRobotDataset beside its data."""
    control = folder / CONTROL_PATH
    return control.is_file() and any((folder / name).is_dir() for name in ("data", "videos"))


def open_lerobot(folder: Path) -> Iterator[Clip | BadClip]:
    """The clips of a data set, in the order of its episodes."""
    try:
        info = _Info.read(folder)
        episodes = info.episodes()
        for entry in episodes:
            try:
                yield _clip(info, entry)
            except BadClip as bad:
                yield bad
            except _broken() as fault:
                number = entry.get("episode_index", "?")
                yield BadClip(shown(folder), f"episode {number}: {_words(fault)}", remedy=_REMEDY)
    except BadClip as bad:
        yield bad
    except _broken() as fault:
        yield BadClip(shown(folder / CONTROL_PATH), _words(fault), remedy=_REMEDY)


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
        if not 0.0 < fps <= _HIGHEST_RATE_HZ:
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
        path = Path(template.format(**values))
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            raise ValueError(f"{path} is not a file of the data set")
        return self.folder / path


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


def _clip(info: _Info, entry: dict[str, Any]) -> Clip:
    frames = int(entry["length"])
    if not 0 < frames <= _MOST_FRAMES:
        raise ValueError(f"its length is {frames}")
    videos = [info.path(info.video_path, key, entry) for key in info.keys]
    begins_s = [_begin_s(info, key, entry) for key in info.keys]
    for video in videos:
        check_file(video)
    table = _table(info, entry, frames)
    times_s = table.pop("time_s", None)
    stamps_s = table.pop("timestamp", None)
    read = Episode(
        files=tuple(str(video.absolute()) for video in videos),
        begins_s=tuple(begins_s),
        rate_hz=info.fps,
        frames=frames,
        times_s=None if times_s is None else tuple(times_s.tolist()),
    )
    cameras = _cameras(info, entry, read)
    log = None
    at_s = times_s if times_s is not None else stamps_s
    if at_s is not None and table:
        log = Log(time_s=at_s, **{name: c for name, c in table.items() if not np.isnan(c).all()})
    packets = [
        _packets_sha256(f, b, info.fps, frames) for f, b in zip(videos, begins_s, strict=True)
    ]
    numbers = b"".join(column.tobytes() for column in table.values())
    return Clip(
        clip_id=content_id("lerobot", [], extra=b"".join(packets) + numbers),
        source=f"{shown(info.folder)}/episode-{int(entry['episode_index']):06d}",
        origin="drawn" if entry.get("origin") == "drawn" else "recorded",
        cameras=cameras,
        rate_hz=_rate_hz(info, entry),
        read=read,
        log=log,
    )


def _rate_hz(info: _Info, entry: dict[str, Any]) -> float:
    own = entry.get("rate_hz")
    return float(own) if isinstance(own, float) and 0.0 < own <= _HIGHEST_RATE_HZ else info.fps


def _begin_s(info: _Info, key: str, entry: dict[str, Any]) -> float:
    begin_s = float(entry[f"videos/{key}/from_timestamp"]) if info.version == 3 else 0.0
    if not 0.0 <= begin_s < 1e9:
        raise ValueError(f"{key} begins at {begin_s} s")
    return begin_s


def _cameras(info: _Info, entry: dict[str, Any], read: Episode) -> tuple[Camera, ...]:
    lines = entry.get("cameras")
    if isinstance(lines, list) and len(lines) == len(info.keys):
        cameras = tuple(camera_from_json(line) for line in lines)
        check_names([camera.name for camera in cameras])
        return cameras
    sizes: list[tuple[int, int]] = []
    for file, begin_s in zip(read.files, read.begins_s, strict=True):
        first = next(window(file, begin_s, read.rate_hz), None)
        if first is None:
            raise BadClip(
                shown(Path(file)), f"has no frame at {begin_s:.3f} s", remedy=MEND, frame=0
            )
        sizes.append((first[0].width, first[0].height))
    names = camera_names([key.removeprefix("observation.images.") for key in info.keys])
    return tuple(
        Camera.with_fov(name, width, height, ASSUMED_FOV_DEG, calibrated=False)
        for name, (width, height) in zip(names, sizes, strict=True)
    )


def _table(info: _Info, entry: dict[str, Any], frames: int) -> dict[str, Floats]:
    """Columns of the episode's rows under the names of a log, with `timestamp` and `time_s`."""
    import pyarrow.dataset as ds

    file = info.path(info.data_path, "data", entry)
    check_file(file)
    rows = ds.dataset(file, format="parquet")
    there = set(rows.schema.names)
    wanted = {name: (name, None) for name in ("time_s", "timestamp") if name in there}
    wanted |= {name: at for name, at in info.columns.items() if at[0] in there}
    own = ds.field("episode_index") == int(entry["episode_index"])
    names = list(dict.fromkeys(column for column, _ in wanted.values()))
    table = rows.to_table(columns=names, filter=own, use_threads=False)
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


def _packets_sha256(file: Path, begin_s: float, rate_hz: float, frames: int) -> bytes:
    """A hash of an episode's packets in one video; of those before it breaks off, where it does."""
    digest = hashlib.sha256()
    half_s = 0.5 / rate_hz
    count = 0
    try:
        with opened(str(file)) as (container, stream):
            base = stream.time_base
            if begin_s > half_s and base is not None:
                container.seek(int((begin_s + 1e-6) / base), stream=stream)
            for packet in container.demux(stream):
                late = packet.pts is None or base is None or packet.pts * base >= begin_s - half_s
                if packet.size and late:
                    digest.update(bytes(packet))
                    count += 1
                if count == frames:
                    break
    except FFmpegError as fault:
        digest.update(reason(fault).encode())
    return digest.digest()


def _broken() -> tuple[type[BaseException], ...]:
    """What JSON of another shape and broken Parquet lead to."""
    import pyarrow as pa

    shapes = (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
    return (OSError, ValueError, *shapes, pa.ArrowException)


def _words(fault: BaseException) -> str:
    return f"{fault} is not there" if isinstance(fault, KeyError) else reason(fault)
