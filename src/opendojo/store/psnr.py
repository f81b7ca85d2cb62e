"""Measured quality: what comes out of the decoder against what went into the encoder.

PSNR of luma, 10 log10(255^2 / mean squared error), the error averaged over frames before the
logarithm. Groups are sampled, so that measuring costs some per cent of encoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from opendojo.clip import Frame
from opendojo.store.codec import make_decoder
from opendojo.store.layout import StoreSpec

__all__ = ["LOSSLESS_DB", "Probe", "psnr_db"]

LOSSLESS_DB = 100.0
"""What equal pictures are said to have, in place of infinity."""

_EVERY_GROUPS = 16
_EARLY_GROUPS = (1, 3, 8)
"""A `Probe` measures every 16th group of a clip, the first among them, and some early ones, so that
short clips are not judged by their first group alone."""


def psnr_db(squared_error: float, pixels: int) -> float:
    """PSNR of a summed squared error over so many 8-bit pixels; NaN where there are none."""
    if not pixels:
        return math.nan
    if not squared_error:
        return LOSSLESS_DB
    return min(LOSSLESS_DB, 10.0 * math.log10(255.0**2 * pixels / squared_error))


class Probe:
    """Follows one clip of one camera through its encoder and decodes the groups it samples."""

    def __init__(self, spec: StoreSpec, every_groups: int = _EVERY_GROUPS) -> None:
        self._spec = spec
        self._every = every_groups
        self._sources: dict[int, npt.NDArray[np.uint8]] = {}
        self._given = self._taken = 0
        self._group: list[tuple[int, bytes]] = []
        self._decoder: Any = None
        self._error, self._pixels = 0, 0

    def source(self, frame: Frame) -> None:
        """See the next frame on its way in."""
        group = self._given // self._spec.gop_frames
        if group % self._every == 0 or group in _EARLY_GROUPS:
            self._sources[self._given] = frame.y.copy()
        self._given += 1

    def coded(self, packet: Any, headers: Callable[[], bytes]) -> None:
        """See the next packet on its way out; `headers` gives the decoder's extradata."""
        place = self._taken
        self._taken += 1
        if place not in self._sources:
            return
        if self._decoder is None:
            self._decoder = make_decoder(self._spec.codec, headers())
        self._group.append((place, bytes(packet)))
        if len(self._group) == self._spec.gop_frames:
            self._measure()

    def end(self) -> float:
        """PSNR of all that was sampled, in dB; NaN where nothing was."""
        if self._group:
            self._measure()
        return psnr_db(self._error, self._pixels)

    def _measure(self) -> None:
        for place, packet in self._group:
            (frame,) = self._decoder.decode(av.Packet(packet))
            truth = self._sources.pop(place)
            self._error += _squared_error(frame, truth)
            self._pixels += truth.size
        self._group.clear()


def _squared_error(frame: Any, truth: npt.NDArray[np.uint8]) -> int:
    """Summed squared error of a decoded frame's luma against uint8 [height, width]."""
    height, width = truth.shape
    plane = frame.planes[0]
    luma = np.frombuffer(plane, np.uint8, plane.line_size * height)
    off = luma.reshape(height, plane.line_size)[:, :width].astype(np.int32) - truth
    return int(np.einsum("ij,ij->i", off, off).sum(dtype=np.int64))
