"""What goes into a store comes out of it: pixels, logs, files that other tools open."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from clips import Pattern, make_clip
from opendojo.store import Store, StoreSpec, stage_part, store_stats, verify_store


def filled(path: Path, clips: list, spec: StoreSpec | None = None) -> Store:
    store = Store.create(path, spec)
    with store.staging() as staging:
        store.publish(stage_part(clips, store.spec, staging))
    return store.reload()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    clips = [
        make_clip(0, instants=37),
        make_clip(1, instants=20),
        make_clip(2, instants=30, cameras=("front",), rate_hz=25.0, with_log=False),
    ]
    return filled(tmp_path_factory.mktemp("store") / "s", clips)


def all_frames(store: Store, episode) -> np.ndarray:
    out = np.empty((episode.instants, len(episode.cameras), store.spec.frame_bytes), np.uint8)
    store.decode(episode, range(episode.instants), out)
    return out


def planar(frame) -> np.ndarray:
    return np.concatenate([plane.ravel() for plane in (frame.y, frame.u, frame.v)])


def test_frames_come_back_as_they_went_in(store: Store) -> None:
    for episode in store.episodes:
        frames = all_frames(store, episode)
        seed = int(store.source(episode).split("-")[1])
        pattern = Pattern(
            seed=seed,
            cameras=len(episode.cameras),
            instants=episode.instants,
            rate_hz=episode.rate_hz,
        )
        for instant in range(episode.instants):
            for camera in range(len(episode.cameras)):
                truth = planar(pattern.frame(camera, instant, 128, 64)).astype(int)
                error = np.abs(frames[instant, camera].astype(int) - truth)
                assert error.mean() < 3.0, (seed, instant, camera, error.mean())


def test_packet_path_equals_pyavs_own_demuxer_bit_for_bit(store: Store) -> None:
    for episode in store.episodes:
        frames = all_frames(store, episode)
        for place, camera in enumerate(episode.cameras):
            key = f"observation.images.{camera.name}"
            path = store.path / episode.dataset / f"videos/{key}/chunk-000/file-000.mp4"
            with av.open(str(path)) as container:
                planes = [f.to_ndarray() for f in container.decode(video=0)]
            for instant in range(episode.instants):
                yuv = planes[episode.row + instant]
                assert np.array_equal(frames[instant, place], yuv.ravel())


def test_any_choice_of_instants_equals_the_whole_run(store: Store) -> None:
    episode = max(store.episodes, key=lambda e: e.instants)
    whole = all_frames(store, episode)
    rng = np.random.default_rng(5)
    for _ in range(20):
        chosen = np.sort(rng.choice(episode.instants, 5)).tolist()
        out = np.zeros((7, 5, 4, 128 * 96 + 64), np.uint8)
        part = out[1:6, :, 1:3, 32:-32][2]  # the last axis alone has no gaps
        start = chosen[0] - chosen[0] % 8
        rows = store.rows(episode, start, episode.instants - start)
        store.decode(episode, chosen, part, cameras=["right", "front"], rows=rows)
        assert np.array_equal(part, whole[chosen][:, [2, 0]])
        assert out.sum() == part.sum()  # nothing was written beside it


def test_groups_are_closed_and_even(store: Store) -> None:
    from opendojo.store.encode import read_packets

    for path in store.path.rglob("*.mp4"):
        keys = np.array([key for _, _, key in read_packets(path)])
        episodes = [e for e in store.episodes if path.is_relative_to(store.path / e.dataset)]
        for episode in episodes:
            own = keys[episode.row : episode.row + episode.instants]
            assert np.array_equal(np.flatnonzero(own), np.arange(0, len(own), 8))


def test_log_is_interpolated_to_frame_times(store: Store) -> None:
    episode = next(e for e in store.episodes if e.instants == 37)
    log = store.log(episode)
    assert np.allclose(log.time_s, np.arange(37) / 10)
    assert log.yaw_rad is not None
    assert log.x_m is not None
    assert np.allclose(log.yaw_rad, 0.05 * log.time_s)
    assert np.allclose(log.x_m, np.sin(log.yaw_rad) * 200.0, atol=1e-6)
    unlogged = store.log(next(e for e in store.episodes if e.rate_hz == 25.0))
    assert all(np.isnan(column).all() for column in unlogged.columns().values())


def test_every_file_plays_or_loads_with_pandas(store: Store) -> None:
    kinds = set()
    for path in store.path.rglob("*"):
        if path.is_dir() or path.name.startswith("."):
            continue
        kinds.add(path.suffix)
        if path.suffix == ".mp4":
            with av.open(str(path)) as container:
                assert container.streams.video[0].codec_context.profile in ("Main", "High")
                assert sum(1 for _ in container.decode(video=0)) > 0
        elif path.suffix == ".parquet":
            assert len(pd.read_parquet(path))
        elif path.suffix == ".npy":
            table = np.load(path)
            if path.parent.parent.name == "index":
                assert {"time_s", "front.offset", "front.flags"} <= set(table.dtype.names)
        else:
            assert json.loads(path.read_text())
    assert kinds == {".mp4", ".parquet", ".npy", ".json"}


def test_lerobot_tables_agree_with_one_another(store: Store) -> None:
    home = store.path / "10hz-front-left-right"
    info = json.loads((home / "meta/info.json").read_text())
    data = pd.read_parquet(home / "data/chunk-000/file-000.parquet")
    episodes = pd.read_parquet(home / "meta/episodes/chunk-000/file-000.parquet")
    tasks = pd.read_parquet(home / "meta/tasks.parquet")
    assert info["codebase_version"] == "v3.0"
    assert info["total_frames"] == len(data) == episodes["length"].sum() == 57
    assert info["total_episodes"] == len(episodes) == 2
    assert {k for k, f in info["features"].items() if f["dtype"] != "video"} == set(data.columns)
    assert tasks.loc["drive", "task_index"] == 0
    assert np.array_equal(data["index"], np.arange(len(data)))
    for _, row in episodes.iterrows():
        own = data.iloc[row["dataset_from_index"] : row["dataset_to_index"]]
        assert (own["episode_index"] == row["episode_index"]).all()
        start = row["videos/observation.images.left/from_timestamp"]
        end = row["videos/observation.images.left/to_timestamp"]
        assert end - start == pytest.approx(row["length"] / info["fps"])


def test_the_same_clip_twice_adds_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", [make_clip(0), make_clip(0)])
    before = (store.frames, store.fingerprint)
    with store.staging() as staging:
        assert store.publish(stage_part([make_clip(0)], store.spec, staging)) == 0
        mixed = stage_part([make_clip(0), make_clip(3)], store.spec, staging)
        assert store.publish(mixed) == 60
    again = store.reload()
    assert before[0] == 60
    assert again.frames == 120
    assert verify_store(again, decode=True) == []
    for episode in again.episodes:  # the part with a duplicate in it is read right
        assert all_frames(again, episode).std() > 10
        assert np.allclose(again.log(episode).time_s, np.arange(20) / 10)


def test_bytes_of_a_clip_depend_on_the_clip_alone(tmp_path: Path) -> None:
    alone = filled(tmp_path / "a", [make_clip(1)])
    after = filled(tmp_path / "b", [make_clip(0), make_clip(1)])
    mine = {e.clip_id: all_frames(after, e) for e in after.episodes}
    (episode,) = alone.episodes
    assert np.array_equal(all_frames(alone, episode), mine[episode.clip_id])


def test_a_clip_that_breaks_off_is_kept_up_to_there(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    clips = [make_clip(0, breaks_at=11), make_clip(1, breaks_at=0), make_clip(2)]
    with store.staging() as staging:
        parts = stage_part(clips, store.spec, staging)
        store.publish(parts)
    staged = [clip for part in parts for clip in part.clips]
    assert [(c.instants, c.damage.frame if c.damage else None) for c in staged] == [
        (11, 11),
        (0, 0),
        (20, None),
    ]
    store = store.reload()
    assert sorted(e.instants for e in store.episodes) == [11, 20]
    assert verify_store(store, decode=True) == []


def test_verify_names_what_is_wrong(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", [make_clip(0)])
    home = store.path / "10hz-front-left-right"
    video = home / "videos/observation.images.front/chunk-000/file-000.mp4"
    good = video.read_bytes()
    video.write_bytes(good[:100] + bytes([good[100] ^ 4]) + good[101:])
    (fault,) = verify_store(store)
    assert "SHA-256" in fault.cause
    assert fault.file.endswith(".mp4")
    video.write_bytes(good[:-5])
    assert "bytes where" in verify_store(store)[0].cause
    video.unlink()
    assert verify_store(store)[0].cause == "missing"
    video.write_bytes(good)
    assert verify_store(store) == []
    (home / "data/chunk-000/file-009.parquet").write_bytes(b"left over")
    (left,) = verify_store(store)
    assert left.harmless
    Store.create(store.path)  # a writer sweeps
    assert verify_store(store) == []


def test_open_and_create_refuse_clearly(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no store"):
        Store.open(tmp_path)
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"holds letters\.txt"):
        Store.create(tmp_path)
    Store.create(tmp_path / "s")
    with pytest.raises(ValueError, match="choose another"):
        Store.create(tmp_path / "s", StoreSpec(width_px=256))
    (tmp_path / "s" / "store.json").write_text('{"form')
    with pytest.raises(ValueError, match="damaged"):
        Store.open(tmp_path / "s")
    with pytest.raises(ValueError, match="even sides"):
        StoreSpec(width_px=127)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere; see test_disk.py")
def test_a_read_only_place_is_an_os_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        Store.create(tmp_path / "s")


def test_stats_add_up(store: Store) -> None:
    stats = store_stats(store)
    assert stats["frames"] == 57 * 3 + 30 == store.frames
    assert stats["clips"] == 3
    assert stats["datasets"]["25hz-front"]["with_path"] == 0
    assert stats["datasets"]["10hz-front-left-right"]["with_path"] == 2
    disk = sum(p.stat().st_size for p in store.path.glob("*hz-*/**/file-*.*"))
    assert stats["bytes"] == disk == store.size_bytes
    assert stats["codec"] == "h264"
    camera = stats["datasets"]["25hz-front"]["by_camera"]["front"]
    whole = sum(p.stat().st_size for p in store.path.glob("25hz-*/videos/**/*.mp4"))
    assert 0.7 * whole < camera["bytes_per_frame"] * 30 < whole
    assert 40 < camera["least_psnr_db"] <= camera["psnr_db"] < 60
