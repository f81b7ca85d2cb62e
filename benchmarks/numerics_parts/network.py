"""The same network in every format: the recipe `town`, shortened, and how it drives afterwards.

A run of a seed sees the same batches and the same first weights in each precision. The final loss
is the mean over the last steps; the score is that of a network which has hardly begun to learn.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common.document import Section
from numerics_parts.exact import Bench
from opendojo.evaluate import NetworkDriver, held_out, table
from opendojo.evaluate.closed_loop import DriveConfig
from opendojo.formats import names
from opendojo.model import NetConfig
from opendojo.recipes.live import LiveConfig, LiveSource
from opendojo.train import OptimConfig, TrainConfig, load_network, train

__all__ = ["run"]

JUDGED, AGAINST, APART = "cfloat8", "bf16", 0.02
TOWNS = ("country", "urban", "highway")


def run(bench: Bench) -> Section:
    """Final losses relative to float32's, of each seed, and driving scores."""
    section = Section("network", "one network in every format", not bench.smoke)
    every = (AGAINST, JUDGED) if bench.smoke else ("fp32", "bf16", *sorted(names("precision")))
    seeds = range(1) if bench.smoke else range(3)
    steps, batch, roads = (2, 2, 1) if bench.smoke else (200, 8, 2)
    losses: dict[str, list[float]] = {name: [] for name in every}
    scores: dict[str, list[float]] = {name: [] for name in every}
    kept = contextlib.nullcontext(bench.work) if bench.work else tempfile.TemporaryDirectory()
    with kept as place:
        for seed in seeds:
            for name in every:
                folder = Path(place) / f"{seed}-{name}"
                source = _source(Path(place) / f"live-{seed}", seed, steps, batch, bench.smoke)
                losses[name].append(_trained(folder, source, name, seed, bench.threads))
                scores[name].append(_driven(folder, roads))
    section.say(
        f"size tiny, three cameras of 128x64, {steps} steps of {batch} windows of the expert's "
        f"drives, four instants each, AdamW; final loss: mean of the last tenth; "
        f"score: {3 * roads} held-out roads of three kinds; n seeds"
    )
    base = losses["fp32" if "fp32" in every else AGAINST]
    for name in every:
        section.add(f"{name}_loss", f"{name} final loss", losses[name], "")
        ratio = [a / b for a, b in zip(losses[name], base, strict=True)]
        section.add(f"{name}_ratio", f"{name} final loss over fp32", ratio, "")
        section.add(f"{name}_score", f"{name} driving score", scores[name], "of 100")
    apart = statistics.mean(a / b for a, b in zip(losses[JUDGED], losses[AGAINST], strict=True))
    section.bar("apart", abs(apart - 1.0), APART, f"{JUDGED} / {AGAINST}, off 1", at_most=True)
    return section


def _source(folder: Path, seed: int, steps: int, batch: int, smoke: bool) -> LiveSource:
    live = LiveConfig(
        worlds=2 if smoke else 24, steps=8 if smoke else 160, rounds=1, round_steps=steps,
        batch=batch, seed=seed, instants=() if smoke else (0, 4, 6, 7),
    )  # fmt: skip
    return LiveSource(folder, live, NetConfig(size="tiny"))


def _trained(folder: Path, source: LiveSource, name: Any, seed: int, threads: int) -> float:
    """Train in one precision; the mean loss of the last tenth of the steps."""
    steps = len(source)
    config = TrainConfig(
        steps=steps, seed=seed, checkpoint_every=steps, precision=name, threads=threads,
        optim=OptimConfig(lr=1.5e-3, warmup_steps=min(50, steps)),
    )  # fmt: skip
    train(folder, NetConfig(size="tiny"), source, config, data=source.fingerprint)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return statistics.mean(row["loss_total"] for row in rows[-max(1, steps // 10) :])


def _driven(folder: Path, roads: int) -> float:
    scenes = held_out("clean", TOWNS, roads, 1)
    told = table(
        [NetworkDriver(load_network(folder))], scenes.sets, DriveConfig(world=scenes.config)
    )
    return float(told["drivers"]["network"]["score"]["mean"])
