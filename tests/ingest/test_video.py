from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import make_video, read_all, times_of, turn

from opendojo.clip import BadClip
from opendojo.ingest.video import open_video

ROAD_FRAMES = {"vehicle_test_video": 38, "test_small1": 88}


def test_real_clips_are_read_to_their_ends(shared_data: Path):
    for name, frames in ROAD_FRAMES.items():
        clip = open_video(shared_data / "road" / f"{name}.mp4")
        steps, damage = read_all(clip)
        assert damage is None and len(steps) == frames
        assert clip.rate_hz == 25.0
        assert np.allclose(times_of(steps), np.arange(frames) / 25.0)


def test_a_video_is_one_uncalibrated_front_camera(tmp_path: Path):
    clip = open_video(make_video(tmp_path / "dashcam 7.mp4", size=(96, 64)))
    (camera,) = clip.cameras
    assert (camera.name, camera.width_px, camera.height_px) == ("front", 96, 64)
    assert not camera.calibrated
    assert camera.fx_px == pytest.approx(48 / np.tan(np.radians(30)))
    assert clip.origin == "recorded" and clip.log is None


def test_the_name_tells_the_camera(tmp_path: Path):
    for stem, slot in (("left", "left"), ("Rear", "rear"), ("front_right", "front-right")):
        clip = open_video(make_video(tmp_path / f"{stem}.mp4", frames=1))
        assert clip.cameras[0].name == slot


def test_variable_rates_keep_their_times(tmp_path: Path):
    times = [500, 540, 580, 700, 740, 1780, 1820]
    path = make_video(tmp_path / "vfr.mkv", frames=7, times=times, options={"bf": "2"})
    clip = open_video(path)
    steps, damage = read_all(clip)
    assert damage is None
    assert times_of(steps) == [0.0, 0.04, 0.08, 0.2, 0.24, 1.28, 1.32]
    assert clip.rate_hz == pytest.approx(25.0)


def test_times_that_matroska_rounded_do_not_bend_the_rate(tmp_path: Path):
    clip = open_video(make_video(tmp_path / "a.mkv", frames=40, rate=30))
    assert clip.rate_hz == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),  # a quarter turn clockwise: top left goes to top right
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
        ((-1, 0, 0, 1), (0, 1)),  # mirrored
    ],
)
def test_display_matrices_are_obeyed(
    tmp_path: Path, matrix: tuple[int, int, int, int], bright: tuple[int, int]
):
    clip = open_video(turn(make_video(tmp_path / "a.mp4", size=(96, 64), frames=2), matrix))
    size = (64, 96) if matrix[0] == 0 else (96, 64)
    assert (clip.cameras[0].width_px, clip.cameras[0].height_px) == size
    steps, damage = read_all(clip, *size)
    assert damage is None
    frame = steps[0][0]
    quarters = frame.y.reshape(2, size[1] // 2, 2, size[0] // 2).mean((1, 3))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == bright


def test_odd_sizes(tmp_path: Path):
    path = make_video(tmp_path / "odd.mkv", size=(67, 51), codec="ffv1", pix_fmt="yuv444p")
    clip = open_video(path)
    assert (clip.cameras[0].width_px, clip.cameras[0].height_px) == (67, 51)
    steps, damage = read_all(clip)
    assert damage is None and len(steps) == 10
    assert steps[0][0].y.shape == (16, 32)


def test_missing_times_follow_the_nominal_rate(tmp_path: Path):
    clip = open_video(make_video(tmp_path / "a.h264", container="h264"))
    steps, damage = read_all(clip)
    assert damage is None
    assert clip.rate_hz == 10.0
    assert np.allclose(times_of(steps), np.arange(10) / 10)


def test_sound_is_passed_over(tmp_path: Path):
    steps, damage = read_all(open_video(make_video(tmp_path / "a.mp4", sound=True)))
    assert damage is None and len(steps) == 10


def test_ten_bits_become_eight(tmp_path: Path):
    eight, ten = (
        read_all(open_video(make_video(tmp_path / f"{fmt}.mkv", codec="ffv1", pix_fmt=fmt)))[0]
        for fmt in ("yuv420p", "yuv420p10le")
    )
    assert len(ten) == 10
    apart = eight[3][0].y.astype(int) - ten[3][0].y.astype(int)
    assert np.abs(apart).max() <= 2


def test_a_file_cut_off_before_its_index_is_refused(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(BadClip, match="moov") as caught:
        open_video(path)
    assert caught.value.file == str(path) and caught.value.remedy


@pytest.mark.parametrize(
    ("name", "flags"),
    [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {}), ("a.avi", {}), ("a.ts", {})],
)
def test_frames_before_a_cut_are_kept(tmp_path: Path, name: str, flags: dict[str, str]):
    options = {"bf": "0", "g": "5"}
    if name.endswith("avi"):
        path = make_video(tmp_path / name, frames=30, codec="mjpeg", pix_fmt="yuvj420p")
    else:
        path = make_video(tmp_path / name, frames=30, flags=flags, options=options)
    whole, none = read_all(open_video(path))
    assert none is None and len(whole) == 30
    data = path.read_bytes()
    path.write_bytes(data[: int(0.7 * len(data))])
    clip = open_video(path)
    steps, damage = read_all(clip)
    assert damage is not None
    assert 0 < len(steps) < 30
    assert damage.frame == len(steps)
    assert damage.byte is not None and damage.byte < len(data)
    for kept, original in zip(steps, whole, strict=False):
        assert np.array_equal(kept[0].y, original[0].y)


def test_a_cut_flushes_the_pictures_held_back(tmp_path: Path):
    options = {"bf": "2", "g": "30"}
    flags = {"movflags": "faststart"}
    path = make_video(tmp_path / "a.mp4", frames=30, flags=flags, options=options)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.9 * len(data))])
    steps, damage = read_all(open_video(path))
    assert damage is not None and damage.frame == len(steps)
    assert times_of(steps) == [round(k / 10, 6) for k in range(len(steps))]


def test_a_video_trimmed_by_its_edit_list_is_whole(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", frames=20, options={"bf": "0"})
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12  # the duration of the first edit, in milliseconds
    assert int.from_bytes(data[at : at + 4], "big") == 2000
    data[at : at + 4] = (1200).to_bytes(4, "big")
    path.write_bytes(data)
    steps, damage = read_all(open_video(path))
    assert damage is None and len(steps) == 12


def test_text_under_the_name_of_a_video_is_refused(tmp_path: Path):
    path = tmp_path / "notes.mp4"
    path.write_text("The brake squeaks.\n" * 100)
    with pytest.raises(BadClip, match="Invalid data"):
        open_video(path)


def test_an_empty_file_is_refused(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.touch()
    with pytest.raises(BadClip, match="empty"):
        open_video(path)


def test_a_playlist_does_not_open_other_files(tmp_path: Path):
    inner = make_video(tmp_path / "inner.ts")
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/{inner.name}\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadClip):
        open_video(path)


def test_a_renamed_copy_has_the_same_id(tmp_path: Path):
    first = make_video(tmp_path / "a.mp4")
    again = shutil.copy(first, tmp_path / "b.mov")
    other = make_video(tmp_path / "c.mp4", frames=11)
    ids = [open_video(Path(path)).clip_id for path in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert all(re.fullmatch("[0-9a-f]{32}", clip_id) for clip_id in ids)


def test_a_clip_can_be_read_in_another_process(tmp_path: Path):
    clip = open_video(make_video(tmp_path / "a.mp4"))
    steps, _ = read_all(pickle.loads(pickle.dumps(clip)))
    assert len(steps) == 10


def test_names_that_are_not_utf8(tmp_path: Path):
    path = tmp_path / b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    make_video(tmp_path / "a.mp4").rename(path)
    clip = open_video(path)
    assert clip.source.encode("utf-8").endswith(b"caf\\xe9.mp4")
    assert len(read_all(clip)[0]) == 10
