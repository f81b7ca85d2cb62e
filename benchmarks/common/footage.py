"""Pictures to measure with: a real dashcam where its file is there, else a road drawn by the world.

The dashcam is solidWhiteRight.mp4 of udacity/CarND-LaneLines-P1 (MIT licence), 221 frames of
960x540 at 25 Hz, looked for in ../shared/data/road or where OPENDOJO_FOOTAGE says. It is cropped,
area-scaled, and taken forward, reversed, mirrored and both, from several crops, which gives any
number of clips that look alike and are not the same.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
import numpy.typing as npt

from opendojo.clip import Camera, Clip, Frame, Log

__all__ = ["SOURCE_PX", "Shot", "clips", "pictures", "source_name"]

SOURCE_PX = (960, 540)
RATE_HZ = 25.0
_FILE = Path(__file__).resolve().parents[3] / "shared/data/road/solidWhiteRight.mp4"

Bytes = npt.NDArray[np.uint8]


def source() -> Path | None:
    """The dashcam's file, or None where there is none."""
    path = Path(os.environ.get("OPENDOJO_FOOTAGE", _FILE))
    return path if path.is_file() else None


def source_name() -> str:
    """What the pictures are, for the record."""
    if source() is None:
        return "drawn by opendojo.world (no dashcam file was there)"
    return "real dashcam (CarND-LaneLines-P1 solidWhiteRight), forward, reversed, mirrored"


@cache
def pictures() -> tuple[Any, ...]:
    """Every picture of the source, 4:2:0, 960x540."""
    file = source()
    if file is not None:
        return _decoded(file)
    from opendojo.world import WorldConfig, front_three, record_fleet

    with tempfile.TemporaryDirectory() as folder:
        config = WorldConfig(cameras=front_three(*SOURCE_PX)[:1])
        record_fleet(folder, drives=1, seconds=6.0, config=config, processes=1)
        return _decoded(next(Path(folder).glob("*/front.mp4")))


def _decoded(file: Path) -> tuple[Any, ...]:
    with av.open(str(file)) as container:
        return tuple(frame.reformat(format="yuv420p") for frame in container.decode(video=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One way to take the source: where it is cropped, which way it runs. Reads as `Clip.read`."""

    left: int
    top: int
    width: int
    height: int
    backward: bool = False
    mirrored: bool = False
    frames: int = 10_000

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """The frames, area-scaled."""
        for k, planes in enumerate(self.planes(width_px, height_px)):
            y, u, v = planes
            yield (Frame(y=y, u=u, v=v, time_s=k / RATE_HZ),)

    def planes(self, width_px: int, height_px: int) -> Iterator[tuple[Bytes, ...]]:
        """Planes y, u, v of each frame."""
        taken = pictures()[:: -1 if self.backward else 1][: self.frames]
        graph = _scaler(self, width_px, height_px)
        step = -1 if self.mirrored else 1
        for picture in taken:
            graph.vpush(picture)
            small = graph.vpull()
            yield tuple(np.ascontiguousarray(_plane(p)[:, ::step]) for p in small.planes)


def _scaler(shot: Shot, width_px: int, height_px: int) -> Any:
    graph = av.filter.Graph()
    graph.threads = 1
    start = graph.add_buffer(template=None, width=SOURCE_PX[0], height=SOURCE_PX[1],
                             format=pictures()[0].format,
                             time_base=pictures()[0].time_base)  # fmt: skip
    crop = graph.add("crop", f"{shot.width}:{shot.height}:{shot.left}:{shot.top}")
    scale = graph.add("scale", f"{width_px}:{height_px}:flags=area+accurate_rnd")
    graph.link_nodes(start, crop, scale, graph.add("buffersink")).configure()
    return graph


def _plane(plane: Any) -> Bytes:
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return lines[: plane.height, : plane.width]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rig:
    """Several shots side by side, as cameras of one vehicle. Reads as `Clip.read`."""

    shots: tuple[Shot, ...]

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        for step in zip(*(shot(width_px, height_px) for shot in self.shots), strict=True):
            yield tuple(frame for (frame,) in step)


def clips(
    count: int, aspect: float, cameras: Sequence[str] = ("front",), frames: int = 10_000
) -> list[Clip]:
    """So many clips of up to `frames` instants, each camera and clip with a crop of its own.

    `aspect` is width over height of the crop, which is as large as the source allows.
    """
    made = []
    for number in range(count):
        shots = tuple(
            _shot(number * len(cameras) + place, count * len(cameras), aspect, frames)
            for place in range(len(cameras))
        )
        made.append(_clip(shots, cameras))
    return made


def _shot(number: int, of: int, aspect: float, frames: int) -> Shot:
    wide, high = SOURCE_PX
    width, height = min(wide, int(high * aspect)), min(high, int(wide / aspect))
    crops = max(-(-of // 4), 1)
    share = (number // 4 + 0.5) / crops
    return Shot(
        left=int((wide - width) * share) // 2 * 2,
        top=int((high - height) * share) // 2 * 2,
        width=width,
        height=height,
        backward=bool(number & 1),
        mirrored=bool(number & 2),
        frames=frames,
    )


def _clip(shots: tuple[Shot, ...], cameras: Sequence[str]) -> Clip:
    count = min(len(pictures()), shots[0].frames)
    time_s = np.arange(count) / RATE_HZ
    return Clip(
        clip_id=hashlib.sha256(repr(shots).encode()).hexdigest()[:32],
        source=source_name(),
        origin="recorded" if source() else "drawn",
        cameras=tuple(Camera.with_fov(name, *SOURCE_PX, 60.0) for name in cameras),
        rate_hz=RATE_HZ,
        read=_Rig(shots=shots),
        log=Log(
            time_s=time_s,
            x_m=10.0 * time_s,
            y_m=np.zeros(count),
            yaw_rad=np.zeros(count),
            speed_mps=np.full(count, 10.0),
        ),
    )
