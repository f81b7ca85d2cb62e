"""OpenDojo's own loader as a runner, and what every section is told."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from common.stores import Measured, make_store
from common.turns import children, cores, pin
from opendojo.loader import Loader, LoaderConfig, WindowSpec
from opendojo.store import Store, StoreSpec

__all__ = ["Bench", "OwnLoader", "config"]

FRAMES = 8
"""Instants in a window, and frames in a group of pictures."""
PSNR_DB = 39.5


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the command line chose, and the stores that sections share, made when first used."""

    smoke: bool
    peers: bool
    repeats: int
    """Turns of each runner that count."""
    seconds: float
    """Length of a turn."""
    batch: int
    """Windows in a batch."""
    folder: Path
    """For stores and samples."""

    @property
    def workers(self) -> list[int]:
        """Counts of workers that are compared: one, and one for every core up to two."""
        return [1, 2] if len(cores()) > 1 else [1]

    @property
    def core(self) -> int:
        """The core that is pinned to: the last, which is left alone most."""
        return cores()[-1]

    @cached_property
    def h264(self) -> Measured:
        """H.264, 512x256."""
        return self._store("h264")

    @cached_property
    def mpeg2(self) -> Measured:
        """MPEG-2, 512x256."""
        return self._store("mpeg2")

    def _store(self, codec: Any) -> Measured:
        spec = StoreSpec(width_px=512, height_px=256, codec=codec, psnr_db=PSNR_DB)
        count, frames = (2, 48) if self.smoke else (12, 10_000)
        return make_store(self.folder / codec, spec, count, frames=frames)


def config(**chosen: Any) -> LoaderConfig:
    """The loader that is measured: every window of the store, nothing kept from before."""
    plain = LoaderConfig(
        batch=16,
        cameras=("front",),
        window=WindowSpec(frames=FRAMES, rate_hz=None),
        split="all",
        keep_bytes=0,
    )
    return dataclasses.replace(plain, **chosen)


class OwnLoader:
    """Takes batches and does nothing with them; as a context it ends its workers.

    `core` pins every worker to one core; this process, which consumes, stays off it where there is
    another.
    """

    def __init__(
        self,
        store: Store,
        bench: Bench,
        *,
        workers: int,
        core: int | None = None,
        batch: int | None = None,
        **chosen: Any,
    ) -> None:
        cameras = tuple(camera.name for camera in store.episodes[0].cameras)
        settings = config(
            batch=batch or bench.batch,
            workers=workers,
            cameras=cameras,
            weights=(10_000.0,),  # so that no epoch ends within a turn
            **chosen,
        )
        self._loader = Loader([store], settings)
        self._ahead = settings.slots + 1
        self._cameras = len(cameras)
        self._batches: Generator[Any, None, None] = self._loader.batches(0)
        before = {process.pid for process in children()}
        self.first = next(self._batches)
        """The first batch, until the next is taken."""
        self.pids = [process.pid for process in children() if process.pid not in before]
        if core is not None:
            for pid in self.pids:
                pin(pid, core)
        self._core = core
        self._workers = [psutil.Process(pid) for pid in self.pids]
        self.busy_rates: list[float] = []
        """Frames per second of the workers' processor time, turn by turn."""

    def take(self, look: Callable[[Any], None], batches: int) -> None:
        """Show so many batches."""
        for _ in range(batches):
            look(next(self._batches))

    def turn(self, seconds: float) -> float:
        """Frames a second over a turn; the workers are idle again when it returns."""
        with _away_from(self._core):
            for _ in range(self._ahead):  # what lies ready from before the turn
                next(self._batches)
            frames, began, busy_s = 0, time.perf_counter(), self._busy_s()
            while True:
                batch = next(self._batches)
                frames += self._frames_in(batch)
                spent = time.perf_counter() - began
                if spent >= seconds:
                    break
            busy_s = self._busy_s() - busy_s
        if busy_s:
            self.busy_rates.append(frames / busy_s)
        time.sleep(1.5 * self._ahead * self._frames_in(batch) * spent / frames)
        return frames / spent

    def _busy_s(self) -> float:
        times = [process.cpu_times() for process in self._workers]
        return sum(one.user + one.system for one in times)

    def _frames_in(self, batch: Any) -> int:
        return len(batch.window_id) * FRAMES * self._cameras

    def __enter__(self) -> OwnLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self._batches.close()


@contextlib.contextmanager
def _away_from(core: int | None) -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    rest = allowed - {core}
    if core is None or not rest:
        yield
        return
    os.sched_setaffinity(0, rest)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def check_batches(loader: OwnLoader, measured: Measured, batches: int = 3) -> None:
    """Hold some batches, frame by frame, against the demuxer; `AssertionError` if one differs."""

    def look(batch: Any) -> None:
        yuv = np.asarray(batch.yuv)
        for row in yuv:
            for camera in range(row.shape[1]):
                measured.check(row[:, camera], camera)

    loader.take(look, batches)
