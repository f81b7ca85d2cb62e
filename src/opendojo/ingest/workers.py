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
from opendojo.ingest.process import (
    MOST_KILLS,
    Beat,
    Child,
    Ended,
    Nursery,
    killed_too_often,
    pause_s,
)
from opendojo.store import StagedPart, StoreSpec, stage_part

__all__ = ["Batch", "Staged", "Workers"]

_MOST_THREADS = 16
"""FFmpeg's own bound: each frame thread holds pictures of its own."""
_TICK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Clips to be staged together."""

    clips: tuple[Clip, ...]
    retried: bool = False
    """Whether it is one clip of a batch that was lost before."""
    kills: int = 0
    """How many of its workers were killed."""


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
    killed: bool = False
    """Whether it was lost to a SIGKILL, which comes from outside."""


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

    def run(self, batches: Iterator[Batch | None]) -> Iterator[Staged]:
        """Stage batches as they come; results in the order in which they are ready.

        `batches` may give None where there is none yet. A batch whose worker dies, hangs or fails
        is tried once more, clip by clip; a clip that fails alone comes back `lost`. A worker that
        is killed (SIGKILL) was so from outside or for want of memory: its clips are tried
        `MOST_KILLS` times, with pauses. Raises `OSError` where the staged files cannot be written,
        and `RuntimeError` where workers do not even start.
        """
        waiting = _Waiting(batches)
        ready: list[Staged] = []
        while True:
            while self._room() and waiting and (batch := waiting.next()):
                last = waiting.look_ahead()
                self._vacant().give(batch, self._threads(waiting.queued, last))
            yield from ready  # what takes time there, such as publishing, keeps no worker waiting
            busy = [worker for worker in self._workers if worker.batch]
            if not busy and not waiting:
                return
            ready = []
            for staged in self._results(busy, at_once=self._room() and bool(waiting)):
                if not (staged.lost and waiting.again(staged)):
                    ready.append(staged)

    def _threads(self, queued: int, last: bool) -> int:
        """Decoding threads for one more batch: the cores that would else have nothing to do."""
        if self._options.threads is not None:
            return self._options.threads
        if not last:
            return 1
        busy = sum(worker.batch is not None for worker in self._workers)
        return min(max(self._count // (busy + 1 + queued), 1), _MOST_THREADS)

    def _results(self, busy: list[_Worker], at_once: bool) -> Iterator[Staged]:
        """Wait for a while, unless `at_once`; what came of the batches meanwhile."""
        patience_s = 0.0 if at_once else min(self._options.hang_s / 4, 1.0)
        ready = wait([worker.child.pipe for worker in busy], patience_s)
        for worker in busy:
            staged = worker.result(heard=worker.child.pipe in ready)
            if not worker.alive:
                self._ended_cpu_s += worker.cpu_s
                self._workers.remove(worker)
            if staged is not None:
                yield staged

    def _room(self) -> bool:
        """Whether one more batch can be worked on."""
        return sum(worker.batch is not None for worker in self._workers) < self._count

    def _vacant(self) -> _Worker:
        """A worker with nothing to do, where there is room; made if need be."""
        free = next((worker for worker in self._workers if not worker.batch), None)
        if free is None:
            free = _Worker(*self._task)
            self._workers.append(free)
        return free

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.child.end()
        self._own.close()


class _Waiting:
    """What is to be staged: batches as they come, and those that were lost, once more."""

    def __init__(self, batches: Iterator[Batch | None]) -> None:
        self._batches = batches
        self._ahead: Batch | None = None
        self._over = False
        self._again: deque[Batch] = deque()
        self._paused: list[tuple[float, Batch]] = []

    def __bool__(self) -> bool:
        return bool(self._ahead or self._again or self._paused) or not self._over

    @property
    def queued(self) -> int:
        """Clips that wait to be tried once more."""
        return len(self._again) + len(self._paused)

    def next(self) -> Batch | None:
        """The next batch; None where there is none for now, which takes a moment to find out."""
        now_s = time.monotonic()
        self._again += [batch for due_s, batch in self._paused if due_s <= now_s]
        self._paused = [entry for entry in self._paused if entry[0] > now_s]
        if self._again:
            return self._again.popleft()
        self.look_ahead()
        batch, self._ahead = self._ahead, None
        if batch is None and self._over:
            time.sleep(_TICK_S)  # only those that pause are left
        return batch

    def look_ahead(self) -> bool:
        """Ask for the next batch, but do not wait for it; whether there will be none."""
        if self._ahead is None and not self._over:
            try:
                self._ahead = next(self._batches)
            except StopIteration:
                self._over = True
        return self._over and self._ahead is None

    def again(self, staged: Staged) -> bool:
        """Take in the clips of a batch that was lost; False where it was tried often enough."""
        batch, due_s = staged.batch, 0.0
        kills = batch.kills + staged.killed
        if staged.killed:
            if kills == MOST_KILLS:
                return False
            due_s = time.monotonic() + pause_s(kills)
        elif batch.retried:
            return False
        retried = batch.retried or not staged.killed
        for clip in batch.clips:
            self._paused.append((due_s, Batch(clips=(clip,), retried=retried, kills=kills)))
        return True


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
            cause = killed_too_often(self.batch.kills + 1) if ended.killed else str(ended)
            return Staged(batch=self.batch, lost=cause, killed=ended.killed)
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

    @property
    def instants(self) -> int | None:
        """How many steps there should be, where the reader knows."""
        return getattr(self.read, "instants", None)

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
        answer = _answer(clips, spec, staging, how, options.drift_frames, beat)
        pipe.send(("answer", (answer, time.process_time())))


def _answer(
    clips: list[Clip],
    spec: StoreSpec,
    staging: Path,
    how: Decoding,
    drift_frames: int,
    beat: Beat,
) -> OSError | str | tuple[tuple[StagedPart, ...], dict[str, tuple[float, ...]]]:
    try:
        drift_db: dict[str, tuple[float, ...]] = {}
        if how.skip_loop_filter:
            drift_db = {clip.clip_id: _drift_db(clip, spec, how, drift_frames) for clip in clips}
        with decoding(how):
            parts = stage_part(clips, spec, staging, beat)
        if how.threads > 1 and any(clip.damage for part in parts for clip in part.clips):
            for part in parts:  # only one thread stops exactly where the good pictures end
                shutil.rmtree(part.folder)
            with decoding(dataclasses.replace(how, threads=1)):
                parts = stage_part(clips, spec, staging, beat)
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
