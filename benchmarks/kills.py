"""Kills (-9) at random moments; after each the store and the batches must be as if nothing was.

    ./dojo python benchmarks/kills.py --count 200 [--smoke] [--save]

Killed are: workers of the loader; processes that an ingest started (searcher, workers, and what
forks them); the whole ingest, which is then run again; workers of Ray and whole Ray nodes while
they stage (left out where Ray is not installed). The reference is one undisturbed run: for every
clip its instants, a hash of its packets and one of its decoded frames, and its log; for the loader
a hash of every batch. A kill counts as good where everything that came of it equals the reference
and the store verifies.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import av
import numpy as np
import psutil

from common.document import Section, document, save
from opendojo.ingest import IngestOptions, ingest
from opendojo.store import Store, StoreSpec, verify_store

CLIPS, FRAMES, SIZE = 8, 40, (160, 96)
SPEC = StoreSpec(width_px=64, height_px=32)
LEAST_SHARE = {"loader workers": 0.25, "ingest workers": 0.3, "ingests": 0.3,
               "ray workers": 0.1, "ray nodes": 0.05}  # fmt: skip
Manifest = dict[str, tuple[Any, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=200, help="kills in all")
    parser.add_argument("--smoke", action="store_true", help="10 kills, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind, such as `ray workers`")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    parser.add_argument("--ingest", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ingest:
        return run_ingest(*chosen.ingest)
    with tempfile.TemporaryDirectory(prefix="opendojo-kills-") as folder:
        bench = Bench(Path(folder), random.Random(chosen.seed))
        count = 10 if chosen.smoke else chosen.count
        section = bench.run(count, chosen.smoke or bool(chosen.only), chosen.only)
    print(section.text(), file=sys.stderr)
    told = document("kills", f"./dojo python benchmarks/kills.py --count {chosen.count}", [section])
    if chosen.save:
        print(f"kept as {save(told)}")
    print(json.dumps(told))
    return None


def run_ingest(store: str, source: str, cluster: str, workers: str) -> None:
    """One ingest in a process of its own."""
    options = IngestOptions(cluster=cluster)
    report = ingest([source], Store.create(store, SPEC), workers=int(workers), options=options)
    assert report.rejects == report.damaged == 0, report


def manifest(store: Store) -> Manifest:
    """Everything that must come out alike: per clip its frames, packets, pictures and log."""
    found: Manifest = {}
    for episode in store.episodes:
        cameras = [camera.name for camera in episode.cameras]
        packets = hashlib.sha256()
        for name in cameras:
            for packet in store.packets(episode, name, 0, episode.instants):
                packets.update(packet)
        shape = (episode.instants, len(cameras), store.spec.frame_bytes)
        pictures = np.empty(shape, np.uint8)
        store.decode(episode, range(episode.instants), pictures)
        told = store.log(episode)
        log = hashlib.sha256(told.time_s.tobytes())
        for column in told.columns().values():
            log.update(column.tobytes())
        assert episode.clip_id not in found, "a clip is there twice"
        found[episode.clip_id] = (
            episode.instants,
            packets.hexdigest(),
            hashlib.sha256(pictures.tobytes()).hexdigest(),
            log.hexdigest(),
        )
    return found


class Bench:
    """The recordings, the reference, and one method for each kind of kill."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.source = folder / "source"
        self.source.mkdir()
        for number in range(CLIPS):
            make_video(self.source / f"drive-{number}.mp4", number)
        self.store = folder / "undisturbed"
        began_s = time.monotonic()
        run_ingest(str(self.store), str(self.source), "", "2")
        self.ingest_s = time.monotonic() - began_s
        self.expected = manifest(Store.open(self.store))
        assert len(self.expected) == CLIPS
        self.again = folder / "disturbed"

    def run(self, count: int, smoke: bool, only: str | None) -> Section:
        """Kills of every kind (or of one), `count` in all."""
        section = Section("kills", "kill -9 at random moments", not smoke)
        kinds: dict[str, Callable[[int], tuple[int, int]]] = {
            "loader workers": self.loader_workers,
            "ingest workers": self.ingest_workers,
            "ingests": self.ingests,
        }
        if importlib.util.find_spec("ray") is None:
            section.say("Ray is not installed here: its workers and nodes were not killed")
        else:
            kinds = {"ray nodes": self.ray_nodes, "ray workers": self.ray_workers, **kinds}
        if only is not None:
            kinds = {only: kinds[only]}
        section.say(f"{CLIPS} clips of {FRAMES} frames; undisturbed: {self.ingest_s:.1f} s")
        shares = {kind: LEAST_SHARE[kind] for kind in kinds}
        total = sum(shares.values())
        wanted = {kind: max(1, int(count * share / total)) for kind, share in shares.items()}
        wanted[next(reversed(wanted))] += max(0, count - sum(wanted.values()))
        kills = good = 0
        for kind, method in kinds.items():
            began_s = time.monotonic()
            killed, fine = method(wanted[kind])
            say(f"{kind}: {fine} of {killed} good, {time.monotonic() - began_s:.0f} s")
            section.add(kind.replace(" ", "_"), f"{kind} killed", killed, "kills")
            kills, good = kills + killed, good + fine
        section.bar("unharmed", good, kills, "kills")
        section.add("count", "all kinds together", kills, "kills")
        return section

    def loader_workers(self, count: int) -> tuple[int, int]:
        """Kill workers while batches are taken; every batch must have the same bits."""
        from opendojo.loader import Loader, LoaderConfig

        def digests(loader: Loader) -> list[str]:
            return [digest(batch) for batch in loader.batches(0)]

        stores = [Store.open(self.store)]
        config: dict[str, Any] = {"batch": 4, "keep_bytes": 0, "cameras": ("front",)}
        expected = digests(Loader(stores, LoaderConfig(workers=0, **config)))
        loader = Loader(stores, LoaderConfig(workers=2, **config))
        killed = good = 0
        while killed < count:
            done = self._during(
                lambda: loader.worker_pids(), min(5, count - killed), 0.05, lambda: digests(loader)
            )
            killed += done[0]
            good += done[0] * (done[1] == expected)
            say(f"loader workers: {killed} of {count}")
        loader.close()
        return killed, good

    def ingest_workers(self, count: int) -> tuple[int, int]:
        """Kill processes that an ingest started, whichever, several in each; it must not notice.

        The pauses between them are shorter than the work on a batch, so that some meet one clip
        again and again.
        """
        killed = good = 0
        while killed < count:
            shutil.rmtree(self.again, ignore_errors=True)
            with self._ingest("") as process:
                victims = lambda: [c.pid for c in offspring(process.pid)]  # noqa: E731
                pause_s = self.rng.uniform(0.1, 0.6) * self.ingest_s
                some, code = self._during(victims, min(4, count - killed), pause_s, process.wait)
            killed += some
            good += some * (code == 0 and self._equal())
            say(f"ingest workers: {killed} of {count}")
        return killed, good

    def ingests(self, count: int) -> tuple[int, int]:
        """Kill the ingest itself, three times over, and let it end the fourth time."""
        killed = good = 0
        while killed < count:
            shutil.rmtree(self.again, ignore_errors=True)
            fine, here = True, min(3, count - killed)
            for _ in range(here):
                with self._ingest("") as process, contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self.rng.uniform(0.2, 1.1) * self.ingest_s)
                if (self.again / "store.json").exists():
                    fine &= all(fault.harmless for fault in verify_store(Store.open(self.again)))
            with self._ingest("") as process:
                fine &= process.wait() == 0
            killed += here
            good += here * (fine and self._equal())
            say(f"ingests: {killed} of {count}")
        return killed, good

    def ray_workers(self, count: int) -> tuple[int, int]:
        """Kill processes in which Ray runs tasks."""

        def victims() -> list[int]:
            # A node's own agents are called so too; with one of them the node goes.
            names = {p.pid: named(p) for p in offspring(os.getpid())}
            return [i for i, n in names.items() if n.startswith("ray::") and "Agent" not in n]

        killed = good = 0
        with ray_cluster() as cluster:
            while killed < count:
                shutil.rmtree(self.again, ignore_errors=True)
                with self._ingest(cluster.address) as process:
                    some, code = self._during(victims, min(4, count - killed), 2.0, process.wait)
                some = max(some, int(code != 0))  # it failed all by itself
                killed += some
                good += some * (code == 0 and self._equal())
                say(f"ray workers: {killed} of {count}")
        return killed, good

    def ray_nodes(self, count: int) -> tuple[int, int]:
        """Take a node away without notice, and add another."""
        killed = good = 0
        with ray_cluster() as cluster:
            nodes = [cluster.add_node(num_cpus=1)]
            while killed < count:
                shutil.rmtree(self.again, ignore_errors=True)
                some, here = 0, min(2, count - killed)
                with self._ingest(cluster.address) as process:
                    while process.poll() is None and some < here:
                        time.sleep(self.rng.uniform(4.0, 10.0))
                        cluster.remove_node(nodes.pop(), allow_graceful=False)
                        nodes.append(cluster.add_node(num_cpus=1))
                        some += 1
                    code = process.wait()
                killed += some
                good += some * (code == 0 and self._equal())
                say(f"ray nodes: {killed} of {count}")
        return killed, good

    @contextlib.contextmanager
    def _ingest(self, cluster: str) -> Iterator[subprocess.Popen[bytes]]:
        """An ingest in a process of its own, ended by force with the context."""
        words = [str(self.again), str(self.source), cluster, "2"]
        command = [sys.executable, __file__, "--ingest", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, env=environment, stdout=sys.stderr) as process:
            try:
                yield process
            finally:
                process.kill()

    def _during(
        self, victims: Callable[[], list[int]], kills: int, pause_s: float, work: Callable[[], Any]
    ) -> tuple[int, Any]:
        """Kill up to so many of the victims of the moment while `work` runs; kills and result."""
        over, killed = threading.Event(), [0]

        def kill() -> None:
            while killed[0] < kills and not over.wait(self.rng.uniform(0.5, 1.5) * pause_s):
                if there := victims():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.rng.choice(there), signal.SIGKILL)
                        killed[0] += 1

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            result = work()
        finally:
            over.set()
            thread.join()
        return killed[0], result

    def _equal(self) -> bool:
        store = Store.open(self.again)
        faults = [fault for fault in verify_store(store) if not fault.harmless]
        return not faults and manifest(store) == self.expected


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """A Ray head with one core; the drivers connect to it by its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def digest(batch: Any) -> str:
    """A hash of all that a batch holds."""
    whole = hashlib.sha256()
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        whole.update(value.contiguous().numpy().tobytes() if hasattr(value, "numpy") else b"")
    return whole.hexdigest()


def offspring(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def named(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        return process.cmdline()[0]
    return ""


def make_video(path: Path, seed: int) -> None:
    """A video of moving stripes, different for each seed."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        columns = np.arange(SIZE[0])
        for index in range(FRAMES):
            line = 126 + 80 * np.sin(columns / (5 + seed) + 0.3 * index)
            grey = np.repeat(np.tile(line.astype(np.uint8), (SIZE[1], 1))[:, :, None], 3, 2)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        out.mux(stream.encode(None))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
