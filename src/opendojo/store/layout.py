"""What a store is made of: its dials, its episodes, and where their files lie."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from opendojo.clip import Camera, Clip, Log, Pose
from opendojo.store.codec import CODECS

__all__ = [
    "CHUNK_FILES",
    "LOG_COLUMNS",
    "Episode",
    "StoreSpec",
    "camera_from_json",
    "camera_to_json",
    "dataset_name",
    "index_dtype",
    "nominal_fps",
    "part_path",
    "video_key",
]

CHUNK_FILES = 1000
"""Files a LeRobot chunk folder holds at most."""

LOG_COLUMNS = Log.names()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpec:
    """How a store keeps frames. Fixed when the store is made, for every clip in it."""

    width_px: int = 128
    """Width of every frame; even."""
    height_px: int = 64
    """Height of every frame; even."""
    gop_frames: int = 8
    """Frames of a closed group of pictures; windows start on its first."""
    codec: Literal["h264", "mpeg2", "hevc", "av1"] = "h264"
    """H.264 plays everywhere; MPEG-2 decodes 1.4 times as fast from 1.4 times the bytes; HEVC and
    AV1 pack smaller and decode slower, for archives."""
    crf: int | None = None
    """The codec's own quality number, lower is better: constant rate factor, or quantiser scale
    of MPEG-2. None takes the codec's usual one (20 for H.264)."""
    psnr_db: float | None = None
    """Target PSNR of luma. Where set, each camera of each clip gets the largest quality number
    that reaches it on sampled groups, and `crf` counts only for clips that cannot be sampled."""
    preset: str = "veryfast"
    """How hard x264 or x265 searches. It does not change decoding speed."""

    def __post_init__(self) -> None:
        if self.width_px < 16 or self.height_px < 16 or self.width_px % 2 or self.height_px % 2:
            raise ValueError(
                f"a store's frames need even sides of 16 pixels or more, "
                f"not {self.width_px}x{self.height_px}"
            )
        if not 1 <= self.gop_frames <= 250:
            raise ValueError(f"gop_frames must be 1 to 250, not {self.gop_frames}")
        if self.codec not in CODECS:
            raise ValueError(f"codec must be one of {', '.join(CODECS)}, not {self.codec!r}")
        codec = CODECS[self.codec]
        if min(self.width_px, self.height_px) < codec.least_px:
            raise ValueError(f"{self.codec} needs sides of {codec.least_px} pixels or more")
        if self.crf is None:
            object.__setattr__(self, "crf", codec.usual)
        elif not codec.best <= self.crf <= codec.worst:
            raise ValueError(
                f"crf of {self.codec} must be {codec.best} to {codec.worst}, not {self.crf}"
            )
        if self.psnr_db is not None and not 20 <= self.psnr_db <= 60:
            raise ValueError(f"psnr_db must be 20 to 60, not {self.psnr_db}")

    @property
    def quality(self) -> int:
        """The quality number asked for, or the codec's usual one."""
        assert self.crf is not None, "filled in when it was made"
        return self.crf

    @property
    def frame_bytes(self) -> int:
        """Bytes of one decoded frame: planes y, u, v one after the other, without padding."""
        return self.width_px * self.height_px * 3 // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One clip as the store keeps it. An instant is one frame of every camera."""

    clip_id: str
    origin: str
    """`recorded` or `drawn`."""
    dataset: str
    """Folder of the LeRobot dataset it lies in."""
    number: int
    """`episode_index` within that dataset."""
    part: int
    """Number of the file (of video, data, index) that holds it."""
    row: int
    """Its first row in the part's packet index."""
    instants: int
    """Frames of each camera."""
    rate_hz: float
    """Nominal rate of the source."""
    cameras: tuple[Camera, ...]
    """As fitted to the store's frames."""

    @property
    def frames(self) -> int:
        """Frames of all its cameras together."""
        return self.instants * len(self.cameras)


def index_dtype(cameras: Sequence[str]) -> np.dtype[Any]:
    """One row of a packet index: an instant's time and log, and each camera's packet and flags."""
    fields: list[tuple[str, str]] = [("time_s", "<f8")]
    fields += [(name, "<f8") for name in LOG_COLUMNS]
    for camera in cameras:
        fields += [
            (f"{camera}.offset", "<i8"),
            (f"{camera}.bytes", "<i4"),
            (f"{camera}.key", "|u1"),
            (f"{camera}.flags", "|u1"),
        ]
    return np.dtype(fields)


def dataset_name(clip: Clip) -> str:
    """The dataset a clip belongs to: LeRobot wants one rate and one set of cameras in each."""
    cameras = "-".join(camera.name for camera in clip.cameras)
    return f"{nominal_fps(clip.rate_hz)}hz-{cameras}"


def nominal_fps(rate_hz: float) -> int:
    """The whole frame rate under which a clip is filed; true times are kept beside each frame."""
    return max(1, round(rate_hz))


def part_path(kind: str, part: int, suffix: str) -> str:
    """Path of a part's file within its dataset, such as `data/chunk-000/file-007.parquet`."""
    chunk, file = divmod(part, CHUNK_FILES)
    return f"{kind}/chunk-{chunk:03d}/file-{file:03d}{suffix}"


def video_key(camera: str) -> str:
    """LeRobot's name of a camera's feature."""
    return f"observation.images.{camera}"


def camera_to_json(camera: Camera) -> str:
    """A camera as one line of JSON."""
    return json.dumps(dataclasses.asdict(camera))


def camera_from_json(line: str) -> Camera:
    """Undo `camera_to_json`."""
    raw: dict[str, Any] = json.loads(line)
    mount = Pose(**raw.pop("mount"))
    distortion = tuple(float(k) for k in raw.pop("distortion"))
    return Camera(**raw, mount=mount, distortion=distortion)
