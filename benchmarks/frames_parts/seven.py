"""Seven cameras: against torchcodec on full-size files, and against pre-extracted JPEGs.

The first is how AutoE2E read L2D (autowarefoundation/auto_e2e, issue 30): every sample decodes each
camera's window from its 1080p AV1 file by times, and resizes. The second is their way out: a
WebDataset of 256x256 JPEGs, of quality 90 in their packer.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np

from common.document import Section
from common.environments import python_of
from common.footage import SOURCE_PX, Shot, pictures
from common.line import LineProcess
from common.stores import Measured, make_store
from common.turns import Runner, by_turns, median, ratios
from frames_parts.own import FRAMES, PSNR_DB, Bench, OwnLoader, check_batches
from frames_parts.torchcodec import rgb_of
from opendojo.store import StoreSpec

__all__ = ["run"]

PEERS = Path(__file__).resolve().parents[1] / "peers"
CAMERAS = ("front", "front-left", "front-right", "left", "right", "rear-left", "rear-right")
SOURCE_HZ = 10
SIDE_PX, FULL_PX = 256, (1920, 1080)
THEIR_QUALITY = 90
FULL, JPEG, BYTES = 100.0, 1.5, 0.1
"""Bars: samples/s over each, and our bytes a frame over the JPEGs'."""
BATCH = 2


def run(bench: Bench) -> Section:
    """Samples of seven cameras and eight instants, with as many workers as cores, up to two."""
    section = Section("seven", "seven cameras of 256x256, windows of 8", not bench.smoke)
    spec = StoreSpec(width_px=SIDE_PX, height_px=SIDE_PX, psnr_db=PSNR_DB)
    count, frames = (1, 24) if bench.smoke else (4, 96)
    ours = make_store(bench.folder / "seven", spec, count, cameras=CAMERAS, frames=frames)
    section.say("ours: " + ours.line())
    section.add("bytes_ours", "ours", ours.bytes_per_frame, "bytes/frame")
    if bench.peers:
        _full_size(section, bench, ours)
        _jpegs(section, bench, ours)
    else:
        with OwnLoader(ours.store, bench, workers=bench.workers[-1], batch=BATCH) as loader:
            check_batches(loader, ours, 1)
            rates = by_turns({"ours": loader}, bench.repeats, bench.seconds)
        section.add("ours", "ours", _samples(rates["ours"]), "samples/s")
    return section


def _samples(frames_per_s: list[float]) -> list[float]:
    return [rate / (len(CAMERAS) * FRAMES) for rate in frames_per_s]


def _full_size(section: Section, bench: Bench, ours: Measured) -> None:
    files, frames = _source_files(bench)
    size = sum(Path(file).stat().st_size for file in files) / (len(files) * frames)
    section.add("bytes_full_size", "1080p AV1 source", size, "bytes/frame")
    section.say(
        f"full size: {len(files)} files of {FULL_PX[0]}x{FULL_PX[1]} AV1 at {SOURCE_HZ} Hz, key "
        "frame every 2nd frame and crf 30 as LeRobot encodes (the easiest to seek in), the same "
        "footage upscaled with noise; torchcodec 0.13.0 by times, resized to 256x256 in the "
        f"worker, batches of {BATCH}, page cache warm"
    )
    section.say(
        "as AutoE2E reads: through LeRobot's path, which makes float32 of the full-size frames "
        "before they are resized; lean: resized as uint8, which AutoE2E does not do"
    )
    workers = bench.workers[-1]
    plan = {
        "windows": [[files, first] for first in range(0, frames - FRAMES + 1, FRAMES)],
        "frames": FRAMES,
        "rate_hz": SOURCE_HZ,
        "size_px": [SIDE_PX, SIDE_PX],
        "batch": BATCH,
        "workers": workers,
        "rounds": 10_000,
    }
    with ExitStack() as stack:
        loader = OwnLoader(ours.store, bench, workers=workers, batch=BATCH)
        check_batches(stack.enter_context(loader), ours, 1)
        runners: dict[str, Runner] = {"ours": loader}
        for name, as_lerobot in (("as AutoE2E reads", True), ("lean", False)):
            path = bench.folder / "seven.json"
            path.write_text(json.dumps({**plan, "as_lerobot": as_lerobot}))
            script, python = PEERS / "torchcodec_peer.py", python_of("torchcodec")
            peer = stack.enter_context(LineProcess(script, str(path), python=python))
            _check_full_size(peer, files, bench.folder, 255.0 if as_lerobot else 1.0)
            runners[name] = peer
        # a sample takes the peer a second or more
        rates = by_turns(runners, bench.repeats, 4 * bench.seconds)
    _compare(section, rates, "as AutoE2E reads", "full_size", FULL)
    section.add("full_size_lean", "lean", _samples(rates["lean"]), "samples/s")
    over = ratios(rates["ours"], rates["lean"])
    section.add("over_full_size_lean", "ours over lean", over, "times")


def _compare(
    section: Section, rates: dict[str, list[float]], peer: str, key: str, bar: float
) -> None:
    section.add(f"ours_{key}", f"ours beside {peer}", _samples(rates["ours"]), "samples/s")
    section.add(key, peer, _samples(rates[peer]), "samples/s")
    over = ratios(rates["ours"], rates[peer])
    section.add(f"over_{key}", f"ours over {peer}", over, "times")
    section.bar(f"over_{key}", median(over), bar, "times")


def _source_files(bench: Bench) -> tuple[list[str], int]:
    """A 1080p file for each camera, and their frames."""
    frames = 24 if bench.smoke else 80
    paths = []
    for place, name in enumerate(CAMERAS):
        path = bench.folder / f"{name}.mp4"
        shot = Shot(left=0, top=0, width=SOURCE_PX[0], height=SOURCE_PX[1],
                    backward=bool(place & 1), mirrored=bool(place & 2), frames=frames)  # fmt: skip
        frames = min(frames, len(pictures()))
        _write_av1(path, shot, place)
        paths.append(str(path))
    return paths, frames


def _write_av1(path: Path, shot: Shot, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide, high = FULL_PX
    with av.open(str(path), "w") as container:
        options = {"crf": "30", "g": "2", "preset": "10"}
        stream: Any = container.add_stream("libsvtav1", rate=SOURCE_HZ, options=options)
        stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"
        for k, planes in enumerate(shot.planes(wide, high)):
            noise = rng.normal(0, 2.5, planes[0].shape).astype(np.float32)
            luma = np.clip(planes[0] + noise, 16, 235).astype(np.uint8)
            flat = np.concatenate([p.reshape(-1) for p in (luma, *planes[1:])])
            frame = av.VideoFrame.from_ndarray(flat.reshape(high * 3 // 2, wide), format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, SOURCE_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _check_full_size(peer: LineProcess, files: list[str], folder: Path, levels: float) -> None:
    """The peer's first sample against the demuxer's pictures, area-scaled; a few levels apart."""
    path = folder / "seven.npy"
    peer.ask("check", numbers=[0], path=str(path))
    (window,) = np.load(path)
    for camera, file in zip(window, files, strict=True):
        with av.open(file) as container:
            picture = next(container.decode(video=0))
        small = picture.reformat(SIDE_PX, SIDE_PX, "rgb24", interpolation="AREA").to_ndarray()
        off = np.mean(np.abs(small.transpose(2, 0, 1).astype(np.float32) - camera[0] * levels))
        assert off < 3.0, f"torchcodec's sample is {off:.1f} levels off"


def _jpegs(section: Section, bench: Bench, ours: Measured) -> None:
    plan = _jpeg_plan(bench, ours)
    workers, python, script = bench.workers[-1], python_of("loaders"), PEERS / "jpeg_peer.py"
    for key, quality in (("jpeg_q90", THEIR_QUALITY), ("jpeg_psnr", 0)):
        home = str(bench.folder / key)
        with LineProcess(script, plan, "write", python=python) as peer:
            told = peer.ask("write", home=home, quality=quality)
        name = f"JPEG {told['quality']}"
        section.add(f"bytes_{key}", name, told["bytes_per_frame"], "bytes/frame")
        why = "as AutoE2E packs" if quality else "for our PSNR"
        section.say(
            f"{name} ({why}): {told['psnr_db']:.1f} dB; webdataset 1.0.2, Pillow in the "
            f"workers, batches of {BATCH} made there, uint8 RGB, local shards, page cache warm"
        )
        with ExitStack() as stack:
            line = LineProcess(script, plan, home, str(workers), python=python)
            peer = stack.enter_context(line)
            _check_jpegs(peer, plan, bench.folder)
            loader = stack.enter_context(OwnLoader(ours.store, bench, workers=workers, batch=BATCH))
            runners: dict[str, Runner] = {"ours": loader, name: peer}
            rates = by_turns(runners, bench.repeats, bench.seconds)
        _compare(section, rates, name, key, JPEG)
        share = ours.bytes_per_frame / told["bytes_per_frame"]
        if quality:
            section.bar("bytes_of_jpeg", share, BYTES, "of their bytes", at_most=True)
        else:
            section.add("bytes_of_jpeg_psnr", "our bytes over theirs at our PSNR", share, "of them")


def _jpeg_plan(bench: Bench, ours: Measured) -> str:
    """Windows of what went into the store's first clips, as RGB for the peer to pack."""
    from common.footage import clips

    paths = []
    (clip,) = clips(1, 1.0, CAMERAS, 8 * (2 if bench.smoke else 8))
    steps = list(clip.frames(SIDE_PX, SIDE_PX))
    for first in range(0, len(steps) - FRAMES + 1, FRAMES):
        window = [
            [_rgb(step[camera]) for step in steps[first : first + FRAMES]]
            for camera in range(len(CAMERAS))
        ]
        paths.append(str(bench.folder / f"jpeg-{first}.npy"))
        np.save(paths[-1], np.array(window))
    plan = {
        "windows": paths,
        "rounds": 2 if bench.smoke else 8,
        "batch": BATCH,
        "psnr_db": ours.psnr_db,
    }
    path = bench.folder / "jpeg.json"
    path.write_text(json.dumps(plan))
    return str(path)


def _rgb(frame: Any) -> Any:
    planar = np.concatenate([plane.reshape(-1) for plane in (frame.y, frame.u, frame.v)])
    return rgb_of(planar, SIDE_PX, SIDE_PX)


def _check_jpegs(peer: LineProcess, plan: str, folder: Path) -> None:
    """A sample of the peer's is one of the windows laid down, within JPEG's loss."""
    path = folder / "jpeg.npy"
    peer.ask("check", path=str(path))
    sample = np.load(path).astype(np.float32)
    off = []
    for name in json.loads(Path(plan).read_text())["windows"]:
        window = np.load(name)
        off.append(float(np.mean(np.abs(window.reshape(sample.shape) - sample))))
    assert min(off) < 5.0, f"the JPEG sample is {min(off):.1f} levels from every window"
