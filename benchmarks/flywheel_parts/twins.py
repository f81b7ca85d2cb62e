"""De-duplication of synthetic embeddings: memory, recall of planted twins, false ones, rate."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from common.document import Section
from flywheel_parts.bench import Bench

__all__ = ["run"]

DIMS, PART, COSINE = 64, 1 << 15, 0.99
PLANTED = 20_000


def run(bench: Bench) -> Section:
    """In a process of its own, so that its memory is its own."""
    section = Section("twins", "de-duplication in bounded memory", not bench.smoke)
    count = 300_000 if bench.smoke else 10_000_000
    call = [sys.executable, str(Path(__file__)), str(count)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=_env())
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    section.say(
        f"{count:,} unit vectors of {DIMS} numbers, evenly spread over the sphere; "
        f"{told['planted']:,} of them twins at cosine {COSINE} of one in the first half"
    )
    section.add("memory", "most memory of the process, all in", told["rss_mb"], "MB")
    section.add("recall", "planted twins found", told["recall"], "")
    section.add("false", "others taken for twins", told["false"], "")
    section.add("rate", "vectors a second, one thread", told["rate"], "/s")
    section.bar("memory", told["rss_mb"], 500.0, "MB", at_most=True)
    section.bar("recall", told["recall"], 0.98, "")
    return section


def _env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}


def _unit(rng: np.random.Generator, n: int) -> np.ndarray:
    points = rng.standard_normal((n, DIMS), np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _measure(count: int) -> dict[str, float]:
    """Stream vectors; those of some parts come back later, a little moved."""
    from opendojo.flywheel.dedupe import Dedupe, DedupeConfig

    rng = np.random.default_rng(0)
    dedupe = Dedupe(DedupeConfig(dims=DIMS, capacity=count))
    parts = count // PART
    each = max(1, PLANTED // (parts // 2))
    kept = np.empty((each * (parts // 2), DIMS), np.float32)
    found = planted = wrong = 0
    spent_s = 0.0
    for part in range(parts):
        some, twin = _unit(rng, PART), np.zeros(PART, bool)
        k = part - parts // 2
        if part < parts // 2:
            kept[part * each : (part + 1) * each] = some[:each]
        elif k < parts // 2:
            old = kept[k * each : (k + 1) * each]
            off = _unit(rng, len(old))
            off -= (off * old).sum(1, keepdims=True) * old
            off /= np.linalg.norm(off, axis=1, keepdims=True)
            some[: len(old)] = COSINE * old + np.sqrt(1 - COSINE**2) * off
            twin[: len(old)] = True
        began_s = time.perf_counter()
        told = dedupe.add(some) >= 0
        spent_s += time.perf_counter() - began_s
        found, planted = found + int(told[twin].sum()), planted + int(twin.sum())
        wrong += int(told[~twin].sum())
    return {
        "planted": planted,
        "recall": found / planted,
        "false": wrong / (parts * PART - planted),
        "rate": parts * PART / spent_s,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
