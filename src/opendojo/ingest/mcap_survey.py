"""One pass over an MCAP file: when its pictures were taken, how cameras stand, where it drove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from opendojo.clip import BadClip, Camera, Floats, Log, Pose
from opendojo.ingest.foreign import SHAPES, WGS84_AXIS_M, WGS84_E2
from opendojo.ingest.mcap_file import LOG_SCHEMA, PICTURES, Message, decoder, messages
from opendojo.ingest.rig import mount_of, rotation_of, yaw_of
from opendojo.store.foxglove import nanoseconds

__all__ = ["Survey", "survey"]

_VEHICLE_FRAMES = frozenset({"base_link", "base_footprint", "ego", "ego_vehicle", "vehicle"})
"""Names that a vehicle's own frame goes by."""
_FISHEYES = frozenset({"kannala_brandt", "equidistant", "fisheye"})
"""Names of the Kannala-Brandt lens of `clip.Camera`."""
_DEEPEST = "compressedDepth"
"""ROS 2 sends depth under the schema of pictures; its format says so."""


@dataclass(slots=True)
class Topic:
    """Pictures of one topic."""

    frame_id: str
    time_ns: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class Survey:
    """What one pass found."""

    pictures: dict[str, Topic] = field(default_factory=dict[str, Topic])
    """By topic."""
    lenses: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """CameraCalibration by frame."""
    mounts: dict[str, Pose] = field(default_factory=dict[str, Pose])
    """By frame."""
    tracks: dict[str, dict[str, list[list[float]]]] = field(
        default_factory=lambda: {"log": {}, "PoseInFrame": {}, "LocationFix": {}}
    )
    """Rows of numbers by kind and topic, each beginning with its time in nanoseconds."""
    origin: Literal["recorded", "drawn"] = "recorded"
    damage: BadClip | None = None
    """Why the pass broke off, where it did."""

    def camera(self, name: str, topic: str, size: tuple[int, int]) -> Camera | None:
        """The camera of a topic, if its lens is known; calibrated if its mount is too."""
        frame_id = self.pictures[topic].frame_id
        lens = self.lenses.get(frame_id)
        if lens is None:
            return None
        try:
            return _calibrated(name, lens, size, self.mounts.get(frame_id))
        except SHAPES:
            return None  # a lens that is none: the camera counts as uncalibrated

    def log(self, start_ns: int) -> Log | None:
        """The log from `start_ns` on, from the one topic that has it."""
        for kind, make in (("log", _own_log), ("PoseInFrame", _poses), ("LocationFix", _fixes)):
            topics = self.tracks[kind]
            if len(topics) == 1:
                rows = np.array(next(iter(topics.values())), np.float64)
                rows = rows[np.argsort(rows[:, 0], kind="stable")]
                rows = rows[np.concatenate([[True], np.diff(rows[:, 0]) > 0])]
                return make((rows[:, 0] - start_ns) * 1e-9, rows[:, 1:])
        return None


def survey(file: str) -> Survey:
    """Go through a file once; what cannot be understood of a message leaves that message out."""
    found = Survey()
    try:
        for message in messages(file):
            known = decoder(message.schema, message.encoding)
            if known is None:
                continue
            short, decoded = known
            try:
                _note(found, short, message, decoded(message.data))
            except SHAPES:
                if short in PICTURES:  # it counts as one that cannot be decoded
                    topic = found.pictures.setdefault(message.topic, Topic(""))
                    topic.time_ns.append(message.log_time_ns)
    except BadClip as bad:
        found.damage = bad
    return found


def _note(found: Survey, short: str, message: Message, fields: Mapping[str, Any]) -> None:
    time_ns = nanoseconds(fields.get("timestamp") or {}) or message.log_time_ns
    frame_id = str(fields.get("frame_id", ""))
    if short in PICTURES:
        if _DEEPEST not in str(fields.get("format", "")):
            found.pictures.setdefault(message.topic, Topic(frame_id)).time_ns.append(time_ns)
    elif short == "CameraCalibration":
        found.lenses.setdefault(frame_id, fields)
    elif short == "FrameTransform":
        if fields["parent_frame_id"] in _VEHICLE_FRAMES:
            turn = rotation_of(**_numbers(fields.get("rotation", {}), "wxyz"))
            place = list(_numbers(fields.get("translation", {}), "xyz").values())
            found.mounts.setdefault(str(fields["child_frame_id"]), mount_of(place, turn))
    elif short == LOG_SCHEMA:
        found.origin = "drawn" if fields.get("origin") == "drawn" else "recorded"
        row = [np.nan if fields.get(n) is None else float(fields[n]) for n in Log.names()]
        found.tracks["log"].setdefault(message.topic, []).append([time_ns, *row])
    elif short == "PoseInFrame":
        pose = fields["pose"]
        yaw_rad = yaw_of(rotation_of(**_numbers(pose["orientation"], "wxyz")))
        x_m, y_m = _numbers(pose.get("position", {}), "xy").values()
        rows = found.tracks["PoseInFrame"].setdefault(message.topic, [])
        rows.append([time_ns, x_m, y_m, yaw_rad])
    elif short == "LocationFix":
        place = [float(fields.get(name, 0.0)) for name in ("latitude", "longitude")]
        if not (abs(place[0]) <= 90.0 and abs(place[1]) <= 360.0):
            raise ValueError("a place that is not on Earth")
        found.tracks["LocationFix"].setdefault(message.topic, []).append([time_ns, *place])


def _numbers(fields: Mapping[str, Any], names: str) -> dict[str, float]:
    """Finite numbers by name; protobuf leaves zeros out."""
    numbers = {name: float(fields.get(name, 0.0)) for name in names}
    if not np.all(np.isfinite(list(numbers.values()))):
        raise ValueError("a number is not finite")
    return numbers


def _calibrated(
    name: str, lens: Mapping[str, Any], size: tuple[int, int], mount: Pose | None
) -> Camera:
    fx_px, _, cx_px, _, fy_px, cy_px = (float(value) for value in lens["K"][:6])
    width_px, height_px = int(lens["width"]), int(lens["height"])
    if not np.all(np.isfinite([fx_px, cx_px, fy_px, cy_px])) or min(fx_px, fy_px) <= 0.0:
        raise ValueError("the matrix is no camera's")
    bends = tuple(float(value) for value in lens.get("D", ()))
    fisheye = lens.get("distortion_model") in _FISHEYES
    known = fisheye or not any(bends)
    camera = Camera(
        name=name,
        width_px=width_px,
        height_px=height_px,
        fx_px=fx_px,
        fy_px=fy_px,
        cx_px=cx_px,
        cy_px=cy_px,
        lens="kannala-brandt" if fisheye else "pinhole",
        distortion=bends[:4] if fisheye else (),
        mount=mount or Pose(),
        calibrated=known and mount is not None,
    )
    return camera if size == (width_px, height_px) else camera.fitted(*size)


def _own_log(time_s: Floats, columns: Floats) -> Log:
    pairs = zip(Log.names(), columns.T, strict=True)
    present = {name: column for name, column in pairs if not np.isnan(column).all()}
    return Log(time_s=time_s, **present)


def _poses(time_s: Floats, columns: Floats) -> Log:
    x_m, y_m, yaw_rad = columns.T
    speed_mps = None
    if len(time_s) > 1:
        forward = np.cos(yaw_rad), np.sin(yaw_rad)
        speed_mps = np.gradient(x_m, time_s) * forward[0] + np.gradient(y_m, time_s) * forward[1]
    return Log(time_s=time_s, x_m=x_m, y_m=y_m, yaw_rad=yaw_rad, speed_mps=speed_mps)


def _fixes(time_s: Floats, columns: Floats) -> Log:
    """East and north of the first fix on WGS 84, by its radii of curvature there."""
    latitude, longitude = np.radians(columns.T)
    squash = 1.0 - WGS84_E2 * np.sin(latitude[0]) ** 2
    across_m = WGS84_AXIS_M / np.sqrt(squash)
    along_m = WGS84_AXIS_M * (1.0 - WGS84_E2) / squash**1.5
    turned = (longitude - longitude[0] + np.pi) % (2 * np.pi) - np.pi
    return Log(
        time_s=time_s,
        x_m=turned * across_m * np.cos(latitude[0]),
        y_m=(latitude - latitude[0]) * along_m,
    )
