"""Mined against random windows: the score on hard roads after equally many labels, over seeds.

For each seed one first network and one round's drives; from there the round is done several times:
mined, at random, and at random with half as many windows again.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common.document import Section
from flywheel_parts.bench import Bench
from opendojo.flywheel.config import FlywheelConfig
from opendojo.flywheel.findings import Findings
from opendojo.flywheel.fleet import drive_name, read_truth
from opendojo.flywheel.mine import novelty
from opendojo.flywheel.registry import Registry
from opendojo.flywheel.run import run_flywheel
from opendojo.flywheel.stage import EVENTS
from opendojo.flywheel.triggers import TRIGGERS, quality, trigger_scores
from opendojo.store import Store

__all__ = ["run", "triggers"]

HARD, OLD = ("events", "night"), "clean"
_OF_A_WAY = ("choice.json", "network", "scores.json", "energy.json", "round.json")


def run(bench: Bench) -> Section:
    """Differences by seed, with the 90 % interval of their mean (Student's t)."""
    section = Section("worth", "mined against random windows, equal budgets", not bench.smoke)
    seeds = range(2 if bench.smoke else bench.seeds)
    rows = [_seed(bench, seed) for seed in seeds]
    budget = _config(bench, 0).mine.budget
    section.say(f"{len(rows)} seeds, one round of {budget} labelled windows each; scores 0 to 100")
    gains = [row["mined"] - row["random"] for row in rows]
    section.add("mined", "score on hard roads, mined", [row["mined"] for row in rows], "")
    section.add("random", "score on hard roads, random", [row["random"] for row in rows], "")
    section.add("more", "random, 1.5 times as many", [row["more"] for row in rows], "")
    section.add("first", "before the round", [row["first"] for row in rows], "")
    low, high = _interval(gains)
    section.add("gain", "mined less random", gains, "")
    section.say(f"90 % interval of the mean gain: {low:+.2f} to {high:+.2f}")
    section.bar("gain_low", low, 0.0, "")
    ahead = float(np.mean([row["mined"] - row["more"] for row in rows]))
    section.add("ahead", "mined less random with 1.5 times as many", ahead, "")
    section.bar("ahead", ahead, 0.0, "")
    return section


def keeps(bench: Bench) -> Section:
    """Three rounds: what becomes of the old held-out score of the promoted network."""
    section = Section("keeps", "old held-out scores after three rounds", not bench.smoke)
    folder = bench.folder / "keeps"
    told = run_flywheel(replace(_config(bench, 0), rounds=1 if bench.smoke else 3), folder)
    lines = told["rounds"]
    registry = Registry(folder / "registry")
    assert registry.present is not None
    before, after = lines[0]["scores"][OLD]["mean"], registry.present.intervals[OLD]["mean"]
    promoted = sum(line["promoted"] for line in lines) - 1
    section.say(f"{len(lines) - 1} rounds, {promoted} promotions; floors {told['floors']}")
    section.add("before", "clean roads, first network", before, "")
    section.add("after", "clean roads, promoted network", after, "")
    section.add("hard", "hard roads by round", [_hard(line) for line in lines], "")
    section.bar("kept", after / before, 0.99, "")
    return section


def triggers(bench: Bench) -> Section:
    """Each trigger at 10 % of the windows against the planted events."""
    section = Section("triggers", "triggers against planted events", not bench.smoke)
    place = _base(bench, 0) / "mined" / "rounds" / "01"
    if not place.exists():
        _seed(bench, 0)
    findings, event = events_of(place)
    columns = {**findings.searchable(), "novelty": novelty(findings.embedding)}
    scores = trigger_scores(columns, list(TRIGGERS))
    best = 0.0
    share = float((event >= 0).mean())
    section.say(
        f"{len(findings)} windows, {len(np.unique(event[event >= 0]))} events, shown by "
        f"{share:.0%} of the windows; an event is found when one of its windows is taken"
    )
    for name, score in scores.items():
        told = quality(score, event, 0.10)
        best = max(best, told.recall)
        section.add(f"{name}.precision", f"{name}: precision", told.precision, "")
        section.add(f"{name}.recall", f"{name}: recall of all kinds", told.recall, "")
        for kind, label in enumerate(EVENTS):
            mine = np.where((event >= 0) & (event % len(EVENTS) == kind), event, -1)
            if (mine >= 0).any():
                recall = quality(score, mine, 0.10).recall
                section.add(f"{name}.{label}", f"{name}: recall of {label}", recall, "")
    section.bar("best_recall", best, 0.8, "")
    return section


def events_of(place: Path) -> tuple[Findings, np.ndarray]:
    """A round's findings, and the event that each window shows: -1, or drive * 4 + kind."""
    findings, store = Findings.load(place / "findings.npz"), Store.open(place / "store")
    drives: dict[str, tuple[int, np.ndarray]] = {}
    for episode in store.episodes:
        name = Path(store.source(episode)).name
        drives[episode.clip_id] = int(name.split("-")[1]), read_truth(place, name).event
        assert name == drive_name(drives[episode.clip_id][0])
    event = np.full(len(findings), -1)
    for row in range(len(findings)):
        drive, truth = drives[findings.clip_id[findings.clip[row]]]
        shown = truth[findings.first[row] : findings.first[row] + findings.window["frames"]]
        if (shown >= 0).any():
            event[row] = drive * len(EVENTS) + int(shown.max())
    return findings, event


def _config(bench: Bench, seed: int) -> FlywheelConfig:
    usual = FlywheelConfig()
    whole = replace(usual, seed=seed, fleet=replace(usual.fleet, drives=48))
    if not bench.smoke:
        return whole
    return replace(
        whole,
        first_fleet=replace(usual.first_fleet, drives=4, seconds=6.0),
        first_windows=16,
        first_train=replace(usual.first_train, steps=4),
        fleet=replace(usual.fleet, drives=4, seconds=8.0, rare=0.5),
        mine=replace(usual.mine, budget=8),
        train=replace(usual.train, steps=4),
        exam=replace(usual.exam, roads=2, route_m=40.0, limit_s=4.0),
    )


def _base(bench: Bench, seed: int) -> Path:
    return bench.folder / f"worth-{seed}"


def _seed(bench: Bench, seed: int) -> dict[str, float]:
    """Scores on the hard roads of each way to choose."""
    config, base = replace(_config(bench, seed), rounds=1), _base(bench, seed)
    mine = config.mine
    more = replace(mine, how="random", budget=round(1.5 * mine.budget))
    ways = {"mined": mine, "random": replace(mine, how="random"), "more": more}
    first = run_flywheel(replace(config, rounds=0), base / "first")["rounds"][0]
    out = {"first": _hard(first)}
    for name, how in ways.items():
        place = base / name
        if not (place / "rounds/01/round.json").exists():
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(base / "first", place)
            (place / "flywheel.json").unlink()
            if name != "mined":  # the same drives, seen by the same network
                shutil.copytree(
                    base / "mined/rounds/01", place / "rounds/01",
                    ignore=shutil.ignore_patterns(*_OF_A_WAY),
                )  # fmt: skip
        out[name] = _hard(run_flywheel(replace(config, mine=how), place)["rounds"][1])
    return out


def _hard(line: dict[str, Any]) -> float:
    return float(np.mean([line["scores"][name]["mean"] for name in HARD]))


_T90 = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132, 6: 2.015, 7: 1.943, 8: 1.895, 9: 1.860, 10: 1.833}
"""95 % quantiles of Student's t for that many values less one."""


def _interval(values: list[float]) -> tuple[float, float]:
    mean, wide = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = _T90.get(len(values), 1.645) * wide
    return mean - reach, mean + reach
