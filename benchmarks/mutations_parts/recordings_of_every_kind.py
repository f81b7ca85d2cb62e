"""One small whole recording of each kind that the ingest reads, made by the tests' own makers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/ingest"))

import mcap_files as mcaps
import test_fuzz
import test_images
import test_udacity
from drives import make_drive
from lerobot_folders import make_lerobot
from nuscenes_folders import make_nuscenes
from recordings import make_video

__all__ = ["KINDS", "Maker"]

Maker = Callable[[Path], object]
"""Writes a recording into a folder."""


def _video(name: str, codec: str = "libx264", **more: str) -> Maker:
    def make(folder: Path) -> object:
        container = {"h264": "h264", "hevc": "hevc"}.get(name.rpartition(".")[2])
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {"g": "5"}
        return make_video(
            folder / name, codec=codec, options=options, container=container, flags=more
        )

    return make


def _comma(folder: Path) -> None:
    test_fuzz.segment_part(folder)
    segment = folder / "route" / "3"
    options = {"x265-params": "log-level=none"}
    make_video(
        segment / "video.hevc", frames=40, codec="libx265", container="hevc", options=options
    )


def _udacity(folder: Path) -> None:
    rows = [(f"2016_12_01_13_30_{48 + k // 10}_{k % 10}00", k / 40, 10.0 + k) for k in range(6)]
    test_udacity.make_folder(folder / "sim", rows)


def _pictures(folder: Path) -> None:
    lines = [f"{k}.jpg {88 + k}" for k in range(5)]
    test_images.make_folder(folder / "pictures", lines, pictures=5)


def _mcap(encoding: str, schema: str = "foxglove.CompressedImage", **more: object) -> Maker:
    def make(folder: Path) -> object:
        both = mcaps.stills("/front", 6, schema=schema, form="jpeg")
        both += mcaps.stills("/left", 6, schema=schema, form="png", offset_ms=9)
        if encoding == "protobuf":
            both += [mcaps.pose(k) for k in range(6)]
        both.sort(key=lambda message: message[2])
        return mcaps.write_mcap(folder / "a.mcap", both, encoding=encoding, **more)

    return make


def _mcap_video(form: str, codec: str) -> Maker:
    def make(folder: Path) -> object:
        messages = mcaps.video("/front", form, mcaps.stream(codec, 8))
        return mcaps.write_mcap(folder / "a.mcap", messages, chunk_bytes=4000)

    return make


KINDS: dict[str, Maker] = {
    "mp4": _video("a.mp4"),
    "mp4 index first": _video("a.mp4", movflags="faststart"),
    "mkv": _video("a.mkv"),
    "avi": _video("a.avi", codec="mpeg4"),
    "ts": _video("a.ts"),
    "h264": _video("a.h264"),
    "hevc": _video("a.hevc", codec="libx265"),
    "pictures": _pictures,
    "udacity": _udacity,
    "drive": lambda folder: make_drive(folder / "d"),
    "comma2k19": _comma,
    "mcap protobuf": _mcap("protobuf"),
    "mcap json": _mcap("json", chunked=False),
    "mcap ros2": _mcap(
        "cdr", "sensor_msgs/msg/CompressedImage", compression=mcaps.CompressionType.NONE
    ),
    "mcap h264": _mcap_video("h264", "libx264"),
    "mcap h265": _mcap_video("h265", "libx265"),
    "nuscenes": lambda folder: make_nuscenes(folder / "set", scenes=1, frames=5),
    "lerobot 3": lambda folder: make_lerobot(folder / "set"),
    "lerobot 2": lambda folder: make_lerobot(folder / "set", version="v2.1"),
}
