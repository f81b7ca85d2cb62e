"""Kills workers at random moments and counts the epochs that came out as if nothing had happened.

python tests/loader/kills.py STORE --kills 200 --workers 2
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import threading
import time

from opendojo.loader import Batch, Loader, LoaderConfig
from opendojo.store import Store


def digest(batch: Batch) -> str:
    """A hash of every tensor of a batch."""
    sha = hashlib.sha256()
    for tensor in batch.tensors().values():
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def run_kills(store: Store, kills: int, *, workers: int = 2, seed: int = 0) -> tuple[int, int]:
    """Read epochs over and over while a thread kills workers; returns (kills, kills in epochs that
    gave every batch of the undisturbed run, bit for bit and in its order)."""
    config = LoaderConfig(batch=4, workers=0, keep_bytes=0)
    expected = [digest(batch) for batch in Loader([store], config).batches(0)]
    loader = Loader([store], LoaderConfig(batch=4, workers=workers, keep_bytes=0))
    rng = random.Random(seed)
    done = good = 0
    while done < kills:
        killed, over = [0], threading.Event()
        pauses = [rng.expovariate(1 / 0.05) for _ in range(kills - done)]
        thread = threading.Thread(target=_kill, args=(loader, pauses, killed, over, rng))
        thread.start()
        try:
            got = [digest(batch) for _ in range(4) for batch in loader.batches(0)]
        finally:
            over.set()
            thread.join()
        done += killed[0]
        good += killed[0] if got == expected * 4 else 0
    loader.close()
    return done, good


def _kill(
    loader: Loader,
    pauses: list[float],
    killed: list[int],
    over: threading.Event,
    rng: random.Random,
) -> None:
    for pause_s in pauses:
        if over.wait(pause_s):
            return
        victims = loader.worker_pids()
        if victims:
            os.kill(rng.choice(victims), signal.SIGKILL)
            killed[0] += 1
            time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    done, good = run_kills(Store.open(chosen.store), chosen.kills, workers=chosen.workers)
    print(f"{good} of {done} kills left every batch as it was")
    sys.exit(good != done)


if __name__ == "__main__":
    main()
