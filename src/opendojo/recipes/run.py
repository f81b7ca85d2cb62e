"""The main job: clips in, a judged driving network out, a report on the way.

Every stage leaves its result in the run's folder and is passed over when it is there, so a run that
was stopped anywhere goes on from there and ends with the same network and the same scores.

    drives/        what the world drew: ordinary recordings
    store/...      the frames, one store for what was drawn, one for the user's clips
    train/<key>/   network and blind network; the key stands for recipe and data
    report.html, report.json, drive.mp4
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opendojo.ingest import IngestReport, ingest
from opendojo.loader import Loader, LoaderConfig, WindowTable
from opendojo.recipes.judge import judge
from opendojo.recipes.ledger import Ledger
from opendojo.recipes.recipe import OnProgress, Recipe
from opendojo.store import Store, store_stats
from opendojo.train import TrainResult, load_network, train
from opendojo.world import record_fleet

__all__ = ["run"]


def run(
    recipe: Recipe,
    folder: Path,
    *,
    clips: Sequence[str | Path] = (),
    on_progress: OnProgress = lambda *_: None,
) -> dict[str, Any]:
    """Do the whole job in `folder`; return the content of report.json.

    Raises `ValueError` for clips that are not there or a folder that another run is using,
    `OSError` where the folder cannot be written.
    """
    missing = [str(path) for path in clips if not Path(path).exists()]
    if missing:
        raise ValueError(f"there is nothing at {missing[0]}: check the path given to --clips")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _run(recipe, folder, clips, on_progress)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the kernel lets go when this process dies."""
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder} is in use by another run: wait, or choose another"
            ) from None
        yield


def _run(
    recipe: Recipe, folder: Path, clips: Sequence[str | Path], on_progress: OnProgress
) -> dict[str, Any]:
    ledger = Ledger(folder / "ledger.json")
    _draw(recipe, folder, ledger, on_progress)
    stores = _ingest(recipe, folder, clips, ledger, on_progress)
    usable = _with_windows(stores.values(), recipe)
    loader = Loader(usable, _loader_config(recipe, len(usable)))
    home = folder / "train" / recipe.key(loader.fingerprint)
    trained = _train(recipe, loader, home / "network", ledger, on_progress, blind=False)
    blind_loader = Loader(usable, replace(_loader_config(recipe, len(usable)), colour="none"))
    _train(recipe, blind_loader, home / "blind", ledger, on_progress, blind=True)
    loading = _loading(usable, loader.config, ledger, on_progress)
    facts = {
        "ingest": _ingest_facts(stores, ledger),
        "train": _train_facts(trained, home, loading),
    }
    return judge(recipe, folder, home, usable, facts, ledger, on_progress)


def _draw(recipe: Recipe, folder: Path, ledger: Ledger, on_progress: OnProgress) -> None:
    fleet, exam = recipe.fleet, recipe.exam.drive.world
    with ledger.measure("draw") as entry:
        counts = record_fleet(
            folder / "drives",
            drives=fleet.drives,
            seconds=fleet.seconds,
            seed=fleet.seed,
            config=exam,
            on_progress=lambda done, total: on_progress("drawing a fleet", done, total, "frames"),
        )
        entry.frames = counts["frames"]


def _ingest(
    recipe: Recipe,
    folder: Path,
    clips: Sequence[str | Path],
    ledger: Ledger,
    on_progress: OnProgress,
) -> dict[str, Store]:
    """The stores of the run: `drawn`, and `clips` where the user has any."""
    sources: dict[str, tuple[str, Sequence[str | Path]]] = {"drawn": ("drawn", [folder / "drives"])}
    if clips:
        paths = "\n".join(sorted(str(Path(path).resolve()) for path in clips))
        sources["clips"] = (f"clips-{hashlib.sha256(paths.encode()).hexdigest()[:8]}", clips)
    stores: dict[str, Store] = {}
    for name, (place, paths) in sources.items():
        store = Store.create(folder / "store" / place, recipe.store)

        def told(report: IngestReport, stage: str = f"ingesting {name}") -> None:
            on_progress(stage, report.frames_new, 0, f"frames, {report.frames_per_s:,.0f}/s")

        with ledger.measure(f"ingest {name}") as entry:
            entry.frames = ingest(paths, store, on_progress=told).frames_new
        stores[name] = store.reload()
    return stores


def _with_windows(stores: Iterable[Store], recipe: Recipe) -> list[Store]:
    """The stores with at least one window to train on: a user's clips may all be too short."""
    config = recipe.loader
    return [
        store
        for store in stores
        if len(WindowTable([store], config.window, "train", config.held_out_share))
    ]


def _loader_config(recipe: Recipe, stores: int) -> LoaderConfig:
    return replace(recipe.loader, weights=(1.0, recipe.clip_weight)[:stores])


def _train(
    recipe: Recipe,
    loader: Loader,
    folder: Path,
    ledger: Ledger,
    on_progress: OnProgress,
    *,
    blind: bool,
) -> TrainResult:
    config = replace(recipe.train, steps=recipe.blind_steps) if blind else recipe.train
    net = replace(recipe.net, blind=blind)
    stage = "training blind floor" if blind else "training network"
    with ledger.measure(f"train {folder.parent.name} {folder.name}") as entry:

        def told(row: dict[str, Any]) -> None:
            entry.frames += row["frames"]
            note = f"loss {row['loss_total']:.3f}, {row['frames_per_s']:,.0f} frames/s"
            on_progress(stage, row["step"], config.steps, note)

        return train(folder, net, loader, config, on_step=told, data=loader.fingerprint)


def _loading(
    stores: Sequence[Store], config: LoaderConfig, ledger: Ledger, on_progress: OnProgress
) -> dict[str, float]:
    """The loader's own rate, without the network, every window decoded; measured once for a run."""
    if not ledger.entry("load").frames:
        on_progress("measuring the loader", 0, 1, "")
        batches = Loader(stores, replace(config, keep_bytes=0)).batches(0)
        with ledger.measure("load") as entry:
            until_s = time.monotonic() + 3.0
            for batch in batches:
                entry.frames += batch.frame_count
                if time.monotonic() > until_s:
                    break
        batches.close()
    return ledger.entry("load").rates()


def _ingest_facts(stores: dict[str, Store], ledger: Ledger) -> dict[str, Any]:
    entries = {name: ledger.entry(f"ingest {name}") for name in stores}
    energies = [entry.energy for entry in entries.values() if entry.energy is not None]
    frames = sum(entry.frames for entry in entries.values())
    seconds = sum(energy.wall_s for energy in energies)
    core_s = sum(energy.core_s for energy in energies)
    sources = {
        name: {**_faults(store), **entries[name].rates(), **store_stats(store)}
        for name, store in stores.items()
    }
    return {
        "clips": sum(source["clips"] for source in sources.values()),
        "frames": sum(source["frames"] for source in sources.values()),
        "rejects": sum(source["rejects"] for source in sources.values()),
        "damaged_clips": sum(source["damaged_clips"] for source in sources.values()),
        "seconds": seconds,
        "frames_per_s": frames / seconds if seconds else 0.0,
        "frames_per_core_s": frames / core_s if core_s else 0.0,
        "sources": sources,
    }


def _faults(store: Store) -> dict[str, int]:
    """What the store's rejects.jsonl tells of: all attempts, each fault once."""
    path = store.path / "rejects.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [json.loads(line)["kept_frames"] for line in lines]
    return {"rejects": kept.count(0), "damaged_clips": len(kept) - kept.count(0)}


def _train_facts(result: TrainResult, home: Path, loading: dict[str, float]) -> dict[str, Any]:
    return {
        "steps": result.steps,
        "frames": result.frames,
        "seconds": result.seconds,
        "frames_per_s": result.frames / result.seconds if result.seconds else 0.0,
        "parameters": sum(p.numel() for p in load_network(home / "network").parameters()),
        "digest": result.digest,
        "device": f"{len(os.sched_getaffinity(0))} processor cores",
        "run": str(home / "network"),
        "loading": loading,
    }
