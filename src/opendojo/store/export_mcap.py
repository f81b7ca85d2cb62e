"""One MCAP recording per clip, as Foxglove and other viewers of robots' recordings open it.

    /camera/<name>/video         foxglove.CompressedVideo: the store's own packets, as a stream
    /camera/<name>/calibration   foxglove.CameraCalibration, of calibrated cameras
    /tf                          foxglove.FrameTransform from base_link to each of those
    /vehicle/pose                foxglove.PoseInFrame, where place and yaw are known
    /vehicle/log                 opendojo.Log (JSON): every column of the log

Foxglove wants one frame a message and none that refers to a later one: a store's packets are so.
Times are those of the clip, from 0 on. One recording is `<dataset>/<clip id>.mcap`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.clip import Camera, Floats, Log
from opendojo.store.annexb import STREAM_FORMATS, stream_packets
from opendojo.store.atomic import sync_folder
from opendojo.store.export_report import ExportReport
from opendojo.store.foxglove import descriptor_set, encode, timestamp
from opendojo.store.layout import Episode
from opendojo.store.store import Store

__all__ = ["export_mcap"]

_BLOCK_INSTANTS = 256
_VEHICLE_FRAME, _WORLD_FRAME = "base_link", "map"
_LOG_SCHEMA = "opendojo.Log"


def export_mcap(store: Store, out: Path) -> Iterator[ExportReport]:
    """Write the recordings that are not in `out` yet; a report for each clip.

    Raises `ValueError` before anything is written where the store's codec is none of Foxglove's,
    or without the `formats` extra.
    """
    if store.spec.codec not in STREAM_FORMATS:
        raise ValueError(
            f"Foxglove knows no {store.spec.codec} video: ingest into a store with codec "
            f"{' or '.join(STREAM_FORMATS)} to export MCAP"
        )
    try:
        import mcap.writer  # noqa: F401 - asked for here, so that nothing is begun without it
    except ImportError as fault:
        raise ValueError(
            "writing MCAP needs the `formats` extra: pip install opendojo[formats]"
        ) from fault
    return _clips(store, out)


def _clips(store: Store, out: Path) -> Iterator[ExportReport]:
    for episode in store.episodes:
        folder = out / episode.dataset
        path = folder / f"{episode.clip_id}.mcap"
        if path.exists():
            yield ExportReport(clips_known=1)
            continue
        folder.mkdir(exist_ok=True)
        partial = folder / f".partial-{path.name}"
        with partial.open("wb") as file:
            _write(store, episode, file)
            file.flush()
            os.fsync(file.fileno())
        size = partial.stat().st_size
        partial.rename(path)
        sync_folder(folder)
        yield ExportReport(clips=1, frames=episode.frames, bytes=size)


def _write(store: Store, episode: Episode, file: Any) -> None:
    from mcap.writer import CompressionType, Writer

    writer = Writer(file, compression=CompressionType.LZ4)
    writer.start(library="opendojo")
    told = {"clip_id": episode.clip_id, "origin": episode.origin}
    writer.add_metadata("opendojo", {**told, "source": store.source(episode)})
    channels = _Channels(writer)
    for camera in episode.cameras:
        if camera.calibrated:
            _calibrate(channels, camera)
    streams = {}
    for camera in episode.cameras:
        codec, extradata = store.extradata(episode, camera.name)
        streams[camera.name] = STREAM_FORMATS[codec], stream_packets(codec, extradata)
    log = store.log(episode)
    for first in range(0, episode.instants, _BLOCK_INSTANTS):
        count = min(_BLOCK_INSTANTS, episode.instants - first)
        rows = store.rows(episode, first, count)
        packets = {name: store.packets(episode, name, first, count) for name in streams}
        for place, row in enumerate(rows):
            time_ns = round(float(row["time_s"]) * 1e9)
            for name, (form, streamed) in streams.items():
                data = streamed(packets[name][place], bool(row[f"{name}.key"]))
                video = {"frame_id": name, "data": data, "format": form}
                channels.write(f"/camera/{name}/video", "CompressedVideo", time_ns, video)
            _write_log(channels, episode, log, first + place, time_ns)
    writer.finish()


class _Channels:
    """Registers what is written when it is first written."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}

    def write(self, topic: str, short: str, time_ns: int, values: dict[str, Any]) -> None:
        """Write one of Foxglove's messages as protobuf, with its time."""
        message = f"foxglove.{short}"
        if message not in self._schemas:
            self._schemas[message] = self._writer.register_schema(
                name=message, encoding="protobuf", data=descriptor_set(message)
            )
        data = encode(message, {"timestamp": timestamp(time_ns), **values})
        self._add(topic, "protobuf", self._schemas[message], time_ns, data)

    def write_log(self, time_ns: int, values: dict[str, Any]) -> None:
        """Write one line of the log as JSON."""
        if _LOG_SCHEMA not in self._schemas:
            number = {"type": ["number", "null"]}
            time = {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}
            described = {
                "timestamp": {"type": "object", "properties": time},
                "origin": {"type": "string"},
                **dict.fromkeys(Log.names(), number),
            }
            schema = json.dumps({"type": "object", "properties": described}).encode()
            self._schemas[_LOG_SCHEMA] = self._writer.register_schema(
                name=_LOG_SCHEMA, encoding="jsonschema", data=schema
            )
        time = {"sec": time_ns // 10**9, "nsec": time_ns % 10**9}
        data = json.dumps({"timestamp": time, **values}).encode()
        self._add("/vehicle/log", "json", self._schemas[_LOG_SCHEMA], time_ns, data)

    def _add(self, topic: str, encoding: str, schema: int, time_ns: int, data: bytes) -> None:
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic=topic, message_encoding=encoding, schema_id=schema
            )
        channel = self._channels[topic]
        self._writer.add_message(channel, log_time=time_ns, publish_time=time_ns, data=data)


def _calibrate(channels: _Channels, camera: Camera) -> None:
    """Lens and mount, at the start of the recording."""
    fx, fy, cx, cy = camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px
    fisheye = camera.lens == "kannala-brandt"
    bends = [*camera.distortion, 0.0, 0.0, 0.0, 0.0][:4] if fisheye else [0.0] * 5
    lens = {
        "frame_id": camera.name,
        "width": camera.width_px,
        "height": camera.height_px,
        "distortion_model": "kannala_brandt" if fisheye else "plumb_bob",
        "D": bends,
        "K": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        "R": np.eye(3).ravel().tolist(),
        "P": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    channels.write(f"/camera/{camera.name}/calibration", "CameraCalibration", 0, lens)
    pose = camera.vehicle_from_camera
    mount = {
        "parent_frame_id": _VEHICLE_FRAME,
        "child_frame_id": camera.name,
        "translation": dict(zip("xyz", pose[:3, 3].tolist(), strict=True)),
        "rotation": _quaternion(pose[:3, :3]),
    }
    channels.write("/tf", "FrameTransform", 0, mount)


def _write_log(channels: _Channels, episode: Episode, log: Log, instant: int, time_ns: int) -> None:
    known = {name: float(column[instant]) for name, column in log.columns().items()}
    finite = {name: value for name, value in known.items() if np.isfinite(value)}
    channels.write_log(
        time_ns, {"origin": episode.origin, **{name: finite.get(name) for name in Log.names()}}
    )
    if {"x_m", "y_m", "yaw_rad"} <= finite.keys():
        half = finite["yaw_rad"] / 2.0
        pose = {
            "position": {"x": finite["x_m"], "y": finite["y_m"]},
            "orientation": {"z": float(np.sin(half)), "w": float(np.cos(half))},
        }
        values = {"frame_id": _WORLD_FRAME, "pose": pose}
        channels.write("/vehicle/pose", "PoseInFrame", time_ns, values)


def _quaternion(rotation: Floats) -> dict[str, float]:
    """A rotation matrix [3, 3] as a quaternion: the largest eigenvector of Bar-Itzhack's matrix
    (Journal of Guidance, Control and Dynamics 23, 2000), which is stable at every angle."""
    r: npt.NDArray[np.float64] = rotation
    matrix = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0.0, 0.0, 0.0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0.0, 0.0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0.0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    _, vectors = np.linalg.eigh(matrix, UPLO="L")
    return dict(zip("xyzw", vectors[:, -1].tolist(), strict=True))
