from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from mcap.writer import CompressionType
from mcap_files import START_NS, pose, stills, stream, video, write_mcap
from recordings import marked, read_all, times_of

from opendojo.clip import BadClip, Clip
from opendojo.ingest import mcap
from opendojo.ingest.decoding import Decoding, decoding, set_up
from opendojo.ingest.mcap import open_mcap
from opendojo.ingest.sniff import find_clips, source_files


def frames_equal(steps: list[Any], first: int = 0) -> bool:
    """Whether each step's first camera shows `marked` picture number `first` and up."""
    for k, step in enumerate(steps, start=first):
        luma = marked(64, 48, k).to_ndarray()[:48]
        if np.abs(step[0].y.astype(int) - luma).mean() > 2.0:
            return False
    return True


def by_time(*messages: list[Any]) -> list[Any]:
    return sorted([m for part in messages for m in part], key=lambda m: m[2])


@pytest.mark.parametrize("encoding", ["protobuf", "json", "cdr"])
@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.LZ4])
def test_pictures_in_every_encoding(encoding: str, compression: CompressionType, tmp_path: Path):
    schema = "sensor_msgs/msg/CompressedImage" if encoding == "cdr" else "foxglove.CompressedImage"
    messages = stills("/camera/front/image_raw/compressed", schema=schema)
    path = write_mcap(
        tmp_path / "a.mcap", messages, encoding=encoding, compression=compression, chunk_bytes=9000
    )
    clip = open_mcap(path)
    steps, damage = read_all(clip, 64, 48)
    assert damage is None and len(steps) == 8 and frames_equal(steps)
    assert times_of(steps) == [k / 10 for k in range(8)]
    assert [camera.name for camera in clip.cameras] == ["front"]
    assert clip.rate_hz == 10.0 and not clip.cameras[0].calibrated


@pytest.mark.parametrize(
    ("codec", "form"), [("libx264", "h264"), ("libx265", "h265"), ("libsvtav1", "av1")]
)
def test_video_in_every_codec(codec: str, form: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setenv("SVT_LOG", "0")
    packets = stream(codec, 9)
    path = write_mcap(tmp_path / "a.mcap", video("/front", form, packets), chunked=False)
    steps, damage = read_all(open_mcap(path), 64, 64)
    assert damage is None and len(steps) == len(packets)
    for k, step in enumerate(steps):
        luma = marked(64, 64, k).to_ndarray()[:64]
        assert np.abs(step[0].y.astype(int) - luma).mean() < 12.0, k


def test_cameras_are_matched_by_time(tmp_path: Path):
    messages = by_time(
        stills("/cam_left", 9, offset_ms=30),
        stills("/cam_front", 10),
        stills("/cam_back_right", 5, period_ms=200, offset_ms=-10),
    )
    clip = open_mcap(write_mcap(tmp_path / "a.mcap", messages))
    assert [camera.name for camera in clip.cameras] == ["front", "rear-right", "left"]
    steps, damage = read_all(clip, 64, 48)
    assert times_of(steps) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert damage is not None and "4 steps have no picture of every camera" in damage.cause
    # the pictures are those of the matched messages: front 2k, rear k, left 2k
    for k, step in enumerate(steps):
        for frame, index in zip(step, (2 * k, k, 2 * k), strict=True):
            luma = marked(64, 48, index).to_ndarray()[:48]
            assert np.abs(frame.y.astype(int) - luma).mean() < 2.0


def test_topics_one_after_the_other_are_read_too(tmp_path: Path):
    messages = stills("/front", 6) + stills("/left", 6)
    steps, damage = read_all(open_mcap(write_mcap(tmp_path / "a.mcap", messages)), 64, 48)
    assert damage is None and len(steps) == 6 and len(steps[0]) == 2


def test_calibration_mount_and_poses(tmp_path: Path):
    lens = {
        "frame_id": "front", "width": 64, "height": 48, "distortion_model": "kannala_brandt",
        "D": [0.1, 0.01, 0.0, 0.0], "K": [50.0, 0.0, 31.0, 0.0, 51.0, 23.0, 0.0, 0.0, 1.0],
    }  # fmt: skip
    tf = {
        "parent_frame_id": "base_link",
        "child_frame_id": "front",
        "translation": {"x": 1.5, "z": 1.25},
        # OpenCV's axes of a camera that looks ahead
        "rotation": {"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5},
    }
    before = [
        ("/calibration", "foxglove.CameraCalibration", START_NS - 10, lens),
        ("/tf", "foxglove.FrameTransform", START_NS - 9, tf),
    ]
    messages = by_time(before, stills("/front", 8), [pose(k) for k in range(-2, 12)])
    clip = open_mcap(write_mcap(tmp_path / "a.mcap", messages))
    (camera,) = clip.cameras
    assert camera.calibrated and camera.lens == "kannala-brandt"
    assert camera.distortion == (0.1, 0.01, 0.0, 0.0)
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (50.0, 51.0, 31.0, 23.0)
    expected = np.eye(4)
    expected[:3, 3] = [1.5, 0.0, 1.25]
    assert np.allclose(camera.mount.matrix, expected)
    assert clip.log is not None
    at = clip.log.at(np.array([0.0, 0.35]))
    assert np.allclose(at.speed_mps, 5.0)
    assert np.allclose(at.yaw_rad, np.pi / 4)
    assert np.allclose(at.x_m, np.array([0.0, 1.75]) * np.cos(np.pi / 4))


def test_fixes_of_a_satellite_receiver_become_metres(tmp_path: Path):
    def fix(k: int) -> Any:
        fields = {"latitude": 48.0 + 1e-5 * k, "longitude": 11.0 + 2e-5 * k, "altitude": 500.0}
        return "/gps", "foxglove.LocationFix", START_NS + k * 10**8, fields

    messages = by_time(stills("/front", 4), [fix(k) for k in range(4)])
    log = open_mcap(write_mcap(tmp_path / "a.mcap", messages)).log
    assert log is not None and log.x_m is not None and log.y_m is not None
    # a degree at 48 north on WGS 84: 74,627 m to the east, 111,200 m to the north
    assert log.x_m[3] == pytest.approx(3 * 2e-5 * 74627, rel=1e-3)
    assert log.y_m[3] == pytest.approx(3 * 1e-5 * 111200, rel=1e-3)


def test_a_video_that_begins_between_key_frames(tmp_path: Path):
    packets = stream("libx264", 12, gop=5)[2:]
    clip = open_mcap(write_mcap(tmp_path / "a.mcap", video("/front", "h264", packets)))
    steps, damage = read_all(clip, 64, 64)
    assert damage is None and len(steps) == 7  # frames 5 to 11 of the stream
    assert times_of(steps)[0] == 0.0


def test_a_recording_that_was_cut_off_is_kept_up_to_there(tmp_path: Path):
    path = write_mcap(tmp_path / "a.mcap", stills("/front", 20), chunk_bytes=4000)
    whole = path.read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: len(whole) // 2])
    steps, damage = read_all(open_mcap(cut), 64, 48)
    assert 3 < len(steps) < 20 and frames_equal(steps)
    assert damage is not None and "cut off" in damage.cause and damage.byte


def test_a_broken_picture_is_left_out(tmp_path: Path):
    messages = stills("/front", 6)
    messages[3][3]["data"] = messages[3][3]["data"][:40]
    steps, damage = read_all(open_mcap(write_mcap(tmp_path / "a.mcap", messages)), 64, 48)
    assert times_of(steps) == [0.0, 0.1, 0.2, 0.4, 0.5]
    assert damage is not None and damage.frame == 3


def test_a_damaged_chunk_is_found_by_its_check_sum(tmp_path: Path):
    path = write_mcap(
        tmp_path / "a.mcap", stills("/front", 6), compression=CompressionType.NONE, chunk_bytes=3000
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    steps, damage = read_all(open_mcap(path), 64, 48)
    assert damage is not None and "check sum" in damage.cause and damage.remedy
    assert len(steps) < 6


def test_lengths_that_lie_are_found_out(tmp_path: Path):
    path = write_mcap(tmp_path / "a.mcap", stills("/front", 4))
    whole = path.read_bytes()
    chunk = 8 + 9 + int.from_bytes(whole[9:17], "little")  # behind the header
    assert whole[chunk] == 6
    data = whole.index(b"zstd", chunk) + 4  # the length of the chunk's data
    for at in (9, chunk + 1, data):
        for lie in (7, 1 << 32, (1 << 64) - 1):
            path.write_bytes(whole[:at] + lie.to_bytes(8, "little") + whole[at + 8 :])
            try:
                steps, _ = read_all(open_mcap(path), 64, 48)
            except BadClip as bad:
                assert bad.cause and bad.remedy
                continue
            assert at == data and len(steps) == 4 and frames_equal(steps)  # by its check sum


def test_what_holds_no_pictures_is_rejected(tmp_path: Path):
    path = write_mcap(tmp_path / "a.mcap", [pose(k) for k in range(4)])
    with pytest.raises(BadClip, match="no camera's pictures"):
        open_mcap(path)
    path.write_bytes(b"\x89MCAP0\r\n")
    with pytest.raises(BadClip, match="cut off"):
        open_mcap(path)


def test_without_the_extra_the_remedy_is_to_install_it(tmp_path: Path, monkeypatch: Any):
    path = write_mcap(tmp_path / "a.mcap", stills("/front", 3))
    monkeypatch.setitem(sys.modules, "mcap.records", None)
    (bad,) = find_clips(tmp_path)
    assert isinstance(bad, BadClip) and bad.file == str(path)
    assert "opendojo[formats]" in bad.remedy


def test_it_is_found_and_read_in_another_process(tmp_path: Path):
    path = write_mcap(tmp_path / "a.mcap", stills("/front", 3))
    path.rename(tmp_path / "nameless")
    (clip,) = find_clips(tmp_path)
    assert isinstance(clip, Clip)
    assert source_files(clip) == (tmp_path / "nameless",)
    steps, damage = read_all(pickle.loads(pickle.dumps(clip)))
    assert len(steps) == 3 and damage is None


@pytest.mark.parametrize(("form", "codec"), [("h265", "libx265"), ("av1", "libsvtav1")])
def test_threads_and_the_loop_filter_are_obeyed(
    form: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SVT_LOG", "0")
    path = write_mcap(tmp_path / "a.mcap", video("/front", form, stream(codec, 24, gop=12)))
    planes = []
    for how in (Decoding(), Decoding(threads=4), Decoding(skip_loop_filter=True)):
        with decoding(how):
            steps, damage = read_all(open_mcap(path), 64, 64)
        assert damage is None and len(steps) == 24
        planes.append([frame.y.tobytes() for step in steps for frame in step])
    assert planes[0] == planes[1]
    assert (planes[2] != planes[0]) == (form == "h265")  # AV1 has no filter that could be left out


def test_decoders_get_the_threads_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[int] = []

    def counted(context: VideoCodecContext) -> None:
        set_up(context)
        made.append(context.thread_count)

    monkeypatch.setattr(mcap, "set_up", counted)
    path = write_mcap(tmp_path / "a.mcap", video("/front", "h264", stream("libx264", 4)))
    with decoding(Decoding(threads=3)):
        read_all(open_mcap(path))
    assert made and set(made) == {3}
