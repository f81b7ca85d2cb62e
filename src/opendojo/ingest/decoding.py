"""Decoding a video file picture by picture, and finding out whether it was whole.

A clip ends at the first packet that is damaged, since decoders fill what they lack with guesses;
what came before it is good and is kept. Whether a file is whole is asked of the file: by the
number of frames its header promises, or by the length, for containers that state it.

How to decode is a matter of the machine and not of the recording, so it is no field of a reader:
`decoding` sets it for whatever reads within.

    with decoding(Decoding(threads=4)):
        steps = list(clip.frames(512, 256))     # the same pictures, from four threads

Frame threads give the same pictures of a file that is whole. Of a damaged one they conceal other
parts and tell of it late, or among the last packets not at all: so the pictures are counted, and
who reads with several threads reads again with one where a `BadClip` comes (`workers` does).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from opendojo.clip import BadClip
from opendojo.ingest.content import reason, shown

__all__ = [
    "ASSUMED_RATE_HZ",
    "LARGEST_PX",
    "MEND",
    "Decoding",
    "check_size",
    "current",
    "decode_packet",
    "decoding",
    "opened",
    "pictures",
    "promised",
    "set_up",
]

ASSUMED_RATE_HZ = 25.0
"""Rate where neither the packets nor the header tell one; FFmpeg's own default."""
LARGEST_PX = 1 << 26
"""Pixels of a picture, 8192x8192 and the like: more is a header that lies."""
MEND = "copy the file again from where it was recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How videos are decoded."""

    threads: int = 1
    """Frame threads for each file."""
    skip_loop_filter: bool = False
    """Leave out deblocking: faster, not exact."""


_DECODING: ContextVar[Decoding] = ContextVar("decoding", default=Decoding())  # noqa: B039 - frozen


@contextlib.contextmanager
def decoding(how: Decoding) -> Iterator[None]:
    """Decode in this way whatever is opened within."""
    token = _DECODING.set(how)
    try:
        yield
    finally:
        _DECODING.reset(token)


def current() -> Decoding:
    """How videos are decoded here and now."""
    return _DECODING.get()


def check_size(file: str | Path, width_px: int, height_px: int) -> None:
    """Raise `BadClip` for a picture of more than `LARGEST_PX`."""
    if width_px * height_px > LARGEST_PX:
        cause = f"claims pictures of {width_px}x{height_px}"
        raise BadClip(shown(Path(file)), cause, remedy=f"up to {LARGEST_PX} pixels are read")


def pictures(file: str) -> Iterator[VideoFrame]:
    """Decode every picture in order of display.

    Raises `BadClip` with the frame and the byte where the file breaks off or is damaged; with
    several threads only that it is, and pictures before it may be spoilt.
    """
    how = current()
    frames, packets, completed, byte = 0, 0, 0, None
    cause = ""
    try:
        with opened(file) as (container, stream):
            whole = _Whole(stream, container)
            for packet in container.demux(stream):
                byte = packet.pos if packet.pos is not None and packet.pos >= 0 else byte
                decoded, cause = decode_packet(stream, packet, alone=how.threads == 1)
                whole.add(packet)
                packets += bool(packet.size)
                completed += len(decoded)
                if how.threads > 1 and not packet.size and packets != completed:
                    cause = "pictures are missing"
                    break
                for picture in decoded:
                    if picture.is_corrupt and frames:
                        cause = "a damaged picture"
                        break
                    if not picture.is_corrupt:  # a recording may start between two key frames
                        yield picture
                        frames += 1
                if cause:
                    break
            cause = cause or whole.shortfall()
    except FFmpegError as fault:
        cause = reason(fault)
    if cause:
        raise BadClip(shown(Path(file)), cause, remedy=MEND, frame=frames, byte=byte)


def decode_packet(
    stream: VideoStream, packet: Packet[VideoStream], alone: bool
) -> tuple[list[VideoFrame], str]:
    """The pictures that a packet completes and, when it is bad, those still held back and why.

    Only one thread `alone` holds back nothing but what came before the bad packet.
    """
    cause = "a damaged packet: the file is cut off or was altered" if packet.is_corrupt else ""
    if not cause:
        try:
            return packet.decode(), ""
        except FFmpegError as fault:
            cause = reason(fault)
    try:
        return (stream.codec_context.decode(None) if alone else []), cause
    except FFmpegError:
        return [], cause


def promised(stream: VideoStream, container: av.container.InputContainer) -> int:
    """The packets that a container's header promises; 0 where it tells none."""
    # The index of an MP4 is what is left after its edit list, the header's count is not.
    indexed = len(stream.index_entries) if "mp4" in container.format.name else 0
    return indexed or stream.frames


class _Whole:
    """Counts what a container gives against what its header promises."""

    def __init__(self, stream: VideoStream, container: av.container.InputContainer) -> None:
        self._packets_promised = promised(stream, container)
        self._end_promised_s = _stated_end_s(stream, container)
        self._packets = 0
        self._end = 0  # in ticks: a fraction for each packet takes longer than its demuxing
        self._tick_s = stream.time_base or Fraction(0)
        self._period_s = 1.0 / float(stream.average_rate or ASSUMED_RATE_HZ)

    def add(self, packet: Packet[VideoStream]) -> None:
        """Count one packet."""
        if not packet.size:
            return
        self._packets += 1
        if packet.pts is not None:
            self._end = max(self._end, packet.pts + (packet.duration or 0))

    def shortfall(self) -> str:
        """What is missing, in words; empty when nothing is."""
        if self._packets < self._packets_promised:
            return f"ends after {self._packets} of {self._packets_promised} frames"
        end_s = float(self._end * self._tick_s)
        if end_s + 2.5 * self._period_s < self._end_promised_s:
            return f"ends at {end_s:.2f} s of {self._end_promised_s:.2f} s"
        return ""


def _stated_end_s(stream: VideoStream, container: av.container.InputContainer) -> float:
    """The end of the video that a Matroska header states; 0 for other containers.

    Others give a number of frames, or no more than an estimate from the size of the file.
    """
    if "matroska" not in container.format.name:
        return 0.0
    stated = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if stated:
        hours, minutes, seconds = (float(part) for part in stated.groups())
        return 3600 * hours + 60 * minutes + seconds
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / av.time_base if alone and container.duration else 0.0


@contextlib.contextmanager
def opened(file: str) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """Open a file and its first video stream that is not a cover picture, to be decoded as
    `decoding` says.

    Only local files: a playlist that calls itself a video must not fetch anything. Raises `BadClip`
    where there is none that can be decoded, or its pictures are larger than any camera's.
    """
    options = {"protocol_whitelist": "file", "max_pixels": str(LARGEST_PX)}
    with av.open(file, options=options, metadata_errors="ignore") as container:
        covers = Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & covers]
        if not streams:
            raise BadClip(
                shown(Path(file)), "holds no video", remedy="give a recording of a camera"
            )
        stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise BadClip(
                shown(Path(file)), "no decoder for its codec", remedy="convert it to H.264 or HEVC"
            )
        check_size(file, context.width, context.height)
        set_up(context)
        yield container, stream


def set_up(context: VideoCodecContext) -> None:
    """Have a decoder work as `decoding` says; before it is given anything."""
    how = current()
    # a parameter set within the stream may claim another size than the header
    context.options = {"max_pixels": str(LARGEST_PX)}
    if how.skip_loop_filter:
        context.options |= {"skip_loop_filter": "all"}
    context.thread_count = how.threads
    context.thread_type = ThreadType.FRAME
