"""How many threads torch works with on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

__all__ = ["few_threads", "on_one_thread"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def few_threads(count: int = 1) -> Iterator[None]:
    """Let torch work with so many threads for a while.

    The tensors of worlds are small. Shared out among threads they are hardly faster on a quiet
    machine, and many times slower where other processes use the cores: every operation waits for
    the last thread to be given one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_one_thread(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that runs `few_threads()`."""

    @functools.wraps(work)
    def alone(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with few_threads():
            return work(*args, **kwargs)

    return alone
