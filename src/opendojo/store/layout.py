"""What a store is made of: its dials, its episodes, and where their files lie."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from opendojo.clip import Camera, Clip, Log, Pose

__all__ = ["Episode", "StoreSpec", "camera_from_json", "camera_to_json", "dataset_name"]

CHUNK_FILES = 1000
"""Files a LeRobot chunk folder holds at most."""

TASK = "drive"
"""The one task of LeRobot's task table."""

ROW_COLUMNS = ("timestamp", "frame_index", "episode_index", "index", "task_index", "time_s")
"""Columns of a data file before those of `clip.Log`."""

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
    crf: int = 20
    """x264's constant rate factor: lower is better and larger, 18 is near transparent."""
    preset: str = "veryfast"
    """x264's preset: how hard the encoder searches. It does not change decoding speed."""

    def __post_init__(self) -> None:
        if self.width_px < 16 or self.height_px < 16 or self.width_px % 2 or self.height_px % 2:
            raise ValueError(
                f"a store's frames need even sides of 16 pixels or more, "
                f"not {self.width_px}x{self.height_px}"
            )
        if not 1 <= self.gop_frames <= 250:
            raise ValueError(f"gop_frames must be 1 to 250, not {self.gop_frames}")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf must be 0 to 51, not {self.crf}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One clip as the store keeps it. An instant is one frame of every camera."""

    clip_id: str
    source: str
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
    data_row: int
    """Its first row in the part's data file."""
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


def info_json(dataset: str, fps: int, cameras: list[str], spec: StoreSpec, total: Any) -> Any:
    """The `meta/info.json` of a dataset, as LeRobotDataset v3.0 has it.

    `total` holds `episodes` and `frames` (LeRobot counts an instant as one frame).
    """

    def column(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [1], "names": None}

    features: dict[str, Any] = {
        video_key(name): {
            "dtype": "video",
            "shape": [spec.height_px, spec.width_px, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": spec.height_px,
                "video.width": spec.width_px,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": 3,
                "has_audio": False,
            },
        }
        for name in cameras
    }
    features["timestamp"] = column("float32")
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = column("int64")
    for name in ("time_s", *LOG_COLUMNS):
        features[name] = column("float64")
    return {
        "codebase_version": "v3.0",
        "robot_type": "car",
        "total_episodes": total["episodes"],
        "total_frames": total["frames"],
        "total_tasks": 1,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{total['episodes']}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
