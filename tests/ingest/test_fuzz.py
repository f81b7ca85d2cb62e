"""Damaged recordings of every kind give frames or a `BadClip`, never another exception."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_images
import test_udacity
from drives import make_drive
from recordings import make_video, read_all

from opendojo.clip import BadClip
from opendojo.ingest.sniff import find_clips

SEEDS = 6


def video(name: str, **options: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        container = "h264" if name.endswith("h264") else None
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        return make_video(folder / name, codec=codec, container=container, flags=options)

    return make


def drive_part(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return make_drive(folder / "d").parent / name

    return make


def picture_part(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        test_images.make_folder(folder / "p", ["0.jpg 90", "1.jpg 91"], pictures=2)
        return folder / "p" / name

    return make


def simulator_part(folder: Path) -> Path:
    return test_udacity.make_folder(folder / "s", [("one", 0.0, 1.0), ("two", 0.5, 2.0)])


def segment_part(folder: Path) -> Path:
    """A comma2k19 segment without video, driving in a straight line; its positions."""
    segment = folder / "route" / "3"
    seconds = np.arange(40) / 20.0
    poses = {
        "frame_times": 7.0 + seconds,
        "frame_positions": np.array([-2.7e6, -4.3e6, 3.9e6]) + 10.0 * seconds[:, None],
        "frame_orientations": np.tile([1.0, 0.0, 0.0, 0.0], (40, 1)),
        "frame_velocities": np.full((40, 3), 10.0),
    }
    arrays = {f"global_pose/{name}": values for name, values in poses.items()}
    for name in ("speed", "steering_angle"):
        arrays[f"processed_log/CAN/{name}/t"] = 7.0 + seconds
        arrays[f"processed_log/CAN/{name}/value"] = 17.3 + seconds
    for name, values in arrays.items():
        path = segment / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.save(file, values)
    return segment / "global_pose" / "frame_positions"


KINDS: dict[str, Callable[[Path], Path]] = {
    "mp4": video("a.mp4"),
    "faststart": video("b.mp4", movflags="faststart"),
    "mkv": video("a.mkv"),
    "ts": video("a.ts"),
    "avi": video("a.avi"),
    "h264": video("a.h264"),
    "drive.json": drive_part("drive.json"),
    "log.parquet": drive_part("log.parquet"),
    "tracks.parquet": drive_part("tracks.parquet"),
    "drive video": drive_part("left.mp4"),
    "picture": picture_part("1.jpg"),
    "data.txt": picture_part("data.txt"),
    "driving_log.csv": simulator_part,
    "positions": segment_part,
}


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bytes, cut, blank, double or insert a stretch."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if not out:
            break
        at = int(rng.integers(0, len(out)))
        some = int(rng.integers(1, 64))
        how = rng.integers(0, 5)
        if how == 0:
            for place in rng.integers(0, len(out), some):
                out[place] = rng.integers(0, 256)
        elif how == 1:
            del out[at:]
        elif how == 2:
            out[at : at + some] = bytes(len(out[at : at + some]))
        elif how == 3:
            out[at:at] = out[at : at + some]
        else:
            out[at:at] = rng.bytes(some)
    return bytes(out)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it mends
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_damaged_recordings(kind: str, tmp_path: Path):
    (tmp_path / "whole").mkdir()
    victim = KINDS[kind](tmp_path / "whole")
    for seed in range(SEEDS):
        folder = tmp_path / f"{seed}"
        shutil.copytree(tmp_path / "whole", folder)
        target = folder / victim.relative_to(tmp_path / "whole")
        rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
        target.write_bytes(mutate(target.read_bytes(), rng))
        results = list(find_clips(folder))
        assert results
        for result in results:
            if isinstance(result, BadClip):
                assert result.cause
                continue
            steps, damage = read_all(result)
            assert steps or damage
            times = [step[0].time_s for step in steps]
            assert all(np.diff(times) > 0)
