"""How fast frames come out of a store on this machine, and what a fleet's day would need of it.

Three limits and one loader, in turns, so that a noisy machine is noisy for each of them: copying
(what memory allows), bare decoding (the same packets through one decoder, pictures dropped), and
the loader end to end to batches, with one worker and with one on every core.

    told = bench_frames(Path("runs/demo/store"), seconds=5.0)
    told["loading"]["cores"]         # for 16e9 frames a day; modelled
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from opendojo.ingest import ingest
from opendojo.loader import Loader, LoaderConfig, WindowSpec
from opendojo.machine import cores_for, machine_facts
from opendojo.store import Store, StoreSpec
from opendojo.store.codec import make_decoder

__all__ = ["bench_frames", "copy_bytes_per_s"]

_REPEATS = 5
_FRAMES = 8
_MOST_PACKETS = 4096
"""Packets held in memory for bare decoding."""
_INGESTED = 400
"""Frames that ingest is measured on."""
_DRAWN_S = 6.0
"""Length of the drives that are drawn where no store is given."""

Turn = Callable[[float], float]
"""Runs for so many seconds and returns frames a second."""


def bench_frames(store_path: Path | None = None, *, seconds: float = 5.0) -> dict[str, Any]:
    """Measure a store, or one of drawn frames of 512x256, and return what was found.

    `seconds` is the time for each of the things measured, over all its turns. Rates are
    {"median", "min", "max", "n"} in frames/s, counting each camera. Ingest is measured on some of
    the store's own video, since its source may be gone: a larger source takes more. Raises
    `ValueError` where there is no store, or none of its clips holds a window.
    """
    if seconds <= 0:
        raise ValueError(f"seconds must be above 0, not {seconds}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = _drawn_store(folder) if store_path is None else Store.open(store_path)
        rates = _measure(store, seconds, stack)
        taken_in = _ingest_rate(store, folder)
    return {
        "store": "drawn" if store_path is None else str(store_path),
        "codec": store.spec.codec,
        "width_px": store.spec.width_px,
        "height_px": store.spec.height_px,
        "frames": store.frames,
        "machine": machine_facts(),
        "rates": {name: _spread(values) for name, values in rates.items()},
        "loading": _share(rates, store.spec.frame_bytes),
        "ingest": {**cores_for(taken_in), "source": "the store's own video, of the same size"},
    }


def _share(rates: dict[str, list[float]], frame_bytes: int) -> dict[str, Any]:
    """Ratios of neighbouring turns, and the cores for a fleet's day."""

    def ratio(over: str, under: str) -> float:
        pairs = zip(rates[over], rates[under], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return {
        **cores_for(statistics.median(rates["one_worker"])),
        "share_of_bare_decode": ratio("one_worker", "bare_decode"),
        "share_of_memcpy": ratio("one_worker", "memcpy"),
        "all_over_one": ratio("all_workers", "one_worker"),
        "frame_bytes": frame_bytes,
    }


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "n": len(values),
        "unit": "frames/s",
    }


def _measure(store: Store, seconds: float, stack: ExitStack) -> dict[str, list[float]]:
    workers = len(os.sched_getaffinity(0))
    turns: dict[str, Turn] = {
        "memcpy": lambda _: copy_bytes_per_s(256 << 20) / store.spec.frame_bytes,
        "bare_decode": _bare(store),
        "one_worker": _loading(store, 1, stack),
        "all_workers": _loading(store, workers, stack),
    }
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for repeat in range(_REPEATS + 1):
        for name, turn in turns.items():
            rate = turn(seconds / _REPEATS)
            if repeat:  # the first round warms up
                rates[name].append(rate)
    return rates


def copy_bytes_per_s(size: int) -> float:
    """Bytes copied a second by one core, in blocks of `size` bytes: by its size memory or cache."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)  # each page touched
    times = max(1, (256 << 20) // size)
    began = time.perf_counter()
    for _ in range(times):
        np.copyto(target, source)
    return times * size / (time.perf_counter() - began)


def _bare(store: Store) -> Turn:
    """The same packets through one decoder in this process, with nothing copied."""
    runs, held = [], 0
    order = list(range(len(store.episodes)))
    random.Random(0).shuffle(order)
    for number in order:
        episode = store.episodes[number]
        for camera in episode.cameras:
            codec, extradata = store.extradata(episode, camera.name)
            whole = episode.instants // _FRAMES * _FRAMES
            packets = store.packets(episode, camera.name, 0, whole) if whole else []
            held += len(packets)
            runs.append(((codec, extradata), [av.Packet(packet) for packet in packets]))
        if held >= _MOST_PACKETS:
            break
    decoders = {key: make_decoder(*key) for key, _ in runs}

    def turn(seconds: float) -> float:
        frames, began = 0, time.perf_counter()
        while True:
            for key, packets in runs:
                decode = decoders[key].decode
                for packet in packets:
                    decode(packet)
                frames += len(packets)
                spent = time.perf_counter() - began
                if spent >= seconds and frames:
                    return frames / spent

    return turn


def _loading(store: Store, workers: int, stack: ExitStack) -> Turn:
    """The loader, with its workers started; the consumer takes batches and does nothing."""
    cameras = tuple(camera.name for camera in store.episodes[0].cameras)
    config = LoaderConfig(
        batch=8,
        cameras=cameras,
        window=WindowSpec(frames=_FRAMES, rate_hz=None),
        split="all",
        workers=workers,
        keep_bytes=0,
        weights=(1000.0,),  # one epoch lasts for all turns
    )
    batches = stack.enter_context(closing(Loader([store], config).batches(0)))
    ahead = config.slots + 1

    def turn(seconds: float) -> float:
        for _ in range(ahead):  # what the workers had ready from before
            next(batches)
        frames, began = 0, time.perf_counter()
        while True:
            batch = next(batches)
            frames += int(batch.camera_mask.sum()) * _FRAMES
            spent = time.perf_counter() - began
            if spent >= seconds:
                break
        time.sleep(1.5 * ahead * 8 * _FRAMES * len(cameras) * spent / frames)
        return frames / spent

    return turn


def _drawn_store(folder: Path) -> Store:
    """A store of drawn frames of 512x256."""
    from opendojo.world import WorldConfig, front_three, record_fleet

    config = WorldConfig(cameras=front_three(512, 256))
    record_fleet(folder / "drives", drives=1, seconds=_DRAWN_S, config=config, processes=1)
    store = Store.create(folder / "store", StoreSpec(width_px=512, height_px=256))
    ingest([folder / "drives"], store)
    return store.reload()


def _ingest_rate(store: Store, folder: Path) -> float:
    """Frames a core-second of ingesting the first frames of one of the store's videos again."""
    source = folder / "sample.mp4"
    video = next(path for path in sorted(store.path.glob("*/videos/**/*.mp4")))
    with av.open(str(video)) as whole, av.open(str(source), "w") as part:
        stream = whole.streams.video[0]
        copied = part.add_stream_from_template(stream)
        for packet in islice(whole.demux(stream), _INGESTED):
            if packet.size:
                packet.stream = copied
                part.mux(packet)
    report = ingest([source], Store.create(folder / "again", store.spec), workers=1)
    return report.frames_new / report.cpu_seconds
