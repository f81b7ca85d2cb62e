"""The list of tasks that workers help themselves from, in shared memory.

Nobody hands tasks out: a worker takes the next one itself under a lock that the kernel gives back
when its holder dies, so work spreads by itself over fast and slow cores and costs the consumer
nothing. Bytes in a pipe say that there are tasks, as a semaphore would.

A worker writes down which task it takes before it moves the head. Whatever the instant at which it
is killed, a task that is below the head, unfinished, and in no living worker's hand was lost with
it: see `lost`.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.loader.ring import ORDER

__all__ = ["IDLE", "STARTING", "Task", "TaskBoard"]

IDLE, STARTING = -1, -2
"""A worker's claim while it has no task, and before it has said that it is there."""


@dataclass(frozen=True, slots=True)
class Task:
    """Rows of a slot to fill."""

    slot: int
    row: int
    count: int


class TaskBoard:
    """Tasks, who has which, and what is done; the same memory in every process."""

    def __init__(
        self, memory: Any, descriptor: int, *, slots: int, batch: int, workers: int
    ) -> None:
        self._descriptor = descriptor
        self._capacity = 2 * slots * batch
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "ends": ("<i8", (2,)),
            "claims": ("<i8", (workers,)),
            "progress": ("<i8", (workers,)),
            "queue": ("<i4", (self._capacity, 3)),
            "sizes": ("<i4", (slots,)),
            "orders": (ORDER, (slots, batch)),
            "done": ("u1", (slots, batch)),
        }
        self.bytes = 0
        found: dict[str, npt.NDArray[Any]] = {}
        for name, (kind, shape) in shapes.items():
            if memory is not None:
                found[name] = np.ndarray(shape, kind, memory, self.bytes)
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            self.bytes += -(-size // 64) * 64
        self.bytes = -(-self.bytes // 4096) * 4096
        if memory is None:
            return
        self._ends, self._queue = found["ends"], found["queue"]
        self.claims, self.progress = found["claims"], found["progress"]
        """For each worker, its task's number (or `IDLE`, `STARTING`), and a count that
        grows with each row it fills and while it waits, patiently, for a far store."""
        self.sizes, self.orders, self.done = found["sizes"], found["orders"], found["done"]
        """For each slot, its rows, what they are to hold, and which are filled."""

    @property
    def head(self) -> int:
        """Number of the next task to be taken."""
        return int(self._ends[0])

    def push(self, task: Task) -> int:
        """Add a task; returns its number. The consumer alone pushes."""
        number = int(self._ends[1])
        assert number - self.head < self._capacity
        self._queue[number % self._capacity] = (task.slot, task.row, task.count)
        self._ends[1] = number + 1
        return number

    def take(self, worker: int) -> Task | None:
        """The next task, now this worker's, if there is one."""
        with self._locked():
            number = int(self._ends[0])
            if number >= int(self._ends[1]):
                return None
            self.claims[worker] = number
            slot, row, count = self._queue[number % self._capacity].tolist()
            self._ends[0] = number + 1
        return Task(slot, row, count)

    def finish(self, worker: int, slot: int) -> bool:
        """Give the worker's task back as done; says whether its slot is filled now.

        Under the lock, so that of two workers who finish a slot together one sees it filled.
        """
        with self._locked():
            self.claims[worker] = IDLE
            return self.filled(slot)

    def filled(self, slot: int) -> bool:
        """Every row of a slot is done."""
        return bool(self.done[slot, : self.sizes[slot]].all())

    def lost(self, tasks: dict[int, Task], living: Iterable[int]) -> list[int]:
        """Of `tasks` by number, those that no one will finish: in no living worker's hand.

        Head, claims and marks are read in this order, so that a task taken meanwhile is seen
        in the queue, in a hand, or done.
        """
        head = self.head
        held = {int(self.claims[worker]) for worker in living}
        return [
            number
            for number, task in tasks.items()
            if number < head
            and number not in held
            and not self.done[task.slot, task.row : task.row + task.count].all()
        ]

    @contextmanager
    def _locked(self) -> Any:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
