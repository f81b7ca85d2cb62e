"""A drive folder: several calibrated cameras, a log and tracks, as `drive.json` lists them.

Cameras of a step are matched by time to the first camera, to within half a frame. The clip ends
with the camera that ends first; what the others have beyond it, and steps for which a camera has
no picture, are told of at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from av.video.frame import VideoFrame

from opendojo.clip import BadClip, Camera, Clip, Floats, Frame, Log, Pose, Track
from opendojo.ingest.content import check_file, content_id, shown
from opendojo.ingest.fit import Fitter, attitude
from opendojo.ingest.foreign import BROKEN, HIGHEST_RATE_HZ, floats, inside, read_table, words
from opendojo.ingest.rig import check_names
from opendojo.ingest.video import timed

__all__ = ["CONTROL_NAME", "Drive", "open_drive"]

CONTROL_NAME = "drive.json"
_FORMAT, _VERSION = "opendojo-drive", 1
_KINDS = ("car", "truck", "cyclist", "pedestrian", "static")
_SHAPE = ("length_m", "width_m", "height_m")
_PATH = ("time_s", "x_m", "y_m", "yaw_rad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Reads the cameras of a drive in step; callable as `Clip.read`."""

    files: tuple[str, ...]
    """One video a camera; the first sets the pace."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each camera's pictures, for which it was calibrated."""
    rate_hz: float

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """See `Clip.frames`."""
        fits = [Fitter(file, width_px, height_px) for file in self.files]
        pairs = zip(self.files, self.sizes, strict=True)
        cameras = [_Camera(file, size, self.rate_hz) for file, size in pairs]
        start_s: float | None = None
        step = skipped = 0
        while all(camera.ahead() for camera in cameras):
            now_s = cameras[0].time_s
            start_s = now_s if start_s is None else start_s
            half_s = 0.5 / self.rate_hz + 1e-9
            if not all(camera.seek(now_s - half_s) for camera in cameras):
                break
            if all(camera.time_s <= now_s + half_s for camera in cameras):
                pairs = zip(fits, cameras, strict=True)
                yield tuple(fit(camera.take(), now_s - start_s) for fit, camera in pairs)
            else:
                cameras[0].take()
                skipped += 1
            step += 1
        cause = self._remainder(cameras, skipped)
        if cause:
            short = next(file for file, c in zip(self.files, cameras, strict=True) if not c.ahead())
            raise BadClip(
                shown(Path(short)),
                cause,
                remedy="record the cameras over the same time",
                frame=step,
            )

    def _remainder(self, cameras: list[_Camera], skipped: int) -> str:
        rest = [Path(f).name for f, c in zip(self.files, cameras, strict=True) if c.ahead()]
        parts = [f"ends before {', '.join(rest)}"] if rest else []
        if skipped:
            parts.append(f"{skipped} steps have no picture of every camera")
        return "; ".join(parts)


class _Camera:
    """One video with its next picture in hand."""

    def __init__(self, file: str, size: tuple[int, int], rate_hz: float) -> None:
        self._file, self._size = file, size
        self._pictures = timed(file, rate_hz, origin_s=0.0)
        self._next: VideoFrame | None = None
        self._checked = (0, 0)
        self.time_s = 0.0

    def ahead(self) -> bool:
        """Whether there is a picture to take. Raises `BadClip` where the video breaks off."""
        if self._next is None:
            self._next, self.time_s = next(self._pictures, (None, self.time_s))
            if self._next is not None:
                self._check_size(self._next)
        return self._next is not None

    def _check_size(self, picture: VideoFrame) -> None:
        if (picture.width, picture.height) == self._checked:
            return
        self._checked = (picture.width, picture.height)
        width, height = attitude(picture).size(picture.width, picture.height)
        if (width, height) != self._size:
            cause = f"is {width}x{height}, its calibration {self._size[0]}x{self._size[1]}"
            raise BadClip(shown(Path(self._file)), cause, remedy="write the drive again")

    def seek(self, time_s: float) -> bool:
        """Pass over what is before `time_s`; whether anything is left."""
        while self.ahead():
            if self.time_s >= time_s:
                return True
            self._next = None
        return False

    def take(self) -> VideoFrame:
        """The picture in hand."""
        picture, self._next = self._next, None
        assert picture is not None
        return picture


def open_drive(control: Path) -> Clip:
    """The clip of a drive folder, by its `drive.json`. Raises `BadClip`."""
    check_file(control)
    folder = control.parent
    try:
        drive: dict[str, Any] = json.loads(control.read_text(encoding="utf-8"))
        found = (drive["format"], drive["version"])
        if found != (_FORMAT, _VERSION):
            cause = f"is {found[0]} version {found[1]}"
            remedy = f"this release reads {_FORMAT} version {_VERSION}"
            raise BadClip(shown(control), cause, remedy=remedy)
        if drive["origin"] not in ("drawn", "recorded"):
            raise ValueError(f"origin is {drive['origin']!r}, not drawn or recorded")
        rate_hz = float(drive["rate_hz"])
        if not 0.0 < rate_hz <= HIGHEST_RATE_HZ:
            raise ValueError(f"rate_hz is {rate_hz}")
        videos = [folder / inside(entry["file"], flat=True) for entry in drive["cameras"]]
        cameras = tuple(_camera(entry) for entry in drive["cameras"])
        if not cameras:
            raise ValueError("it lists no camera")
        check_names([camera.name for camera in cameras])
        tables = [
            folder / inside(drive[key], flat=True) for key in ("log", "tracks") if drive.get(key)
        ]
        for table in tables:
            check_file(table)
        log = _log(folder / inside(drive["log"], flat=True)) if drive.get("log") else None
        tracks = _tracks(folder / inside(drive["tracks"], flat=True)) if drive.get("tracks") else ()
    except BROKEN as fault:
        raise BadClip(shown(control), words(fault), remedy="write the drive again") from fault
    for video in videos:
        check_file(video)
    return Clip(
        clip_id=content_id("drive", [control, *videos, *tables]),
        source=shown(folder),
        origin=drive["origin"],
        cameras=cameras,
        rate_hz=rate_hz,
        read=Drive(
            files=tuple(str(video.absolute()) for video in videos),
            sizes=tuple((camera.width_px, camera.height_px) for camera in cameras),
            rate_hz=rate_hz,
        ),
        log=log,
        tracks=tracks,
    )


def _camera(entry: dict[str, Any]) -> Camera:
    numbers = {key: float(entry[key]) for key in ("fx_px", "fy_px", "cx_px", "cy_px")}
    if entry["lens"] not in ("pinhole", "kannala-brandt"):
        raise ValueError(f"camera {entry['name']}: lens {entry['lens']!r} is not known")
    return Camera(
        name=str(entry["name"]),
        width_px=int(entry["width_px"]),
        height_px=int(entry["height_px"]),
        lens=entry["lens"],
        distortion=tuple(float(k) for k in entry["distortion"]),
        mount=Pose(**{key: float(value) for key, value in entry["mount"].items()}),
        calibrated=bool(entry["calibrated"]),
        **numbers,
    )


def _log(file: Path) -> Log:
    columns = _columns(file)
    if not np.all(np.isfinite(columns["time_s"])):
        raise ValueError(f"{file.name}: a time is not finite")
    return Log(**{name: columns[name] for name in ("time_s", *Log.names()) if name in columns})


def _tracks(file: Path) -> tuple[Track, ...]:
    table = read_table(file)
    kinds = np.array(table["kind"].to_pylist())
    if not set(kinds) <= set(_KINDS):
        raise ValueError(f"{file.name}: kinds are {', '.join(_KINDS)}")
    ids = floats(table["track_id"])
    columns = _columns(file)
    tracks = []
    for track_id in np.unique(ids):
        rows = ids == track_id
        length_m, width_m, height_m = (float(columns[name][rows][0]) for name in _SHAPE)
        tracks.append(
            Track(
                track_id=int(track_id),
                kind=str(kinds[rows][0]),  # pyright: ignore[reportArgumentType] - checked above
                length_m=length_m,
                width_m=width_m,
                height_m=height_m,
                **{name: columns[name][rows] for name in _PATH},
            )
        )
    return tuple(tracks)


def _columns(file: Path) -> dict[str, Floats]:
    """The columns of numbers of a Parquet file as float64."""
    table = read_table(file)
    return {
        name: floats(table[name])
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if pa.types.is_floating(kind) or pa.types.is_integer(kind)
    }
