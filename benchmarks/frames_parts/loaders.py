"""Against webdataset, litdata and mosaicml-streaming over the same encoded windows."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from common.document import Section
from common.environments import python_of
from common.line import LineProcess, PeerFailed
from common.stores import Measured
from common.turns import Runner, by_turns, median, ratios
from frames_parts.own import FRAMES, Bench, OwnLoader, check_batches

__all__ = ["run"]

PEERS = Path(__file__).resolve().parents[1] / "peers"
NAMES = {"webdataset": "1.0.2", "litdata": "0.2.76", "streaming": "0.13.0"}
BAR = 1.3


def run(bench: Bench) -> Section:
    """H.264, 512x256, with one worker and with two; the worse of the two is held to the bar."""
    section = Section("loaders", "against loaders of encoded samples", not bench.smoke)
    section.say(bench.h264.line())
    section.say(
        "peers: " + ", ".join(f"{name} {version}" for name, version in NAMES.items())
        + f"; a sample is the packets of one window and the decoder settings; decoded in their "
        f"workers by PyAV as ours are (one decoder kept, no drain, planes copied once), collated "
        f"into batches of {bench.batch}; local files, page cache warm"
    )  # fmt: skip
    plan = _plan(bench, bench.h264)
    with LineProcess(PEERS / "loaders_peer.py", plan, "write", python=python_of("loaders")) as peer:
        peer.ask("write")
    for name in NAMES:
        values = {}
        for workers in bench.workers:
            try:
                rates = _rates(bench, bench.h264, plan, name, workers)
            except PeerFailed as failure:
                section.say(f"{name}, {workers} workers: left out, {failure}")
                continue
            for who, rate in rates.items():
                section.add(
                    f"{name}_{workers}_{who}", f"{name} x{workers}: {who}", rate, "frames/s"
                )
            over = ratios(rates["ours"], rates[name])
            values[workers] = median(over)
            section.add(f"over_{name}_{workers}", f"ours over {name}, {workers}", over, "times")
        if values:
            section.bar(name, min(values.values()), BAR, "times")
    return section


def _plan(bench: Bench, measured: Measured) -> str:
    """Lay down one file per window, and the plan that the peers go by."""
    sys.path.insert(0, str(PEERS))
    from sample import pack

    samples = bench.folder / "samples"
    samples.mkdir(exist_ok=True)
    store, number = measured.store, 0
    for episode in store.episodes:
        codec, extradata = store.extradata(episode, "front")
        for first in range(0, episode.instants - FRAMES + 1, FRAMES):
            packets = store.packets(episode, "front", first, FRAMES)
            sample = pack(codec, extradata, packets, store.spec.frame_bytes)
            (samples / f"{number:06d}.bin").write_bytes(sample)
            number += 1
    path = bench.folder / "loaders.json"
    plan = {
        "samples": str(samples),
        "home": str(bench.folder),
        "batch": bench.batch,
        # so that no epoch ends within a turn
        "rounds": -(-int(4_000 * bench.seconds * (bench.repeats + 2)) // number),
    }
    path.write_text(json.dumps(plan))
    return str(path)


def _rates(
    bench: Bench, measured: Measured, plan: str, name: str, workers: int
) -> dict[str, list[float]]:
    with ExitStack() as stack:
        script, python = PEERS / "loaders_peer.py", python_of("loaders")
        peer = stack.enter_context(LineProcess(script, plan, name, str(workers), python=python))
        path = bench.folder / f"{name}.npy"
        peer.ask("check", path=str(path))
        for window in np.load(path):
            measured.check(window)
        ours = stack.enter_context(OwnLoader(measured.store, bench, workers=workers))
        check_batches(ours, measured, 1)
        runners: dict[str, Runner] = {"ours": ours, name: peer}
        return by_turns(runners, bench.repeats, bench.seconds)
