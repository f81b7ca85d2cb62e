"""The continuous form: a folder into which clips arrive, looked at turn by turn.

A turn claims some clips, ingests them, runs the present network in shadow and chooses. When the
fleet is faster than the machine it does not fall behind without a word: it looks at a sample that
is fair to all who wait, and says which share that is. Nothing is ever moved or removed; a clip that
was not looked at waits, and is taken when there is time.

    home/turns/000001/clips.json      claimed, before anything is done with them
                      store/ findings.npz choice.json turn.json

    watch = Watch(Path("arriving"), Path("runs/watch"), network)
    told = watch.turn()         # None where there is nothing to do
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from opendojo.flywheel.mine import MineConfig, choose
from opendojo.flywheel.shadow import ShadowConfig, run_shadow
from opendojo.ingest import ingest
from opendojo.model import DrivingNet
from opendojo.store import Store, StoreSpec
from opendojo.store.atomic import write_json

__all__ = ["Turn", "Watch", "WatchConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchConfig:
    """How a folder is watched."""

    clips: int = 16
    """Clips of a turn, at most."""
    most_waiting: int = 64
    """With more than so many waiting, a turn takes a sample of all of them, not the oldest."""
    settle_s: float = 2.0
    """A clip is taken when nothing in it has changed for so long."""
    workers: int | None = None
    """Processes that ingest and decode; None takes one per core."""
    mine: MineConfig = field(default_factory=lambda: MineConfig(budget=16))
    """What is looked for; the budget is of a turn."""

    def __post_init__(self) -> None:
        if self.clips < 1 or self.most_waiting < 0 or self.settle_s < 0:
            raise ValueError("watch needs clips of 1 or more, and nothing below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a turn came to."""

    number: int
    clips: tuple[str, ...]
    """Paths that were looked at."""
    waiting: int
    """Clips that waited when it began, these among them."""
    share: float
    """Part of those waiting that it looked at: below 1 the fleet is faster than the machine."""
    sampled: bool
    """The clips are a sample of those waiting, not the oldest."""
    windows: int
    """Windows looked at."""
    rejects: int
    """Clips of which nothing could be read."""
    chosen: int
    """Windows worth a label."""
    seconds: float
    """Time it took."""


class Watch:
    """Turns over a folder. Raises `ValueError` where the folder is not there."""

    def __init__(
        self,
        folder: Path,
        home: Path,
        network: DrivingNet,
        config: WatchConfig | None = None,
        *,
        clock: Any = time.time,
    ) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder: give the one that clips arrive in")
        self._folder, self._home, self._network = folder, home, network
        self._config, self._clock = config or WatchConfig(), clock
        (home / "turns").mkdir(parents=True, exist_ok=True)
        net = network.config
        self._spec = StoreSpec(width_px=net.width_px, height_px=net.height_px)

    def waiting(self) -> list[Path]:
        """Clips that have settled and that no turn has claimed, the oldest first."""
        claimed = self._claimed()
        now_s = self._clock()
        there = [
            (_changed_s(path), path.name, path)
            for path in self._folder.iterdir()
            if not path.name.startswith(".") and path.name not in claimed
        ]
        return [path for at, _, path in sorted(there) if now_s - at >= self._config.settle_s]

    def turn(self) -> Turn | None:
        """Go on with a turn that was broken off, or begin one; None where nothing waits."""
        began_s = time.perf_counter()
        place = self._unfinished()
        if place is None:
            place = self._claim()
        if place is None:
            return None
        told = json.loads((place / "clips.json").read_text())
        paths = [self._folder / name for name in told["clips"]]
        store = Store.create(place / "store", self._spec)
        report = ingest([p for p in paths if p.exists()], store, workers=self._config.workers)
        windows, chosen = self._look(place, store.reload())
        turn = Turn(
            number=int(place.name), clips=tuple(map(str, paths)), waiting=told["waiting"],
            share=len(paths) / told["waiting"], sampled=told["sampled"], windows=windows,
            rejects=report.rejects, chosen=chosen, seconds=time.perf_counter() - began_s,
        )  # fmt: skip
        write_json(place / "turn.json", asdict(turn))
        return turn

    def _look(self, place: Path, store: Store) -> tuple[int, int]:
        """Shadow run and choice; nothing where no clip holds a window."""
        config = ShadowConfig(workers=self._config.workers)
        try:
            findings = run_shadow(self._network, [store], config)
        except ValueError:  # too short, all of them, or no clip could be read
            return 0, 0
        findings.save(place / "findings.npz")
        choice = choose(findings, self._config.mine)
        write_json(place / "choice.json", choice.as_dict())
        return len(findings), len(choice.rows)

    def _claim(self) -> Path | None:
        """Write down which clips the next turn takes."""
        waiting = self.waiting()
        if not waiting:
            return None
        sampled = len(waiting) > self._config.most_waiting
        taken = _fair(waiting, self._config.clips) if sampled else waiting[: self._config.clips]
        number = 1 + max((int(path.name) for path in self._turns()), default=0)
        place = self._home / "turns" / f"{number:06d}"
        place.mkdir(exist_ok=True)
        names = [path.name for path in taken]
        told = {"clips": names, "waiting": len(waiting), "sampled": sampled}
        write_json(place / "clips.json", told)
        return place

    def _turns(self) -> list[Path]:
        places = sorted((self._home / "turns").iterdir())
        return [p for p in places if p.name.isdigit() and (p / "clips.json").exists()]

    def _unfinished(self) -> Path | None:
        left = [place for place in self._turns() if not (place / "turn.json").exists()]
        return left[0] if left else None

    def _claimed(self) -> set[str]:
        return {
            name
            for place in self._turns()
            for name in json.loads((place / "clips.json").read_text())["clips"]
        }


def _fair(waiting: Sequence[Path], count: int) -> list[Path]:
    """A sample in which all have the same chance: by a hash of their names."""
    return sorted(waiting, key=lambda path: hashlib.sha256(path.name.encode()).digest())[:count]


def _changed_s(path: Path) -> float:
    """When a clip, a file or a folder of files, last changed."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return max(file.stat().st_mtime for file in files)
