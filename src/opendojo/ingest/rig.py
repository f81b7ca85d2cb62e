"""What recordings of several cameras have in common: names of slots, mounts, matching by time."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opendojo.clip import Floats, Pose

__all__ = [
    "PARTED",
    "camera_names",
    "check_names",
    "match_times",
    "mount_of",
    "rotation_of",
    "yaw_of",
]

PARTED = 0.5
"""Share of a frame's time that the pictures of one step may lie apart."""
_LONGEST_NAME = 24
_LONGEST_NAMES = 200
"""Of all cameras together: they name the folder that a clip is kept in."""
# fmt: off
_OTHER_WORDS = frozenset({
    "cam", "camera", "cameras", "color", "colour", "compressed", "image", "images", "observation",
    "observations", "perception", "raw", "rect", "rectified", "rgb", "ros2", "sensing", "sensor",
    "sensors", "topic", "video", "videos",
})
# fmt: on
"""Words of topics and keys that do not tell one camera from another."""
_SAME_WORDS = {"back": "rear", "center": "front", "centre": "front", "forward": "front"}
_BODY_FROM_OPENCV = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def camera_names(keys: Sequence[str]) -> list[str]:
    """Slots of a rig from the names that a recording gives its cameras, each one once.

    `CAM_BACK_LEFT` is `rear-left`, `/camera/front/image_raw/compressed` is `front`; what tells
    nothing is `front` too, as a recording of one camera looks ahead.
    """
    names: list[str] = []
    longest = min(_LONGEST_NAME, _LONGEST_NAMES // max(len(keys), 1) - len("-00"))
    for key in keys:
        words: list[str] = re.findall(r"[a-z0-9]+", key.lower())
        told = [_SAME_WORDS.get(word, word) for word in words if word not in _OTHER_WORDS]
        name = plain = "-".join(dict.fromkeys(told))[:longest].strip("-") or "front"
        number = 1
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names.append(name)
    return names


def check_names(names: Sequence[str]) -> None:
    """Raise `ValueError` unless cameras have plain names, no two the same, that fit a folder's."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
            raise ValueError(f"camera name {name[:40]!r}: use a plain word such as 'front'")
    if len(set(names)) < len(names) or len("-".join(names)) > _LONGEST_NAMES:
        raise ValueError("its cameras need short names, no two the same")


def match_times(times_s: Sequence[Floats]) -> tuple[npt.NDArray[np.int32], int]:
    """Which pictures of several cameras make a step, by their rising times.

    A step is a picture of the first camera and the nearest of each other one, no further off than
    `PARTED` of the first camera's period. Returns the pictures of each step, int32
    [steps, cameras], and how many of the first camera's pictures in between make none.
    """
    first = times_s[0]
    if len(first) == 0 or any(len(other) == 0 for other in times_s):
        return np.zeros((0, len(times_s)), np.int32), 0
    period_s = float(np.median(np.diff(first))) if len(first) > 1 else 1.0
    rows = np.empty((len(first), len(times_s)), np.int32)
    rows[:, 0] = np.arange(len(first))
    for place, other in enumerate(times_s[1:], start=1):
        after = np.clip(np.searchsorted(other, first), 0, len(other) - 1)
        before = np.clip(after - 1, 0, None)
        nearest = np.where(first - other[before] <= other[after] - first, before, after)
        near = np.flatnonzero(np.abs(other[nearest] - first) <= PARTED * period_s + 1e-9)
        _, once = np.unique(nearest[near], return_index=True)  # no picture makes two steps
        rows[:, place] = -1
        rows[near[once], place] = nearest[near[once]]
    whole = np.flatnonzero((rows >= 0).all(1))
    inside = int(whole[-1] - whole[0] + 1) if len(whole) else 0
    return rows[whole], inside - len(whole)


def rotation_of(w: float, x: float, y: float, z: float) -> Floats:
    """The rotation matrix, [3, 3], of a quaternion. Raises `ValueError` where it is none."""
    norm = float(np.sqrt(w * w + x * x + y * y + z * z))
    if not 0.5 < norm < 2.0:
        raise ValueError(f"a quaternion of length {norm:.3g} is no rotation")
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def yaw_of(rotation: Floats) -> float:
    """The yaw of a body from its rotation matrix."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def mount_of(translation_m: Sequence[float], vehicle_from_camera: Floats) -> Pose:
    """A camera's `Camera.mount` from its place and the rotation [3, 3] of its OpenCV axes.

    Raises `ValueError` where a number is not finite.
    """
    body = vehicle_from_camera @ _BODY_FROM_OPENCV.T
    x_m, y_m, z_m = (float(value) for value in translation_m)
    if not np.all(np.isfinite([x_m, y_m, z_m, *body.ravel()])):
        raise ValueError("a camera's place is not finite")
    return Pose(
        x_m=x_m,
        y_m=y_m,
        z_m=z_m,
        roll_rad=float(np.arctan2(body[2, 1], body[2, 2])),
        pitch_rad=float(np.arcsin(np.clip(-body[2, 0], -1.0, 1.0))),
        yaw_rad=yaw_of(body),
    )
