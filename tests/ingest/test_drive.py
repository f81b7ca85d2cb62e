from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drives import NAMES, edit, make_drive
from recordings import make_video, read_all, times_of

from opendojo.clip import BadClip
from opendojo.ingest.drive import open_drive


def test_a_drive_comes_back_as_it_was_written(tmp_path: Path):
    clip = open_drive(make_drive(tmp_path / "d"))
    assert clip.origin == "drawn" and clip.rate_hz == 10.0
    assert tuple(camera.name for camera in clip.cameras) == NAMES
    camera = clip.cameras[1]
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.calibrated) == (40.0, 41.0, 31.5, True)
    assert (camera.mount.x_m, camera.mount.pitch_rad, camera.mount.yaw_rad) == (1.5, 0.1, 0.5)
    steps, damage = read_all(clip)
    assert damage is None and [len(step) for step in steps] == [3] * 12
    assert times_of(steps) == [k / 10 for k in range(12)]
    assert clip.log is not None and clip.log.x_m is not None and clip.log.yaw_rad is None
    assert clip.log.x_m == pytest.approx(np.arange(12) / 2)
    assert [(t.track_id, t.kind, len(t.time_s)) for t in clip.tracks] == [
        (7, "car", 3),
        (9, "cyclist", 2),
    ]


def test_the_clip_ends_with_the_shortest_camera(tmp_path: Path):
    steps, damage = read_all(open_drive(make_drive(tmp_path / "d", frames=(12, 9, 12))))
    assert len(steps) == 9
    assert damage is not None and damage.file.endswith("left.mp4") and damage.frame == 9


def test_cameras_are_matched_by_time(tmp_path: Path):
    steady = list(range(0, 1000, 100))
    times = {
        "front": steady,
        "left": [ms + 40 for ms in steady if ms != 500],  # one lost, all late by less than half
        "right": list(range(0, 1000, 50)),  # twice as fast
    }
    steps, damage = read_all(open_drive(make_drive(tmp_path / "d", times=times)))
    assert times_of(steps) == [ms / 1000 for ms in steady if ms != 500]
    assert damage is not None and "1 steps" in damage.cause
    for _, left, right in steps:
        assert abs(left.time_s - right.time_s) < 1e-9


def test_a_camera_that_breaks_off_ends_the_clip(tmp_path: Path):
    control = make_drive(tmp_path / "d")
    (tmp_path / "d" / "left.mp4").write_bytes(b"\0" * 500)
    steps, damage = read_all(open_drive(control))
    assert steps == []
    assert damage is not None and damage.file.endswith("left.mp4")


def test_a_camera_of_another_size_than_its_calibration_is_refused(tmp_path: Path):
    control = make_drive(tmp_path / "d")
    make_video(tmp_path / "d" / "right.mp4", size=(128, 96))
    steps, damage = read_all(open_drive(control))
    assert steps == []
    assert damage is not None and "128x96" in damage.cause


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"version": 2}, "version 2"),
        ({"origin": "dreamt"}, "dreamt"),
        ({"rate_hz": 0.0}, "rate_hz"),
        ({"cameras": []}, "no camera"),
        ({"cameras": [{"name": "front"}]}, "'file' is missing"),
        ({"log": "../log.parquet"}, "not a file of the folder"),
        ({"log": "front.mp4"}, "[Pp]arquet"),
        ({"tracks": 3}, "drive.json"),
        ({"cameras": 3}, "drive.json"),
    ],
)
def test_broken_drives_are_named(tmp_path: Path, changes: dict[str, Any], cause: str):
    control = edit(make_drive(tmp_path / "d"), **changes)
    with pytest.raises(BadClip, match=cause):
        open_drive(control)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 3}', "[" * 100_000])
def test_what_is_not_a_drive_is_named(tmp_path: Path, text: str):
    control = tmp_path / "drive.json"
    control.write_text(text)
    with pytest.raises(BadClip):
        open_drive(control)


def test_a_missing_camera_file_is_named(tmp_path: Path):
    control = make_drive(tmp_path / "d")
    (tmp_path / "d" / "right.mp4").unlink()
    with pytest.raises(BadClip, match=r"right\.mp4"):
        open_drive(control)


def test_a_moved_drive_has_the_same_id(tmp_path: Path):
    control = make_drive(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert open_drive(tmp_path / "b" / "drive.json").clip_id == open_drive(control).clip_id


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "../up", "left"])
def test_names_that_cannot_be_kept_are_refused(tmp_path: Path, name: str):
    control = make_drive(tmp_path / "d")
    cameras = json.loads(control.read_text())["cameras"]
    cameras[0]["name"] = name  # the last is the name of another camera
    with pytest.raises(BadClip, match="name"):
        open_drive(edit(control, cameras=cameras))


def test_a_table_that_is_a_pipe_and_times_without_end(tmp_path: Path):
    control = make_drive(tmp_path / "d")
    log = control.parent / "log.parquet"
    pq.write_table(pa.table({"time_s": [0.0, np.inf, np.inf]}), log)
    with pytest.raises(BadClip, match="not finite"):
        open_drive(control)
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(BadClip, match="not an ordinary file"):
        open_drive(control)
