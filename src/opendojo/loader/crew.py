"""The workers of a loader: started, watched, replaced, ended; free of torch.

Nothing runs beside the consumer: workers help themselves to tasks, and the crew looks after them
while the consumer waits for a batch. A worker that dies or hangs is named on stderr and replaced,
and the windows it had in hand are given again, the one it was at by itself. A window that ends
three workers in a row is refused by the name of its clip.
"""

from __future__ import annotations

import os
import pickle
import select
import sys
import time
import weakref
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opendojo.clip import BadClip
from opendojo.loader.config import LoaderConfig
from opendojo.loader.hands import Hand, ProcessHand, ThreadHand
from opendojo.loader.kept import Kept
from opendojo.loader.ring import Memory, Rows, RowsLayout
from opendojo.loader.tasks import STARTING, Task
from opendojo.loader.worker import NO_SLOT, Job, Ring, read_message
from opendojo.store import Store
from opendojo.store.far import ANSWER_S, BUDGET_S

__all__ = ["Crew"]

_STRIKES = 3
"""Workers that one window may end, and workers that may fail to start, one after the other."""
_KILLS = 10
"""Workers that may be killed from outside before they are ready, no row being filled meanwhile;
given up only where it goes on for as long as one may take to start."""
_LOOK_S = 1.0
"""How often at least the crew looks for workers that hang while a batch is waited for."""
_START_S = 60.0
"""What a worker may take to start, where a disk or its neighbours are slow."""
_TASK_ROWS = 16
"""Rows of a task at most: enough to share the cost of their labels, few enough to spread."""


class Crew:
    """Workers on one ring. Used by one thread; `close`, garbage and exit end its workers."""

    def __init__(
        self,
        stores: Sequence[Store],
        config: LoaderConfig,
        layout: RowsLayout,
        kept: Kept,
        incidents: list[str],
    ) -> None:
        wanted = _cores() if config.workers is None else config.workers
        self._workers = max(wanted, 1)
        self._stores = stores
        self._config = config
        self._memory = Memory.create(Ring.bytes(config, layout, self._workers), huge=True)
        tasks, self._more = os.pipe()
        self._ready, ready = os.pipe()
        os.set_blocking(tasks, False)
        self._job = Job(
            stores=stores,
            config=config,
            layout=layout,
            workers=self._workers,
            kept_layout=kept.layout,
            ring=self._memory.descriptor,
            kept=kept.memory.descriptor,
            tasks=tasks,
            ready=ready,
            parent=os.getpid(),
        )
        self._pickled = pickle.dumps(self._job)
        self._ring = Ring(self._job, self._memory.map)
        self._kept = kept
        self._threaded = wanted == 0
        self._tasks: dict[int, Task] = {}
        self._failed: dict[int, Exception] = {}
        self._strikes: Counter[tuple[int, int]] = Counter()
        self._unborn: list[bool] = []
        self._unborn_at = (-1, 0.0)
        far = any(store.is_far for store in stores)
        # A far store's answers are waited for with a patience of their own, which ends in an error.
        self._hang_s = max(config.hang_s, 1.5 * ANSWER_S) if far else config.hang_s
        self._start_s = max(config.hang_s, _START_S) + (BUDGET_S + ANSWER_S if far else 0.0)
        self._stale_s = [0.0] * self._workers
        self._progress = [0] * self._workers
        self._idle_s = 0.0
        self._look_s = min(_LOOK_S, config.hang_s / 3)
        self._looked_s = time.monotonic()
        self._incidents = incidents
        self.pinned = False
        """The ring is pinned memory of CUDA's."""
        self._poller = select.poll()
        self._poller.register(self._ready, select.POLLIN)
        self._hands: dict[int, Hand] = {}
        files = [tasks, self._ready, ready, self._memory.descriptor]
        self._end = weakref.finalize(self, _end, self._hands, self._more, files, os.getpid())
        for worker in range(self._workers):
            self._start(worker)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers; none where a thread works."""
        hands = list(self._hands.values())
        return [hand.pid for hand in hands if isinstance(hand, ProcessHand)]

    @property
    def slots(self) -> list[Rows]:
        """The slots' fields, over the ring."""
        return self._ring.slots

    def size(self, slot: int) -> int:
        """Rows that a slot was asked to hold."""
        return int(self._ring.board.sizes[slot])

    @property
    def memory(self) -> Memory:
        """The ring, whole."""
        return self._memory

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        self._end()

    @property
    def closed(self) -> bool:
        """Its workers were ended."""
        return not self._end.alive

    def fill(self, slot: int, orders: npt.NDArray[np.void]) -> None:
        """Have a slot's rows filled as `orders`, `ring.ORDER` [n], say."""
        board = self._ring.board
        board.sizes[slot] = len(orders)
        board.orders[slot, : len(orders)] = orders
        board.done[slot] = 0
        run = self._config.run
        ahead = (self._config.slots - 1) * self._config.batch
        rows = min(max(ahead // (2 * self._workers), 1), _TASK_ROWS)
        rows = -(-rows // run) * run
        starts = range(0, len(orders), rows)
        self._give([Task(slot, at, min(rows, len(orders) - at)) for at in starts])

    def _give(self, tasks: list[Task]) -> None:
        for task in tasks:
            self._tasks[self._ring.board.push(task)] = task
        os.write(self._more, b"t" * len(tasks))

    def wait(self, slot: int, *, block: bool = True) -> bool:
        """Wait until a slot is filled (or only look), and look after the workers meanwhile.

        Raises what a worker raised over a window of that slot or at its start, `BadClip` where one
        window ended three workers, `RuntimeError` where workers do not start.
        """
        board = self._ring.board
        while True:
            self._watch(0.0)
            for failed in (NO_SLOT, slot):
                if failed in self._failed:
                    raise self._failed[failed]
            if board.filled(slot):
                break
            if not block:
                return False
            self._watch(self._look_s)
        self._tasks = {n: task for n, task in self._tasks.items() if task.slot != slot}
        for key in [key for key in self._strikes if key[0] == slot]:
            del self._strikes[key]
        return True

    def _watch(self, timeout_s: float) -> None:
        """Take in what the workers say, for so long at most; look for those that hang."""
        by_messages = {hand.messages: worker for worker, hand in self._hands.items()}
        for descriptor, _ in self._poller.poll(timeout_s * 1000):
            if descriptor == self._ready:
                os.read(self._ready, 4096)
            elif (message := read_message(descriptor)) is not None:
                slot, error = message
                self._failed.setdefault(slot, error)
            elif NO_SLOT in self._failed:
                raise self._failed[NO_SLOT]  # what the worker said before it ended
            else:
                self._replace(by_messages[descriptor], "")
        now_s = time.monotonic()
        passed_s = now_s - self._looked_s
        if passed_s >= self._look_s and not self._threaded:
            # Time in which this process slept or the consumer computed is no time of waiting.
            self._look(min(passed_s, 2 * timeout_s))
            self._looked_s = now_s

    def _look(self, passed_s: float) -> None:
        """Replace workers that made no progress for too long."""
        board, limit_s = self._ring.board, self._hang_s
        progress, claims = board.progress.tolist(), board.claims.tolist()
        for worker, claim in enumerate(claims):
            busy = claim >= 0 or claim == STARTING
            same = busy and progress[worker] == self._progress[worker]
            self._stale_s[worker] = self._stale_s[worker] + passed_s if same else 0.0
        waits = progress == self._progress and STARTING not in claims
        self._idle_s = self._idle_s + passed_s if waits else 0.0
        self._progress = progress
        limits_s = [self._start_s if claim == STARTING else limit_s for claim in claims]
        hung = [n for n, stale_s in enumerate(self._stale_s) if stale_s > limits_s[n]]
        if not hung and self._idle_s > 2 * limit_s:
            hung = list(range(self._workers))  # one may have stopped with the board's lock
        for worker in hung:
            self._replace(worker, f"made no progress for {limits_s[worker]:g} s, ")

    def _start(self, worker: int) -> None:
        self._ring.board.claims[worker] = STARTING
        self._stale_s[worker] = self._idle_s = 0.0
        if self._threaded:
            hand: Hand = ThreadHand(self._pickled, worker, self._ring, self._kept.rows())
        else:
            hand = ProcessHand(self._job, self._pickled, worker)
        self._hands[worker] = hand
        self._poller.register(hand.messages, select.POLLIN)

    def _replace(self, worker: int, cause: str) -> None:
        """End a worker that is dead or as good as; start another and give its windows again."""
        hand, board = self._hands.pop(worker), self._ring.board
        self._poller.unregister(hand.messages)
        ended = hand.end()
        outside = not cause and "SIGKILL" in ended
        cause += ended
        claim = int(board.claims[worker])
        living = [other for other in range(self._workers) if other != worker]
        lost = board.lost(self._tasks, living)
        at = self._give_again(lost, claim)
        where = f" at {at}" if at else ""
        told = f"loader: worker {worker} (process {hand.pid}) {cause}{where}"
        if claim == STARTING:
            self._count_unborn(told, outside)
        self._incidents.append(told)
        print(f"{told}: replaced, its windows are given again", file=sys.stderr, flush=True)
        self._start(worker)
        os.write(self._more, b"t")  # it may have died with the word of a task, not the task

    def _count_unborn(self, told: str, outside: bool) -> None:
        """Give up where workers end before they are ready, again and again, and none fills a row.

        `outside`: it was killed, which is no fault of its own, unless nothing else ever happens.
        """
        now_s, filled = time.monotonic(), int(self._ring.board.progress.sum())
        if filled != self._unborn_at[0]:
            self._unborn, self._unborn_at = [], (filled, now_s)
        self._unborn.append(outside)
        long = now_s - self._unborn_at[1] >= _START_S
        if self._unborn.count(False) >= _STRIKES or (long and len(self._unborn) >= _KILLS):
            raise RuntimeError(
                f"{told}: workers do not start ({len(self._unborn)} in a row): stderr or the "
                "system's log says why"
            )
        if len(self._unborn) > _KILLS:
            time.sleep(_START_S / 100)

    def _give_again(self, lost: list[int], claim: int) -> str:
        """Push lost tasks again; says at which window the worker was, if at any."""
        board, at = self._ring.board, ""
        for number in lost:
            task = self._tasks.pop(number)
            rows = range(task.row, task.row + task.count)
            left = [row for row in rows if not board.done[task.slot, row]]
            if number == claim:
                at = self._name(task.slot, left[0])
                self._strikes[task.slot, left[0]] += 1
                if self._strikes[task.slot, left[0]] == _STRIKES:
                    raise BadClip(
                        at,
                        f"reading it ended {_STRIKES} workers in a row",
                        remedy="run `opendojo store verify`, or take the clip out",
                    )
            # Alone first, so that a bad window is found out and its neighbours are read.
            self._give([Task(task.slot, row, 1) for row in left])
        return at

    def _name(self, slot: int, row: int) -> str:
        window, number, _, place, first, _ = self._ring.board.orders[slot, row].item()
        store = self._stores[number]
        clip = store.episodes[place].clip_id
        return f"{store.url}: window {window}, instant {first} of clip {clip}"


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end(hands: dict[int, Hand], more: int, files: list[int], pid: int) -> None:
    if os.getpid() != pid:
        return  # a fork of the consumer: the workers are not its own
    os.close(more)
    while hands:
        hands.popitem()[1].end()
    for file in files:
        os.close(file)
