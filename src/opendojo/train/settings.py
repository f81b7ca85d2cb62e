"""What a run sets in its process and puts back: threads, random state, Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch

from opendojo.train.config import TrainConfig

__all__ = ["interrupts", "settings"]


@contextlib.contextmanager
def settings(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """The run's number of threads; afterwards the caller's, and the caller's random state."""
    before = torch.get_num_threads()
    assert config.threads is not None
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.set_num_threads(config.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that no step is torn; the second one interrupts.

    Signals reach the main thread only: elsewhere the flag is never set and `stop` is the way.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def first(number: int, frame: Any) -> None:
        flag.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
