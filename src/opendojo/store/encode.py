"""Clips into one MP4 per camera: H.264, closed groups of pictures, made to be decoded fast.

Each clip gets an encoder of its own, so its bytes depend on the clip and the store's dials alone,
never on what was encoded before it; packets of several clips then follow one another in one file.
No CABAC, no deblocking, no B frames, one slice: some 1.9 times the decoding speed of x264's
defaults for a quarter more bytes (`docs/log.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType

from opendojo.clip import Frame
from opendojo.store.layout import StoreSpec

__all__ = ["VideoFile", "read_packets"]


class VideoFile:
    """An MP4 of one camera that grows clip by clip; `close` before reading it."""

    def __init__(self, path: Path, spec: StoreSpec, fps: int) -> None:
        self._spec = spec
        self._fps = fps
        self._container = av.open(str(path), "w", format="mp4")
        self._stream: Any = self._container.add_stream("libx264", rate=fps)
        self._configure(self._stream.codec_context)
        self._stream.time_base = Fraction(1, fps)
        self._container.start_encoding()
        self._encoder: Any = None
        self._clip_frames = 0
        self._first = 0

    def _configure(self, context: Any) -> None:
        spec = self._spec
        context.width, context.height = spec.width_px, spec.height_px
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, self._fps)
        context.framerate = Fraction(self._fps)
        context.gop_size = spec.gop_frames
        context.max_b_frames = 0
        context.thread_count = 1  # more threads would cut the picture into slices
        context.options = {
            "preset": spec.preset,
            "crf": str(spec.crf),
            "x264-params": (
                f"keyint={spec.gop_frames}:min-keyint={spec.gop_frames}:scenecut=0:open-gop=0:"
                "bframes=0:cabac=0:no-deblock=1:weightp=0:threads=1"
            ),
        }

    def begin_clip(self) -> None:
        """Start a clip: its first frame opens a group of pictures."""
        assert self._encoder is None, "the clip before was not ended"
        self._encoder = av.CodecContext.create("libx264", "w")
        self._configure(self._encoder)
        self._encoder.flags |= Flags.global_header
        self._clip_frames = 0

    def add(self, frame: Frame) -> None:
        """Encode one frame of the clip that was begun."""
        picture = _picture(frame)
        picture.pts = self._clip_frames
        picture.time_base = Fraction(1, self._fps)
        # x264 would make a keyframe wherever the source had one; groups must be even.
        picture.pict_type = PictureType.NONE
        self._clip_frames += 1
        self._mux(self._encoder.encode(picture))

    def end_clip(self) -> int:
        """Write out what the encoder still holds; return the clip's number of frames."""
        if self._clip_frames:
            self._mux(self._encoder.encode(None))
        self._encoder = None
        self._first += self._clip_frames
        return self._clip_frames

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.pts += self._first
            packet.dts = packet.pts
            packet.time_base = Fraction(1, self._fps)
            packet.stream = self._stream
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file."""
        self._container.close()


def _picture(frame: Frame) -> Any:
    picture: Any = av.VideoFrame(frame.width_px, frame.height_px, "yuv420p")
    for plane, source in zip(picture.planes, (frame.y, frame.u, frame.v), strict=True):
        height, width = source.shape
        target = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        target[:height, :width] = source
    return picture


def read_packets(path: Path) -> Iterator[tuple[int, int, bool]]:
    """Offset, size and key flag of each packet of an MP4's video, in order."""
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                assert packet.pos is not None
                yield packet.pos, packet.size, packet.is_keyframe
