"""An MCAP recording: every topic of camera pictures of one file is a camera of one clip.

Pictures are Foxglove's CompressedImage (JPEG, PNG) and CompressedVideo (H.264, H.265, AV1, VP9),
and ROS 2's sensor_msgs/CompressedImage. Times are those the cameras stamped their pictures with,
where they did, else those of the recorder. Cameras are matched by time to the front one (the first
by name where none is called so), to within half a frame; the pictures before and after those that
all cameras have are left out.

What else is taken, where it is there and says one thing only:

- `CameraCalibration` with the frame of a camera's pictures: its lens. Lenses that `clip.Camera`
  does not have (`plumb_bob` with coefficients) leave the camera uncalibrated.
- `FrameTransform` from the vehicle's frame (`base_link` and the like) to that frame: its mount.
- The log of an exported clip; else one topic of `PoseInFrame` (x, y, yaw, and the speed from them);
  else one of `LocationFix` (x to the east and y to the north, in metres from the first).
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.codec import CodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from opendojo.clip import BadClip, Camera, Clip, Floats, Frame
from opendojo.ingest.content import check_file, content_id, reason, shown
from opendojo.ingest.decoding import set_up
from opendojo.ingest.fit import Fitter
from opendojo.ingest.foreign import HIGHEST_RATE_HZ
from opendojo.ingest.images import still
from opendojo.ingest.mcap_file import PICTURES, Message, decoder, holds_picture, messages
from opendojo.ingest.mcap_survey import Survey, survey
from opendojo.ingest.rig import camera_names, match_times
from opendojo.ingest.video import ASSUMED_FOV_DEG

__all__ = ["Recording", "open_mcap"]

_CODECS = {"h264": "h264", "h265": "hevc", "hevc": "hevc", "av1": "libdav1d", "vp9": "vp9"}
"""Decoders by the `format` of a CompressedVideo."""
_MOST_WAITING_BYTES = 1 << 28
_MEND = "record it again, or mend it with `mcap recover`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Reads the cameras of one file in step; callable as `Clip.read`."""

    file: str
    topics: tuple[str, ...]
    """One of each camera; the first sets the pace."""
    rows: npt.NDArray[np.int32] = field(repr=False)
    """Which message of each topic makes a step, [steps, cameras]."""
    times_s: Floats = field(repr=False)
    """One a step."""
    faults: tuple[str, ...] = ()
    """What was wrong with the recording as a whole."""
    damage: BadClip | None = None
    """Where it breaks off, if it does: `rows` are of what comes before."""

    @property
    def files(self) -> tuple[str, ...]:
        """What is read."""
        return (self.file,)

    @property
    def instants(self) -> int:
        """As many steps as there should be."""
        return len(self.rows)

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """See `Clip.frames`. Steps with a broken picture are left out and told of at the end."""
        fits = [Fitter(self.file, width_px, height_px) for _ in self.topics]
        feed = _Feed(self.file, self.topics)
        cameras = [
            _Camera(feed, topic, frozenset(self.rows[:, place].tolist()))
            for place, topic in enumerate(self.topics)
        ]
        faults, first = list(self.faults), None
        for step, (row, time_s) in enumerate(zip(self.rows.tolist(), self.times_s, strict=True)):
            pictures = [camera.seek(index) for camera, index in zip(cameras, row, strict=True)]
            whole = [picture for picture in pictures if picture is not None]
            if len(whole) == len(fits):
                yield tuple(
                    fit(picture, float(time_s)) for fit, picture in zip(fits, whole, strict=True)
                )
                continue
            first = step if first is None else first
            if feed.damage is not None or any(camera.fault for camera in cameras):
                break
            faults.append(f"step {step} has no whole picture of every camera")
        faults = [camera.fault for camera in cameras if camera.fault] + faults
        self._end(feed.damage or self.damage, faults, first)

    def _end(self, damage: BadClip | None, faults: list[str], first: int | None) -> None:
        """Raise `BadClip` for what was wrong, if anything was."""
        first = len(self.rows) if first is None else first
        byte = None if damage is None else damage.byte
        faults = [damage.cause, *faults] if damage is not None else faults
        if faults:
            more = f" (and {len(faults) - 1} faults more)" if len(faults) > 1 else ""
            cause = faults[0] + more
            raise BadClip(shown(Path(self.file)), cause, remedy=_MEND, frame=first, byte=byte)


class _Feed:
    """The messages of some topics, each taken when it is asked for, read once for all of them."""

    def __init__(self, file: str, topics: tuple[str, ...]) -> None:
        self._file = file
        self._messages = messages(file)
        self._waiting: dict[str, deque[Message]] = {topic: deque() for topic in topics}
        self._waiting_bytes = 0
        self.damage: BadClip | None = None

    def take(self, topic: str) -> Message | None:
        """The next message of a topic; None at its end, or where the file breaks off.

        Raises `BadClip` where too much of the others lies between two of its messages.
        """
        mine = self._waiting[topic]
        while not mine:
            try:
                message = next(self._messages, None)
            except BadClip as bad:
                self.damage, message = bad, None
                self._messages = iter(())
            if message is None:
                return None
            if message.topic not in self._waiting or not holds_picture(message):
                continue
            self._waiting[message.topic].append(message)
            self._waiting_bytes += len(message.data)
            if self._waiting_bytes > _MOST_WAITING_BYTES:
                cause = f"its topics lie more than {_MOST_WAITING_BYTES >> 20} MiB apart"
                remedy = "sort its messages by time with `mcap sort`"
                raise BadClip(shown(Path(self._file)), cause, remedy=remedy)
        message = mine.popleft()
        self._waiting_bytes -= len(message.data)
        return message


class _Camera:
    """One topic's pictures in order, each with the number of its message."""

    def __init__(self, feed: _Feed, topic: str, wanted: frozenset[int] | None) -> None:
        self._feed, self._topic, self._wanted = feed, topic, wanted
        self._pictures = self._read()
        self._ahead: tuple[int, VideoFrame | None] | None = None
        self.fault = ""
        """Why it ended before its topic did."""

    def seek(self, index: int) -> VideoFrame | None:
        """The picture of message `index`; None where it is broken, or the topic has ended."""
        while self._ahead is None or self._ahead[0] < index:
            self._ahead = next(self._pictures, None)
            if self._ahead is None:
                return None
        return self._ahead[1] if self._ahead[0] == index else None

    def first(self) -> tuple[int, VideoFrame] | None:
        """The first whole picture and the number of its message."""
        return next(((index, p) for index, p in self._pictures if p is not None), None)

    def _read(self) -> Iterator[tuple[int, VideoFrame | None]]:
        video: _Video | None = None
        index = -1
        while (message := self._feed.take(self._topic)) is not None:
            index += 1
            known = decoder(message.schema, message.encoding)
            assert known is not None, message.schema
            short, decoded = known
            try:
                fields = decoded(message.data)
                data, form = bytes(fields["data"]), str(fields.get("format", ""))
            except (ValueError, KeyError, TypeError) as fault:
                self.fault = f"message {index} of {self._topic} cannot be read: {reason(fault)}"
                break
            if short == PICTURES[0]:
                yield index, self._still(index, data)
                continue
            if video is None:
                if form not in _CODECS:
                    self.fault = f"{self._topic} holds {form[:20]!r}, not {', '.join(_CODECS)}"
                    return
                video = _Video(_CODECS[form])
            yield from video.decode(data, index)
            if video.fault:
                self.fault = f"message {index} of {self._topic}: {video.fault}"
                break
        if video is not None:
            yield from video.rest()

    def _still(self, index: int, data: bytes) -> VideoFrame | None:
        if self._wanted is not None and index not in self._wanted:
            return None
        try:
            return still(io.BytesIO(data), f"{self._topic} {index}")
        except BadClip:
            return None


class _Video:
    """One topic's decoder. A recording may start between two key frames, so what comes before the
    first picture is passed over; a fault after it ends the video."""

    def __init__(self, codec: str) -> None:
        context = CodecContext.create(codec, "r")
        assert isinstance(context, VideoCodecContext)
        set_up(context)
        self._context = context
        self._given = False
        self.fault = ""

    def decode(self, data: bytes, index: int) -> Iterator[tuple[int, VideoFrame]]:
        """The pictures that a message completes, with the numbers of their messages."""
        packet = av.Packet(data)
        packet.pts = packet.dts = index
        try:
            frames = self._context.decode(packet) if data else []
        except FFmpegError as fault:
            self.fault = reason(fault) if self._given else ""
            return
        for frame in frames:
            if frame.is_corrupt:
                self.fault = "a damaged picture" if self._given else ""
                continue
            self._given = True
            yield (index if frame.pts is None else frame.pts), frame

    def rest(self) -> Iterator[tuple[int, VideoFrame]]:
        """The pictures still held back."""
        try:
            frames = self._context.decode(None)
        except FFmpegError:
            return  # a decoder that failed holds nothing back that is whole
        for frame in frames:
            if not frame.is_corrupt and frame.pts is not None:
                yield frame.pts, frame


def open_mcap(path: Path) -> Clip:
    """The clip of one file. Raises `BadClip` where it holds no picture of a camera."""
    check_file(path)
    file = str(path.absolute())
    found = survey(file)
    if not found.pictures:
        none = BadClip(shown(path), "holds no camera's pictures", remedy="see what topics it has")
        raise found.damage or none
    firsts, faults = _firsts(file, found)
    topics = _ordered(tuple(firsts))
    start_ns = found.pictures[topics[0]].time_ns[0]
    indices = [_rising(found, topic, firsts[topic][0]) for topic in topics]
    stamps_s = [_seconds(found, t, i, start_ns) for t, i in zip(topics, indices, strict=True)]
    rows, skipped = match_times(stamps_s)
    if len(rows) == 0:
        raise BadClip(shown(path), "its cameras have no instant in common", remedy=_MEND)
    if skipped:
        faults.append(f"{skipped} steps have no picture of every camera")
    at_s = stamps_s[0][rows[:, 0]]
    period_s = float(np.median(np.diff(at_s))) if len(at_s) > 1 else 0.1
    named = zip(camera_names(topics), topics, strict=True)
    return Clip(
        clip_id=content_id("mcap", [path]),
        source=shown(path),
        origin=found.origin,
        cameras=tuple(_camera(name, topic, firsts[topic][1], found) for name, topic in named),
        rate_hz=min(round(1.0 / period_s, 6), HIGHEST_RATE_HZ),
        read=Recording(
            file=file,
            topics=topics,
            rows=np.stack([i[rows[:, c]] for c, i in enumerate(indices)], 1).astype(np.int32),
            times_s=at_s - at_s[0],
            faults=tuple(faults),
            damage=found.damage,
        ),
        log=found.log(start_ns + round(float(at_s[0]) * 1e9)),
    )


def _firsts(file: str, found: Survey) -> tuple[dict[str, tuple[int, VideoFrame]], list[str]]:
    """Each topic's first whole picture with its number, and what is wrong with those without."""
    firsts: dict[str, tuple[int, VideoFrame]] = {}
    faults: list[str] = []
    for topic in sorted(found.pictures):
        camera = _Camera(_Feed(file, (topic,)), topic, None)
        first = camera.first()
        if first is None:
            faults.append(camera.fault or f"{topic} holds no picture that can be decoded")
        else:
            firsts[topic] = first
    if not firsts:
        raise BadClip(shown(Path(file)), faults[0], remedy=_MEND, frame=0)
    return firsts, faults


def _rising(found: Survey, topic: str, first: int) -> npt.NDArray[np.int64]:
    """Numbers of a topic's messages from its first picture on, without those back in time."""
    latest, kept = -1, []
    for index, time_ns in enumerate(found.pictures[topic].time_ns):
        if index >= first and time_ns > latest:
            kept.append(index)
            latest = time_ns
    return np.array(kept, np.int64)


def _seconds(found: Survey, topic: str, indices: npt.NDArray[np.int64], start_ns: int) -> Floats:
    time_ns = found.pictures[topic].time_ns
    return np.array([time_ns[index] - start_ns for index in indices], np.float64) * 1e-9


def _ordered(topics: tuple[str, ...]) -> tuple[str, ...]:
    """The front camera first, the others by name."""
    names = dict(zip(topics, camera_names(topics), strict=True))
    return tuple(sorted(topics, key=lambda topic: (names[topic] != "front", topic)))


def _camera(name: str, topic: str, picture: VideoFrame, found: Survey) -> Camera:
    """A camera as the recording calibrates it, or with a guessed lens."""
    size = (picture.width, picture.height)
    known = found.camera(name, topic, size)
    return known or Camera.with_fov(name, *size, ASSUMED_FOV_DEG, calibrated=False)
