"""The last stages of a run: the exam, the pictures, the report."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opendojo.evaluate import (
    FLOORS,
    Driver,
    NetworkDriver,
    Pictures,
    ShuffledDriver,
    bird_eye_picture,
    film,
    forecast_pictures,
    open_loop,
    record,
    sample_pictures,
    table,
    write_report,
)
from opendojo.loader import Loader
from opendojo.machine import machine_facts
from opendojo.model import DrivingNet
from opendojo.recipes.ledger import Ledger
from opendojo.recipes.recipe import OnProgress, Recipe
from opendojo.store import Store
from opendojo.store.atomic import write_json
from opendojo.train import load_network, read_metrics

__all__ = ["judge"]


_TABLE = 2
"""Version of what `table` returns: scores kept by an earlier one are driven again."""


def judge(
    recipe: Recipe,
    folder: Path,
    home: Path,
    stores: Sequence[Store],
    facts: dict[str, Any],
    ledger: Ledger,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Examine the trained network, write report, pictures and film.

    Returns the content of report.json.
    """
    network, blind = load_network(home / "network"), load_network(home / "blind")
    held_out = Loader(stores, replace(recipe.loader, split="held-out"))
    data: dict[str, Any] = {
        **facts,
        "evaluate": {
            "closed_loop": _exam(recipe, home, network, blind, on_progress),
            "open_loop": _errors(home, network, blind, held_out, on_progress),
        },
        "energy": _energy(ledger, home.name),
        "report": _provenance(recipe, folder, held_out.fingerprint),
    }
    inputs = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    data["report"] |= {"inputs": inputs, "created": _now()}
    before = _earlier(folder)
    if before.get("report", {}).get("inputs") != inputs:
        _show(recipe, folder, home, network, held_out, data, on_progress)
    return _earlier(folder)


def _earlier(folder: Path) -> dict[str, Any]:
    """What report.json says, where report and film are all there."""
    there = all((folder / name).exists() for name in ("report.json", "report.html", "drive.mp4"))
    return json.loads((folder / "report.json").read_text()) if there else {}


def _show(
    recipe: Recipe,
    folder: Path,
    home: Path,
    network: DrivingNet,
    held_out: Loader,
    data: dict[str, Any],
    on_progress: OnProgress,
) -> None:
    """The film, the pictures, the page."""
    on_progress("film and report", 0, 1, "")
    drive = record(NetworkDriver(network), recipe.exam.seed_sets[0][0], recipe.exam.drive)
    film(drive, folder / "drive.mp4")
    pictures = Pictures(
        metrics=read_metrics(home / "network" / "metrics.jsonl"),
        samples=sample_pictures(network, held_out),
        forecast=forecast_pictures(network, held_out),
        bird_eye=bird_eye_picture(drive),
        film="drive.mp4",
    )
    page = write_report(folder, data, pictures)
    on_progress("film and report", 1, 1, str(page))


def _errors(
    home: Path, network: DrivingNet, blind: DrivingNet, held_out: Loader, on_progress: OnProgress
) -> dict[str, Any]:
    """Open-loop errors; kept beside the network."""
    path = home / "open-loop.json"
    if not path.exists():
        on_progress("open loop", 0, 1, "held-out windows")
        write_json(path, open_loop(network, held_out, blind=blind))
    return json.loads(path.read_text())


def _exam(
    recipe: Recipe, home: Path, network: DrivingNet, blind: DrivingNet, on_progress: OnProgress
) -> dict[str, Any]:
    """Closed-loop scores; kept beside the network, so that they are driven once."""
    wanted = json.dumps([_TABLE, recipe.resolved()["exam"]], sort_keys=True)
    path = home / f"exam-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}.json"
    if path.exists():
        return json.loads(path.read_text())
    drivers: list[Driver] = [
        NetworkDriver(network),
        ShuffledDriver(network),
        NetworkDriver(blind),
        *(make() for make in FLOORS.values()),
    ]
    names = [driver.name for driver in drivers]

    def told(name: str) -> None:
        on_progress("closed loop", names.index(name), len(names), name)

    scores = table(drivers, recipe.exam.seed_sets, recipe.exam.drive, on_driver=told)
    write_json(path, scores)
    return scores


def _energy(ledger: Ledger, key: str) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    training = f"train {key} network"
    for stage in ("draw", "ingest drawn", "ingest clips", "load", training):
        entry = ledger.entry(stage)
        if entry.energy is not None:
            name = "train" if stage == training else stage
            stages[name] = {"frames": entry.frames, **entry.energy.per(entry.frames)}
    entry = ledger.entry(training)
    if entry.energy is None:  # killed between the last step and the writing down of its energy
        unknown = {"joules": None, "low": None, "high": None, "frames": 0, "measured": False}
        return {**unknown, "method": "not written down: the run was killed", "stages": stages}
    energy = entry.energy
    return {
        "joules": energy.joules,
        "low": energy.low,
        "high": energy.high,
        "frames": entry.frames,
        "measured": energy.measured,
        "method": _method(energy.method, energy.measured, energy.inputs),
        "scope": energy.scope,
        "excludes": list(energy.excludes),
        "core_s": energy.core_s,
        "inputs": energy.inputs,
        "stages": stages,
    }


def _method(name: str, measured: bool, inputs: dict[str, Any]) -> str:
    if measured:
        return f"measured by {name}"
    if name == "none":
        return "not known for this processor; core-seconds only"
    watts = inputs.get("w_per_busy_thread", 0.0)
    return f"estimated by {name}: core-seconds x {watts:.1f} W, half to twice; {inputs.get('cpu')}"


def _provenance(recipe: Recipe, folder: Path, fingerprint: str) -> dict[str, Any]:
    versions = {n: importlib.metadata.version(n) for n in ("opendojo", "torch", "numpy", "av")}
    return {
        "seed": recipe.train.seed,
        "data_fingerprint": fingerprint,
        "config": recipe.resolved(),
        "versions": versions,
        "machine": {name: str(value) for name, value in machine_facts().items()},
        "html": str(folder / "report.html"),
        "film": str(folder / "drive.mp4"),
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
