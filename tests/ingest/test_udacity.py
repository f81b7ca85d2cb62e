from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recordings import read_all, times_of

from opendojo.clip import BadClip, Clip
from opendojo.ingest.udacity import open_udacity

HEADER = "center,left,right,steering,throttle,brake,speed"
LEVELS = {"center": 50, "left": 100, "right": 150}


def stamp(milliseconds: int) -> str:
    seconds, milli = divmod(milliseconds, 1000)
    return f"2016_12_01_13_30_{seconds:02d}_{milli:03d}"


def make_folder(folder: Path, rows: list[tuple[str, float, float]], *, header: bool = True) -> Path:
    """Rows are (stamp, steering, speed); the paths are those of a foreign machine."""
    (folder / "IMG").mkdir(parents=True)
    lines = [HEADER] if header else []
    for name, steering, speed in rows:
        files = [f"{camera}_{name}.jpg" for camera in LEVELS]
        for file, level in zip(files, LEVELS.values(), strict=True):
            Image.new("RGB", (32, 16), (level,) * 3).save(folder / "IMG" / file)
        paths = [rf"C:\Users\me\sim\IMG\{files[0]}", f"/home/me/IMG/{files[1]}", f" IMG/{files[2]}"]
        lines.append(",".join([*paths, f" {steering}", "0.5", "0", f"{speed}"]))
    control = folder / "driving_log.csv"
    control.write_text("\n".join(lines) + "\n")
    return control


def opened(control: Path) -> list[Clip]:
    clips = open_udacity(control)
    assert not any(isinstance(clip, BadClip) for clip in clips)
    return [clip for clip in clips if isinstance(clip, Clip)]


@pytest.mark.parametrize("header", [True, False])
def test_three_cameras_and_a_log_in_si_units(tmp_path: Path, header: bool):
    rows = [(stamp(287), 0.0, 30.0), (stamp(362), -0.2, 20.0), (stamp(437), 1.0, 0.0)]
    (clip,) = opened(make_folder(tmp_path / "drive", rows, header=header))
    assert [camera.name for camera in clip.cameras] == ["front", "left", "right"]
    assert not any(camera.calibrated for camera in clip.cameras)
    steps, damage = read_all(clip)
    assert damage is None
    assert times_of(steps) == [0.0, 0.075, 0.15]
    levels = [float(frame.y.mean()) for frame in steps[0]]
    assert levels == pytest.approx([16 + k * 219 / 255 for k in LEVELS.values()], abs=1.5)
    assert clip.rate_hz == pytest.approx(1 / 0.075)
    log = clip.log
    assert log is not None and log.steer_rad is not None and log.speed_mps is not None
    assert np.degrees(log.steer_rad) == pytest.approx([0.0, 5.0, -25.0])  # left is positive
    assert log.speed_mps == pytest.approx([13.4112, 8.9408, 0.0])


def test_recordings_that_were_appended_are_clips_of_their_own(tmp_path: Path):
    milliseconds = [0, 100, 200, 30_000, 30_100, 10_000, 10_100]
    control = make_folder(tmp_path / "a", [(stamp(ms), ms / 1e5, 1.0) for ms in milliseconds])
    clips = opened(control)
    assert [len(read_all(clip)[0]) for clip in clips] == [3, 2, 2]
    assert len({clip.clip_id for clip in clips}) == 3


def test_missing_pictures_and_broken_lines_are_told(tmp_path: Path):
    control = make_folder(tmp_path / "a", [(stamp(100 * k), 0.0, 1.0) for k in range(4)])
    (tmp_path / "a" / "IMG" / f"left_{stamp(100)}.jpg").unlink()
    control.write_text(control.read_text() + "a.jpg,b.jpg\na,b,c,left,0,0,0\n")
    (clip,) = opened(control)
    steps, damage = read_all(clip)
    assert times_of(steps) == [0.0, 0.2, 0.3]
    assert damage is not None and damage.cause.startswith("3 of") and "line 6" in damage.cause


def test_names_without_a_time_follow_the_assumed_rate(tmp_path: Path):
    (clip,) = opened(make_folder(tmp_path / "a", [("one", 0.0, 1.0), ("two", 0.0, 1.0)]))
    assert times_of(read_all(clip)[0]) == [0.0, 0.1]


def test_a_log_without_rows_is_bad(tmp_path: Path):
    for text in (HEADER, "speed;angle\n1;2\n"):
        control = tmp_path / "driving_log.csv"
        control.write_text(text)
        with pytest.raises(BadClip):
            open_udacity(control)
