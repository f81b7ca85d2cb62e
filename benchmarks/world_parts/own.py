"""What every section of the world's benchmark is told, and the drawn worlds that they share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from common.line import LineProcess
from common.turns import median
from world_parts.own_process import SAVED, SEEN, TAPE

__all__ = ["BILLION", "CANDIDATES", "SIZE", "Bench", "Own", "count_told", "plan_told"]

CANDIDATES = (80, 320)
"""Worlds of a batch that are tried; multiples of the kinds of towns and of the drawing's chunks."""
GPU_CANDIDATES = (320, 1280)
SIZE = "128x64"
BILLION = 1e9
SCRIPT = Path(__file__).resolve().parent / "own_process.py"


class Own:
    """Drawn worlds in a process of their own, as a runner of turns."""

    def __init__(self, plan: dict[str, Any]) -> None:
        kind = "compiled" if plan["compiled"] else "eager"
        told = f"{kind}, {plan['worlds']} worlds, {plan['threads']} threads, {plan['device']}"
        print(f"    making {told}", file=sys.stderr, flush=True)
        self.line = LineProcess(SCRIPT, json.dumps(plan))
        self.plan = plan
        self.step_shares: list[float] = []
        """Of the time of each turn, what went into stepping."""

    def turn(self, seconds: float) -> float:
        """Frames a second of stepping and drawing."""
        told = self.line.ask("go", seconds=seconds)
        self.step_shares.append(told["step_s"] / told["seconds"])
        return told["frames"] / told["seconds"]


@dataclass(kw_only=True)
class Bench:
    """What the command line chose; as a context it ends the processes that it made."""

    smoke: bool
    peers: bool
    repeats: int
    """Turns of each runner that count."""
    seconds: float
    """Length of a turn."""
    fixed: int | None
    """Worlds of a batch; the fastest of `CANDIDATES` where not given."""
    cores: list[int]
    """Those that this process and what it starts may use."""
    folder: Path
    _made: dict[str, Own] = field(default_factory=dict)
    tried: dict[int, list[float]] = field(default_factory=dict)
    """Frames a second of each batch that was tried."""

    def plan(self, **chosen: Any) -> dict[str, Any]:
        """What a process is told; the whole world, compiled, on all these cores, unless chosen."""
        plain = {
            "worlds": chosen.get("worlds") or self.worlds,
            "compiled": True,
            "threads": len(self.cores),
            "device": "cpu",
            "preset": "clean",
            "rig": "front_only" if self.smoke else "tesla_eight",
            "rig_error": 0.0,
            "tape": max(SEEN) + 1 if self.smoke else TAPE,
        }
        return {**plain, **chosen}

    @cached_property
    def worlds(self) -> int:
        """Worlds of a batch: the one given, else the fastest of those tried."""
        if self.smoke or self.fixed:
            return self.fixed or 5
        for count in CANDIDATES:
            with self.own(worlds=count) as own:
                own.turn(self.seconds)
                self.tried[count] = [own.turn(self.seconds) for _ in range(3)]
        return max(self.tried, key=lambda count: median(self.tried[count]))

    @contextmanager
    def own(self, **chosen: Any) -> Iterator[Own]:
        """Worlds of a plan for as long as the context lasts."""
        own = Own(self.plan(**chosen))
        with own.line:
            yield own

    def kept(self, **chosen: Any) -> Own:
        """Worlds of a plan, kept for later sections."""
        plan = self.plan(**chosen)
        name = json.dumps(plan, sort_keys=True)
        if name not in self._made:
            self._made[name] = Own(plan)
        return self._made[name]

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for own in self._made.values():
            own.line.__exit__()


def plan_told(bench: Bench) -> str:
    """What was drawn, in words."""
    rig = "one camera (a smoke run)" if bench.smoke else "eight cameras, two of them fisheye"
    return (
        f"{bench.worlds} worlds a batch, five kinds of towns, 16 agents' slots, preset clean; "
        f"{rig}, {SIZE}, I420 in colour, noise on; no labels; stepping is in the time: control of "
        "a driver on the route's middle, "
        f"recorded before the clock over {bench.plan()['tape']} steps and played again and again"
    )


def count_told() -> str:
    """What is compared before the clock, in words."""
    return f"pictures of {SAVED} worlds after {', '.join(map(str, SEEN))} steps"
