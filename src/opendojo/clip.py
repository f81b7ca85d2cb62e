"""The value types everything else speaks in: a clip, its cameras, its frames, its log.

What a fleet records and what the world draws both arrive as the same `Clip`; nothing above this
file can tell them apart, except by `Clip.origin`, which says so.

Axes (ISO 8855): x forward, y left, z up, right-handed; yaw is positive to the left, pitch positive
nose down, roll positive right side down. The vehicle's origin is the point of the ground below the
centre of the rear axle. A camera's own axes follow OpenCV: x right, y down, z along the view. Image
coordinates are in pixels, the centre of the top left pixel at (0, 0).

Units are SI and stand in the names: `_m`, `_s`, `_rad`, `_mps`, `_mps2`, `_hz`, `_px`.

    log = Log(time_s=t, speed_mps=v)
    log.at(frame_times_s).speed_mps        # interpolated to the frames' times
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "BadClip",
    "Camera",
    "Clip",
    "Control",
    "Frame",
    "Log",
    "Pose",
    "Track",
    "pack_planes",
    "unpack_planes",
]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

_ANGLES = ("yaw_rad",)
"""Log columns that wrap at pi: interpolated on the circle."""


class BadClip(Exception):
    """Input that cannot be read, or not to its end: which file, why, where, what to do."""

    def __init__(
        self,
        file: str,
        cause: str,
        *,
        remedy: str = "",
        frame: int | None = None,
        byte: int | None = None,
    ) -> None:
        super().__init__(f"{file}: {cause}" + (f" ({remedy})" if remedy else ""))
        self.file = file
        self.cause = cause
        self.remedy = remedy
        self.frame = frame
        """Index of the first frame that could not be had, where that is known."""
        self.byte = byte
        """Offset in the file at which reading failed, where that is known."""

    def __reduce__(self) -> tuple[Callable[..., BadClip], tuple[object, ...]]:
        """Carry every field through pickle, so a worker can hand its finding over."""
        return _bad_clip, (self.file, self.cause, self.remedy, self.frame, self.byte)


def _bad_clip(file: str, cause: str, remedy: str, frame: int | None, byte: int | None) -> BadClip:
    return BadClip(file, cause, remedy=remedy, frame=frame, byte=byte)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture in YUV 4:2:0, limited range, as decoders give it: three planes of uint8."""

    y: Bytes
    """Luma, [height, width]; both even."""
    u: Bytes
    """First chroma plane (Cb), [height / 2, width / 2]."""
    v: Bytes
    """Second chroma plane (Cr), [height / 2, width / 2]."""
    time_s: float
    """Time from the start of the clip."""

    def __post_init__(self) -> None:
        height, width = self.y.shape
        if height % 2 or width % 2:
            raise ValueError(f"a 4:2:0 frame needs even sides, not {width}x{height}")
        half = (height // 2, width // 2)
        if self.u.shape != half or self.v.shape != half:
            raise ValueError(f"chroma planes must be {half}, not {self.u.shape}, {self.v.shape}")

    @property
    def height_px(self) -> int:
        """Rows of the luma plane."""
        return self.y.shape[0]

    @property
    def width_px(self) -> int:
        """Columns of the luma plane."""
        return self.y.shape[1]

    def __repr__(self) -> str:
        return f"Frame({self.width_px}x{self.height_px}, {self.time_s:.3f} s)"


def pack_planes(y: Bytes, u: Bytes, v: Bytes, out: Bytes | None = None) -> Bytes:
    """Pack YUV 4:2:0 planes into the six half-size planes a network's stem takes.

    Planes 0 to 3 are the luma of the even/even, even/odd, odd/even, odd/odd (row/column) pixels,
    4 and 5 the chroma. `out`, when given, is uint8 [6, height / 2, width / 2] and is filled.
    """
    if out is None:
        out = np.empty((6, y.shape[0] // 2, y.shape[1] // 2), np.uint8)
    out[0] = y[0::2, 0::2]
    out[1] = y[0::2, 1::2]
    out[2] = y[1::2, 0::2]
    out[3] = y[1::2, 1::2]
    out[4] = u
    out[5] = v
    return out


def unpack_planes(planes: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """Undo `pack_planes`: uint8 [6, h, w] into y [2h, 2w], u [h, w], v [h, w]."""
    _, height, width = planes.shape
    y = np.empty((2 * height, 2 * width), np.uint8)
    y[0::2, 0::2] = planes[0]
    y[0::2, 1::2] = planes[1]
    y[1::2, 0::2] = planes[2]
    y[1::2, 1::2] = planes[3]
    return y, planes[4], planes[5]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Place and attitude of a body in a parent frame; rotation is yaw, then pitch, then roll."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0

    @property
    def matrix(self) -> Floats:
        """The 4x4 float64 transform that takes points of the body into the parent frame."""
        cy, sy = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        cr, sr = math.cos(self.roll_rad), math.sin(self.roll_rad)
        return np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, self.x_m],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, self.y_m],
                [-sp, cp * sr, cp * cr, self.z_m],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What is asked of a vehicle at one instant."""

    steer_rad: float
    """Angle of the front wheels, positive to the left."""
    accel_mps2: float
    """Longitudinal acceleration, negative when braking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera of a rig: its picture, lens and place on the vehicle."""

    name: str
    """Slot in the rig: `front`, `left`, `right`, `rear`, ..."""
    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    lens: Literal["pinhole", "kannala-brandt"] = "pinhole"
    """Projection; `kannala-brandt` is r = f (a + k1 a^3 + k2 a^5 + k3 a^7 + k4 a^9) of the angle a
    off the axis (Kannala and Brandt, PAMI 2006; OpenCV's fisheye model)."""
    distortion: tuple[float, ...] = ()
    """k1 to k4 of a Kannala-Brandt lens; empty means none."""
    mount: Pose = field(default_factory=Pose)
    """The camera's body in the vehicle's frame; at zero attitude it looks along +x."""
    calibrated: bool = True
    """False where intrinsics and mount are a guess, for lack of anything better."""

    def __post_init__(self) -> None:
        if self.width_px <= 0 or self.height_px <= 0:
            raise ValueError(f"camera {self.name}: size {self.width_px}x{self.height_px}")
        if not self.name or "/" in self.name:
            raise ValueError(f"camera name {self.name!r}: use a plain word such as 'front'")

    @classmethod
    def with_fov(
        cls, name: str, width_px: int, height_px: int, fov_deg: float, **more: Any
    ) -> Camera:
        """A pinhole camera with square pixels and a horizontal field of view `fov_deg`."""
        focal = width_px / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        return cls(
            name=name,
            width_px=width_px,
            height_px=height_px,
            fx_px=focal,
            fy_px=focal,
            cx_px=(width_px - 1) / 2.0,
            cy_px=(height_px - 1) / 2.0,
            **more,
        )

    @property
    def vehicle_from_camera(self) -> Floats:
        """The 4x4 transform from OpenCV camera axes to the vehicle's frame."""
        axes = np.eye(4)
        axes[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
        return self.mount.matrix @ axes

    def project(self, points_m: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Project points of the vehicle's frame, [n, 3], to pixels.

        Returns the image points [n, 2] and whether each lies before the camera (inside the
        picture or not); the others are NaN.
        """
        camera = np.linalg.inv(self.vehicle_from_camera)
        x, y, z = (points_m @ camera[:3, :3].T + camera[:3, 3]).T
        seen = z > 1e-6
        z = np.where(seen, z, np.nan)
        u, v = x / z, y / z
        if self.lens == "kannala-brandt":
            r = np.hypot(u, v)
            angle = np.arctan(r)
            bent = angle.copy()
            for i, k in enumerate(self.distortion):
                bent += k * angle ** (2 * i + 3)
            scale = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
            u, v = u * scale, v * scale
        return np.stack([self.fx_px * u + self.cx_px, self.fy_px * v + self.cy_px], 1), seen

    def fitted(self, width_px: int, height_px: int) -> Camera:
        """This camera after its picture is cropped about the middle to the new aspect and scaled.

        The crop is `crop_box`; `ingest` applies the same box to the pixels.
        """
        left, top, width, height = self.crop_box(width_px, height_px)
        sx, sy = width_px / width, height_px / height
        return dataclasses.replace(
            self,
            width_px=width_px,
            height_px=height_px,
            fx_px=self.fx_px * sx,
            fy_px=self.fy_px * sy,
            cx_px=(self.cx_px - left + 0.5) * sx - 0.5,
            cy_px=(self.cy_px - top + 0.5) * sy - 0.5,
        )

    def crop_box(self, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """The largest centred box (left, top, width, height) of this picture with that aspect."""
        width = min(self.width_px, round(self.height_px * width_px / height_px))
        height = min(self.height_px, round(self.width_px * height_px / width_px))
        width, height = max(width, 1), max(height, 1)
        return (self.width_px - width) // 2, (self.height_px - height) // 2, width, height


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a vehicle wrote down while it drove: columns over time, absent ones None.

    Values are float64 [n], NaN where nothing is known. x, y and yaw place the vehicle in a flat
    local frame of the recording.
    """

    time_s: Floats
    """Seconds from the start of the clip, rising."""
    x_m: Floats | None = None
    y_m: Floats | None = None
    yaw_rad: Floats | None = None
    speed_mps: Floats | None = None
    steer_rad: Floats | None = None
    """Angle of the front wheels, positive to the left."""
    accel_mps2: Floats | None = None
    disturbed: Floats | None = None
    """1 where the vehicle was pushed off its driver's intent, so that what follows from here is
    not what a driver would do; 0 elsewhere."""

    def __post_init__(self) -> None:
        if self.time_s.ndim != 1 or np.any(np.diff(self.time_s) < 0):
            raise ValueError("a log's time_s must be one rising column")
        for name, column in self.columns().items():
            if column.shape != self.time_s.shape:
                raise ValueError(
                    f"log column {name} has {column.shape}, time_s {self.time_s.shape}"
                )

    @staticmethod
    def names() -> tuple[str, ...]:
        """Every column a log can have beside `time_s`, in order."""
        return tuple(f.name for f in dataclasses.fields(Log) if f.name != "time_s")

    def columns(self) -> dict[str, Floats]:
        """The columns that are present, by name."""
        pairs = ((name, getattr(self, name)) for name in self.names())
        return {name: column for name, column in pairs if column is not None}

    def at(self, time_s: Floats) -> Log:
        """This log at other rising times, every column as `sample` gives it."""
        values = {name: self.sample(name, time_s) for name in self.columns()}
        return Log(time_s=np.asarray(time_s, np.float64), **values)

    def sample(self, name: str, time_s: Floats) -> Floats:
        """One column interpolated linearly to times in any order and shape.

        NaN outside the time the column covers, and throughout where it is absent. Angles turn the
        short way round; `disturbed` takes the value of the last entry before.
        """
        column = self.columns().get(name)
        known = np.zeros(0, bool) if column is None else ~np.isnan(column)
        if column is None or not known.any():
            return np.full(np.shape(time_s), np.nan)
        t, c = self.time_s[known], column[known]
        if name == "disturbed":
            out = c[np.clip(np.searchsorted(t, time_s, side="right") - 1, 0, None)]
        else:
            out = np.interp(time_s, t, np.unwrap(c) if name in _ANGLES else c)
        slack = 1e-6
        return np.where((time_s < t[0] - slack) | (time_s > t[-1] + slack), np.nan, out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Another road user over time, as an upright box; arrays are float64 [n]."""

    track_id: int
    kind: Literal["car", "truck", "cyclist", "pedestrian", "static"]
    length_m: float
    width_m: float
    height_m: float
    time_s: Floats
    x_m: Floats
    y_m: Floats
    yaw_rad: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One recording of one vehicle: cameras, a log, and frames that are read when asked for."""

    clip_id: str
    """Hash of the source's content in hexadecimal: equal content, equal id, whatever its name."""
    source: str
    """Where it came from, for people."""
    origin: Literal["recorded", "drawn"]
    """Whether a camera saw it or the world drew it."""
    cameras: tuple[Camera, ...]
    """In the order in which `frames` yields; empty where only the log is there."""
    rate_hz: float
    """Nominal frame rate; each frame carries its own true time."""
    read: Callable[[int, int], Iterator[tuple[Frame, ...]]] = field(repr=False)
    """Opens the frames: see `frames`."""
    log: Log | None = field(default=None, repr=False)
    tracks: tuple[Track, ...] = field(default=(), repr=False)

    def frames(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """The frames in order, one of each camera a step, cropped and scaled to the given size.

        Frames of a step were taken within half a frame's time of each other. Raises `BadClip`
        where the source breaks off: what was yielded before it is good.
        """
        return self.read(width_px, height_px)
