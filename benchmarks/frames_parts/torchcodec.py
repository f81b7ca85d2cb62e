"""Against torchcodec in a torch DataLoader on the same files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from common.document import Section
from common.environments import python_of
from common.line import LineProcess
from common.stores import Measured, frames_of
from common.turns import Runner, by_turns, median, ratios
from frames_parts.own import FRAMES, Bench, OwnLoader, check_batches

__all__ = ["rgb_of", "run"]

PEER = Path(__file__).resolve().parents[1] / "peers/torchcodec_peer.py"
MEAN_LEVELS, YUV, RGB = 1.5, 1.5, 1.0
"""Mean difference in RGB that two converters may have; the bars."""


def run(bench: Bench) -> Section:
    """H.264, 512x256, with one worker and with two; the worse of the two is held to the bar."""
    section = Section("torchcodec", "against torchcodec in a DataLoader", not bench.smoke)
    section.say(bench.h264.line())
    section.say(
        f"torchcodec 0.13.0, torch 2.13.0 CPU: decoder cached per file and worker, "
        f"get_frames_in_range of {FRAMES} frames from a group's first, 1 FFmpeg thread, batches of "
        f"{bench.batch}, prefetch 2, uint8 RGB; the same windows, workers, page cache warm"
    )
    worst: dict[str, float] = {}
    for workers in bench.workers:
        rates, levels = _rates(bench, bench.h264, workers)
        section.say(
            f"RGB against swscale's of the exact picture, mean levels: "
            f"ours {levels['ours']:.2f}, torchcodec {levels['peer']:.2f} (at most {MEAN_LEVELS})"
        )
        for name, values in rates.items():
            what = f"{name}, {workers} workers" if workers > 1 else f"{name}, 1 worker"
            section.add(f"{name}_{workers}", what, values, "frames/s")
        for name in ("yuv", "rgb"):
            over = ratios(rates[f"ours_{name}"], rates["torchcodec"])
            what = f"ours {name} over torchcodec, {workers}"
            section.add(f"{name}_over_{workers}", what, over, "times")
            worst[name] = min(worst.get(name, np.inf), median(over))
    section.bar("yuv", worst["yuv"], YUV, "times")
    section.bar("rgb", worst["rgb"], RGB, "times")
    return section


def _rates(
    bench: Bench, measured: Measured, workers: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    plan = {
        "windows": measured.windows,
        "frames": FRAMES,
        "batch": bench.batch,
        "workers": workers,
        "rounds": 10_000,
    }
    path = bench.folder / f"torchcodec-{workers}.json"
    path.write_text(json.dumps(plan))
    with ExitStack() as stack:
        yuv = stack.enter_context(OwnLoader(measured.store, bench, workers=workers))
        check_batches(yuv, measured)
        rgb = stack.enter_context(OwnLoader(measured.store, bench, workers=workers, colour="rgb"))
        peer = stack.enter_context(LineProcess(PEER, str(path), python=python_of("torchcodec")))
        levels = {
            "ours": _check_own_rgb(rgb, measured),
            "peer": _check_peer(peer, measured, bench.folder),
        }
        runners: dict[str, Runner] = {"ours_yuv": yuv, "torchcodec": peer, "ours_rgb": rgb}
        return by_turns(runners, bench.repeats, bench.seconds), levels


def rgb_of(frame: npt.NDArray[np.uint8], width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """A frame, uint8 [frame_bytes], as swscale converts it: uint8 [h, w, 3]."""
    planar = frame.reshape(height_px * 3 // 2, width_px)
    picture = av.VideoFrame.from_ndarray(planar, format="yuv420p")
    return np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)


def exact_rgb(measured: Measured, file: str, first: int) -> npt.NDArray[np.float32]:
    """A window as swscale converts the demuxer's frames, float32 [t, 3, h, w]."""
    spec = measured.store.spec
    frames = list(frames_of(Path(file)))[first : first + FRAMES]
    rgb = np.stack([rgb_of(frame, spec.width_px, spec.height_px) for frame in frames])
    return rgb.transpose(0, 3, 1, 2).astype(np.float32)


def _check_own_rgb(loader: OwnLoader, measured: Measured) -> float:
    """Find the window that the batch's first is; mean difference in levels."""
    shown: list[Any] = []
    loader.take(lambda batch: shown.append(np.array(batch.rgb_frames[0, :, 0], np.float32)), 1)
    every = {file: list(frames_of(Path(file))) for file in measured.digests}
    spec = measured.store.spec
    best = np.inf
    for (file,), first in measured.windows:
        rgb = rgb_of(every[file][first], spec.width_px, spec.height_px).transpose(2, 0, 1)
        if np.mean(np.abs(rgb - shown[0][0])) <= MEAN_LEVELS:
            exact = exact_rgb(measured, file, first)
            best = min(best, float(np.mean(np.abs(exact - shown[0]))))
    assert best <= MEAN_LEVELS, f"our RGB is {best:.2f} levels off every window"
    return best


def _check_peer(peer: LineProcess, measured: Measured, folder: Path) -> float:
    path = folder / "torchcodec.npy"
    numbers = [0, len(measured.windows) // 2, len(measured.windows) - 1]
    peer.ask("check", numbers=numbers, path=str(path))
    found = np.load(path).astype(np.float32)
    off = []
    for number, window in zip(numbers, found, strict=True):
        (file,), first = measured.windows[number]
        off.append(float(np.mean(np.abs(exact_rgb(measured, file, first) - window))))
    assert max(off) <= MEAN_LEVELS, f"torchcodec's RGB is {max(off):.2f} levels off"
    return max(off)
