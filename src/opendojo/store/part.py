"""Staging: whole clips encoded into files that a publisher only has to name and list.

A part is one file per camera, one log table, one packet index, and may hold many clips. Staging
measures what the encoder did to the frames, flags those that are bad, and
touches nothing of the store, so it can run in any process, be killed and be run again.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opendojo.clip import BadClip, Camera, Clip, Log
from opendojo.store.atomic import sync_file, write_array
from opendojo.store.choose import choose_quality
from opendojo.store.encode import VideoFile, read_head, read_packets
from opendojo.store.layout import (
    LOG_COLUMNS,
    StoreSpec,
    camera_to_json,
    dataset_name,
    index_dtype,
    nominal_fps,
)
from opendojo.store.quality import Inspector

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StagedClip", "StagedPart", "stage_part"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedClip:
    """What became of one clip."""

    clip_id: str
    source: str
    origin: str
    rate_hz: float
    cameras: tuple[str, ...]
    """Each camera as JSON, fitted to the store's frames."""
    row: int
    """First row in the part's index and log."""
    instants: int
    """Frames of each camera kept; 0 where none could be read."""
    psnr_db: tuple[float, ...]
    """Each camera's luma PSNR, measured on sampled groups; NaN where no frame was kept."""
    crf: tuple[int, ...]
    """Each camera's quality number."""
    damage: BadClip | None = None
    """Why it broke off, where it did; the instants before are good."""

    @property
    def frames(self) -> int:
        """Frames of all its cameras together."""
        return self.instants * len(self.cameras)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPart:
    """Files of one dataset, written and synced, waiting to be published."""

    dataset: str
    fps: int
    camera_names: tuple[str, ...]
    folder: Path
    """Holds `<camera>.mp4`, `log.parquet`, `index.npy`, `index.json`, if any clip has frames."""
    clips: tuple[StagedClip, ...]

    @property
    def instants(self) -> int:
        """Frames of each camera in the part."""
        return sum(clip.instants for clip in self.clips)


def stage_part(
    clips: Sequence[Clip],
    spec: StoreSpec,
    staging: Path,
    step: Callable[[], None] = lambda: None,
) -> list[StagedPart]:
    """Encode clips into one staged part per dataset they fall into.

    A clip that cannot be read to its end is kept up to there and carries its `damage`; the others
    are not touched by it. `step` is called again and again while no clip is read. Raises `OSError`
    where the files cannot be written.
    """
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(dataset_name(clip), []).append(clip)
    return [_stage(name, group, spec, staging, step) for name, group in groups.items()]


@dataclass(slots=True, kw_only=True)
class _Kept:
    """What was kept of one clip."""

    time_s: npt.NDArray[np.float64]
    flags: npt.NDArray[np.uint8]
    """Quality flags, [instants, cameras]."""
    psnr_db: tuple[float, ...]
    damage: BadClip | None


def _stage(
    dataset: str, clips: list[Clip], spec: StoreSpec, staging: Path, step: Callable[[], None]
) -> StagedPart:
    folder = staging / uuid.uuid4().hex
    folder.mkdir(parents=True)
    fps = nominal_fps(clips[0].rate_hz)
    names = tuple(camera.name for camera in clips[0].cameras)
    staged: list[StagedClip] = []
    rows: list[npt.NDArray[Any]] = []
    row = 0
    with contextlib.ExitStack() as files:
        videos: list[VideoFile] = []
        for name in names:
            videos.append(VideoFile(folder / f"{name}.mp4", spec, fps))
            files.callback(videos[-1].close)
        for clip in clips:
            crf = (spec.quality,) * len(names)
            if spec.psnr_db is not None:
                crf = choose_quality(clip, spec, fps, step)
            kept = _encode(clip, spec, crf, videos)
            staged.append(_staged(clip, spec, row, crf, kept))
            rows.append(_index_rows(names, clip.log, kept))
            row += len(kept.time_s)
    if row:
        _write_tables(folder, names, spec, staged, np.concatenate(rows))
    return StagedPart(
        dataset=dataset, fps=fps, camera_names=names, folder=folder, clips=tuple(staged)
    )


def _staged(clip: Clip, spec: StoreSpec, row: int, crf: tuple[int, ...], kept: _Kept) -> StagedClip:
    fitted: list[Camera] = [c.fitted(spec.width_px, spec.height_px) for c in clip.cameras]
    return StagedClip(
        clip_id=clip.clip_id,
        source=clip.source,
        origin=clip.origin,
        rate_hz=clip.rate_hz,
        cameras=tuple(camera_to_json(camera) for camera in fitted),
        row=row,
        instants=len(kept.time_s),
        psnr_db=kept.psnr_db,
        crf=crf,
        damage=kept.damage,
    )


def _encode(clip: Clip, spec: StoreSpec, crf: tuple[int, ...], videos: list[VideoFile]) -> _Kept:
    times: list[float] = []
    flags: list[list[int]] = []
    damage: BadClip | None = None
    inspectors = [Inspector() for _ in videos]
    for video, number in zip(videos, crf, strict=True):
        video.begin_clip(number)
    try:
        for step in clip.frames(spec.width_px, spec.height_px):
            for video, frame in zip(videos, step, strict=True):
                video.add(frame)
            flags.append([see(frame) for see, frame in zip(inspectors, step, strict=True)])
            times.append(step[0].time_s)
    except BadClip as bad:
        damage = bad
    psnr_db = tuple(video.end_clip() for video in videos)
    if not times and damage is None:
        damage = BadClip(clip.source, "it holds no frames", remedy="record it again")
    return _Kept(
        time_s=np.array(times, np.float64),
        flags=np.array(flags, np.uint8).reshape(len(times), len(videos)),
        psnr_db=psnr_db,
        damage=damage,
    )


def _index_rows(names: tuple[str, ...], log: Log | None, kept: _Kept) -> npt.NDArray[Any]:
    """Rows of the packet index, all but where the packets lie."""
    rows = np.zeros(len(kept.time_s), index_dtype(names))
    rows["time_s"] = kept.time_s
    known = {} if log is None else log.at(kept.time_s).columns()
    for column in LOG_COLUMNS:
        rows[column] = known.get(column, np.nan)
    for place, name in enumerate(names):
        rows[f"{name}.flags"] = kept.flags[:, place]
    return rows


def _log_table(rows: npt.NDArray[Any]) -> pa.Table:
    """The log of index rows, float64 throughout.

    Of buffers: pyarrow imports pandas, where it is there, for the first NumPy array it is given,
    and that takes each staging process half a second.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in ("time_s", *LOG_COLUMNS):
        values = np.ascontiguousarray(rows[name], np.float64)
        buffers = [None, pa.py_buffer(values.tobytes())]
        columns[name] = pa.Array.from_buffers(pa.float64(), len(values), buffers)
    return pa.table(columns)


def _write_tables(
    folder: Path,
    names: tuple[str, ...],
    spec: StoreSpec,
    staged: list[StagedClip],
    rows: npt.NDArray[Any],
) -> None:
    import pyarrow.parquet as pq

    pq.write_table(_log_table(rows), str(folder / "log.parquet"))

    starts = [clip.row for clip in staged if clip.instants]
    heads: dict[str, Any] = {}
    for name in names:
        video = folder / f"{name}.mp4"
        packets = np.array(list(read_packets(video)), np.int64).reshape(-1, 3)
        if len(packets) != len(rows):
            raise OSError(f"{video}: {len(packets)} packets written of {len(rows)}: disk full?")
        assert packets[starts, 2].all(), "a clip does not start with a key packet"
        for place, column in enumerate(("offset", "bytes", "key")):
            rows[f"{name}.{column}"] = packets[:, place]
        codec, extradata = read_head(video, spec)
        heads[name] = {"codec": codec, "extradata": extradata.hex()}
    header_bytes = write_array(folder / "index.npy", rows)
    beside = {"cameras": heads, "rows": len(rows), "header_bytes": header_bytes}
    (folder / "index.json").write_text(json.dumps(beside))
    for file in folder.iterdir():
        sync_file(file)
