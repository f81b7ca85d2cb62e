"""Ingest against the FFmpeg command line: the same transcode of the same files, same settings."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from pathlib import Path

import av
import numpy as np

from common.document import Section
from common.footage import SOURCE_PX, source
from common.line import LineProcess
from common.stores import frames_of
from common.turns import by_turns, cores, median, ratios
from frames_parts.own import Bench
from opendojo.store import StoreSpec
from opendojo.store.codec import CODECS

__all__ = ["run"]

OURS = Path(__file__).with_name("ingest_process.py")
SPEC = StoreSpec(width_px=512, height_px=256, crf=23)
BAR, PSNR_SLACK_DB = 1.0, 0.3


def run(bench: Bench) -> Section:
    """One file on one core, and several on two."""
    section = Section("ingest", "against the FFmpeg command line", not bench.smoke)
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        section.say("left out: there is no `ffmpeg` command on this machine")
        return section
    files = _sources(bench, ffmpeg)
    words = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout
    section.say(
        f"{len(files)} files of {_frames(files[0])} frames, {SOURCE_PX[0]}x{SOURCE_PX[1]} H.264 of "
        "the dashcam, to 512x256; " + " ".join(words.split()[:3])
        + f" with one decoder, filter and encoder thread each: {' '.join(_settings())}"
    )  # fmt: skip
    section.say(
        "ours: ingest() of a fresh store in a process that is up, from finding the clip to the "
        "published index with hashes, flags and measured PSNR; FFmpeg: the whole command"
    )
    _check(section, bench, ffmpeg, files[0])
    for count in bench.workers:
        chosen = files if count > 1 else files[:1]
        ours = _Ours(bench, chosen, cores()[-count:])
        theirs = _Theirs(bench, ffmpeg, chosen, cores()[-count:])
        with ours.line:
            rates = by_turns({"ours": ours, "ffmpeg": theirs}, bench.repeats, 0.0)
        for who, rate in rates.items():
            section.add(f"{who}_{count}", f"{who}, {count} cores", rate, "frames/s")
        over = ratios(rates["ours"], rates["ffmpeg"])
        section.add(f"over_{count}", f"ours over FFmpeg, {count} cores", over, "times")
        section.bar(f"cores_{count}", median(over), BAR, "times")
    return section


def _settings() -> list[str]:
    """The words of FFmpeg's command line that mirror `ingest.fit` and `store.encode`."""
    options = CODECS["h264"].options(SPEC.quality, SPEC.gop_frames, SPEC.preset)
    return [
        "-vf",
        "crop=960:480:0:30,scale=512:256:flags=area+accurate_rnd:in_range=limited"
        ":out_range=limited,format=yuv420p",
        *("-c:v", "libx264", "-g", str(SPEC.gop_frames), "-bf", "0"),
        *(word for name, value in options.items() for word in (f"-{name}", value)),
    ]


def _command(ffmpeg: str, file: str, out: Path) -> list[str]:
    return [
        *(ffmpeg, "-y", "-v", "error", "-nostdin", "-filter_threads", "1", "-threads", "1"),
        *("-i", file, "-an", "-fps_mode", "passthrough", *_settings(), "-threads", "1", str(out)),
    ]


def _sources(bench: Bench, ffmpeg: str) -> list[str]:
    """Files of the dashcam over and over, each of other bytes; packets copied, not encoded."""
    start = source()
    if start is None:
        from opendojo.world import WorldConfig, front_three, record_fleet

        config = WorldConfig(cameras=front_three(*SOURCE_PX)[:1])
        record_fleet(bench.folder / "drawn", drives=1, seconds=6.0, config=config, processes=1)
        start = next((bench.folder / "drawn").glob("*/front.mp4"))
    files, times = [], 0 if bench.smoke else 7
    for number in range(2 if bench.smoke else 4):
        path = bench.folder / f"source-{number}.mp4"
        call = [ffmpeg, "-y", "-v", "error", "-stream_loop", str(times), "-i", str(start)]
        call += ["-an", "-c", "copy", "-metadata", f"comment={number}"]
        call += ["-frames:v", "60", str(path)] if bench.smoke else [str(path)]
        subprocess.run(call, check=True)
        files.append(str(path))
    return files


def _frames(file: str) -> int:
    with av.open(file) as container:
        return container.streams.video[0].frames


class _Ours:
    """`ingest` on some cores; the store is a new one each time."""

    def __init__(self, bench: Bench, files: list[str], on: list[int]) -> None:
        words = [str(bench.folder / "ingested"), str(len(on)), ",".join(map(str, on)), *files]
        self.line = LineProcess(OURS, *words)

    def turn(self, seconds: float) -> float:
        """Frames a second of one ingest of all files."""
        return self.line.turn(seconds)


class _Theirs:
    """FFmpeg, one command for each file, as many at once as there are cores."""

    def __init__(self, bench: Bench, ffmpeg: str, files: list[str], on: list[int]) -> None:
        self._calls = [
            ["taskset", "-c", ",".join(map(str, on)), *_command(ffmpeg, file, _out(bench, k))]
            for k, file in enumerate(files)
        ]
        self._together = len(on)
        self._frames = sum(_frames(file) for file in files)

    def turn(self, seconds: float) -> float:
        """Frames a second over all files."""
        began, waiting, running = time.perf_counter(), list(self._calls), []
        while waiting or running:
            while waiting and len(running) < self._together:
                running.append(subprocess.Popen(waiting.pop(0)))
            done = next((p for p in running if p.poll() is not None), None)
            if done is None:
                time.sleep(0.002)
                continue
            assert done.returncode == 0, done.args
            running.remove(done)
        return self._frames / (time.perf_counter() - began)


def _out(bench: Bench, number: int) -> Path:
    return bench.folder / f"ffmpeg-{number}.mp4"


def _check(section: Section, bench: Bench, ffmpeg: str, file: str) -> None:
    """Both transcodes: as many frames, and like PSNR against the pictures scaled without loss."""
    subprocess.run(_command(ffmpeg, file, _out(bench, 0)), check=True)
    with LineProcess(OURS, str(bench.folder / "ingested"), "1", str(cores()[-1]), file) as line:
        line.turn(0.0)
        ours = next((bench.folder / "ingested").glob("*/videos/**/*.mp4"))
        exact = bench.folder / "exact.mkv"
        filters = _settings()[1]
        call = [ffmpeg, "-y", "-v", "error", "-i", file, "-an", "-vf", filters, "-frames:v", "200"]
        subprocess.run([*call, "-c:v", "ffv1", str(exact)], check=True)
        found = {"ours": _against(ours, exact), "ffmpeg": _against(_out(bench, 0), exact)}
        sizes = {"ours": ours.stat().st_size, "ffmpeg": _out(bench, 0).stat().st_size}
        frames = {"ours": _frames(str(ours)), "ffmpeg": _frames(str(_out(bench, 0)))}
    assert frames["ours"] == frames["ffmpeg"] == _frames(file), frames
    assert abs(found["ours"] - found["ffmpeg"]) <= PSNR_SLACK_DB, found
    for who, psnr_db in found.items():
        section.add(f"psnr_{who}", f"{who}: luma PSNR", psnr_db, "dB")
        section.add(f"bytes_{who}", f"{who}: size", sizes[who] / frames[who], "bytes/frame")


def _against(file: Path, exact: Path) -> float:
    """Luma PSNR of a file's first frames against an exact one's."""
    size = SPEC.width_px * SPEC.height_px
    errors = [
        np.mean((a[:size].astype(np.float32) - b[:size].astype(np.float32)) ** 2)
        for a, b in zip(frames_of(file), frames_of(exact), strict=False)
    ]
    return float(10 * math.log10(255**2 / np.mean(errors)))
