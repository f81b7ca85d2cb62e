"""A store of 10^9 frames: time to open it and to the first batch, and the memory it takes."""

from __future__ import annotations

from pathlib import Path

from common.document import Section
from common.line import LineProcess
from frames_parts.own import Bench

__all__ = ["run"]

OURS = Path(__file__).with_name("index_process.py")
OPEN_S, FIRST_S, MEMORY_MB = 1.0, 2.0, 300.0
WORKERS = 2


def run(bench: Bench) -> Section:
    """Each repeat is a fresh process; clocks start when its imports are done."""
    section = Section("index", "a store of 1e9 frames", not bench.smoke)
    frames = 1_000_000 if bench.smoke else 1_000_000_000
    home = bench.folder / "synthetic"
    with LineProcess(OURS, str(home)) as line:
        made = line.ask("make", frames=frames, instants=40 if bench.smoke else 200)
    section.say(
        f"{made['frames']:,} frames in {made['clips']:,} clips, made in {made['seconds']:.0f} s; "
        f"{WORKERS} workers, batches of {bench.batch} windows of 8, random places, page cache warm"
    )
    section.say(
        "memory: private pages (not those of the ring, which is shared) after 20 batches; the "
        "consumer's above a process that only imports torch, plus the workers' whole"
    )
    told = []
    for _ in range(bench.repeats):
        with LineProcess(OURS, str(home)) as line:
            told.append(line.ask("measure", workers=WORKERS, batch=bench.batch))
    names = {
        "open_s": ("Store.open", "s"),
        "first_batch_s": ("Store.open to the first batch", "s"),
        "private_mb": ("private memory beside the ring", "MB"),
        "share_mb": ("the same by proportional share (mapped files in it)", "MB"),
        "consumer_mb": ("private, of it the consumer, above import torch", "MB"),
        "workers_mb": ("private, of it the workers", "MB"),
        "consumer_rss_mb": ("resident, consumer (torch and ring in it)", "MB"),
        "workers_rss_mb": ("resident, workers (shared pages in each)", "MB"),
        "torch_mb": ("a process that only imports torch, private", "MB"),
    }
    figures = {
        key: section.add(key, what, [one[key] for one in told], unit)
        for key, (what, unit) in names.items()
    }
    section.bar("open", figures["open_s"].median, OPEN_S, "s", at_most=True)
    section.bar("first_batch", figures["first_batch_s"].median, FIRST_S, "s", at_most=True)
    section.bar("memory", figures["private_mb"].median, MEMORY_MB, "MB", at_most=True)
    return section
