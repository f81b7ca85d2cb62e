"""A sample of the encoded-sample peers: one window's packets and decoder settings; its decoding.

The decoding is the same practice as OpenDojo's: one single-thread PyAV decoder per worker, kept,
never drained or flushed between groups that are closed, planes copied once into one array.
"""

from __future__ import annotations

import ctypes
import json
from typing import Any

import av
import numpy as np
import numpy.typing as npt

__all__ = ["Decoder", "pack"]


def pack(codec: str, extradata: bytes, packets: list[bytes], frame_bytes: int) -> bytes:
    """One window as bytes: a line of JSON, then extradata and packets one after the other."""
    head = {"codec": codec, "extra": len(extradata), "sizes": [len(p) for p in packets]}
    line = json.dumps({**head, "frame_bytes": frame_bytes}).encode() + b"\n"
    return line + extradata + b"".join(packets)


class Decoder:
    """Undoes `pack` into frames; pickled without its decoder, which each worker makes itself."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": {}}

    def __call__(self, sample: bytes) -> npt.NDArray[np.uint8]:
        """The frames of a window, uint8 [t, frame_bytes]: planes y, u, v without padding."""
        end = sample.index(b"\n") + 1
        head = json.loads(sample[:end])
        place = end + head["extra"]
        decoder = self._decoder(head["codec"], sample[end:place])
        out = np.empty((len(head["sizes"]), head["frame_bytes"]), np.uint8)
        done = 0
        for size in head["sizes"]:
            for frame in decoder.decode(av.Packet(sample[place : place + size])):
                _copy(frame, out[done])
                done += 1
            place += size
        assert done == len(out), "a decoder that delays cannot be fed without draining"
        return out

    def _decoder(self, codec: str, extradata: bytes) -> Any:
        decoder = self._kept.get(extradata)
        if decoder is None:
            decoder = self._kept[extradata] = av.CodecContext.create(codec, "r")
            decoder.extradata = extradata
            decoder.thread_count = 1
        return decoder


def _copy(frame: Any, out: npt.NDArray[np.uint8]) -> None:
    target = out.ctypes.data
    for plane in frame.planes:
        if plane.line_size == plane.width:
            ctypes.memmove(target, plane.buffer_ptr, plane.width * plane.height)
        else:
            lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            tight = np.ascontiguousarray(lines[: plane.height, : plane.width])
            ctypes.memmove(target, tight.ctypes.data, tight.size)
        target += plane.width * plane.height
