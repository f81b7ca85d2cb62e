"""The flywheel end to end: drive, look, choose, label, learn, judge, promote; and again.

Every stage leaves its result in the run's folder and is passed over when it is there. Stages are
functions of what came before, so a run killed anywhere goes on and ends with the same choice and
the same registry (dates and joules aside).

    rounds/00/      the first network: plain drives, random windows
    rounds/01/      began.json drives/ truth/ store/ findings.npz choice.json network/ scores.json
    registry/       networks, scores, who is promoted

    state = run_flywheel(FlywheelConfig(), Path("runs/flywheel"))
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from opendojo.evaluate import FLOORS, NetworkDriver
from opendojo.flywheel.config import FlywheelConfig
from opendojo.flywheel.exam import examine
from opendojo.flywheel.findings import Findings
from opendojo.flywheel.fleet import record_drives
from opendojo.flywheel.gate import Verdict, gate
from opendojo.flywheel.lesson import Lesson, Lessons, read_lesson
from opendojo.flywheel.mine import choose
from opendojo.flywheel.registry import Entry, Registry
from opendojo.flywheel.relabel import Relabel, tracks_of
from opendojo.flywheel.shadow import ShadowConfig, run_shadow
from opendojo.ingest import ingest
from opendojo.loader import WindowSpec
from opendojo.machine import Meter
from opendojo.model import DrivingNet, DrivingTrainee
from opendojo.store import Store
from opendojo.store.atomic import write_json
from opendojo.train import TrainConfig, load_network, train

__all__ = ["Flywheel", "OnProgress", "run_flywheel"]

OnProgress = Callable[[str, int, int, str], None]
"""Told of a stage, how much of it is done, of how much, and a note."""


def run_flywheel(
    config: FlywheelConfig,
    folder: Path,
    *,
    clips: Sequence[Path] = (),
    network: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> dict[str, Any]:
    """Turn the flywheel in `folder` until `config.rounds` are done; goes on where it was left.

    Args:
        config: must be what the folder was begun with; `rounds` may grow.
        folder: of the run; made where it is missing.
        clips: recordings that join the drives of the first round, labelled by their own logs.
        network: a training run whose network is the first one, in the place of a new one.
        on_progress: told of every stage.

    Returns:
        `rounds`, a line each, and `present`, the promoted network.

    Raises:
        ValueError: the folder is of another configuration or in use, or clips are not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return Flywheel(config, folder, clips, network, on_progress).run()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder} is in use by another run: wait, or choose another"
            ) from None
        yield


@dataclass(frozen=True, slots=True)
class _Round:
    """One round's folder and what it began with."""

    number: int
    folder: Path
    present: str | None


class Flywheel:
    """The stages of a run."""

    def __init__(
        self,
        config: FlywheelConfig,
        folder: Path,
        clips: Sequence[Path] = (),
        network: Path | None = None,
        on_progress: OnProgress = lambda *_: None,
    ) -> None:
        missing = [str(path) for path in clips if not path.exists()]
        if missing:
            raise ValueError(f"there is nothing at {missing[0]}: check the path given to --clips")
        self.config, self.folder, self._tell = config, folder, on_progress
        self._clips, self._network = list(clips), network
        self.registry = Registry(folder / "registry")
        self._same_config()

    def _same_config(self) -> None:
        path = self.folder / "flywheel.json"
        mine = {
            "config": self.config.resolved(),
            "clips": sorted(str(clip.resolve()) for clip in self._clips),
            "network": None if self._network is None else str(self._network.resolve()),
        }
        if not path.exists():
            write_json(path, mine)
        elif json.loads(path.read_text()) != mine:
            raise ValueError(
                f"{self.folder} was begun with other settings, clips or network: give the same, or "
                "choose another folder"
            )

    def run(self) -> dict[str, Any]:
        """All rounds; what `run_flywheel` returns."""
        self._floors()
        for number in range(self.config.rounds + 1):
            self._round(number)
        return self.told()

    def told(self) -> dict[str, Any]:
        """What there is so far: a line a round, the present network, the floors."""
        present = self.registry.present
        lines = [_read(path) for path in sorted((self.folder / "rounds").glob("*/round.json"))]
        return {
            "folder": str(self.folder),
            "rounds": lines,
            "present": None if present is None else present.name,
            "floors": _read(self.folder / "floors.json"),
        }

    def _floors(self) -> None:
        """Scores of drivers that need no network, once for a run; each is kept as it is known."""
        path, names = self.folder / "floors.json", ("stop", "constant-velocity", "expert")
        told: dict[str, Any] = _read(path) or {}
        for name in names:
            if name not in told:
                self._tell("floors", len(told), len(names), name)
                scores = examine(FLOORS[name](), self.config.exam)
                told[name] = {s: float(np.mean([*by.values()])) for s, by in scores.items()}
                write_json(path, told)

    def _round(self, number: int) -> None:
        folder = self.folder / "rounds" / f"{number:02d}"
        if (folder / "round.json").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        began = folder / "began.json"
        if not began.exists():
            present = self.registry.present
            write_json(began, {"present": None if present is None else present.name})
        this = _Round(number, folder, json.loads(began.read_text())["present"])
        if number == 0 and self._network is not None:
            self._adopt(this, self._network)
            return
        self._drive(this)
        store = self._ingest(this)
        findings, picked = self._choose(this, store)
        lesson = self._lesson(this, store, findings, picked["rows"])
        config = self.config.first_train if number == 0 else self.config.train
        self._train(this, lesson, config)
        self._finish(this, lesson, picked)

    def _net_of(self, this: _Round) -> DrivingNet:
        """The network that a round looks with; before the first one, any of its kind."""
        if this.present is not None:
            return self.registry.load(this.present)
        import torch

        torch.manual_seed(self.config.seed)
        return DrivingNet(self.config.net).eval()

    def _drive(self, this: _Round) -> None:
        driver = None if this.present is None else NetworkDriver(self._net_of(this))
        record_drives(
            this.folder, self.config.fleet_of(this.number), self.config.net, driver,
            number=this.number,
            on_progress=lambda done, total: self._say(this, "driving", done, total),
        )  # fmt: skip

    def _ingest(self, this: _Round) -> Store:
        store = Store.create(this.folder / "store", self.config.store)
        extra = self._clips if this.number == 1 else []
        if not (this.folder / "findings.npz").exists():
            self._say(this, "ingesting", 0, 1)
            ingest([this.folder / "drives", *extra], store)
        return store.reload()

    def _choose(self, this: _Round, store: Store) -> tuple[Findings, dict[str, Any]]:
        path = this.folder / "findings.npz"
        if not path.exists():
            findings = run_shadow(
                self._net_of(this), [store], ShadowConfig(), tracks_of=tracks_of,
                on_progress=lambda done, total, rate: self._say(
                    this, "looking", done, total, f"{rate:,.0f} frames/s"
                ),
            )  # fmt: skip
            findings.save(path)
        findings = Findings.load(path)
        picked = this.folder / "choice.json"
        if not picked.exists():
            first = this.number == 0
            mine = self.config.mine
            config = replace(
                mine,
                seed=mine.seed + self.config.seed * 1000 + this.number,
                how="random" if first else mine.how,
                budget=self.config.first_windows if first else mine.budget,
                apart_s=0.0 if first else mine.apart_s,
            )
            write_json(picked, choose(findings, config).as_dict())
        return findings, json.loads(picked.read_text())

    def _lesson(
        self, this: _Round, store: Store, findings: Findings, rows: Sequence[int]
    ) -> Lesson:
        self._say(this, "labelling", 0, len(rows))
        spec = WindowSpec(**_spec(findings))
        teacher = Relabel(this.folder, store, findings, spec)
        chosen = np.array(rows, np.int64)
        return read_lesson(self._net_of(this), [store], chosen, lambda k: teacher.of(rows[k]))

    def _old_lessons(self, this: _Round) -> list[Lesson]:
        """What earlier rounds learnt; read again from their stores."""
        lessons: list[Lesson] = []
        for number in range(this.number):
            folder = self.folder / "rounds" / f"{number:02d}"
            if not (folder / "choice.json").exists():
                continue
            told = json.loads((folder / "began.json").read_text())
            earlier = _Round(number, folder, told["present"])
            store = Store.open(folder / "store")
            findings, picked = self._choose(earlier, store)
            lessons.append(self._lesson(earlier, store, findings, picked["rows"]))
        return lessons

    def _train(self, this: _Round, lesson: Lesson, config: TrainConfig) -> None:
        run_dir = this.folder / "network"
        if (run_dir / "done.json").exists() and (this.folder / "energy.json").exists():
            return
        seed = self.config.seed * 1000 + this.number
        old = self._old_lessons(this)
        source = Lessons(old, lesson, self.config.lesson, steps=config.steps, seed=seed)
        config = replace(config, seed=seed)
        trainee = (
            self.config.net
            if this.present is None
            else DrivingTrainee.around(self.registry.load(this.present), config.loss)
        )
        data = f"{source.fingerprint}-{this.present or 'new'}"
        meter = Meter()
        train(
            run_dir, trainee, source, config, data=data,
            on_step=lambda row: self._say(
                this, "training", row["step"], config.steps, f"loss {row['loss_total']:.3f}"
            ),
        )  # fmt: skip
        # of the last attempt alone where there were several
        write_json(this.folder / "energy.json", dataclasses.asdict(meter.stop()))

    def _scores(self, this: _Round, run_dir: Path) -> dict[str, dict[str, float]]:
        path = this.folder / "scores.json"
        if not path.exists():
            driver = NetworkDriver(load_network(run_dir))
            scores = examine(
                driver, self.config.exam, lambda name: self._say(this, "judging", 0, 1, name)
            )
            write_json(path, scores)
        return json.loads(path.read_text())

    def _adopt(self, this: _Round, run_dir: Path) -> None:
        """Begin with a network that is there."""
        scores = self._scores(this, run_dir)
        entry = self.registry.add(run_dir, parent=None, data="given", scores=scores)
        self.registry.promote(entry.name, "the network given")
        self._close(this, entry, None, {})

    def _finish(self, this: _Round, lesson: Lesson, picked: dict[str, Any]) -> None:
        """Judge, register, promote or not, and close the round."""
        run_dir = this.folder / "network"
        scores = self._scores(this, run_dir)
        data = (_read(run_dir / "config.json") or {}).get("data", "")
        verdict: Verdict | None = None
        if this.present is not None:
            before = self.registry.entry(this.present).scores
            pairs = {name: (before[name], scores[name]) for name in scores}
            verdict = gate(pairs, self.config.gate)
        entry = self.registry.add(
            run_dir, parent=this.present, data=data, number=this.number, scores=scores,
            verdict={} if verdict is None else verdict.as_dict(),
            energy=_read(this.folder / "energy.json") or {},
        )  # fmt: skip
        if verdict is None or verdict.promote:
            self.registry.promote(entry.name, "the first" if verdict is None else verdict.why)
        counts = dict(zip(*np.unique(picked["reasons"], return_counts=True), strict=True))
        refused = int((lesson.confidence.max(1) == 0).sum())
        facts = {
            "windows": len(lesson), "twins": picked["twins"], "refused": refused,
            "reasons": {str(name): int(count) for name, count in counts.items()},
        }  # fmt: skip
        self._close(this, entry, verdict, facts)

    def _close(
        self, this: _Round, entry: Entry, verdict: Verdict | None, facts: dict[str, Any]
    ) -> None:
        line = {
            "number": this.number,
            "network": entry.name,
            "parent": this.present,
            "promoted": verdict is None or verdict.promote,
            "why": "the first" if verdict is None else verdict.why,
            "scores": entry.intervals,
            **facts,
        }
        write_json(this.folder / "round.json", line)
        self._say(this, "closed", 1, 1, line["why"])

    def _say(self, this: _Round, stage: str, done: int, total: int, note: str = "") -> None:
        self._tell(f"round {this.number}: {stage}", done, total, note)


def _spec(findings: Findings) -> dict[str, Any]:
    return dict(findings.window)


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None
