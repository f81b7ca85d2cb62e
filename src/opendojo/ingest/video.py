"""One video file, one front camera: whatever PyAV (FFmpeg) opens.

Each frame carries the time its file gives it, from the first frame on: variable rates come out as
they are. Frames without a time (raw H.264 and HEVC streams have none) follow the nominal rate.
Rotation and mirroring flags are obeyed. Sound is passed over.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame

from opendojo.clip import BadClip, Camera, Clip, Frame
from opendojo.ingest.content import check_file, content_id, reason, shown
from opendojo.ingest.decoding import ASSUMED_RATE_HZ, MEND, opened, pictures, promised
from opendojo.ingest.fit import Fitter, attitude
from opendojo.ingest.foreign import HIGHEST_RATE_HZ

__all__ = ["ASSUMED_FOV_DEG", "Video", "guessed_camera", "open_video", "pictures", "timed"]

ASSUMED_FOV_DEG = 60.0
"""Horizontal field of view taken for a camera of which nothing is known."""
_PACKETS_MEASURED = 300
_SIDES = ("left", "right")
_ENDS = ("front", "rear")
_SLOTS = frozenset([*_ENDS, *_SIDES, *(f"{end}-{side}" for end in _ENDS for side in _SIDES)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Reads one video; callable as `Clip.read`."""

    file: str
    rate_hz: float
    """Nominal rate, for frames without a time."""
    times_s: tuple[float, ...] | None = None
    """Times from the first frame that are known from elsewhere, one for each frame."""
    instants: int | None = None
    """As many frames as there should be, where something tells."""

    @property
    def files(self) -> tuple[str, ...]:
        """What is read."""
        return (self.file,)

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """See `Clip.frames`."""
        fit = Fitter(self.file, width_px, height_px)
        if self.times_s is None:
            for picture, time_s in timed(self.file, self.rate_hz):
                yield (fit(picture, time_s),)
            return
        frames = 0
        for picture in pictures(self.file):
            if frames == len(self.times_s):
                cause = f"goes on beyond the {frames} frames whose times are known"
                raise BadClip(shown(Path(self.file)), cause, remedy=MEND, frame=frames)
            yield (fit(picture, self.times_s[frames]),)
            frames += 1
        if frames < len(self.times_s):
            cause = f"ends after {frames} of {len(self.times_s)} frames"
            raise BadClip(shown(Path(self.file)), cause, remedy=MEND, frame=frames)


def open_video(path: Path) -> Clip:
    """The clip of one video file. Raises `BadClip` where not one frame can be had."""
    check_file(path)
    file = str(path.absolute())
    rate_hz, instants = _nominal(file)
    camera = guessed_camera(file, _slot(path.stem))
    return Clip(
        clip_id=content_id("video", [path]),
        source=shown(path),
        origin="recorded",
        cameras=(camera,),
        rate_hz=rate_hz,
        read=Video(file=file, rate_hz=rate_hz, instants=instants),
    )


def guessed_camera(file: str, name: str) -> Camera:
    """An uncalibrated camera with the size of the first frame of `file`, as seen upright."""
    first = next(pictures(file), None)
    if first is None:
        raise BadClip(shown(Path(file)), "holds no frame that can be decoded", remedy=MEND, frame=0)
    width, height = attitude(first).size(first.width, first.height)
    return Camera.with_fov(name, width, height, ASSUMED_FOV_DEG, calibrated=False)


def timed(
    file: str, rate_hz: float, *, origin_s: float | None = None
) -> Iterator[tuple[VideoFrame, float]]:
    """The pictures of a video with their times in seconds, strictly rising.

    Times count from `origin_s` on the file's own clock, or else from the first picture. A missing
    time is one period after the one before; one that does not rise is set half a period after it.
    """
    period_s = 1.0 / rate_hz
    last_s = -np.inf
    for picture in pictures(file):
        own_s = None
        if picture.pts is not None and (base := picture.time_base):
            own_s = picture.pts * base.numerator / base.denominator
        if origin_s is None:
            origin_s = own_s or 0.0
        if own_s is None:
            time_s = last_s + period_s if np.isfinite(last_s) else 0.0
        else:
            time_s = own_s - origin_s
            if time_s <= last_s:
                time_s = last_s + period_s / 2
        yield picture, time_s
        last_s = time_s


def _nominal(file: str) -> tuple[float, int | None]:
    """The rate of a video, the header's where the packets agree, else what they show; and the
    number of its frames, where the header tells.
    """
    shown_s: list[float] = []
    try:
        with opened(file) as (container, stream):
            stated = float(stream.guessed_rate or stream.average_rate or 0.0)
            mean = float(stream.average_rate or 0.0)
            instants = promised(stream, container) or None
            with contextlib.suppress(FFmpegError):  # where it breaks off, `pictures` says so
                for packet in islice(container.demux(stream), _PACKETS_MEASURED):
                    if packet.pts is not None:
                        shown_s.append(float(packet.pts * packet.time_base))
    except FFmpegError as fault:
        raise BadClip(shown(Path(file)), _why(file, fault), remedy=MEND) from fault
    shown_s.sort()
    steps_s = np.diff(shown_s)
    steps_s = steps_s[steps_s > 0]
    if len(steps_s) == 0:
        return (stated if 0.0 < stated <= HIGHEST_RATE_HZ else ASSUMED_RATE_HZ), instants
    measured = float(1.0 / np.median(steps_s))
    # Matroska rounds times to milliseconds: 29.97 Hz shows as 30.3
    near = [rate for rate in (mean, stated) if abs(rate / measured - 1.0) < 0.05]
    return min(near[0] if near else measured, HIGHEST_RATE_HZ), instants


def _why(file: str, fault: FFmpegError) -> str:
    """Why a file cannot be opened, in words."""
    with Path(file).open("rb") as stream:
        head = stream.read(12)
    if head[4:8] == b"ftyp" and isinstance(fault, (InvalidDataError, EOFError)):
        return "an MP4 without a readable index (moov): it was cut off before it was finished"
    return reason(fault)


def _slot(stem: str) -> str:
    """The camera's place on the vehicle: the file's name where that is one, else `front`."""
    word = re.sub(r"[ _]+", "-", stem.lower())
    return word if word in _SLOTS else "front"
