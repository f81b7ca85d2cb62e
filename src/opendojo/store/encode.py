"""Clips into one video file per camera: closed groups of pictures, made to be decoded fast.

Each clip gets an encoder of its own, so its bytes depend on the clip and the store's dials alone,
never on what was encoded before it; packets of several clips then follow one another in one file.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

from opendojo.clip import Frame
from opendojo.store.codec import CODECS, make_encoder
from opendojo.store.layout import StoreSpec
from opendojo.store.psnr import Probe

__all__ = ["ClipEncoder", "VideoFile", "read_head", "read_packets"]


class ClipEncoder:
    """Encodes one clip of one camera; packets come in the order of the frames, one each."""

    def __init__(self, spec: StoreSpec, fps: int, crf: int) -> None:
        self._encoder: Any = make_encoder(spec, fps, crf)
        self._time_base = Fraction(1, fps)
        self.frames = 0
        """Frames taken in so far."""

    @property
    def extradata(self) -> bytes:
        """The headers; known once a frame was taken in."""
        return bytes(self._encoder.extradata or b"")

    def add(self, frame: Frame) -> list[Any]:
        """Take in the next frame; return the packets that are ready."""
        picture = _picture(frame)
        picture.pts = self.frames
        picture.time_base = self._time_base
        # x264 would make a keyframe wherever the source had one; groups must be even.
        picture.pict_type = PictureType.NONE
        self.frames += 1
        return self._encoder.encode(picture)

    def end(self) -> list[Any]:
        """The packets that were held back."""
        return self._encoder.encode(None) if self.frames else []


class VideoFile:
    """An MP4 of one camera that grows clip by clip; `close` before reading it."""

    def __init__(self, path: Path, spec: StoreSpec, fps: int) -> None:
        self._spec, self._fps = spec, fps
        self._time_base = Fraction(1, fps)
        self._container = av.open(str(path), "w", format="mp4")
        self._stream: Any = self._container.add_stream(CODECS[spec.codec].encoder, rate=fps)
        make_encoder(spec, fps, spec.quality, self._stream.codec_context)
        self._stream.time_base = self._time_base
        self._container.start_encoding()
        self._clip: ClipEncoder | None = None
        self._probe: Probe | None = None
        self._first = 0

    def begin_clip(self, crf: int | None = None) -> None:
        """Start a clip, in the quality asked for; its first frame opens a group of pictures."""
        assert self._clip is None, "the clip before was not ended"
        self._clip = ClipEncoder(self._spec, self._fps, self._spec.quality if crf is None else crf)
        self._probe = Probe(self._spec)

    def add(self, frame: Frame) -> None:
        """Encode one frame of the clip that was begun."""
        assert self._clip is not None, "begin_clip comes first"
        assert self._probe is not None
        self._probe.source(frame)
        self._mux(self._clip.add(frame))

    def end_clip(self) -> float:
        """Write out what the encoder still holds; return the luma PSNR of its sampled groups.

        NaN where the clip has no frames.
        """
        clip, probe = self._clip, self._probe
        assert clip is not None, "begin_clip comes first"
        assert probe is not None
        self._mux(clip.end())
        self._first += clip.frames
        self._clip = self._probe = None
        return probe.end()

    def _mux(self, packets: list[Any]) -> None:
        assert self._probe is not None
        for packet in packets:
            self._probe.coded(packet, self._headers)
            packet.pts += self._first
            packet.dts = packet.pts
            packet.time_base = self._time_base
            packet.stream = self._stream
            self._container.mux(packet)

    def _headers(self) -> bytes:
        assert self._clip is not None
        known = bytes(self._stream.codec_context.extradata or b"")
        assert self._clip.extradata == known, "clips of one file must share their headers"
        return known

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
    """Offset, size and key flag of each packet of an MP4's video, in order; from its own index."""
    with av.open(str(path)) as container:
        for entry in container.streams.video[0].index_entries:
            yield entry.pos, entry.size, entry.is_keyframe


def read_head(path: Path, spec: StoreSpec) -> tuple[str, bytes]:
    """Codec and extradata that decode the packets of a video file."""
    if CODECS[spec.codec].headers_in_band:
        return spec.codec, b""
    with av.open(str(path)) as container:
        return spec.codec, bytes(container.streams.video[0].codec_context.extradata or b"")
