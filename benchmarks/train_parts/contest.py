"""Ways to train against each other: by turns, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.document import Section
from common.environments import python_of
from common.line import LineProcess
from common.turns import by_turns, cores, ratios

__all__ = ["PEERS", "Bench", "Contest", "contest"]

PROCESS = Path(__file__).parents[1] / "peers/train_peer.py"
PEERS = ("fabric", "accelerate", "lightning", "lightning_full")
"""Ways that live in the environment `train`."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every section is told."""

    smoke: bool
    peers: bool
    repeats: int
    folder: Path


class Contestant:
    """A runner that keeps what it was told."""

    def __init__(self, line: LineProcess) -> None:
        self._line = line
        self.told: list[dict[str, Any]] = []

    def turn(self, seconds: float) -> float:
        """Frames a second of one training of the plan's steps."""
        self.told.append(self._line.ask("go", seconds=seconds))
        return self.told[-1]["frames"] / self.told[-1]["seconds"]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Rates of each way, one for each repeat, and what else each told."""

    rates: dict[str, list[float]]
    told: dict[str, list[dict[str, Any]]]

    def over(self, way: str, other: str) -> list[float]:
        """Ratio of the rates of neighbouring turns."""
        return ratios(self.rates[way], self.rates[other])


def contest(bench: Bench, job: str, ways: Sequence[str], plan: dict[str, Any]) -> Contest:
    """Let the ways train by turns; a first round warms up and is dropped."""
    path = bench.folder / f"{job}.json"
    path.write_text(json.dumps(plan))
    with contextlib.ExitStack() as stack:
        runners: dict[str, Contestant] = {}
        for way in ways:
            words = [way, job, str(path)]
            more = {"python": python_of("train")} if way in PEERS else {}
            line = LineProcess(PROCESS, *words, **more)
            runners[way] = Contestant(stack.enter_context(line))
        rates = by_turns(runners, bench.repeats, 0.0)
    told = {way: runner.told[1:] for way, runner in runners.items()}
    return Contest(rates=rates, told=told)


def told_of_cores(section: Section) -> None:
    """The condition that all sections share."""
    section.say(
        f"{len(cores())} cores; turns A, B, ..., ratios are medians over neighbouring turns"
    )
