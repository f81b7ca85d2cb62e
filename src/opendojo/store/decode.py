"""The hot path: raw packets into one reused decoder, planes into the caller's memory.

No demuxer, no seek, no RGB. A group of pictures is closed and starts at a known packet, so any
instant is reached by decoding at most `gop_frames` packets. Every codec is set up to hand out a
frame with its packet and every run starts with a key packet, so the decoder is neither drained nor
flushed between runs (that took a fifth of the time). Where a run goes wrong in any way its decoder
is thrown away, so nothing of it reaches the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt

from opendojo.store.codec import make_decoder
from opendojo.store.direct import DirectDecoder, can_hold, open_direct
from opendojo.store.layout import StoreSpec

__all__ = ["PacketReader"]


class PacketReader:
    """Decodes chosen frames of packet runs; not for use by two threads at once."""

    def __init__(self, spec: StoreSpec) -> None:
        self._width, self._height = spec.width_px, spec.height_px
        self._gop = spec.gop_frames
        luma, chroma = spec.width_px * spec.height_px, spec.width_px * spec.height_px // 4
        self._y = slice(0, luma)
        self._u = slice(luma, luma + chroma)
        self._v = slice(luma + chroma, luma + 2 * chroma)
        self._decoders: dict[tuple[str, bytes], Any] = {}
        self._direct: dict[tuple[str, bytes], DirectDecoder | None] = {}

    def decode(
        self,
        head: tuple[str, bytes],
        data: bytes,
        sizes: Sequence[int],
        wanted: Sequence[int],
        out: npt.NDArray[np.uint8],
        *,
        in_place: bool = False,
    ) -> None:
        """Decode a run of packets that starts at a group's first; keep the frames wanted.

        `head` is codec and extradata, `data` the packets end to end, `sizes` their bytes. `wanted`
        are places in the run, rising (one may repeat), the last packet's among them; frame
        wanted[i] is written to out[i], uint8 [frame_bytes]. Packets after the last that is wanted
        of their group are left out. `in_place` lets the decoder use `out` as its own memory, which
        then has to go on for a line after its last row. Raises `ValueError` where the packets do
        not decode to the frames they should.
        """
        if in_place and head[0] == "h264" and can_hold(self._width, self._height, out):
            if head not in self._direct:
                shape = (self._width, self._height)
                self._direct[head] = open_direct(head[1], data[: sizes[0]], *shape)
            if self._direct[head] is not None:
                self._decode_in_place(head, data, sizes, wanted, out)
                return
        # one that goes wrong is not put back, so nothing of it reaches the next run
        decoder = self._decoders.pop(head, None) or make_decoder(*head)
        needed = self._needed(wanted)
        view: Any = memoryview(data)  # av.Packet takes any buffer, whatever its stub says
        begin = done = 0
        following = wanted[0]
        try:
            for place, size in enumerate(sizes):
                end = begin + size
                if needed is None or needed[place]:
                    frames = decoder.decode(av.Packet(view[begin:end]))
                    if len(frames) != 1:
                        raise ValueError(f"packet {place} of a run gave {len(frames)} frames")
                    while following == place:
                        self._copy(frames[0], out[done].data)
                        done += 1
                        following = wanted[done] if done < len(wanted) else -1
                    del frames  # so that the decoder takes its memory again while it is in cache
                begin = end
        except av.error.FFmpegError as error:
            raise ValueError(f"a packet does not decode ({error})") from error
        self._decoders[head] = decoder

    def _decode_in_place(
        self,
        head: tuple[str, bytes],
        data: bytes,
        sizes: Sequence[int],
        wanted: Sequence[int],
        out: npt.NDArray[np.uint8],
    ) -> None:
        decoder = self._direct.pop(head)
        assert decoder is not None
        needed = self._needed(wanted)
        address, step, count = out.__array_interface__["data"][0], out.strides[0], len(sizes)
        decoder.hold(out)
        if list(wanted) == list(range(count)):
            decoder.run(data, sizes, range(address, address + count * step, step))
        else:
            targets: list[int | None] = [0] * count
            if needed is not None:
                targets = [0 if need else None for need in needed]
            for done, place in enumerate(wanted):
                targets[place] = targets[place] or address + done * step
            decoder.run(data, sizes, targets)
            for done in range(1, len(wanted)):
                if wanted[done] == wanted[done - 1]:
                    out[done] = out[done - 1]
        self._direct[head] = decoder

    def _needed(self, wanted: Sequence[int]) -> list[bool] | None:
        """Which packets of a run have to be decoded; None for all."""
        if len(wanted) > wanted[-1]:
            return None
        needed = [False] * (wanted[-1] + 1)
        for place in wanted:
            first = place - place % self._gop
            needed[first : place + 1] = [True] * (place + 1 - first)
        return needed

    def _copy(self, frame: Any, row: memoryview) -> None:
        """Copy a frame's planes; three memory moves where the decoder left no gaps."""
        if frame.width != self._width or frame.height != self._height or frame.is_corrupt:
            raise ValueError("a packet is damaged")
        if frame.format.name != "yuv420p":
            raise ValueError(f"a packet holds a picture in {frame.format.name}, not yuv420p")
        y, u, v = frame.planes
        if y.line_size == self._width and u.line_size == v.line_size == self._width // 2:
            row[self._y] = memoryview(y)
            row[self._u] = memoryview(u)
            row[self._v] = memoryview(v)
            return
        for plane, place in ((y, self._y), (u, self._u), (v, self._v)):
            lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            target = np.frombuffer(row[place], np.uint8).reshape(plane.height, plane.width)
            target[:] = lines[:, : plane.width]
