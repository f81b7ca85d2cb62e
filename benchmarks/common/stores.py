"""Stores to measure with, and what is exactly in them by way of a demuxer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from common.footage import clips
from opendojo.clip import Clip
from opendojo.store import Episode, Store, StoreSpec, stage_part

__all__ = ["Measured", "make_store", "store_of"]

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A store with what a plain demuxer finds in its files."""

    store: Store
    frames: int
    """Of all cameras."""
    bytes_per_frame: float
    psnr_db: float
    """Luma PSNR against what went in, from the mean squared error over sampled frames."""
    windows: list[tuple[list[str], int]] = field(repr=False)
    """Files (one a camera) and first frame of each window of a group of pictures."""
    digests: dict[str, list[bytes]] = field(repr=False)
    """A hash of each frame of each file, decoded by PyAV's demuxer."""

    def line(self) -> str:
        """What it holds, for the record."""
        spec = self.store.spec
        return (
            f"{self.frames:,} frames of {spec.width_px}x{spec.height_px}, {spec.codec}, closed "
            f"groups of {spec.gop_frames}: {self.psnr_db:.2f} dB luma PSNR, "
            f"{self.bytes_per_frame:,.0f} bytes a frame"
        )

    def check(self, window: Bytes, camera: int = 0) -> tuple[str, int]:
        """Find the window that uint8 [t, frame_bytes] is; `AssertionError` where it is none."""
        assert window.ndim == 2, window.shape
        names = [hashlib.sha1(row).digest() for row in window]
        for files, first in self.windows:
            if self.digests[files[camera]][first : first + len(names)] == names:
                return files[camera], first
        raise AssertionError("a window is not what a demuxer decodes: the figures mean nothing")


def make_store(
    folder: Path,
    spec: StoreSpec,
    count: int,
    *,
    cameras: Sequence[str] = ("front",),
    frames: int = 10_000,
) -> Measured:
    """Store `count` clips of the footage, as `common.footage.clips` makes them."""
    taken = clips(count, spec.width_px / spec.height_px, cameras, frames)
    return measure(store_of(folder, spec, taken), taken)


def store_of(folder: Path, spec: StoreSpec, taken: Sequence[Clip]) -> Store:
    """A new store of some clips, in one part."""
    store = Store.create(folder, spec)
    with store.staging() as staging:
        store.publish(stage_part(taken, spec, staging))
    return store.reload()


def measure(store: Store, taken: Sequence[Clip]) -> Measured:
    """Decode a whole store through the demuxer, and hold sampled frames against `taken`."""
    spec = store.spec
    sources = {clip.clip_id: clip for clip in taken}
    files = {name: list(frames_of(Path(name))) for name in _files(store)}
    errors: list[float] = []
    windows: list[tuple[list[str], int]] = []
    for episode in store.episodes:
        names = [str(video(store, episode, camera.name)) for camera in episode.cameras]
        groups = episode.instants // spec.gop_frames
        windows += [(names, episode.row + k * spec.gop_frames) for k in range(groups)]
        clip = sources[episode.clip_id]
        for k, step in enumerate(clip.frames(spec.width_px, spec.height_px)):
            if k % 13 == 0:
                for name, frame in zip(names, step, strict=True):
                    errors.append(_luma_error(files[name][episode.row + k], frame.y))
    frames = sum(len(found) for found in files.values())
    return Measured(
        store=store,
        frames=frames,
        bytes_per_frame=sum(Path(name).stat().st_size for name in files) / frames,
        psnr_db=10 * math.log10(255**2 / np.mean(errors)),
        windows=windows,
        digests={name: [hashlib.sha1(f).digest() for f in found] for name, found in files.items()},
    )


def _luma_error(frame: Bytes, luma: Bytes) -> float:
    stored = frame[: luma.size].reshape(luma.shape)
    return float(np.mean((stored.astype(np.float32) - luma.astype(np.float32)) ** 2))


def _files(store: Store) -> list[str]:
    return sorted(str(path) for path in store.path.glob("*/videos/**/*.mp4"))


def video(store: Store, episode: Episode, camera: str) -> Path:
    """The MP4 that holds a camera of an episode."""
    chunk, file = divmod(episode.part, 1000)
    where = f"videos/observation.images.{camera}/chunk-{chunk:03d}/file-{file:03d}.mp4"
    return store.path / episode.dataset / where


def frames_of(file: Path) -> Any:
    """Every frame of a video by PyAV's demuxer, uint8 [frame_bytes], planes y, u, v."""
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="yuv420p").reshape(-1)
