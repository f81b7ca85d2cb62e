"""A one-minute segment of comma2k19: a road camera at 20 Hz, CAN and poses.

Schafer et al., "A Commute in Data: The comma2k19 Dataset", arXiv:1812.05752; its README gives the
units and axes. Times here are from the first frame's (`global_pose/frame_times`).

- x, y and yaw: the camera's positions in ECEF are turned into east and north metres about the
  first (WGS 84). The camera is not moved to the rear axle: its place on the car is not given.
  Orientation is that of the camera, which is not mounted quite straight; the median angle to the
  course above 5 m/s is taken off (0.9 degrees in the sample), so that yaw is the car's.
- speed: from CAN, in m/s.
- steering: CAN gives the angle of the wheel in the driver's hands in degrees, positive to the left
  (its correlation with the yaw rate of the poses in the sample is +0.87). The front wheels turn by
  that over the steering ratio, which the data does not hold: assumed from the car (known from the
  route's name) as openpilot has it, 16.88 for the Toyota RAV4, 15.38 for the Honda Civic.

Where `video.hevc` is not there the clip has its log and no camera, and `frames` raises `BadClip`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from opendojo.clip import BadClip, Camera, Clip, Floats, Frame, Log
from opendojo.ingest.content import check_file, content_id, reason, shown
from opendojo.ingest.foreign import WGS84_AXIS_M, WGS84_E2
from opendojo.ingest.video import Video, guessed_camera

__all__ = ["CONTROL_PATH", "NoVideo", "open_comma"]

CONTROL_PATH = Path("global_pose/frame_times")
_POSES = ("frame_times", "frame_positions", "frame_orientations", "frame_velocities")
_CAN = ("speed/t", "speed/value", "steering_angle/t", "steering_angle/value")
_RATE_HZ = 20.0
_STEER_RATIOS = {"b0c9d2329ad1606b": 16.88, "99c94dc769b5d96e": 15.38}
"""By the device in the route's name: RAV4 and Civic (comma2k19 README; openpilot car/toyota,
car/honda)."""
_STEER_RATIO = 15.38
"""For another device: the Civic's, which recorded eight of the ten chunks."""
_REMEDY = "copy the segment again"
_COURSE_SPEED_MPS = 5.0
_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    SyntaxError,
    OverflowError,
    RecursionError,
    MemoryError,
    TokenError,
)
"""What numpy raises on broken arrays: it parses their headers as Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoVideo:
    """Stands for a video that is not there; callable as `Clip.read`."""

    file: str

    @property
    def files(self) -> tuple[str, ...]:
        """What is read: nothing."""
        return ()

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """Raise `BadClip` when the first frame is asked for."""
        remedy = "download the chunk of comma2k19 that has it"
        raise BadClip(shown(Path(self.file)), "the segment has no video", remedy=remedy, frame=0)
        yield ()


def open_comma(folder: Path) -> Clip:
    """The clip of one segment. Raises `BadClip` where its logs cannot be read."""
    files = [folder / "global_pose" / name for name in _POSES]
    files += [folder / "processed_log" / "CAN" / name for name in _CAN]
    frame_times_s, positions, orientations, velocities, *can = (_load(file) for file in files)
    try:
        start_s = frame_times_s[0]
        for times_s in (frame_times_s, can[0], can[2]):
            if not np.all(np.isfinite(times_s)) or np.any(np.diff(times_s.ravel()) < 0):
                raise ValueError("its times do not rise")
        poses = _poses(frame_times_s - start_s, positions, orientations, velocities)
        log = _log(poses, [column.reshape(-1) for column in can], start_s, _steer_ratio(folder))
    except (ValueError, IndexError, TypeError) as fault:
        cause = f"its logs do not fit together: {reason(fault)}"
        raise BadClip(shown(folder), cause, remedy=_REMEDY) from fault
    video = folder / "video.hevc"
    cameras: tuple[Camera, ...] = ()
    read: Video | NoVideo = NoVideo(file=str(video))
    if video.is_file():
        times_s = tuple((frame_times_s - start_s).tolist())
        read = Video(
            file=str(video.absolute()), rate_hz=_RATE_HZ, times_s=times_s, instants=len(times_s)
        )
        cameras = (guessed_camera(read.file, "front"),)
    return Clip(
        clip_id=content_id("comma", [*files, video]),
        source=shown(folder),
        origin="recorded",
        cameras=cameras,
        rate_hz=_RATE_HZ,
        read=read,
        log=log,
    )


def _load(file: Path) -> Floats:
    """One array of numbers; mapped, so that a header cannot ask for more than the file has."""
    check_file(file)
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"holds {array.dtype}, not numbers")
        return np.array(array, np.float64)
    except _BROKEN as fault:
        raise BadClip(shown(file), reason(fault), remedy=_REMEDY) from fault


def _steer_ratio(folder: Path) -> float:
    device = folder.absolute().parent.name[:16]
    return _STEER_RATIOS.get(device, _STEER_RATIO)


def _poses(time_s: Floats, positions: Floats, orientations: Floats, velocities: Floats) -> Log:
    """x, y and yaw at the frames' times, from ECEF."""
    if not len(time_s) == len(positions) == len(orientations) == len(velocities):
        raise ValueError("the poses are of unequal number")
    east_north = _east_north(positions[0])
    x_m, y_m = ((positions - positions[0]) @ east_north.T).T
    east_mps, north_mps = (velocities @ east_north.T).T
    course_rad = np.arctan2(north_mps, east_mps)
    w, i, j, k = orientations.T
    forward = np.stack([1 - 2 * (j * j + k * k), 2 * (i * j + w * k), 2 * (i * k - w * j)], 1)
    east, north = (forward @ east_north.T).T
    heading_rad = np.arctan2(north, east)
    moving = np.hypot(east_mps, north_mps) > _COURSE_SPEED_MPS
    if moving.any():
        heading_rad = heading_rad - np.median(_wrapped(heading_rad - course_rad)[moving])
    return Log(time_s=time_s, x_m=x_m, y_m=y_m, yaw_rad=_wrapped(heading_rad))


def _log(poses: Log, can: list[Floats], start_s: float, steer_ratio: float) -> Log:
    """Poses and CAN on one clock: the instants of either, each interpolated to those of both."""
    speed_time, speed_mps, steer_time, wheel_deg = can
    speed = Log(time_s=speed_time - start_s, speed_mps=speed_mps)
    steer = Log(time_s=steer_time - start_s, steer_rad=np.radians(wheel_deg) / steer_ratio)
    time_s = np.unique(np.concatenate([poses.time_s, speed.time_s, steer.time_s]))
    columns = {}
    for part in (poses, speed, steer):
        columns |= part.at(time_s).columns()
    return Log(time_s=time_s, **columns)


def _east_north(origin_m: Floats) -> Floats:
    """Unit vectors to the east and north at a point in ECEF, [2, 3].

    The geodetic latitude by Bowring's formula (Survey Review 23, 1976), good to a nanoradian here.
    """
    x, y, z = origin_m.tolist()
    across = np.hypot(x, y)
    polar = WGS84_AXIS_M * np.sqrt(1 - WGS84_E2)
    around = np.arctan2(z * WGS84_AXIS_M, across * polar)
    second_e2 = WGS84_E2 / (1 - WGS84_E2)
    latitude = np.arctan2(
        z + second_e2 * polar * np.sin(around) ** 3,
        across - WGS84_E2 * WGS84_AXIS_M * np.cos(around) ** 3,
    )
    longitude = np.arctan2(y, x)
    east = [-np.sin(longitude), np.cos(longitude), 0.0]
    north = [
        -np.sin(latitude) * np.cos(longitude),
        -np.sin(latitude) * np.sin(longitude),
        np.cos(latitude),
    ]
    return np.array([east, north])


def _wrapped(angle_rad: Floats) -> Floats:
    return (angle_rad + np.pi) % (2 * np.pi) - np.pi
