from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes_folders import CHANNELS, SPEED_MPS, YAW_RATE, make_nuscenes
from recordings import marked, read_all, times_of

from opendojo.clip import BadClip, Clip
from opendojo.ingest.nuscenes import open_nuscenes
from opendojo.ingest.sniff import find_clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nuscenes(tmp_path_factory.mktemp("nuscenes") / "set")


def first(tables: Path) -> Clip:
    clip = next(iter(open_nuscenes(tables)))
    assert isinstance(clip, Clip), clip
    return clip


def test_scenes_are_clips_of_six_cameras(folder: Path):
    clips = list(find_clips(folder.parent))
    assert [Path(clip.source).name for clip in clips if isinstance(clip, Clip)] == [
        "scene-0000",
        "scene-0001",
    ]
    assert [clip.clip_id for clip in find_clips(folder) if isinstance(clip, Clip)] == [
        clip.clip_id for clip in clips if isinstance(clip, Clip)
    ]
    names = [camera.name for camera in first(folder).cameras]
    assert names == ["front", "rear", "rear-left", "rear-right", "front-left", "front-right"]


def test_sweeps_come_between_samples_in_time(folder: Path):
    clip = first(folder)
    steps, damage = read_all(clip, 64, 48)
    assert damage is None and len(steps) == 13
    assert np.allclose(times_of(steps), np.arange(13) / 12, atol=2e-6)
    assert clip.rate_hz == pytest.approx(12.0, rel=1e-3)
    for k, step in enumerate(steps):
        luma = marked(64, 48, k).to_ndarray()[:48]
        assert all(np.abs(frame.y.astype(int) - luma).mean() < 6.0 for frame in step)


def test_cameras_look_where_they_are_mounted(folder: Path):
    slots = {"CAM_BACK": "rear", "CAM_FRONT_LEFT": "front-left", "CAM_BACK_RIGHT": "rear-right"}
    cameras = {camera.name: camera for camera in first(folder).cameras}
    for channel, slot in slots.items():
        camera = cameras[slot]
        yaw_rad = np.radians(CHANNELS[channel][0])
        ahead = np.array([[np.cos(yaw_rad), np.sin(yaw_rad), 0.0]]) * 10 + [1.7, 0.1, 1.5]
        (pixel,), (seen,) = camera.project(ahead)
        assert seen and np.allclose(pixel, [31.5, 23.5], atol=1e-6), slot
        assert camera.calibrated and camera.fx_px == 50.0


def test_the_log_is_that_of_the_poses(folder: Path):
    log = first(folder).log
    assert log is not None and log.x_m is not None and log.speed_mps is not None
    assert (log.x_m[0], log.time_s[0]) == (0.0, 0.0)
    assert np.allclose(log.yaw_rad, YAW_RATE * log.time_s, atol=1e-6)
    assert np.allclose(log.x_m, SPEED_MPS / YAW_RATE * np.sin(log.yaw_rad), atol=1e-4)
    assert np.allclose(log.speed_mps, SPEED_MPS, rtol=1e-3)


def change(folder: Path, table: str, entry: int, **fields: Any) -> None:
    entries = json.loads((folder / f"{table}.json").read_text())
    entries[entry].update(fields)
    (folder / f"{table}.json").write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("table", "fields", "cause"),
    [
        ("sample_data", {"filename": "../../etc/passwd"}, "not a file of the data set"),
        ("sample_data", {"sample_token": "nowhere"}, "nowhere"),
        ("sample_data", {"timestamp": "soon"}, "soon"),
        ("calibrated_sensor", {"rotation": [0, 0, 0, 0]}, "no rotation"),
        ("calibrated_sensor", {"camera_intrinsic": []}, "unpack"),
        ("ego_pose", {"translation": [1.0]}, ""),
        ("scene", {"token": None}, "no camera"),
    ],
)
def test_tables_that_do_not_fit_are_named(
    table: str, fields: dict[str, Any], cause: str, tmp_path: Path
):
    folder = make_nuscenes(tmp_path / "set", scenes=1, frames=3)
    change(folder, table, 0, **fields)
    (bad,) = open_nuscenes(folder)
    assert isinstance(bad, BadClip) and bad.remedy
    assert cause in bad.cause


def test_a_table_that_was_cut_off_and_one_that_is_gone(tmp_path: Path):
    folder = make_nuscenes(tmp_path / "set", scenes=1, frames=3)
    table = folder / "ego_pose.json"
    table.write_text(table.read_text()[:-200])
    (bad,) = open_nuscenes(folder)
    assert isinstance(bad, BadClip) and "JSON" in bad.cause and bad.file.endswith("ego_pose.json")
    (folder / "sample.json").unlink()
    (bad,) = open_nuscenes(folder)
    assert isinstance(bad, BadClip) and bad.file.endswith("sample.json")


def test_a_picture_that_is_gone_leaves_a_gap(tmp_path: Path):
    folder = make_nuscenes(tmp_path / "set", scenes=1, frames=5)
    victim = sorted((folder.parent / "sweeps" / "CAM_BACK").iterdir())[1]
    victim.unlink()
    steps, damage = read_all(first(folder))
    assert len(steps) == 4 and damage is not None and victim.name in damage.cause
