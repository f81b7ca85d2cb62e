"""Opens a huge store in a fresh process, takes batches, and looks at its memory."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: F401 (the clock starts after it)

from common.footage import clips
from common.stores import store_of
from common.turns import children
from frames_parts.own import config
from frames_parts.seven import CAMERAS
from opendojo.clip import Clip
from opendojo.loader import Loader, LoaderConfig
from opendojo.store import Store, StoreSpec
from opendojo.store.synthetic import synthetic_store
from peers.protocol import serve

MB = 1 << 20
SPEC = StoreSpec(width_px=128, height_px=64)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Pages of a process in MB, without those of the loader's ring."""

    private: float
    share: float
    """Its proportional share: pages that n processes map count 1/n for each."""
    kept: float
    """Of `share`, windows kept decoded for later epochs, in memory that processes share."""


def memory_of(pid: int) -> Memory:
    """Read them off its mappings."""
    found = dict.fromkeys(("Private_Clean:", "Private_Dirty:", "Pss:"), 0)
    kept, name = 0, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):  # the head of a mapping
            name = words[5] if len(words) > 5 else ""
        elif name.startswith("/memfd:opendojo-kept"):
            kept += int(words[1]) if words[0] == "Pss:" else 0
        elif words[0] in found and not name.startswith("/memfd:opendojo-ring"):
            found[words[0]] += int(words[1])
    private = found["Private_Clean:"] + found["Private_Dirty:"]
    return Memory(private / 1024, (found["Pss:"] + kept) / 1024, kept / 1024)


def torch_alone() -> Memory:
    """Memory of a process that has imported torch and nothing of ours."""
    code = "import torch, sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return memory_of(process.pid)


def measure(home: str, workers: int, batch: int) -> dict[str, Any]:
    """Seconds and megabytes of one opening, with the settings of `LoaderConfig` as they come."""
    began = time.perf_counter()
    store = Store.open(home)
    open_s = time.perf_counter() - began
    cameras = tuple(camera.name for camera in store.episodes[0].cameras)
    # As anyone has it who sets nothing: what is kept for later epochs counts.
    kept = LoaderConfig().keep_bytes
    settings = config(batch=batch, workers=workers, cameras=cameras, keep_bytes=kept)
    loader = Loader([store], settings)
    batches = loader.batches(0)
    next(batches)
    first_batch_s = time.perf_counter() - began
    for _ in range(20):
        next(batches).yuv.sum()  # touches each page of the ring
    own, started = psutil.Process(), children()
    consumer = memory_of(own.pid)
    working = [memory_of(process.pid) for process in started]
    alone = torch_alone()
    workers_mb = sum(one.private for one in working)
    kept_mb = consumer.kept + sum(one.kept for one in working)
    told = {
        "open_s": open_s,
        "first_batch_s": first_batch_s,
        "private_mb": consumer.private - alone.private + workers_mb + kept_mb,
        "kept_mb": kept_mb,
        "consumer_mb": consumer.private - alone.private,
        "workers_mb": workers_mb,
        "share_mb": consumer.share - alone.share + sum(one.share for one in working),
        "consumer_rss_mb": own.memory_info().rss / MB,
        "workers_rss_mb": sum(process.memory_info().rss for process in started) / MB,
        "torch_mb": alone.private,
    }
    batches.close()
    return told


def make(home: str, frames: int, instants: int) -> dict[str, Any]:
    """A part of 16 real clips of seven cameras, over and over."""
    template = store_of(Path(f"{home}-template"), SPEC, template_clips(instants))
    began = time.perf_counter()
    clips = -(-frames * len(template.episodes) // template.frames)
    store = synthetic_store(home, clips=clips, template=template)
    return {
        "frames": store.frames,
        "clips": len(store.episodes),
        "seconds": time.perf_counter() - began,
    }


def template_clips(instants: int) -> list[Clip]:
    """Clips with the same pictures under ids of their own: an index does not look at pictures."""
    (clip,) = clips(1, SPEC.width_px / SPEC.height_px, CAMERAS, frames=instants)
    steps = list(clip.frames(SPEC.width_px, SPEC.height_px))
    return [
        dataclasses.replace(clip, clip_id=f"{number:032x}", read=lambda width, height: iter(steps))
        for number in range(16)
    ]


def main() -> None:
    """`index_process.py STORE`."""
    home = sys.argv[1]
    serve(
        {
            "make": lambda frames, instants: make(home, frames, instants),
            "measure": lambda workers, batch: measure(home, workers, batch),
        }
    )


if __name__ == "__main__":
    main()
