"""A data set in nuScenes' layout: tables of JSON beside `samples/` and `sweeps/` of JPEG pictures.

Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", arXiv:1903.11027; the
tables are those of its published schema (github.com/nutonomy/nuscenes-devkit,
docs/schema_nuscenes.md). A scene is a clip: every camera of its rig, key frames and the sweeps
between them in one row by their times, matched to the front camera to within half a frame.

- Cameras: intrinsics and mount from `calibrated_sensor`, whose vehicle frame is this project's
  (ground below the rear axle, x forward, y left) and whose camera axes are OpenCV's.
- Log: `ego_pose` at the front camera's frames, x and y from the first of them on; the speed is the
  change of place along the heading.

The tables of the whole data set hold millions of entries, so they are read entry by entry and only
what cameras need is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from opendojo.clip import BadClip, Camera, Clip, Log
from opendojo.ingest.content import check_file, content_id, shown
from opendojo.ingest.foreign import BROKEN, HIGHEST_RATE_HZ, inside, words
from opendojo.ingest.images import Images
from opendojo.ingest.rig import camera_names, match_times, mount_of, rotation_of, yaw_of

__all__ = ["CONTROL_NAME", "nuscenes_tables", "open_nuscenes"]

CONTROL_NAME = "sample_data.json"
_SCENES = "scene.json"
_VERSIONS = "v1.0-*"
_BLOCK_CHARS = 1 << 20
_LONGEST_ENTRY_CHARS = 1 << 16
_MEND = "download the tables of the data set again"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """One entry of `sample_data`, of a camera."""

    time_s: float
    file: str
    sensor: str
    """Token of its `calibrated_sensor`."""
    pose: str
    """Token of its `ego_pose`."""
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    """What is kept of a version's tables."""

    scenes: dict[str, str]
    """Names by token, in order."""
    sensors: dict[str, dict[str, Any]]
    """Entries of `calibrated_sensor` by token, cameras only, each with its `channel`."""
    pictures: dict[str, dict[str, list[_Picture]]] = field(repr=False)
    """By scene and channel, in order of time."""
    poses: dict[str, dict[str, Any]] = field(repr=False)
    """Entries of `ego_pose` by token, those of the leading cameras' frames."""


def nuscenes_tables(folder: Path) -> list[Path]:
    """The folders of tables of a data set whose root, or one of whose tables folders, this is."""
    if _is_tables(folder):
        return [folder]
    return [inner for inner in sorted(folder.glob(_VERSIONS)) if _is_tables(inner)]


def _is_tables(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (CONTROL_NAME, _SCENES))


def open_nuscenes(tables: Path) -> Iterator[Clip | BadClip]:
    """The clips of one folder of tables, in the order of its scenes."""
    try:
        found = _read(tables)
    except BadClip as bad:
        yield bad
        return
    for token, name in found.scenes.items():
        try:
            yield _clip(tables, found, token, name)
        except BadClip as bad:
            yield bad
        except BROKEN as fault:
            cause = f"scene {name}: {words(fault)}"
            yield BadClip(shown(tables), cause, remedy=_MEND)


def _clip(tables: Path, found: _Tables, token: str, name: str) -> Clip:
    channels = found.pictures.get(token, {})
    if not channels:
        raise BadClip(shown(tables), f"scene {name} has no camera", remedy=_MEND)
    lead = _lead(channels)
    order = [lead, *sorted(channel for channel in channels if channel != lead)]
    times_s = [np.array([picture.time_s for picture in channels[c]]) for c in order]
    steps, skipped = match_times(times_s)
    if len(steps) == 0:
        cause = f"scene {name}: its cameras have no instant in common"
        raise BadClip(shown(tables), cause, remedy=_MEND)
    rows = [[channels[c][i] for c, i in zip(order, step, strict=True)] for step in steps]
    start_s = rows[0][0].time_s
    step_times_s = np.array([row[0].time_s for row in rows]) - start_s
    root = tables.parent
    files = tuple(tuple(str((root / p.file).absolute()) for p in row) for row in rows)
    names = camera_names(order)
    cameras = tuple(
        _camera(slot, picture, found.sensors[picture.sensor])
        for slot, picture in zip(names, rows[0], strict=True)
    )
    log = _log([(row[0].time_s - start_s, found.poses.get(row[0].pose)) for row in rows])
    numbers = np.concatenate([step_times_s, *log.columns().values()]).tobytes()
    faults = (f"{skipped} steps have no picture of every camera",) if skipped else ()
    period_s = float(np.median(np.diff(step_times_s))) if len(rows) > 1 else 0.5
    return Clip(
        clip_id=content_id(
            "nuscenes",
            [Path(file) for row in files for file in row],
            extra=numbers + repr(cameras).encode(),
        ),
        source=f"{shown(tables)}/{name}",
        origin="recorded",
        cameras=cameras,
        rate_hz=min(round(1.0 / period_s, 6), HIGHEST_RATE_HZ),
        read=Images(
            control=str((tables / CONTROL_NAME).absolute()),
            rows=files,
            times_s=tuple(step_times_s.tolist()),
            faults=faults,
        ),
        log=log,
    )


def _lead(channels: dict[str, list[_Picture]]) -> str:
    """The camera that sets the pace: the front one, else the first of the most pictures."""
    if "CAM_FRONT" in channels:
        return "CAM_FRONT"
    return max(sorted(channels), key=lambda channel: len(channels[channel]))


def _camera(slot: str, picture: _Picture, sensor: dict[str, Any]) -> Camera:
    (fx_px, _, cx_px), (_, fy_px, cy_px), _ = sensor["camera_intrinsic"]
    numbers = [float(value) for value in (fx_px, fy_px, cx_px, cy_px)]
    if not np.all(np.isfinite(numbers)) or min(numbers[:2]) <= 0.0:
        raise ValueError(f"the intrinsics of {slot} are no camera's")
    return Camera(
        name=slot,
        width_px=picture.size[0],
        height_px=picture.size[1],
        fx_px=numbers[0],
        fy_px=numbers[1],
        cx_px=numbers[2],
        cy_px=numbers[3],
        mount=mount_of(sensor["translation"], rotation_of(*map(float, sensor["rotation"]))),
    )


def _log(poses: list[tuple[float, dict[str, Any] | None]]) -> Log:
    """The log at the frames whose pose is known."""
    known = [(time_s, pose) for time_s, pose in poses if pose is not None]
    time_s = np.array([time_s for time_s, _ in known], np.float64)
    place_m = np.array([[float(v) for v in pose["translation"][:2]] for _, pose in known])
    place_m = place_m.reshape(-1, 2) - (place_m[0] if len(known) else 0.0)
    yaw_rad = np.array([yaw_of(rotation_of(*map(float, pose["rotation"]))) for _, pose in known])
    if not np.all(np.isfinite(place_m)):
        raise ValueError("a pose is not finite")
    speed_mps = None
    if len(known) > 1:
        vx_mps, vy_mps = np.gradient(place_m, time_s, axis=0).T
        speed_mps = vx_mps * np.cos(yaw_rad) + vy_mps * np.sin(yaw_rad)
    x_m, y_m = place_m.T
    return Log(time_s=time_s, x_m=x_m, y_m=y_m, yaw_rad=yaw_rad, speed_mps=speed_mps)


def _read(tables: Path) -> _Tables:
    """Read what cameras need. Raises `BadClip` where a table cannot be read."""
    at = tables / "scene.json"
    try:
        scenes = {entry["token"]: str(entry["name"]) for entry in _entries(at)}
        at = tables / "sample.json"
        samples = {entry["token"]: entry["scene_token"] for entry in _entries(at)}
        at = tables / "sensor.json"
        channels = {
            entry["token"]: str(entry["channel"])
            for entry in _entries(at)
            if entry["modality"] == "camera"
        }
        at = tables / "calibrated_sensor.json"
        sensors = {
            entry["token"]: entry | {"channel": channels[entry["sensor_token"]]}
            for entry in _entries(at)
            if entry["sensor_token"] in channels
        }
        at = tables / CONTROL_NAME
        pictures = _pictures(at, samples, sensors)
        leads = {picture.pose for scene in pictures.values() for picture in scene[_lead(scene)]}
        at = tables / "ego_pose.json"
        poses = {entry["token"]: entry for entry in _entries(at) if entry["token"] in leads}
    except BROKEN as fault:
        raise BadClip(shown(at), words(fault), remedy=_MEND) from fault
    return _Tables(scenes=scenes, sensors=sensors, pictures=pictures, poses=poses)


def _pictures(
    file: Path, samples: dict[str, str], sensors: dict[str, dict[str, Any]]
) -> dict[str, dict[str, list[_Picture]]]:
    found: dict[str, dict[str, dict[float, _Picture]]] = {}
    for entry in _entries(file):
        sensor = sensors.get(entry["calibrated_sensor_token"])
        if sensor is None:
            continue
        picture = _Picture(
            time_s=int(entry["timestamp"]) * 1e-6,
            file=inside(entry["filename"]),
            sensor=entry["calibrated_sensor_token"],
            pose=entry["ego_pose_token"],
            size=(int(entry["width"]), int(entry["height"])),
        )
        channels = found.setdefault(samples[entry["sample_token"]], {})
        channels.setdefault(sensor["channel"], {})[picture.time_s] = picture
    return {
        scene: {
            channel: [pictures[time_s] for time_s in sorted(pictures)]
            for channel, pictures in channels.items()
        }
        for scene, channels in found.items()
    }


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    """The entries of a table, an array of flat objects, one by one."""
    check_file(file)
    decoder = json.JSONDecoder()
    with file.open(encoding="utf-8", errors="strict") as stream:
        text, at, whole = stream.read(_BLOCK_CHARS).lstrip(), 1, False
        if not text.startswith("["):
            raise ValueError("is not a list of entries")
        while True:
            while at < len(text) and text[at] in " \r\n\t,":
                at += 1
            if text[at : at + 1] == "]":
                return
            try:
                entry, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as fault:
                if whole or len(text) - at > _BLOCK_CHARS + _LONGEST_ENTRY_CHARS:
                    raise ValueError(f"is no JSON: {fault.msg}") from fault
                more = stream.read(_BLOCK_CHARS)
                whole = not more
                text, at = text[at:] + more, 0
                continue
            if not isinstance(entry, dict):
                raise ValueError("holds what is no entry")
            yield entry
