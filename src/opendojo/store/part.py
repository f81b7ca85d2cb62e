"""Staging: whole clips encoded into files that a publisher only has to name and list.

A part is one file per camera, one log table, one packet index, and may hold many clips. Staging
touches nothing of the store, so it can run in any process, be killed and be run again.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opendojo.clip import BadClip, Camera, Clip, Frame, Log
from opendojo.store.atomic import sync_file
from opendojo.store.encode import VideoFile, read_packets
from opendojo.store.layout import LOG_COLUMNS, StoreSpec, camera_to_json, dataset_name, nominal_fps

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
    """Holds `<camera>.mp4`, `log.parquet` and `index.arrow`, if any clip has frames."""
    clips: tuple[StagedClip, ...]

    @property
    def instants(self) -> int:
        """Frames of each camera in the part."""
        return sum(clip.instants for clip in self.clips)


def stage_part(clips: Sequence[Clip], spec: StoreSpec, staging: Path) -> list[StagedPart]:
    """Encode clips into one staged part per dataset they fall into.

    A clip that cannot be read to its end is kept up to there and carries its `damage`; the others
    are not touched by it. Raises `OSError` where the files cannot be written.
    """
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(dataset_name(clip), []).append(clip)
    return [_stage(name, group, spec, staging) for name, group in groups.items()]


def _stage(dataset: str, clips: list[Clip], spec: StoreSpec, staging: Path) -> StagedPart:
    folder = staging / uuid.uuid4().hex
    folder.mkdir(parents=True)
    fps = nominal_fps(clips[0].rate_hz)
    names = tuple(camera.name for camera in clips[0].cameras)
    staged: list[StagedClip] = []
    times: list[np.ndarray[Any, Any]] = []
    logs: list[dict[str, Any]] = []
    row = 0
    with contextlib.ExitStack() as files:
        videos: list[VideoFile] = []
        for name in names:
            videos.append(VideoFile(folder / f"{name}.mp4", spec, fps))
            files.callback(videos[-1].close)
        for clip in clips:
            time_s, damage = _encode(clip, spec, videos)
            staged.append(_staged(clip, spec, row, len(time_s), damage))
            times.append(time_s)
            logs.append(_log_columns(clip.log, time_s))
            row += len(time_s)
    if row:
        _write_tables(folder, names, spec, staged, times, logs)
    return StagedPart(
        dataset=dataset, fps=fps, camera_names=names, folder=folder, clips=tuple(staged)
    )


def _staged(
    clip: Clip, spec: StoreSpec, row: int, instants: int, damage: BadClip | None
) -> StagedClip:
    fitted: list[Camera] = [c.fitted(spec.width_px, spec.height_px) for c in clip.cameras]
    return StagedClip(
        clip_id=clip.clip_id,
        source=clip.source,
        origin=clip.origin,
        rate_hz=clip.rate_hz,
        cameras=tuple(camera_to_json(camera) for camera in fitted),
        row=row,
        instants=instants,
        damage=damage,
    )


def _encode(
    clip: Clip, spec: StoreSpec, videos: list[VideoFile]
) -> tuple[np.ndarray[Any, Any], BadClip | None]:
    times: list[float] = []
    damage: BadClip | None = None
    for video in videos:
        video.begin_clip()
    steps: Iterator[tuple[Frame, ...]] = clip.frames(spec.width_px, spec.height_px)
    try:
        for step in steps:
            for video, frame in zip(videos, step, strict=True):
                video.add(frame)
            times.append(step[0].time_s)
    except BadClip as bad:
        damage = bad
    for video in videos:
        video.end_clip()
    if not times and damage is None:
        damage = BadClip(clip.source, "it holds no frames", remedy="record it again")
    return np.array(times, np.float64), damage


def _log_columns(log: Log | None, time_s: np.ndarray[Any, Any]) -> dict[str, Any]:
    known = {} if log is None else log.at(time_s).columns()
    nothing = np.full(len(time_s), np.nan)
    return {name: known.get(name, nothing) for name in LOG_COLUMNS}


def _write_tables(
    folder: Path,
    names: tuple[str, ...],
    spec: StoreSpec,
    staged: list[StagedClip],
    times: list[np.ndarray[Any, Any]],
    logs: list[dict[str, Any]],
) -> None:
    time_s = np.concatenate(times)
    columns = {name: np.concatenate([log[name] for log in logs]) for name in LOG_COLUMNS}
    pq.write_table(pa.table({"time_s": time_s, **columns}), str(folder / "log.parquet"))

    starts = {clip.row for clip in staged if clip.instants}
    index: dict[str, Any] = {"time_s": time_s}
    for name in names:
        video = folder / f"{name}.mp4"
        packets = np.array(list(read_packets(video)), np.int64).reshape(-1, 3)
        if len(packets) != len(time_s):
            raise OSError(f"{video}: {len(packets)} packets written of {len(time_s)}: disk full?")
        assert all(packets[row, 2] for row in starts), "a clip does not start with a key packet"
        index[f"{name}.offset"] = packets[:, 0]
        index[f"{name}.bytes"] = packets[:, 1].astype(np.int32)
        index[f"{name}.key"] = packets[:, 2].astype(np.uint8)
    table = pa.table(index)
    with pa.ipc.new_file(str(folder / "index.arrow"), table.schema) as writer:
        writer.write_table(table)
    for file in folder.iterdir():
        sync_file(file)
