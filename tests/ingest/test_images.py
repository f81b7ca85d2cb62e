from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recordings import read_all, times_of

from opendojo.clip import BadClip, Clip
from opendojo.ingest.images import open_images


def make_folder(folder: Path, lines: list[str], *, pictures: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(pictures):
        level = 40 + 10 * index
        Image.new("RGB", (64, 48), (level, level, level)).save(folder / f"{index}.jpg", quality=95)
    control = folder / "data.txt"
    control.write_text("\n".join(lines))
    return control


def opened(control: Path) -> Clip:
    clip = open_images(control)
    assert clip is not None
    return clip


def test_real_pictures_are_read_without_loss(shared_data: Path):
    clip = opened(shared_data / "rc" / "driving_dataset" / "data.txt")
    steps, damage = read_all(clip, 128, 64)
    assert damage is None and len(steps) == 136
    assert clip.rate_hz == 10.0 and times_of(steps)[-1] == 13.5
    assert (clip.cameras[0].width_px, clip.cameras[0].height_px) == (455, 256)
    assert clip.log is not None and clip.log.steer_rad is not None
    # lines 0, 16 and 44 of the file: 90, 58 and 107 degrees
    assert np.degrees(clip.log.steer_rad[[0, 16, 44]]) == pytest.approx([0.0, -32.0, 17.0])
    assert clip.log.speed_mps is None


def test_pictures_are_of_limited_range_in_the_order_of_the_list(tmp_path: Path):
    clip = opened(make_folder(tmp_path, ["2.jpg 90", "0.jpg 95", "1.jpg 80"], pictures=3))
    steps, damage = read_all(clip)
    assert damage is None
    levels = [float(step[0].y.mean()) for step in steps]
    assert levels == pytest.approx([16 + level * 219 / 255 for level in (60, 40, 50)], abs=1.5)
    assert times_of(steps) == [0.0, 0.1, 0.2]


def test_missing_and_broken_pictures_leave_gaps_and_are_told(tmp_path: Path):
    control = make_folder(tmp_path, [f"{k}.jpg {90 + k}" for k in range(6)], pictures=5)
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[: len(whole) // 2])
    steps, damage = read_all(opened(control))
    assert times_of(steps) == [0.0, 0.2, 0.4]
    assert damage is not None and damage.frame == 1
    assert damage.cause.startswith("3 of") and "1.jpg" in damage.cause


def test_a_list_of_pictures_that_are_all_missing_is_bad(tmp_path: Path):
    with pytest.raises(BadClip, match="missing"):
        open_images(make_folder(tmp_path, ["0.jpg 90", "1.jpg 91"], pictures=0))


def test_other_text_is_not_a_list(tmp_path: Path):
    assert open_images(make_folder(tmp_path, ["Dear diary,", "it rained."], pictures=1)) is None


def test_broken_lines_are_told(tmp_path: Path):
    lines = ["0.jpg 90", "1.jpg ninety", "2.jpg 91", "", "3.jpg nan", "x" * 300 + ".jpg 90"]
    steps, damage = read_all(opened(make_folder(tmp_path, lines, pictures=4)))
    assert len(steps) == 2
    assert damage is not None and "line 2" in damage.cause and damage.cause.startswith("3 of")


def test_numbers_that_are_not_a_servos_give_no_steering(tmp_path: Path):
    clip = opened(make_folder(tmp_path, ["0.jpg 0.0", "1.jpg -3.5", "2.jpg 2.0"], pictures=3))
    assert clip.log is not None and clip.log.steer_rad is None


def test_a_moved_folder_has_the_same_id(tmp_path: Path):
    control = make_folder(tmp_path / "a", ["0.jpg 90", "1.jpg 91"], pictures=2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = opened(tmp_path / "b" / "data.txt")
    assert again.clip_id == opened(control).clip_id
    Image.new("RGB", (64, 48)).save(tmp_path / "b" / "1.jpg")
    assert opened(tmp_path / "b" / "data.txt").clip_id != again.clip_id


def test_pictures_are_turned_as_their_camera_says(tmp_path: Path):
    control = make_folder(tmp_path, ["0.jpg 90"], pictures=1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.new("RGB", (64, 48)).save(tmp_path / "0.jpg", exif=exif)
    camera = opened(control).cameras[0]
    assert (camera.width_px, camera.height_px) == (48, 64)
