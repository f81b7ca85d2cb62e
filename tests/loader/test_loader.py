"""The loader's order, its windows and its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clips import make_clip
from opendojo.clip import Log
from opendojo.loader import Loader, LoaderConfig, WindowSpec, ego_paths, permuted
from opendojo.store import Store, stage_part


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("loader") / "s")
    clips = [make_clip(seed, instants=90) for seed in range(3)]
    clips += [make_clip(7, instants=88, cameras=("front",), rate_hz=25.0, with_log=False)]
    with store.staging() as staging:
        store.publish(stage_part(clips, store.spec, staging))
    return store.reload()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 1000))
def test_permutation_is_one_to_one(count: int, seed: int, epoch: int) -> None:
    order = permuted(np.arange(count), count, seed=seed, epoch=epoch)
    assert np.array_equal(np.sort(order), np.arange(count))


def test_permutation_looks_shuffled_and_is_found_element_by_element() -> None:
    count = 10_007
    order = permuted(np.arange(count), count, seed=1, epoch=0)
    alone = [permuted(np.array([i]), count, seed=1, epoch=0)[0] for i in range(0, count, 997)]
    assert np.array_equal(order[::997], alone)
    other = permuted(np.arange(count), count, seed=1, epoch=1)
    assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.05
    assert abs(np.corrcoef(order, other)[0, 1]) < 0.05
    assert len(permuted(np.arange(5), 10**12, seed=0, epoch=0)) == 5


def test_each_window_comes_once_and_the_order_is_the_seeds_alone(store: Store) -> None:
    config = LoaderConfig(batch=5, seed=3)
    first = [batch.window_id for batch in Loader([store], config).batches(0)]
    again = [batch.window_id for batch in Loader([store.reload()], config).batches(0)]
    ids = torch.cat(first)
    assert torch.equal(ids, torch.cat(again))
    assert sorted(ids.tolist()) == list(range(len(Loader([store], config).table)))
    later = torch.cat([batch.window_id for batch in Loader([store], config).batches(1)])
    assert not torch.equal(ids, later)


def test_resume_at_any_batch_gives_the_same_batches(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=4))
    whole = list(loader.batches(2))
    for start in (0, 1, len(whole) - 1):
        rest = list(loader.batches(2, start_batch=start))
        assert len(rest) == len(whole) - start
        assert all(
            torch.equal(a.frames, b.frames) and torch.equal(a.path_m, b.path_m)
            for a, b in zip(rest, whole[start:], strict=True)
        )


def test_the_same_windows_whatever_order_clips_were_ingested_in(tmp_path: Path) -> None:
    stores = []
    for name, seeds in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        store = Store.create(tmp_path / name)
        for seed in seeds:
            with store.staging() as staging:
                store.publish(stage_part([make_clip(seed, instants=24)], store.spec, staging))
        stores.append(store.reload())
    a, b = (next(iter(Loader([s], LoaderConfig(batch=64)).batches(0))) for s in stores)
    assert torch.equal(a.frames, b.frames)
    assert stores[0].fingerprint == stores[1].fingerprint


def test_training_and_held_out_share_no_frame(store: Store) -> None:
    spec = WindowSpec()
    seen: dict[str, set] = {}
    for split in ("train", "held-out"):
        table = Loader([store], LoaderConfig(split=split)).table
        seen[split] = set()
        for window in range(len(table)):
            place, first = table.find(window)
            _, episode = table.episodes[place]
            assert first % store.spec.gop_frames == 0
            assert first + spec.span(episode.rate_hz) <= episode.instants
            covered = range(first, first + spec.span(episode.rate_hz))
            seen[split] |= {(episode.clip_id, instant) for instant in covered}
    assert seen["train"]
    assert seen["held-out"]
    assert not seen["train"] & seen["held-out"]


def test_frames_of_a_window_are_the_stores_nearest_in_time(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=64, split="all"))
    (batch,) = loader.batches(0)
    for row, window in enumerate(batch.window_id.tolist()):
        place, first = loader.table.find(window)
        _, episode = loader.table.episodes[place]
        times = store.log(episode).time_s
        aims = times[first] + np.arange(8) / 10
        nearest = [int(np.abs(times - aim).argmin()) for aim in aims]
        assert np.abs(times[nearest] - times[first] - batch.time_s[row].numpy()).max() < 1e-9
        names = [camera.name for camera in episode.cameras]
        out = np.empty((8, len(names), 6, 32, 64), np.uint8)
        store.decode(episode, nearest, out)
        assert np.array_equal(batch.frames[row, :, : len(names)].numpy(), out)
        assert batch.camera_mask[row].tolist() == [True] * len(names) + [False] * (3 - len(names))
        assert bool(batch.drawn[row]) == (episode.origin == "drawn")
        assert batch.path_mask[row].any().item() == (episode.rate_hz == 10.0)


def _circle(radius_m: float = 50.0, speed_mps: float = 10.0) -> Log:
    time_s = np.arange(0, 12, 0.1)
    angle = speed_mps * time_s / radius_m
    return Log(
        time_s=time_s,
        x_m=300 + radius_m * np.sin(angle + 2) - radius_m * np.sin(2),
        y_m=-70 - radius_m * np.cos(angle + 2) + radius_m * np.cos(2),
        yaw_rad=(angle + 2 + np.pi) % (2 * np.pi) - np.pi,
        speed_mps=np.full_like(time_s, speed_mps),
        disturbed=np.zeros_like(time_s),
    )


def test_path_labels_of_a_circle_are_the_circle() -> None:
    ahead = WindowSpec().path_times_s
    path, mask = ego_paths(_circle(), np.array([0.0, 3.0, 9.0]), ahead)
    angle = 10.0 * ahead / 50.0
    truth = np.stack([50 * np.sin(angle), 50 * (1 - np.cos(angle))], -1)
    assert np.allclose(path[0], truth, atol=0.02)
    assert np.allclose(path[1], truth, atol=0.02)
    assert mask[:2].all()
    assert mask[2].tolist() == (9.0 + ahead <= 11.9).tolist()  # the log ends at 11.9 s
    assert (path[2][~mask[2]] == 0).all()


def test_labels_stop_at_a_disturbance_and_start_again_after_it() -> None:
    log = _circle()
    assert log.disturbed is not None
    log.disturbed[30:35] = 1.0
    _, mask = ego_paths(log, np.array([2.0, 3.2, 3.5]), np.array([0.5, 1.0, 1.2, 4.0]))
    assert mask.tolist() == [[True, True, False, False], [False] * 4, [True] * 4]


def test_logs_alone_need_no_pixels(store: Store) -> None:
    batch = next(iter(Loader([store], LoaderConfig(pixels=False)).batches(0)))
    assert batch.frames.shape[2] == 0
    assert batch.frame_count == 0
    assert batch.path_mask.any()


def test_kept_windows_equal_fresh_ones_and_stay_within_their_bytes(store: Store) -> None:
    fresh = Loader([store], LoaderConfig(keep_bytes=0))
    size = 8 * 3 * 6 * 32 * 64
    few = Loader([store], LoaderConfig(keep_bytes=5 * size + 1))
    everything = Loader([store], LoaderConfig())
    for epoch in range(3):
        for a, b, c in zip(*(loader.batches(epoch) for loader in (fresh, few, everything)),
                           strict=True):  # fmt: skip
            for name in ("frames", "path_m", "path_mask", "speed_mps", "time_s", "window_id"):
                assert torch.equal(getattr(a, name), getattr(b, name))
                assert torch.equal(getattr(a, name), getattr(c, name))
    assert len(fresh.kept) == 0
    assert len(few.kept) == 5
    assert len(everything.kept) == len(everything.table)


def test_bad_requests_name_the_fix(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ingest longer clips"):
        Loader([store], LoaderConfig(window=WindowSpec(frames=500)))
    with pytest.raises(ValueError, match="ingest longer clips"):
        Loader([Store.create(tmp_path / "empty")], LoaderConfig())
    with pytest.raises(ValueError, match="repeats"):
        Loader([store], LoaderConfig(repeats=(1, 2)))


def test_repeats_weigh_stores(store: Store) -> None:
    once, thrice = (len(Loader([store], LoaderConfig(repeats=(k,))).table) for k in (1, 3))
    assert thrice == 3 * once


def test_a_reading_error_reaches_the_caller_and_ends_the_thread(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.staging() as staging:
        store.publish(stage_part([make_clip(0, instants=40)], store.spec, staging))
    loader = Loader([store.reload()], LoaderConfig())
    for video in (tmp_path / "s").rglob("*.mp4"):
        video.unlink()
    with pytest.raises(OSError, match="No such file"):
        list(loader.batches(0))


def test_leaving_early_ends_the_thread(store: Store) -> None:
    import threading

    before = threading.active_count()
    batches = Loader([store], LoaderConfig(batch=1)).batches(0)
    next(batches)
    batches.close()
    assert threading.active_count() == before
