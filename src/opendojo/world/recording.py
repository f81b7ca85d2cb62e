"""One drive as a folder of ordinary recordings: an MP4 per camera, a log, the other road users.

    drive-00000/drive.json  front.mp4  left.mp4  right.mp4  log.parquet  tracks.parquet

A folder grows under the name `.partial-...` and appears under its own by one rename, so what stops
the writer leaves no half drive.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from opendojo.clip import Camera, Log, Track

__all__ = ["PARTIAL", "DriveWriter"]

PARTIAL = ".partial-"
_GOP_FRAMES = 30
_OPTIONS = {"crf": "20", "preset": "ultrafast"}


def _create(path: Path) -> BinaryIO:
    return path.open("xb")


class _Video:
    """One camera's MP4: H.264, 4:2:0, frame k shown at k / rate."""

    def __init__(self, path: Path, camera: Camera, rate_hz: Fraction) -> None:
        # a Python file: its errors (a full disk) arrive as the OSError they are
        self._file = _create(path)
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate_hz, options=_OPTIONS)
        context = self._stream.codec_context
        context.width, context.height = camera.width_px, camera.height_px
        context.pix_fmt = "yuv420p"
        context.time_base = 1 / rate_hz
        context.gop_size = _GOP_FRAMES
        context.thread_count = 1
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU601
        self._frames = 0

    def write(self, planes: np.ndarray) -> None:
        """Add a frame: uint8 [height * 3 / 2, width], Y above U above V."""
        frame = VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pict_type = PictureType.NONE
        frame.pts, frame.time_base = self._frames, self._stream.codec_context.time_base
        self._frames += 1
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        # the container is left to the collector: closing it would write to a disk that may be full
        self._file.close()


class DriveWriter:
    """Writes one drive folder; as a context it removes what is not published.

    Args:
        folder: the finished drive's path; must not exist yet.
        cameras: the rig.
        rate_hz: frames a second.

    Raises:
        OSError: nothing can be written there.
    """

    def __init__(self, folder: Path, cameras: Sequence[Camera], rate_hz: Fraction) -> None:
        self._folder, self._cameras, self._rate_hz = folder, cameras, rate_hz
        self._partial = folder.with_name(PARTIAL + folder.name)
        self._videos: list[_Video] = []
        self._partial.mkdir(parents=True)
        try:
            for camera in cameras:
                self._videos.append(_Video(self._partial / f"{camera.name}.mp4", camera, rate_hz))
        except OSError:
            self._abandon()
            raise

    def __enter__(self) -> DriveWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._partial.exists():
            self._abandon()

    def write(self, frames: np.ndarray) -> None:
        """Add a frame of every camera: uint8 [cameras, height * 3 / 2, width]."""
        for video, planes in zip(self._videos, frames, strict=True):
            video.write(planes)

    def publish(self, log: Log, tracks: Sequence[Track], generator: dict[str, Any]) -> None:
        """Finish the videos, write log, tracks and description, and let the drive appear."""
        for video in self._videos:
            video.finish()
        columns = {"time_s": log.time_s} | log.columns()
        pq.write_table(pa.table(columns), self._partial / "log.parquet")
        pq.write_table(_track_table(tracks), self._partial / "tracks.parquet")
        described = {
            "format": "opendojo-drive",
            "version": 1,
            "origin": "drawn",
            "rate_hz": float(self._rate_hz),
            "cameras": [{"file": f"{c.name}.mp4"} | dataclasses.asdict(c) for c in self._cameras],
            "log": "log.parquet",
            "tracks": "tracks.parquet",
            "generator": generator,
        }
        text = json.dumps(described, indent=1)
        (self._partial / "drive.json").write_text(text + "\n", encoding="utf-8")
        self._partial.rename(self._folder)

    def _abandon(self) -> None:
        for video in self._videos:
            video.abandon()
        shutil.rmtree(self._partial)


def _track_table(tracks: Sequence[Track]) -> pa.Table:
    schema = pa.schema(
        [("track_id", pa.int64()), ("kind", pa.string())]
        + [(name, pa.float64()) for name in _TRACK_COLUMNS]
    )
    rows: dict[str, list[Any]] = {name: [] for name in schema.names}
    for track in tracks:
        count = len(track.time_s)
        for name in ("track_id", "kind", "length_m", "width_m", "height_m"):
            rows[name] += [getattr(track, name)] * count
        for name in ("time_s", "x_m", "y_m", "yaw_rad"):
            rows[name] += getattr(track, name).tolist()
    return pa.table(rows, schema=schema)


_TRACK_COLUMNS = ("length_m", "width_m", "height_m", "time_s", "x_m", "y_m", "yaw_rad")
