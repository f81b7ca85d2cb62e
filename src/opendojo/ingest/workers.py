"""Processes that stage clips, one batch each at a time, so that a death points at its batch.

A pool from the standard library does not tell which task killed a worker: `ProcessPoolExecutor`
fails every task in flight, `multiprocessing.Pool` waits for ever. Here each worker has a pipe of
its own. Workers are spawned, not forked: the parent may hold threads and locks. They do not see
Ctrl-C; the parent ends them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import av.logging
from av.error import FFmpegError

from opendojo.clip import Clip
from opendojo.ingest.content import reason
from opendojo.store import StagedPart, StoreSpec, stage_part

__all__ = ["Batch", "Staged", "Workers"]

_SPAWN = multiprocessing.get_context("spawn")


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
    lost: str = ""
    """Why nothing came of it."""


class Workers:
    """Up to `count` staging processes, started as they are needed; gone when the context ends."""

    def __init__(self, count: int, spec: StoreSpec, staging: Path) -> None:
        if count < 1:
            raise ValueError(f"workers must be 1 or more, not {count}")
        self._count = count
        self._task = (spec, staging)
        self._workers: list[_Worker] = []
        self._ended_cpu_s = 0.0

    @property
    def cpu_s(self) -> float:
        """Processor time of all workers up to their last result."""
        return self._ended_cpu_s + sum(worker.cpu_s for worker in self._workers)

    def run(self, batches: Iterator[Batch]) -> Iterator[Staged]:
        """Stage batches as they come; results in the order in which they are ready.

        A batch whose worker dies or fails is tried once more, clip by clip; a clip that fails alone
        comes back `lost`. Raises `OSError` where the staged files cannot be written, and
        `RuntimeError` where workers do not even start.
        """
        again: deque[Batch] = deque()
        while True:
            while worker := self._vacant():
                batch = again.popleft() if again else next(batches, None)
                if batch is None:
                    break
                worker.give(batch)
            busy: dict[Any, _Worker] = {w.pipe: w for w in self._workers if w.batch}
            if not busy:
                return
            for pipe in wait(list(busy)):
                staged = busy[pipe].result()
                self._bury()
                if staged.lost and not staged.batch.retried:
                    again += [Batch(clips=(clip,), retried=True) for clip in staged.batch.clips]
                else:
                    yield staged

    def _vacant(self) -> _Worker | None:
        """A worker with nothing to do, made where there is room for one more."""
        free = next((worker for worker in self._workers if not worker.batch), None)
        if free is None and len(self._workers) < self._count:
            free = _Worker(*self._task)
            self._workers.append(free)
        return free

    def _bury(self) -> None:
        self._ended_cpu_s += sum(worker.cpu_s for worker in self._workers if not worker.alive)
        self._workers = [worker for worker in self._workers if worker.alive]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process and what it is at."""

    def __init__(self, spec: StoreSpec, staging: Path) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs, spec, staging), daemon=True)
        # The mask is inherited and stays: a Ctrl-C is for the parent alone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.batch: Batch | None = None
        self.alive = True
        self.cpu_s = 0.0
        self._started = False

    def give(self, batch: Batch) -> None:
        """Hand it a batch."""
        self.batch = batch
        # one that died while idle is found out by `result`
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(batch.clips)

    def result(self) -> Staged:
        """Wait for what comes of its batch."""
        batch, self.batch = self.batch, None
        assert batch is not None
        try:
            if not self._started:
                self._started = self.pipe.recv()
            answer, self.cpu_s = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.alive = False
            if not self._started:
                raise RuntimeError(
                    f"a worker did not start (exit code {self._process.exitcode}): "
                    "call ingest from under `if __name__ == '__main__':`"
                ) from None
            return Staged(batch=batch, lost=_end(self._process.exitcode))
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, str):
            return Staged(batch=batch, lost=answer)
        return Staged(batch=batch, parts=answer)

    def end(self) -> None:
        """Make it go, whatever it is at."""
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _end(exitcode: int | None) -> str:
    if exitcode == -signal.SIGKILL:
        return "its worker was killed (signal 9): out of memory?"
    how = f"signal {-exitcode}" if exitcode and exitcode < 0 else f"exit code {exitcode}"
    return f"its worker died of {how}"


def _work(pipe: Connection, spec: StoreSpec, staging: Path) -> None:
    """A worker's life: clips in, staged parts out, until the parent closes the pipe."""
    av.logging.set_level(None)  # what is wrong with a file is said once, in the rejects
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is done, or is no more
        pipe.send(True)
        while True:
            clips = pipe.recv()
            pipe.send((_answer(clips, spec, staging), time.process_time()))


def _answer(
    clips: tuple[Clip, ...], spec: StoreSpec, staging: Path
) -> OSError | str | tuple[StagedPart, ...]:
    try:
        return tuple(stage_part(clips, spec, staging))
    except (OSError, FFmpegError) as fault:
        # Readers turn the faults of sources into BadClip; this is the target's. FFmpeg's own
        # exceptions do not pickle.
        return OSError(fault.errno, fault.strerror or str(fault), str(staging))
    except Exception as fault:
        return f"a fault of this program: {type(fault).__name__}: {reason(fault)}"
