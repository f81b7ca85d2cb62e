"""Where batches come from: the seam, several sources as one, and the place in them.

mixed = Mixed([(loader, 1.0), (world, 2.0)], seed=0)   # two of the world's to each stored one
for batch in mixed.batches(epoch=0, start_batch=7): ...
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from torch import nn

from opendojo.loader.order import permuted
from opendojo.train.step import Progress

__all__ = ["BatchSource", "Feed", "Mixed"]


class BatchSource(Protocol):
    """Where batches come from: `loader.Loader`, or anything with the same two methods.

    Every rank has a source of its own that gives its share of each batch. Two more things are used
    where there are any. `follow(state, step)` is called before each step, on every rank, with a
    function that returns the present trainee: an on-policy source collects anew there, as a
    function of the weights and the step alone. `round_steps` says how often it does: the run has a
    checkpoint before each such step, so that it can be resumed there.
    """

    def __len__(self) -> int:
        """Batches in an epoch, the same for every epoch."""
        ...

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[Any]:
        """The batches of an epoch in their order, from `start_batch` on."""
        ...


class Mixed:
    """Batches of several sources, drawn by weight in an order that (seed, epoch) decides.

    An epoch holds `round(weight * len(source))` batches of each source, at least one. Those of one
    source come in its own order, over as many of its epochs as it takes.
    """

    def __init__(self, sources: Sequence[tuple[BatchSource, float]], seed: int = 0) -> None:
        if not sources or any(weight <= 0 or len(source) == 0 for source, weight in sources):
            raise ValueError("mix at least one source; each has batches and a weight above 0")
        self._sources = [source for source, _ in sources]
        self._draws = [max(1, round(weight * len(source))) for source, weight in sources]
        self._seed = seed
        said = [getattr(source, "round_steps", None) for source in self._sources]
        rounds = {steps for steps in said if steps is not None}
        if len(rounds) > 1:
            raise ValueError(f"the sources have rounds of {sorted(rounds)} steps: give them one")
        self.round_steps: int | None = next(iter(rounds), None)
        """Steps of a round of the on-policy source among them."""
        names = [str(getattr(source, "fingerprint", "")) for source in self._sources]
        facts = repr((names, self._draws, seed)).encode()
        self.fingerprint = hashlib.sha256(facts).hexdigest()[:16]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return sum(self._draws)

    def follow(self, state: Callable[[], nn.Module], step: int) -> None:
        """Tell the sources that follow the training where it is."""
        for source in self._sources:
            told = getattr(source, "follow", None)
            if told is not None:
                told(state, step)

    def batches(self, epoch: int, start_batch: int = 0) -> Generator[Any, None, None]:
        """The batches of an epoch from `start_batch` on."""
        order = permuted(np.arange(len(self)), len(self), seed=self._seed, epoch=epoch)
        chosen = np.searchsorted(np.cumsum(self._draws), order, side="right")
        with contextlib.ExitStack() as stack:
            streams: dict[int, Iterator[Any]] = {}
            for number in chosen[start_batch:].tolist():
                if number not in streams:
                    done = int((chosen[:start_batch] == number).sum())
                    stream = self._stream(number, epoch * self._draws[number] + done)
                    streams[number] = stack.enter_context(contextlib.closing(stream))
                yield next(streams[number])

    def _stream(self, number: int, place: int) -> Generator[Any, None, None]:
        """A source's batches without end, from a place counted over all its epochs."""
        source = self._sources[number]
        epoch, batch = divmod(place, len(source))
        while True:
            yield from source.batches(epoch, batch)
            epoch, batch = epoch + 1, 0


class Feed:
    """Takes a source's batches one after the other through the epochs, and times the wait."""

    def __init__(self, source: BatchSource, progress: Progress) -> None:
        self._source = source
        self._length = len(source)
        self._epoch, self._batch = divmod(
            progress.epoch * self._length + progress.batch, self._length
        )
        self._batches: Iterator[Any] | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and number of the next batch."""
        return self._epoch, self._batch

    def next(self) -> tuple[Any, float]:
        """The next batch, and how many seconds it was waited for."""
        began_s = time.perf_counter()
        if self._batches is None:
            self._batches = iter(self._source.batches(self._epoch, self._batch))
        batch = next(self._batches, None)
        assert batch is not None, "the source gave fewer batches than its length"
        self._batch += 1
        return batch, time.perf_counter() - began_s

    def turn(self) -> None:
        """After a batch was used: where it was the epoch's last, let the source end the epoch."""
        if self._batch == self._length:
            if self._batches is not None:
                next(self._batches, None)
            self._batches, self._epoch, self._batch = None, self._epoch + 1, 0

    def close(self) -> None:
        """Leave the epoch early; ends a thread or process that reads ahead."""
        closing = getattr(self._batches, "close", None)
        self._batches = None
        if closing is not None:
            closing()
