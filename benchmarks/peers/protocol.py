"""The far end of a line: a process that is asked in JSON lines on stdin and answers on stdout.

Needs nothing but Python, so that it runs in a peer's own environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["Stream", "serve"]


class Stream:
    """Batches without end from a loader that is begun anew after each of its epochs."""

    def __init__(self, make: Callable[[], Iterable[Any]], frames_in: Callable[[Any], int]) -> None:
        self._make = make
        self._frames_in = frames_in
        self._batches: Iterator[Any] = iter(())
        self.warm_up = 0
        """Batches taken before the clock starts: those that the workers had ready from before."""

    def turn(self, seconds: float) -> dict[str, float]:
        """Take batches for so many seconds; the clock starts and stops as a batch arrives.

        Where an epoch ends on the way, the turn is begun again, so that no start of workers counts.
        Afterwards it waits for the workers to be ahead as far as they go, and idle.
        """
        while True:
            for _ in range(self.warm_up):
                self.next()
            frames, batches, began = 0, 0, time.perf_counter()
            while (batch := next(self._batches, None)) is not None:
                frames, batches = frames + self._frames_in(batch), batches + 1
                spent = time.perf_counter() - began
                if spent >= seconds:
                    time.sleep(1.5 * self.warm_up * spent / batches)
                    return {"seconds": spent, "frames": frames}

    def next(self) -> Any:
        """The next batch, of the next epoch where this one is over."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self._make())
            batch = next(self._batches)
        return batch


def serve(handlers: dict[str, Callable[..., Any]], ready: dict[str, Any] | None = None) -> None:
    """Answer questions until stdin closes: {"do": name, ...arguments} in, one JSON line out.

    Whatever libraries print goes to stderr.
    """
    line_out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"ready": True, **(ready or {})}), file=line_out)
    for line in sys.stdin:
        question = json.loads(line)
        answer = handlers[question.pop("do")](**question)
        print(json.dumps(answer), file=line_out)
