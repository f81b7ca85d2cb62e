"""A worker: takes tasks off the board and fills rows of the ring, until its consumer is gone.

A process of its own, started as a plain command, so that nothing of the consumer's program is run
again in it and it works from notebooks and scripts without a main guard. It imports neither torch
nor pyarrow, so it starts in the time that numpy and PyAV take.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opendojo.loader.config import LoaderConfig
from opendojo.loader.reader import Reader
from opendojo.loader.ring import Memory, Rows, RowsLayout
from opendojo.loader.tasks import IDLE, Task, TaskBoard
from opendojo.store import Store

__all__ = ["NO_SLOT", "Job", "Ring", "main", "read_message", "serve", "tell"]

NO_SLOT = -1
"""In place of a message's slot: the worker itself cannot go on."""

_LENGTH = struct.Struct("<I")
_LOOK_S = 2.0
"""How often an idle worker looks whether its parent is there: a pipe does not tell where a fork of
the parent holds it open too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is told at its start."""

    stores: Sequence[Store]
    config: LoaderConfig
    layout: RowsLayout
    """Of one slot."""
    workers: int
    kept_layout: RowsLayout
    """Of the windows kept for later epochs; of no rows where none are."""
    ring: int
    """Descriptor of the ring's memory, as the following are of theirs."""
    kept: int
    tasks: int
    """Read end of the pipe that says that there are tasks."""
    ready: int
    """Write end of the pipe that says that a slot is filled."""
    parent: int
    """Process id of the consumer."""


class Ring:
    """The memory of a crew: its board of tasks, then the slots."""

    def __init__(self, job: Job, memory: Any) -> None:
        size = {
            "slots": job.config.slots, "batch": job.config.batch, "workers": job.workers
        }  # fmt: skip
        self.board = TaskBoard(memory, job.ring, **size)
        step = job.layout.bytes
        self.slots: list[Rows] = [
            job.layout.views(memory, self.board.bytes + slot * step)
            for slot in range(job.config.slots)
        ]

    @staticmethod
    def bytes(config: LoaderConfig, layout: RowsLayout, workers: int) -> int:
        """Memory that a crew needs."""
        board = TaskBoard(None, -1, slots=config.slots, batch=config.batch, workers=workers)
        return board.bytes + config.slots * layout.bytes


def serve(job: Job, ring: Ring, kept: Rows | None, worker: int, messages: int) -> None:
    """Work until the pipe of tasks is closed; `messages` takes what goes wrong."""
    board = ring.board
    reader = Reader(job.stores, job.config, kept)

    def beat() -> None:
        board.progress[worker] += 1

    for store in job.stores:
        store.tell_waits(beat)
    board.claims[worker] = IDLE
    poller = select.poll()
    poller.register(job.tasks, select.POLLIN)
    while True:
        try:
            if not os.read(job.tasks, 1):
                return
        except BlockingIOError:
            poller.poll(_LOOK_S * 1000)
            if job.parent not in (os.getppid(), os.getpid()):
                return
            continue
        task = board.take(worker)
        if task is None:
            continue
        try:
            _do(task, ring, reader, worker)
        except Exception as error:
            tell(messages, task.slot, error)
        if board.finish(worker, task.slot):
            os.write(job.ready, b"r")


def _do(task: Task, ring: Ring, reader: Reader, worker: int) -> None:
    board, own = ring.board, slice(task.row, task.row + task.count)
    done = board.done[task.slot, own]

    def on_row(row: int) -> None:
        done[row] = 1
        board.progress[worker] += 1

    rows = {name: field[own] for name, field in ring.slots[task.slot].items()}
    reader.fill(board.orders[task.slot, own], rows, on_row)


def _portable(error: Exception) -> Exception:
    """The error as it can be sent; one that cannot is told in words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def tell(messages: int, slot: int, error: Exception) -> None:
    """Send what went wrong over a slot, or `NO_SLOT`."""
    data = pickle.dumps((slot, _portable(error)))
    data = _LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(messages, data) :]


def read_message(messages: int) -> tuple[int, Exception] | None:
    """The next message of a worker: a slot and its error; None where the worker has ended."""
    head = _read_exactly(messages, _LENGTH.size)
    body = head and _read_exactly(messages, _LENGTH.unpack(head)[0])
    return pickle.loads(body) if body else None


def _read_exactly(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            return b""
        data += more
    return data


def main() -> None:
    """Work as a process: the worker's number is its argument, its job comes on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever prints shall not end up among the messages.
    messages = os.dup(1)
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        try:
            job: Job = pickle.loads(sys.stdin.buffer.read())
            memory, kept = Memory(job.ring), Memory(job.kept)
            rows = job.kept_layout.views(kept.map, 0) if job.kept_layout.rows else None
            gc.freeze()
            serve(job, Ring(job, memory.map), rows, int(sys.argv[-1]), messages)
        except BrokenPipeError:
            raise
        except Exception as error:
            tell(messages, NO_SLOT, error)
