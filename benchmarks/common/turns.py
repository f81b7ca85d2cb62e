"""Timing by turns: A, B, A, B, ..., so that a noisy machine is as noisy for one as for the other.

What is compared is the median of the ratios of neighbouring turns, not the ratio of two medians: on
a shared machine the speed of one and the same loop changes twofold within a minute.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psutil

__all__ = ["Runner", "by_turns", "cores", "pin", "ratios"]


class Runner(Protocol):
    """Something that runs for a while and says how fast it was."""

    def turn(self, seconds: float) -> float:
        """Run for about so long from a steady state; return units of work a second."""
        ...


def by_turns(runners: Mapping[str, Runner], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Rates of each runner, one for each repeat; a first round of turns warms up and is dropped."""
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for repeat in range(repeats + 1):
        for name, runner in runners.items():
            rate = runner.turn(seconds)
            if repeat:
                rates[name].append(rate)
    return rates


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Ratio of each pair of neighbouring turns."""
    return [a / b for a, b in zip(over, under, strict=True)]


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def cores() -> list[int]:
    """Processor cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def pin(pid: int, core: int) -> None:
    """Keep every thread of a process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def children(pid: int | None = None) -> list[psutil.Process]:
    """Processes that a process (this one by default) has started, and theirs."""
    return psutil.Process(pid).children(recursive=True)
