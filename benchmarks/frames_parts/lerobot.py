"""Against the LeRobot read path on its own stock encoding of the same footage."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from common.document import Section
from common.environments import python_of
from common.footage import RATE_HZ, clips
from common.line import LineProcess
from common.stores import Measured
from common.turns import Runner, by_turns, median, ratios
from frames_parts.own import FRAMES, Bench, OwnLoader, check_batches
from frames_parts.torchcodec import rgb_of
from opendojo.store.export import export

__all__ = ["run"]

PEER = Path(__file__).resolve().parents[1] / "peers/lerobot_peer.py"
OPENS = PEER.with_name("lerobot_open.py")
BAR, MEAN_LEVELS = 10.0, 6.0
LUMA_LEVELS = 2.0
"""Rounding and clipping on the way to RGB and back: the packets it decodes are the store's."""
EPISODES = 4


def run(bench: Bench) -> Section:
    """512x256, with one worker and with two; the worse of the two is held to the bar."""
    section = Section("lerobot", "against the LeRobot read path, stock encoding", not bench.smoke)
    section.say("ours: " + bench.h264.line())
    plan, frames = _plan(bench, bench.h264)
    python = python_of("lerobot")
    _opens(section, bench, python)
    with LineProcess(PEER, plan, "write", python=python) as peer:
        video_bytes = peer.ask("write")["video_bytes"]
    section.say(
        f"peer: the real lerobot 0.4.4 (torchcodec 0.13.0, torch 2.13.0 CPU, torchvision a "
        f"stand-in), {frames} frames of the same footage recorded by it as it comes: AV1, g=2, "
        f"crf 30, {video_bytes / frames:,.0f} bytes a frame; windows of {FRAMES} by "
        f"delta_timestamps from key frames, DataLoader, batches of {bench.batch}; float32 RGB"
    )
    ratios_of = []
    for workers in bench.workers:
        with ExitStack() as stack:
            peer = stack.enter_context(LineProcess(PEER, plan, str(workers), python=python))
            section.say(f"its frames are {_check(peer, plan):.2f} mean levels from the source's")
            ours = stack.enter_context(OwnLoader(bench.h264.store, bench, workers=workers))
            check_batches(ours, bench.h264, 1)
            runners: dict[str, Runner] = {"ours": ours, "lerobot": peer}
            rates = by_turns(runners, bench.repeats, 2 * bench.seconds)
        for who, rate in rates.items():
            section.add(f"{who}_{workers}", f"{who}, {workers} workers", rate, "frames/s")
        over = ratios(rates["ours"], rates["lerobot"])
        section.add(f"over_{workers}", f"ours over lerobot, {workers}", over, "times")
        ratios_of.append(median(over))
    section.bar("over", min(ratios_of), BAR, "times")
    return section


def _opens(section: Section, bench: Bench, python: str) -> None:
    """Have the package open the store and an export of it; hold both against the store."""
    store = bench.h264.store
    roots = {"the store": store.path, "an export": bench.folder / "lerobot-export"}
    export(store, "lerobot", roots["an export"])
    episode = max(store.episodes, key=lambda episode: (episode.dataset, episode.number))
    at = episode.instants // 2
    before = sum(
        other.instants
        for other in store.episodes
        if other.dataset == episode.dataset and other.number < episode.number
    )
    total = sum(e.instants for e in store.episodes if e.dataset == episode.dataset)
    frame = np.empty((1, 1, store.spec.frame_bytes), np.uint8)
    store.decode(episode, [at], frame, cameras=["front"])
    size = store.spec.width_px, store.spec.height_px
    luma = frame.reshape(-1)[: size[0] * size[1]].reshape(size[::-1]).astype(np.float64)
    path = bench.folder / "lerobot-frame.npy"
    with LineProcess(OPENS, python=python) as peer:
        for name, root in roots.items():
            question = {"root": str(root / episode.dataset), "key": "observation.images.front"}
            told = peer.ask("look", index=before + at, path=str(path), **question)
            found = (told["frames"], told["episode"], told["frame"])
            assert found == (total, episode.number, at), (name, found)
            red, green, blue = np.load(path)
            theirs = 16 + 219 * (0.299 * red + 0.587 * green + 0.114 * blue)
            off = float(np.abs(theirs - luma).mean())
            assert off <= LUMA_LEVELS, f"{name}: a frame is {off:.1f} levels from the stored one"
            section.say(
                f"{name} opens in it: {told['frames']} frames, {told['episodes']} episodes; one "
                f"frame is {off:.2f} mean levels of luma from the stored one"
            )


def _plan(bench: Bench, measured: Measured) -> tuple[str, int]:
    """Lay the footage down as RGB, one file an episode."""
    spec = measured.store.spec
    home = bench.folder / "lerobot-rgb"
    home.mkdir(exist_ok=True)
    paths, lengths = [], []
    for number, clip in enumerate(clips(EPISODES, 2.0, frames=24 if bench.smoke else 10_000)):
        rgb = []
        for (frame,) in clip.frames(spec.width_px, spec.height_px):
            planar = np.concatenate([p.reshape(-1) for p in (frame.y, frame.u, frame.v)])
            rgb.append(rgb_of(planar, spec.width_px, spec.height_px))
        paths.append(str(home / f"{number}.npy"))
        lengths.append(len(rgb))
        np.save(paths[-1], np.stack(rgb))
    plan = {
        "episodes": paths,
        "lengths": lengths,
        "home": str(bench.folder / "lerobot"),
        "rate_hz": int(RATE_HZ),
        "frames": FRAMES,
        "batch": bench.batch,
    }
    path = bench.folder / "lerobot.json"
    path.write_text(json.dumps(plan))
    return str(path), sum(lengths)


def _check(peer: LineProcess, plan: str) -> float:
    """Hold a window of the peer's against what it recorded; mean difference in levels."""
    told = json.loads(Path(plan).read_text())
    path = Path(plan).with_suffix(".npy")
    index = peer.ask("check", path=str(path))["index"]
    window = np.load(path).transpose(0, 2, 3, 1) * 255
    every = np.concatenate([np.load(file) for file in told["episodes"]])
    off = float(np.mean(np.abs(every[index : index + FRAMES] - window)))
    assert off <= MEAN_LEVELS, f"lerobot's frames are {off:.1f} levels from what it recorded"
    return off
