"""Shared memory that batches are decoded into: slots of rows, handed over by descriptor.

The memory is an anonymous file (memfd; where there is none, a temporary file without a name), so
neither the size of /dev/shm limits it nor is anything left behind, however its processes end. One
slot holds a batch field by field, so each field is one contiguous tensor.
"""

from __future__ import annotations

import contextlib
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
_HUGE = 2 << 20
_MADV_COLLAPSE = 25
"""Linux 6.1: make huge pages of what is there, whatever the machine's setting for shared memory."""


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
        self.map = _mapped(descriptor)

    @classmethod
    def create(cls, size: int, *, huge: bool = False, name: str = "opendojo-ring") -> Memory:
        """New memory of at least `size` bytes, all zero; `huge` takes huge pages if it can.

        Huge pages are taken at once, the others as they are touched.
        """
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        huge = huge and size >= _HUGE
        os.ftruncate(descriptor, -(-size // _HUGE) * _HUGE if huge else max(size, _PAGE))
        memory = cls(descriptor)
        if huge:
            memory._collapse()
        return memory

    def _collapse(self) -> None:
        """Make its pages huge; elsewhere than on Linux 6.1 and later they stay as they are."""
        if not hasattr(self.map, "madvise"):
            return
        with contextlib.suppress(OSError):
            for start in range(0, len(self.map), _HUGE):
                self.map[start] = 0  # one page has to be there
                self.map.madvise(_MADV_COLLAPSE, start, _HUGE)

    def close(self) -> None:
        """Give the descriptor back; arrays over the map stay good for as long as they live."""
        os.close(self.descriptor)


def _mapped(descriptor: int) -> mmap.mmap:
    """The file mapped, from a multiple of 2 MiB on where that works out: huge pages need it."""
    first = mmap.mmap(descriptor, 0)
    if len(first) % _HUGE or _address(first) % _HUGE == 0:
        return first
    # Maps are laid one below the other: a small one between moves the next to where it should be.
    gap = (_address(first) - len(first)) % _HUGE
    between = mmap.mmap(-1, gap) if gap else None
    second = mmap.mmap(descriptor, 0)
    if between is not None:
        between.close()
    if _address(second) % _HUGE == 0:
        first.close()
        return second
    second.close()
    return first


def _address(memory: mmap.mmap) -> int:
    return np.frombuffer(memory, np.uint8).ctypes.data
