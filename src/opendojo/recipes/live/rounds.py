"""What was driven in a round, as files: whole or not at all, memory-mapped to read.

    round-0003/yuv.npy ...      written under another name, pushed to the disk, renamed

Pictures stay as they were drawn, YUV 4:2:0 and uncompressed: they are read a few times, soon.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.recipes.live.collect import Instant
from opendojo.store.atomic import sync_folder, write_array

__all__ = ["Round", "read_round", "write_round"]

_NAMES = (
    *("yuv", "speed_mps", "command", "episode", "path_m", "judged", "terms"),
    *("occupancy", "road", "agents", "agents_mask"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Streams of n worlds over s steps."""

    yuv: npt.NDArray[np.uint8]
    """[s, n, c, frame_bytes]."""
    speed_mps: npt.NDArray[np.float32]
    """[s, n]."""
    command: npt.NDArray[np.int64]
    """[s, n]."""
    episode: npt.NDArray[np.int64]
    """[s, n]."""
    path_m: npt.NDArray[np.float32]
    """[s, n, p, 2]."""
    judged: npt.NDArray[np.int64]
    """[s, n, m]."""
    terms: npt.NDArray[np.float32]
    """[s, n, m, k]."""
    occupancy: npt.NDArray[np.bool_]
    """[s, n, 2, gy, gx]."""
    road: npt.NDArray[np.bool_]
    """[s, n, 3, gy, gx]."""
    agents: npt.NDArray[np.float32]
    """[s, n, a, 6]."""
    agents_mask: npt.NDArray[np.bool_]
    """[s, n, a]."""


def write_round(folder: Path, name: str, instants: Iterator[Instant]) -> Path:
    """Publish a round's instants as `folder/name`, whole or not at all."""
    final, partial = folder / name, folder / f".{name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        rows: dict[str, list[npt.NDArray[Any]]] = {key: [] for key in _NAMES}
        for instant in instants:
            for key, row in rows.items():
                row.append(getattr(instant, key).numpy())
        for key, row in rows.items():
            write_array(partial / f"{key}.npy", np.stack(row))
        sync_folder(partial)
        os.replace(partial, final)  # noqa: PTH105
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(folder)
    return final


def read_round(path: Path) -> Round:
    """A published round, its arrays mapped from the disk."""
    return Round(**{key: np.load(path / f"{key}.npy", mmap_mode="r") for key in _NAMES})
