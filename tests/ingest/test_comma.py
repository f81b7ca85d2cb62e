from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import make_video, read_all, times_of

from opendojo.clip import BadClip, Log
from opendojo.ingest.comma import open_comma

SEGMENT = "comma2k19/Example_1/b0c9d2329ad1606b_2018-08-02--08-34-47/40"


@pytest.fixture
def segment(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of the real segment's logs that a test may change."""
    target = tmp_path / "b0c9d2329ad1606b_2018" / "40"
    for part in ("global_pose", "processed_log/CAN"):
        shutil.copytree(
            shared_data / SEGMENT / part, target / part, ignore=shutil.ignore_patterns("raw_can")
        )
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def log_of(folder: Path) -> Log:
    log = open_comma(folder).log
    assert log is not None
    return log


def test_the_log_agrees_with_figures_worked_out_by_hand(shared_data: Path):
    log = log_of(shared_data / SEGMENT).at(np.array([0.0421, 0.1075, 59.8350, 59.9]))
    assert log.x_m is not None and log.y_m is not None and log.yaw_rad is not None
    assert log.speed_mps is not None and log.steer_rad is not None
    # first CAN speed of the file, 0.042 s after the first frame
    assert log.speed_mps[0] == pytest.approx(7.9743, abs=0.01)
    # first and last fix of the u-blox receiver, at 0.1075 and 59.835 s: 37.7209977 N,
    # 122.4723053 W and 37.7300808 N, 122.471816 W; the meridian's radius there is 6,359 km, that
    # of the circle of latitude 5,053 km
    north_m = np.radians(37.7300808 - 37.7209977) * 6.359e6
    east_m = np.radians(122.4723053 - 122.471816) * 5.053e6
    assert log.y_m[2] - log.y_m[1] == pytest.approx(north_m, abs=3.0)
    assert log.x_m[2] - log.x_m[1] == pytest.approx(east_m, abs=3.0)
    assert np.degrees(log.yaw_rad[2]) == pytest.approx(87.2, abs=0.5)  # almost due north
    # the wheel in the driver's hands then stands at -1.0 degrees, of a RAV4
    assert np.degrees(log.steer_rad[3]) == pytest.approx(-1.0 / 16.88, abs=0.003)


def test_yaw_is_the_direction_of_travel(shared_data: Path):
    log = log_of(shared_data / SEGMENT).at(np.arange(1.0, 59.0, 0.5))
    assert log.x_m is not None and log.y_m is not None and log.yaw_rad is not None
    course = np.arctan2(np.diff(log.y_m), np.diff(log.x_m))
    apart = np.degrees((log.yaw_rad[:-1] + log.yaw_rad[1:]) / 2 - course)
    assert abs(np.median(apart)) < 0.1
    assert np.abs(apart).max() < 1.0


def test_steering_to_the_left_turns_the_car_left(shared_data: Path):
    log = log_of(shared_data / SEGMENT).at(np.arange(1.0, 59.0, 0.05))
    assert log.yaw_rad is not None and log.steer_rad is not None
    smooth = np.ones(20) / 20
    turning = np.convolve(np.gradient(np.unwrap(log.yaw_rad)), smooth, "valid")
    steering = np.convolve(log.steer_rad, smooth, "valid")
    assert np.corrcoef(turning, steering)[0, 1] > 0.8


def test_without_the_video_the_log_is_there_and_frames_say_so(shared_data: Path):
    clip = open_comma(shared_data / SEGMENT)
    assert clip.cameras == () and clip.rate_hz == 20.0
    steps, damage = read_all(clip)
    assert steps == []
    assert damage is not None and "no video" in damage.cause and damage.remedy


def test_the_video_has_the_times_of_the_poses(segment: Path):
    make_video(segment / "video.hevc", frames=8, codec="libx265", container="hevc",
               options={"x265-params": "log-level=none"})  # fmt: skip
    clip = open_comma(segment)
    assert [camera.name for camera in clip.cameras] == ["front"]
    steps, damage = read_all(clip)
    frame_times_s = np.load(segment / "global_pose" / "frame_times")
    assert times_of(steps) == pytest.approx(frame_times_s[:8] - frame_times_s[0], abs=1e-6)
    assert damage is not None and damage.frame == 8 and "8 of 1200" in damage.cause


def test_frames_beyond_the_poses_are_told(segment: Path):
    make_video(segment / "video.hevc", frames=9, codec="libx265", container="hevc",
               options={"x265-params": "log-level=none"})  # fmt: skip
    for path in (segment / "global_pose").iterdir():
        cut = np.load(path)[:6]
        with path.open("wb") as file:
            np.save(file, cut)
    steps, damage = read_all(open_comma(segment))
    assert len(steps) == 6
    assert damage is not None and damage.frame == 6


def test_broken_arrays_are_named(segment: Path):
    for name in ("global_pose/frame_positions", "processed_log/CAN/speed/value"):
        path = segment / name
        whole = path.read_bytes()
        for data in (b"", whole[:200], b"\x93NUMPY\x01\x00" + b"\xff" * 200):
            path.write_bytes(data)
            with pytest.raises(BadClip, match=path.name):
                open_comma(segment)
        path.write_bytes(whole)


def test_logs_of_unequal_length_are_named(segment: Path):
    path = segment / "global_pose" / "frame_velocities"
    velocities = np.load(path)
    with path.open("wb") as file:
        np.save(file, velocities[:-5])
    with pytest.raises(BadClip, match="unequal"):
        open_comma(segment)


def test_what_is_no_array_of_numbers_is_named(segment: Path):
    speed = segment / "processed_log/CAN/speed/t"
    times_s = np.load(speed)
    for array, cause in (
        (times_s.astype(complex), "not numbers"),
        (np.full_like(times_s, np.nan), "do not rise"),
        (times_s[::-1], "do not rise"),
    ):
        with speed.open("wb") as file:
            np.save(file, array)
        with pytest.raises(BadClip, match=cause):
            open_comma(segment)
    speed.unlink()
    os.mkfifo(speed)
    with pytest.raises(BadClip, match="not an ordinary file"):
        open_comma(segment)
