"""Processes that stage clips, one batch each at a time, so that a death points at its batch.

A pool from the standard library does not tell which task killed a worker: `ProcessPoolExecutor`
fails every task in flight, `multiprocessing.Pool` waits for ever. Here each worker is a `Child`
with a pipe of its own, and one that comes no frame further is ended like one that died.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import av.logging
import numpy as np
from av.error import FFmpegError

from opendojo.clip import BadClip, Clip, Frame
from opendojo.ingest.content import reason
from opendojo.ingest.decoding import Decoding, decoding
from opendojo.ingest.options import IngestOptions
from opendojo.ingest.process import Beat, Child, Ended, Nursery
from opendojo.store import StagedPart, StoreSpec, stage_part

__all__ = ["Batch", "Staged", "Workers"]

_MOST_THREADS = 16
"""FFmpeg's own bound: each frame thread holds pictures of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Clips to be staged together."""

    clips: tuple[Clip, ...]
    retried: bool = False
    """Whether it is one clip of a batch that was lost before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """What became of a batch."""

    batch: Batch
    parts: tuple[StagedPart, ...] = ()
    """Ready to be published."""
    drift_db: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """By clip, luma PSNR of each camera as decoded against the exact decode, where that differs."""
    lost: str = ""
    """Why nothing came of it."""


class Workers:
    """Up to `count` staging processes, started as they are needed; gone when the context ends."""

    def __init__(
        self,
        count: int,
        spec: StoreSpec,
        staging: Path,
        options: IngestOptions | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"workers must be 1 or more, not {count}")
        self._count = count
        self._options = options or IngestOptions()
        self._own = contextlib.ExitStack()
        nursery = nursery or self._own.enter_context(Nursery())
        self._task = (nursery, spec, staging, self._options)
        self._workers: list[_Worker] = []
        self._ended_cpu_s = 0.0

    @property
    def width(self) -> int:
        """Batches that are worked on at a time."""
        return self._count

    @property
    def cpu_s(self) -> float:
        """Processor time of all workers up to their last result."""
        return self._ended_cpu_s + sum(worker.cpu_s for worker in self._workers)

    def run(self, batches: Iterator[Batch]) -> Iterator[Staged]:
        """Stage batches as they come; results in the order in which they are ready.

        A batch whose worker dies, hangs or fails is tried once more, clip by clip; a clip that
        fails alone comes back `lost`. Raises `OSError` where the staged files cannot be written,
        and `RuntimeError` where workers do not even start.
        """
        again: deque[Batch] = deque()
        ahead = next(batches, None)
        ready: list[Staged] = []
        while True:
            while (again or ahead) and (worker := self._vacant()):
                batch, ahead = (again.popleft(), ahead) if again else (ahead, next(batches, None))
                assert batch is not None
                worker.give(batch, self._threads(len(again), last=ahead is None))
            yield from ready  # what takes time there, such as publishing, keeps no worker waiting
            busy = [worker for worker in self._workers if worker.batch]
            if not busy:
                return
            ready = []
            for staged in self._results(busy):
                if staged.lost and not staged.batch.retried:
                    again += [Batch(clips=(clip,), retried=True) for clip in staged.batch.clips]
                else:
                    ready.append(staged)

    def _threads(self, queued: int, last: bool) -> int:
        """Decoding threads for one more batch: the cores that would else have nothing to do."""
        if self._options.threads is not None:
            return self._options.threads
        if not last:
            return 1
        busy = sum(worker.batch is not None for worker in self._workers)
        return min(max(self._count // (busy + 1 + queued), 1), _MOST_THREADS)

    def _results(self, busy: list[_Worker]) -> Iterator[Staged]:
        """Wait for a while; what came of the batches meanwhile."""
        ready = wait([worker.child.pipe for worker in busy], min(self._options.hang_s / 4, 1.0))
        for worker in busy:
            staged = worker.result(heard=worker.child.pipe in ready)
            if not worker.alive:
                self._ended_cpu_s += worker.cpu_s
                self._workers.remove(worker)
            if staged is not None:
                yield staged

    def _vacant(self) -> _Worker | None:
        """A worker with nothing to do, made where there is room for one more."""
        free = next((worker for worker in self._workers if not worker.batch), None)
        if free is None and len(self._workers) < self._count:
            free = _Worker(*self._task)
            self._workers.append(free)
        return free

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.child.end()
        self._own.close()


class _Worker:
    """One process and what it is at."""

    def __init__(
        self, nursery: Nursery, spec: StoreSpec, staging: Path, options: IngestOptions
    ) -> None:
        self.child = Child(
            nursery, _work, spec, staging, options,
            hang_s=options.hang_s, memory_mb=options.memory_mb,
        )  # fmt: skip
        self.batch: Batch | None = None
        self.alive = True
        self.cpu_s = 0.0

    def give(self, batch: Batch, threads: int) -> None:
        """Hand it a batch."""
        self.batch = batch
        self.child.send((batch.clips, threads))

    def result(self, heard: bool) -> Staged | None:
        """What came of its batch, None while it is at it; `heard` where its pipe is ready."""
        assert self.batch is not None
        try:
            message = self.child.receive() if heard else self.child.check()
        except Ended as ended:
            self.alive = False
            return Staged(batch=self.batch, lost=str(ended))
        if message is None:
            return None
        batch, self.batch = self.batch, None
        answer, self.cpu_s = message
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, str):
            return Staged(batch=batch, lost=answer)
        parts, drift_db = answer
        return Staged(batch=batch, parts=parts, drift_db=drift_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """Reads as a clip does, with a beat at every step."""

    read: Callable[[int, int], Iterator[tuple[Frame, ...]]]
    beat: Beat

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        self.beat()
        for step in self.read(width_px, height_px):
            self.beat()
            yield step


def _work(
    pipe: Connection, beat: Beat, spec: StoreSpec, staging: Path, options: IngestOptions
) -> None:
    """A worker's duty: clips in, staged parts out, until the parent closes the pipe."""
    av.logging.set_level(None)  # what is wrong with a file is said once, in the rejects
    while True:
        clips, threads = pipe.recv()
        clips = [
            dataclasses.replace(clip, read=_Watched(read=clip.read, beat=beat)) for clip in clips
        ]
        how = Decoding(threads=threads, skip_loop_filter=options.skip_loop_filter)
        answer = _answer(clips, spec, staging, how, options.drift_frames)
        pipe.send(("answer", (answer, time.process_time())))


def _answer(
    clips: list[Clip], spec: StoreSpec, staging: Path, how: Decoding, drift_frames: int
) -> OSError | str | tuple[tuple[StagedPart, ...], dict[str, tuple[float, ...]]]:
    try:
        drift_db: dict[str, tuple[float, ...]] = {}
        if how.skip_loop_filter:
            drift_db = {clip.clip_id: _drift_db(clip, spec, how, drift_frames) for clip in clips}
        with decoding(how):
            parts = stage_part(clips, spec, staging)
        if how.threads > 1 and any(clip.damage for part in parts for clip in part.clips):
            for part in parts:  # only one thread stops exactly where the good pictures end
                shutil.rmtree(part.folder)
            with decoding(dataclasses.replace(how, threads=1)):
                parts = stage_part(clips, spec, staging)
        return tuple(parts), drift_db
    except (OSError, FFmpegError) as fault:
        # Readers turn the faults of sources into BadClip; this is the target's. FFmpeg's own
        # exceptions do not pickle.
        return OSError(fault.errno, fault.strerror or str(fault), str(staging))
    except MemoryError:
        return "it takes more memory than a worker may have (memory_mb)"
    except Exception as fault:
        return f"a fault of this program: {type(fault).__name__}: {reason(fault)}"


def _drift_db(clip: Clip, spec: StoreSpec, how: Decoding, frames: int) -> tuple[float, ...]:
    """Luma PSNR of each camera as decoded by `how` against the exact decode, over first frames."""
    lumas = []
    for one in (how, dataclasses.replace(how, skip_loop_filter=False)):
        kept: list[tuple[Any, ...]] = []
        with decoding(one):
            try:
                steps = clip.frames(spec.width_px, spec.height_px)
                for _, step in zip(range(frames), steps, strict=False):
                    kept.append(tuple(frame.y.astype(np.int32) for frame in step))
            except BadClip:
                pass  # staging comes to the same place, and tells of it
        lumas.append(kept)
    squares = [
        [float(np.mean((y - x) ** 2)) for y, x in zip(quick, exact, strict=True)]
        for quick, exact in zip(*lumas, strict=False)
    ]
    means = np.mean(squares, 0).tolist() if squares else [math.nan] * len(clip.cameras)
    return tuple(10 * math.log10(255**2 / mean) if mean else math.inf for mean in means)
