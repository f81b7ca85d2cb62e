"""Staging on a Ray cluster: the same pipeline on many machines.

Ray Data moves batches of clips to the nodes and staged parts' names back; the frames themselves go
from source to staging folder on storage that every node sees. One task is a batch of clips, never
a frame: a Ray driver starts some 350 tasks a second.

Exactly-once is the store's, not Ray's. A task that is run twice, because its worker or node was
killed or its result was lost with one, stages the same clips twice; the publisher takes a clip by
its content hash and takes it once, and what is left over goes with the staging folder. So Ray Data
may retry without end, as it does, and a batch may go to another node where one cannot write. What a
hostile recording does is not Ray's either: within its task a clip is staged by `Workers`, in a
process that may die or hang alone.

Ray executes what it is sent by anyone who reaches its ports: keep a cluster on a private network.
One started here listens on loopback only, without dashboard and without telemetry.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from opendojo.ingest.options import IngestOptions
from opendojo.ingest.workers import Batch, Staged, Workers
from opendojo.store import StoreSpec

__all__ = ["Cluster"]

_TRIES = 3
"""How often a batch is given to the cluster where the node it went to cannot write."""
_PAUSE_S = 2.0
_WAVE = 16
"""Batches for each core that are handed to Ray at a time."""


class Cluster:
    """Stages batches on Ray; connects to it, or starts one on this machine, and leaves it."""

    def __init__(self, spec: StoreSpec, staging: Path, options: IngestOptions) -> None:
        self._task = (spec, staging.absolute(), options)
        self._ray = _connected(options.cluster)
        self._ended_cpu_s = 0.0

    @property
    def width(self) -> int:
        """Batches that are worked on at a time: the cluster's cores."""
        return max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    @property
    def cpu_s(self) -> float:
        """Processor time of all staging whose results came back."""
        return self._ended_cpu_s

    def run(self, batches: Iterator[Batch | None]) -> Iterator[Staged]:
        """See `Workers.run`; results of a wave come as they are ready.

        A batch whose node could not write is given to the cluster again, with a later wave, before
        that is final.
        """
        there = ((batch, 1) for batch in batches if batch is not None)
        again: list[tuple[Batch, int]] = []
        while wave := [*again, *islice(there, _WAVE * self.width)]:
            again = []
            rows = [{"work": pickle.dumps((self._task, *work))} for work in wave]
            blocks = self._ray.data.from_items(rows, override_num_blocks=len(rows))
            staged = blocks.map(_stage_row, num_cpus=1)
            for row in staged.iter_rows():
                batch, tries, results, cpu_s = pickle.loads(row["done"])
                self._ended_cpu_s += cpu_s
                if not isinstance(results, OSError):
                    yield from results
                elif tries == _TRIES:
                    raise results
                else:
                    again.append((batch, tries + 1))
            if again:
                time.sleep(_PAUSE_S)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()


def _stage_row(row: dict[str, Any]) -> dict[str, Any]:
    """One batch, on a node: staged in a process of its own."""
    (spec, staging, options), batch, tries = pickle.loads(row["work"])
    with Workers(1, spec, staging, options) as workers:
        try:
            results: list[Staged] | OSError = list(workers.run(iter([batch])))
        except OSError as fault:
            results = fault
        return {"done": pickle.dumps((batch, tries, results, workers.cpu_s))}


def _connected(address: str) -> Any:
    """The `ray` module, connected. Raises `ValueError` without Ray, `ConnectionError` without it
    answering.
    """
    # read when ray is imported
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as fault:
        raise ValueError('--cluster needs Ray: pip install "opendojo[cluster]"') from fault
    here: dict[str, Any] = {"address": address}
    if address == "local":
        # loopback only, and nothing that listens beside what tasks need
        here |= {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    ray.init(**here, log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray
