"""Where a LeRobotDataset keeps things: pictures of an episode in a video that holds many, rows of
one in a table that holds many.

A data set lists its episodes in the order in which they lie in its files. So what looks at them one
after another keeps the files open: its time grows with their number, not with its square.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from opendojo.clip import BadClip, Frame
from opendojo.ingest.content import reason, shown
from opendojo.ingest.decoding import MEND, current, decode_packet, opened
from opendojo.ingest.fit import Fitter
from opendojo.ingest.foreign import BROKEN, floats, read_table

__all__ = ["EpisodeReader", "Tables", "Videos", "pictures_from"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeReader:
    """Reads the videos of one episode in step; callable as `Clip.read`."""

    files: tuple[str, ...]
    """One video a camera."""
    begins_s: tuple[float, ...]
    """Where the episode begins in each."""
    rate_hz: float
    instants: int
    """As many steps as the episode should have."""
    times_s: tuple[float, ...] | None = field(default=None, repr=False)
    """Times from the first frame that its table tells."""

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """See `Clip.frames`."""
        fits = [Fitter(file, width_px, height_px) for file in self.files]
        runs = [
            pictures_from(file, begin_s, self.rate_hz)
            for file, begin_s in zip(self.files, self.begins_s, strict=True)
        ]
        for index in range(self.instants):
            step = []
            for file, run in zip(self.files, runs, strict=True):
                picture = next(run, None)
                if picture is None:
                    cause = f"ends after {index} of the episode's {self.instants} frames"
                    raise BadClip(shown(Path(file)), cause, remedy=MEND, frame=index)
                step.append(picture)
            time_s = step[0][1] if self.times_s is None else self.times_s[index]
            yield tuple(fit(picture, time_s) for fit, (picture, _) in zip(fits, step, strict=True))


def pictures_from(file: str, begin_s: float, rate_hz: float) -> Iterator[tuple[VideoFrame, float]]:
    """Pictures of a video from `begin_s` on with their times from there, strictly rising.

    Decoding begins at the key frame before it, in the way that `decoding` set. Raises `BadClip`
    where the video is damaged.
    """
    half_s = 0.5 / rate_hz
    frames, last_s, byte = 0, -np.inf, None
    order = _Order() if current().threads > 1 else None
    cause = ""
    try:
        with opened(file) as (container, stream):
            if begin_s > half_s:
                _seek(container, stream, begin_s)
            for packet in container.demux(stream):
                byte = packet.pos if packet.pos is not None and packet.pos >= 0 else byte
                if order is not None:
                    order.sent(packet)
                found, cause = decode_packet(stream, packet, alone=order is None)
                for picture in found:
                    time_s = last_s + 1.0 / rate_hz if picture.time is None else picture.time
                    if order is not None and order.skipped(picture):
                        cause = "pictures are missing"
                        break
                    if time_s < begin_s - half_s:
                        continue
                    if picture.is_corrupt:
                        cause = "a damaged picture"
                        break
                    time_s = max(time_s - begin_s, last_s + half_s)
                    yield picture, time_s
                    last_s, frames = time_s, frames + 1
                if cause:
                    break
    except FFmpegError as fault:
        cause = reason(fault)
    if cause:
        raise BadClip(shown(Path(file)), cause, remedy=MEND, frame=frames, byte=byte)


class _Order:
    """Finds out whether a decoder passed over a picture, as those of several threads do.

    The next picture would else be taken for it, and the next episode's first for the last.
    """

    def __init__(self) -> None:
        self._due: set[int] = set()
        self._last: int | None = None

    def sent(self, packet: Packet[VideoStream]) -> None:
        """See a packet go in."""
        if (
            packet.size
            and packet.pts is not None
            and (self._last is None or packet.pts > self._last)
        ):
            self._due.add(packet.pts)

    def skipped(self, picture: VideoFrame) -> bool:
        """See a picture come out, in order of display; whether one before it did not.

        What is shown before the first is not missed: a stretch may begin with pictures that lean
        on others before its key frame.
        """
        if picture.pts is None:
            return False
        before = {pts for pts in self._due if pts <= picture.pts}
        self._due -= before
        begun, self._last = self._last is not None, picture.pts
        return begun and bool(before - {picture.pts})


def _seek(container: InputContainer, stream: VideoStream, begin_s: float) -> None:
    """Go to the key frame before a time."""
    if stream.time_base is not None:
        container.seek(int((begin_s + 1e-6) / stream.time_base), stream=stream)


class Videos:
    """Looks at episodes in videos; the video of each camera stays open from one to the next."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, contextlib.ExitStack, InputContainer, VideoStream]] = {}

    def look(
        self, place: int, file: str, begin_s: float, rate_hz: float, frames: int, *, sized: bool
    ) -> tuple[bytes, tuple[int, int]]:
        """A hash of an episode's packets in the video of one camera, and where `sized` the size
        of its first picture, else zeros.

        Where the video breaks off the hash is of the packets before. Raises `BadClip` where no
        picture can be had that is to be sized.
        """
        look = _Look(begin_s, rate_hz, frames, sized)
        try:
            container, stream = self._video(place, file, begin_s > 0.5 / rate_hz)
            if begin_s > 0.5 / rate_hz:
                _seek(container, stream, begin_s)
            for packet in container.demux(stream):
                look.add(packet, stream)
                if look.done:
                    break
        except FFmpegError as fault:
            self._close(place)
            look.digest.update(reason(fault).encode())
            if look.size is None:
                raise BadClip(shown(Path(file)), reason(fault), remedy=MEND, frame=0) from fault
        except BadClip:
            self._close(place)
            raise
        if look.size is None:
            cause = f"has no frame at {begin_s:.3f} s"
            raise BadClip(shown(Path(file)), cause, remedy=MEND, frame=0)
        return look.digest.digest(), look.size

    def _video(self, place: int, file: str, seeks: bool) -> tuple[InputContainer, VideoStream]:
        held = self._open.get(place)
        if held is None or held[0] != file or not seeks:
            self._close(place)
            stack = contextlib.ExitStack()
            container, stream = stack.enter_context(opened(file))
            held = self._open[place] = (file, stack, container, stream)
        return held[2], held[3]

    def _close(self, place: int) -> None:
        held = self._open.pop(place, None)
        if held is not None:
            held[1].close()

    def close(self) -> None:
        """Close what is open."""
        for place in list(self._open):
            self._close(place)


class _Look:
    """What is seen of one episode in one video."""

    def __init__(self, begin_s: float, rate_hz: float, frames: int, sized: bool) -> None:
        self._from_s = begin_s - 0.5 / rate_hz
        self._left = frames
        self.digest = hashlib.sha256()
        self.size = None if sized else (0, 0)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to see."""
        return self._left == 0 and self.size is not None

    def add(self, packet: Packet[VideoStream], stream: VideoStream) -> None:
        """See the next packet."""
        base = stream.time_base
        late = packet.pts is None or base is None or packet.pts * base >= self._from_s
        if packet.size and late and self._left:
            self.digest.update(bytes(packet))
            self._left -= 1
        if self.size is None:
            for picture in packet.decode():
                if picture.time is None or picture.time >= self._from_s:
                    self.size = (picture.width, picture.height)
                    break


class Tables:
    """The data table that was asked for last, with its rows by episode."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._file: Path | None = None
        self._fault: BaseException | None = None
        self._table: Any = None
        self._order: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._numbers: npt.NDArray[Any] = np.zeros(0)

    def rows(self, file: Path, number: int) -> pa.Table:
        """An episode's rows, of those columns that are there. Raises one of `BROKEN`."""
        if file != self._file:
            self._file, self._fault, self._table = file, None, None
            try:
                self._read(file)
            except BROKEN as fault:
                self._fault = fault
        if self._fault is not None:
            raise self._fault
        first, last = (int(np.searchsorted(self._numbers, number, side)) for side in _SIDES)
        rows = self._order[first:last]
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            return self._table.slice(int(rows[0]), len(rows))
        return self._table.take(rows.tolist())

    def _read(self, file: Path) -> None:
        self._table = read_table(file, [*self._columns, "episode_index"])
        numbers = floats(self._table.column("episode_index"))
        self._order = np.argsort(numbers, kind="stable")
        self._numbers = numbers[self._order]


_SIDES = ("left", "right")
