"""Recordings that tests make: videos of known pictures, with known times and flaws."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from opendojo.clip import BadClip, Clip

Floats = npt.NDArray[np.float64]


def planes_of(picture: VideoFrame) -> list[Any]:
    """Writable views of the planes without padding."""
    views = []
    for plane in picture.planes:
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        views.append(lines[: plane.height, : plane.width])
    return views


def marked(width: int, height: int, index: int = 0, pix_fmt: str = "yuv420p") -> VideoFrame:
    """A dark picture whose top left quarter is bright, with a bar that moves with `index`."""
    rgb = np.full((height, width, 3), 40, np.uint8)
    rgb[: height // 2, : width // 2] = 220
    bar = (index * 4) % max(width - 4, 1)
    rgb[height // 2 :, bar : bar + 4] = 120
    rgb += np.random.default_rng(index).integers(0, 30, rgb.shape, np.uint8)
    return VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)


def make_video(
    path: Path,
    *,
    frames: int = 10,
    size: tuple[int, int] = (64, 48),
    rate: int = 10,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    flags: dict[str, str] | None = None,
    container: str | None = None,
    sound: bool = False,
) -> Path:
    """Write a video; `times` are presentation times in milliseconds."""
    with av.open(str(path), "w", format=container, options=flags or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        voice: Any = out.add_stream("aac", rate=8000, layout="mono") if sound else None
        for index in range(frames):
            picture = marked(*size, index, pix_fmt)
            picture.pts = index if times is None else times[index]
            picture.time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        if voice is not None:
            _hum(out, voice)
    return path


def _hum(out: Any, voice: Any) -> None:
    for index in range(8):
        samples = np.zeros((1, 1024), np.float32)
        note = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        note.sample_rate, note.pts = 8000, index * 1024
        out.mux(voice.encode(note))
    out.mux(voice.encode(None))


def turn(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a, b, c, d of the display matrix into the track header of an MP4."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def area_mean(plane: Any, height: int, width: int) -> Floats:
    """The exact mean over the area of each target pixel: what scaling should come to."""
    return _shares(plane.shape[0], height) @ plane @ _shares(plane.shape[1], width).T


def _shares(source: int, target: int) -> Floats:
    edges = np.linspace(0, source, target + 1)
    cells = np.arange(source)
    low = np.maximum(edges[:-1, None], cells)
    high = np.minimum(edges[1:, None], cells + 1)
    return np.maximum(high - low, 0) * target / source


def read_all(clip: Clip, width: int = 32, height: int = 16) -> tuple[list[Any], BadClip | None]:
    """Every step of a clip, and what it broke off with."""
    steps: list[Any] = []
    try:
        for step in clip.frames(width, height):
            steps.append(step)
    except BadClip as bad:
        return steps, bad
    return steps, None


def times_of(steps: list[Any]) -> list[float]:
    """The times of the first camera."""
    return [round(step[0].time_s, 6) for step in steps]
