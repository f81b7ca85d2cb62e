"""Recorded fleets: what is in the folders, and that nothing half done is left in them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from opendojo.clip import Camera, Log, Pose
from opendojo.world import EVALUATION_SEEDS, World, WorldConfig, record_fleet, recording

SECONDS = 3.2
COUNTRY = WorldConfig(towns=("country",))


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short drives, recorded in this process."""
    folder = tmp_path_factory.mktemp("fleet")
    record_fleet(folder, drives=2, seconds=SECONDS, seed=7, processes=1, config=COUNTRY)
    return folder


def test_a_drive_is_a_folder_of_ordinary_recordings(fleet: Path):
    assert sorted(p.name for p in fleet.iterdir()) == [f"drive-0000{k}" for k in range(2)]
    drive = fleet / "drive-00001"
    described = json.loads((drive / "drive.json").read_text())
    assert described["format"] == "opendojo-drive" and described["version"] == 1
    assert described["origin"] == "drawn" and described["rate_hz"] == 10.0
    assert described["generator"]["world_seed"] not in EVALUATION_SEEDS
    cameras = []
    for entry in described["cameras"]:
        assert (drive / entry.pop("file")).is_file()
        cameras.append(Camera(**entry | {"mount": Pose(**entry["mount"]), "distortion": ()}))
    assert tuple(cameras) == WorldConfig().cameras
    table = pq.read_table(drive / described["log"])
    assert table.column_names == ["time_s", *Log.names()]
    columns = {name: table[name].to_numpy() for name in table.column_names}
    assert all(column.dtype == np.float64 for column in columns.values())
    log = Log(**columns)
    assert np.array_equal(log.time_s, np.arange(32) / 10.0)
    tracks = pq.read_table(drive / described["tracks"]).to_pandas()
    assert set(tracks.kind) <= {"car", "truck", "cyclist", "pedestrian"}
    assert "car" in set(tracks.kind) and tracks.time_s.max() <= 3.1 + 1e-9
    for _, track in tracks.groupby("track_id"):
        assert np.hypot(track.x_m.diff(), track.y_m.diff()).max() < 4.0


def test_video_shows_frame_k_at_k_over_rate_as_it_was_drawn(fleet: Path):
    drive = fleet / "drive-00001"
    seed = json.loads((drive / "drive.json").read_text())["generator"]["world_seed"]
    first = World([seed], COUNTRY).render()[0].numpy()
    for slot, name in enumerate(("front", "left", "right")):
        with av.open(str(drive / f"{name}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
            frames = list(container.decode(stream))
        assert [round(frame.time * 10.0, 6) for frame in frames] == list(range(32))
        keys = [k for k, frame in enumerate(frames) if frame.key_frame]
        assert keys[0] == 0 and 1 < len(keys) < 5
        luma = frames[0].to_ndarray()[:64].astype(float)
        off = luma - first[slot][:64]
        assert np.sqrt((off**2).mean()) < 4.0


def test_the_log_is_what_was_driven(fleet: Path):
    for k in range(2):
        table = pq.read_table(fleet / f"drive-0000{k}" / "log.parquet").to_pandas()
        way = np.hypot(np.diff(table.x_m), np.diff(table.y_m))
        mean = (table.speed_mps.to_numpy()[1:] + table.speed_mps.to_numpy()[:-1]) / 2 * 0.1
        assert np.abs(way - mean).max() < 0.01
        assert set(table.disturbed.unique()) <= {0.0, 1.0}


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_however_many_processes(fleet: Path, tmp_path: Path):
    told: list[tuple[int, int]] = []
    counts = record_fleet(
        tmp_path, drives=2, seconds=SECONDS, seed=7, processes=2, config=COUNTRY,
        on_progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert counts == {"drives": 2, "kept": 0, "frames": 192}
    assert told[-1] == (192, 192) and told == sorted(told)
    assert content(tmp_path) == content(fleet)


@pytest.mark.slow
def test_recording_goes_on_where_it_was_broken_off(fleet: Path, tmp_path: Path):
    def break_off(done: int, _total: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    settings = {"seconds": SECONDS, "seed": 7, "processes": 1, "config": COUNTRY}
    record_fleet(tmp_path, drives=1, **settings)
    with pytest.raises(KeyboardInterrupt):
        record_fleet(tmp_path, drives=2, on_progress=break_off, **settings)
    assert [p.name for p in tmp_path.iterdir()] == ["drive-00000"]
    # what a kill leaves behind
    (tmp_path / ".partial-drive-00001").mkdir()
    (tmp_path / ".partial-drive-00001" / "front.mp4").write_bytes(b"half")
    kept = (tmp_path / "drive-00000" / "front.mp4").stat().st_mtime_ns
    assert record_fleet(tmp_path, drives=2, **settings)["kept"] == 1
    assert (tmp_path / "drive-00000" / "front.mp4").stat().st_mtime_ns == kept
    assert content(tmp_path) == content(fleet)


def test_a_folder_of_other_drives_is_refused(fleet: Path):
    with pytest.raises(ValueError, match="other settings"):
        record_fleet(fleet, drives=2, seconds=SECONDS, seed=8, processes=1)


def test_a_full_disk_leaves_no_half_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Full:
        """A file on a disk that takes 4 kB."""

        def __init__(self, file):
            self._file = file

        def write(self, data):
            if self._file.tell() + len(data) > 4096:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._file.write(data)

        def __getattr__(self, name):
            return getattr(self._file, name)

    monkeypatch.setattr(recording, "_create", lambda path: Full(path.open("xb")))
    with pytest.raises(OSError, match="No space left"):
        record_fleet(tmp_path, drives=1, seconds=SECONDS, processes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_pushes_are_marked_and_recovered_from(tmp_path: Path):
    record_fleet(tmp_path, drives=3, seconds=14.0, seed=3, processes=1, config=_SMALL)
    pushed = 0.0
    for drive in tmp_path.iterdir():
        table = pq.read_table(drive / "log.parquet").to_pandas()
        pushed += table.disturbed.sum()
        starts = np.flatnonzero(np.diff(table.disturbed) == 1.0)
        assert 1 <= len(starts) <= 3
    assert 0.04 < pushed / 420 < 0.2


_SMALL = WorldConfig(
    cameras=(Camera.with_fov("front", 32, 16, 70.0, mount=Pose(z_m=1.4)),),
    agents=2,
    towns=("country",),
)
