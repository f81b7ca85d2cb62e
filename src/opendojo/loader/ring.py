"""Shared memory that batches are decoded into: slots of rows, handed over by descriptor.

The memory is an anonymous file (memfd; where there is none, a temporary file without a name), so
neither the size of /dev/shm limits it nor is anything left behind, however its processes end. One
slot holds a batch field by field, so each field is one contiguous tensor.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ORDER", "Memory", "Rows", "RowsLayout", "row_fields"]

Array = npt.NDArray[Any]
Rows = Mapping[str, Array]
"""Fields of a run of rows by name, each [rows, ...]."""

LENS_NUMBERS = 16

ORDER = np.dtype(
    [
        ("window", "<i8"),
        ("store", "<i4"),
        ("keep", "<i4"),
        ("episode", "<i8"),
        ("first", "<i8"),
        ("end", "<i8"),
    ]
)
"""What a row is to be filled with: a window's number, its store and episode there, its first
instant, and the instant where what it may see of the clip ends. `keep` is k + 1 where the row is to
be kept as number k, -(k + 1) where it is to be copied from there, else 0."""

_PAGE = 4096
_LINE = 64


def row_fields(
    instants: int, cameras: int, points: int, frame_bytes: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each field of one row: what `Batch` holds of one window."""
    return {
        "frames": ("u1", (instants, cameras, frame_bytes)),
        "camera_mask": ("?", (cameras,)),
        "time_s": ("<f8", (instants,)),
        "speed_mps": ("<f4", (instants,)),
        "speed_mask": ("?", (instants,)),
        "path_m": ("<f4", (instants, points, 2)),
        "path_mask": ("?", (instants, points)),
        "lens": ("<f4", (cameras, LENS_NUMBERS)),
        "drawn": ("?", ()),
        "window_id": ("<i8", ()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsLayout:
    """Where each field of `rows` rows lies in one piece of memory."""

    fields: dict[str, tuple[str, tuple[int, ...]]]
    rows: int

    def _offsets(self) -> dict[str, int]:
        offsets, at = {}, 0
        for name, (kind, shape) in self.fields.items():
            offsets[name] = at
            size = self.rows * np.dtype(kind).itemsize * math.prod(shape)
            at += -(-size // _LINE) * _LINE
        return {**offsets, "": at}

    @property
    def bytes(self) -> int:
        """Size in memory, whole pages."""
        return -(-self._offsets()[""] // _PAGE) * _PAGE

    @property
    def row_bytes(self) -> int:
        """Size of one row, without padding."""
        return sum(np.dtype(k).itemsize * math.prod(s) for k, s in self.fields.values())

    def views(self, memory: Any, offset: int) -> dict[str, Array]:
        """Each field as an array over `memory`, from `offset` on: [rows, ...]."""
        offsets = self._offsets()
        return {
            name: np.ndarray((self.rows, *shape), kind, memory, offset + offsets[name])
            for name, (kind, shape) in self.fields.items()
        }


class Memory:
    """An anonymous file mapped into this process; its pages cost memory once they are touched."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.map = mmap.mmap(descriptor, 0)

    @classmethod
    def create(cls, size: int) -> Memory:
        """New memory of at least `size` bytes, all zero."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("opendojo-ring", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, max(size, _PAGE))
        return cls(descriptor)

    def close(self) -> None:
        """Give the descriptor back; arrays over the map stay good for as long as they live."""
        os.close(self.descriptor)
