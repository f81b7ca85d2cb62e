"""The loader: same order and bits whoever reads, what a batch holds, resuming, mixing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from loader_kit import equal, filled
from torch.utils.data import DataLoader

from clips import make_clip
from opendojo.loader import LENS_COLUMNS, Batch, Loader, LoaderConfig, WindowSpec, ego_paths
from opendojo.loader import loader as module
from opendojo.store import Store


def _read(loader: Loader, epoch: int = 0, start: int = 0) -> list[Batch]:
    return [batch.clone() for batch in loader.batches(epoch, start)]


def test_each_window_comes_once_and_the_order_is_the_seeds_alone(store: Store) -> None:
    config = LoaderConfig(batch=5, seed=3, workers=0)
    loader = Loader([store], config)
    first = torch.cat([batch.window_id.clone() for batch in loader.batches(0)])
    again = torch.cat([b.window_id.clone() for b in Loader([store.reload()], config).batches(0)])
    assert torch.equal(first, again)
    assert sorted(first.tolist()) == list(range(len(loader.table)))
    ids = [loader.window_ids(0, batch) for batch in range(len(loader))]
    assert first.tolist() == np.concatenate(ids).tolist()
    assert loader.window_ids(1, 0).tolist() != ids[0].tolist()


def test_same_bits_for_any_workers_slots_ranks_and_resumption(
    store: Store, other_store: Store
) -> None:
    config = LoaderConfig(batch=4, seed=9, weights=(1.0, 0.5), workers=0, keep_bytes=0)
    stores = [store, other_store]
    whole = _read(Loader(stores, config), 1)
    shared = Loader(stores, LoaderConfig(**_but(config, workers=2, slots=2, keep_bytes=1 << 26)))
    for _ in range(2):  # the second time they are kept
        assert all(equal(a, b) for a, b in zip(_read(shared, 1), whole, strict=True))
    assert shared.kept_windows > 0
    assert all(equal(a, b) for a, b in zip(_read(shared, 1, 3), whole[3:], strict=True))
    shared.close()
    rows = [row for batch in whole for row in _rows(batch)]
    for ranks in (2, 3):
        each = [_read(Loader(stores, config, rank, ranks), 1) for rank in range(ranks)]
        assert len({len(batches) for batches in each}) == 1
        merged = [row for step in zip(*each, strict=True) for batch in step for row in _rows(batch)]
        left_out = Loader(stores, config, 0, ranks).left_out
        assert len(rows) - len(merged) == left_out < ranks
        assert all(
            torch.equal(a, b)
            for one, other in zip(merged, rows, strict=False)
            for a, b in zip(one, other, strict=True)
        )


@pytest.mark.slow
def test_same_bits_for_any_workers_ranks_and_random_resumption(
    store: Store, other_store: Store
) -> None:
    rng = np.random.default_rng(1)
    stores = [store, other_store]
    for case in range(2):
        config = LoaderConfig(
            batch=int(rng.choice([2, 6])), seed=case, run=int(rng.choice([1, 2])),
            weights=(1.0, float(rng.choice([0.3, 2.0]))), workers=0, keep_bytes=0,
        )  # fmt: skip
        rows = [row for batch in _read(Loader(stores, config), case) for row in _rows(batch)]
        for workers, ranks in ((1, 1), (2, 1), (4, 1), (1, 2), (2, 4), (4, 2)):
            told = LoaderConfig(**_but(config, workers=workers))
            loaders = [Loader(stores, told, rank, ranks) for rank in range(ranks)]
            start = int(rng.integers(0, len(loaders[0])))
            each = [_read(loader, case, start) for loader in loaders]
            for loader in loaders:
                loader.close()
            merged = [r for step in zip(*each, strict=True) for b in step for r in _rows(b)]
            begin = start * config.batch * ranks
            assert 0 <= len(rows) - begin - len(merged) < ranks
            assert all(
                torch.equal(a, b)
                for one, other in zip(merged, rows[begin:], strict=False)
                for a, b in zip(one, other, strict=True)
            )


def _but(config: LoaderConfig, **changes: object) -> dict:
    return {name: getattr(config, name) for name in config.__dataclass_fields__} | changes


def _rows(batch: Batch) -> list[tuple[torch.Tensor, ...]]:
    return list(zip(*batch.tensors().values(), strict=True))


def test_frames_of_a_window_are_the_stores_nearest_in_time(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=64, split="all", workers=0))
    (batch,) = _read(loader)
    for row, window in enumerate(batch.window_id.tolist()):
        place, first = loader.table.find(window)
        _, episode = loader.table.episodes[place]
        log = store.log(episode)
        aims = log.time_s[first] + np.arange(8) / 10
        nearest = [int(np.abs(log.time_s - aim).argmin()) for aim in aims]
        times = log.time_s[nearest]
        assert np.array_equal(times - times[0], batch.time_s[row].numpy())
        names = [camera.name for camera in episode.cameras]
        out = np.empty((8, len(names), store.spec.frame_bytes), np.uint8)
        store.decode(episode, nearest, out)
        assert np.array_equal(batch.yuv[row, :, : len(names)].numpy(), out)
        assert not batch.yuv[row, :, len(names) :].any()
        assert batch.camera_mask[row].tolist() == [True] * len(names) + [False] * (3 - len(names))
        assert bool(batch.drawn[row]) == (episode.origin == "drawn")
        path_m, mask = ego_paths(log, times, WindowSpec().path_times_s)
        assert np.array_equal(batch.path_mask[row].numpy(), mask)
        assert np.allclose(batch.path_m[row].numpy(), path_m, rtol=1e-6, atol=1e-5)
        for slot, camera in enumerate(episode.cameras):
            lens = dict(zip(LENS_COLUMNS, batch.lens[row, slot].tolist(), strict=True))
            assert lens["fx_px"] == pytest.approx(camera.fx_px)
            assert lens["calibrated"] == camera.calibrated
        assert not batch.lens[row, len(names) :].any()


def test_training_labels_end_where_held_out_frames_begin(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=64, workers=0))
    (batch,) = _read(loader)
    reached = 0.0
    for row, window in enumerate(batch.window_id.tolist()):
        place, first = loader.table.find(window)
        store_number, episode = loader.table.episodes[place]
        cut_s = store.log(episode).time_s[loader.table.cuts[place] - 1]
        assert store_number == 0
        now_s = store.log(episode).time_s[first] + batch.time_s[row].numpy()
        later_s = now_s[:, None] + WindowSpec().path_times_s
        mask = batch.path_mask[row].numpy()
        if mask.any():
            reached = max(reached, float((later_s[mask] / cut_s).max()))
            assert later_s[mask].max() <= cut_s + 1e-6
    assert reached > 0.97


def test_pictures_pack_as_the_clip_room_says(store: Store) -> None:
    from opendojo.clip import pack_planes

    batch = next(iter(Loader([store], LoaderConfig(batch=2, workers=0))))
    packed = pack_planes(*(plane[0, 1, 0].numpy() for plane in (batch.y, batch.u, batch.v)))
    assert np.array_equal(batch.frames[0, 1, 0].numpy(), packed)
    assert batch.rgb().shape == (2, 8, 3, 3, 64, 128)


def test_logs_alone_need_no_pixels(store: Store) -> None:
    batch = next(iter(Loader([store], LoaderConfig(colour="none", workers=0))))
    assert batch.yuv.shape[2] == batch.rgb_frames.shape[2] == 0
    assert batch.frame_count == 0
    assert batch.path_mask.any()


def test_rgb_is_the_frames_converted(store: Store) -> None:
    config = LoaderConfig(batch=3, workers=0)
    yuv = next(iter(Loader([store], config)))
    rgb = next(iter(Loader([store], LoaderConfig(batch=3, workers=0, colour="rgb"))))
    assert rgb.rgb_frames.shape == (3, 8, 3, 3, 64, 128)
    assert rgb.frame_count == yuv.frame_count
    assert torch.equal(rgb.window_id, yuv.window_id)
    there = yuv.camera_mask[:, None, :, None, None, None]
    off = (rgb.rgb_frames.float() - yuv.rgb().float()).abs() * there
    assert off.mean() < 3.0
    assert not (rgb.rgb_frames * ~there).any()


def test_neighbouring_windows_decode_the_frames_they_share_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = WindowSpec(frames=24, rate_hz=None)
    decoded: dict[int, int] = {}
    plain = Store.decode
    batches = {}
    for run in (1, 4):

        def counting(self, episode, instants, *rest, run=run, **more):
            decoded[run] = decoded.get(run, 0) + len(instants)
            return plain(self, episode, instants, *rest, **more)

        monkeypatch.setattr(Store, "decode", counting)
        config = LoaderConfig(batch=8, run=run, window=window, workers=0, keep_bytes=0)
        read = _read(Loader([store], config))
        batches[run] = {int(row[-1]): row for batch in read for row in _rows(batch)}
    assert decoded[4] < 0.6 * decoded[1]
    assert batches[1].keys() == batches[4].keys()
    for window_id, row in batches[1].items():
        assert all(torch.equal(a, b) for a, b in zip(row, batches[4][window_id], strict=True))


def test_kept_windows_equal_fresh_ones_and_are_all_or_none(store: Store) -> None:
    def loader(keep_bytes: int) -> Loader:
        return Loader([store], LoaderConfig(batch=4, workers=0, keep_bytes=keep_bytes))

    fresh, everything = loader(0), loader(1 << 30)
    needed = everything._kept.layout.bytes
    least, few = loader(needed), loader(needed - 1)
    assert least._kept.layout.rows == len(least.table)
    assert few._kept.layout.bytes == 0
    for epoch in range(3):
        reads = [_read(each, epoch) for each in (fresh, few, everything)]
        for a, b, c in zip(*reads, strict=True):
            assert equal(a, b)
            assert equal(a, c)
    assert fresh.kept_windows == 0
    assert few.kept_windows == 0
    assert everything.kept_windows == len(everything.table)


def test_iterating_goes_on_from_its_state_with_other_ranks(store: Store) -> None:
    config = LoaderConfig(batch=3, workers=0)
    whole = _read(Loader([store], config)) + _read(Loader([store], config), 1)
    loader = Loader([store], config)
    batches = iter(loader)
    assert all(equal(next(batches), expected) for expected in whole[:4])
    state = loader.state_dict()
    place = {"seed": 0, "epoch": 0, "window": 12}
    assert {name: state[name] for name in place} == place
    ranks = [Loader([store], config, rank, 2) for rank in range(2)]
    for rank, other in enumerate(ranks):
        other.load_state_dict(state)
        assert equal(next(iter(other)), whole[4 + rank])
    assert ranks[0].state_dict() == {**state, "window": 18}
    rest = Loader([store], config)
    rest.load_state_dict(state)
    assert sum(1 for _ in rest) == len(rest) - 4
    assert rest.state_dict() == {**state, "epoch": 1, "window": 0}
    assert equal(next(iter(rest)), whole[len(rest)])
    rest.set_epoch(0)
    assert equal(next(iter(rest)), whole[0])
    with pytest.raises(ValueError, match="seed"):
        rest.load_state_dict({**state, "seed": 1})
    for nowhere in (len(rest.table), 10**6, -1):
        with pytest.raises(ValueError, match="no such place"):
            rest.load_state_dict({**state, "window": nowhere})


def test_where_more_ranks_than_windows_are_left_the_next_epoch_begins(store: Store) -> None:
    one = Loader([store], LoaderConfig(batch=1, workers=0))
    state = {**one.state_dict(), "window": len(one.table) - 2}
    one.load_state_dict(state)
    assert len(list(one)) == 2
    many = [Loader([store], LoaderConfig(batch=1, workers=0), rank, 3) for rank in range(3)]
    first = _read(Loader([store], LoaderConfig(batch=1, workers=0)), 1)
    for rank, loader in enumerate(many):
        loader.load_state_dict(state)
        assert equal(next(iter(loader)), first[rank])


def test_a_state_of_another_order_or_of_other_data_is_refused(
    store: Store, other_store: Store
) -> None:
    config = LoaderConfig(batch=4, workers=0)
    state = Loader([store], config).state_dict()
    others: list[dict[str, object]] = [
        {"split": "all"}, {"held_out_share": 0.3}, {"stride_groups": 2}, {"without": ("dark",)},
        {"run": 2}, {"weights": (0.5,)}, {"window": WindowSpec(frames=4)},
    ]  # fmt: skip
    for other in others:
        with pytest.raises(ValueError, match="another order"):
            Loader([store], LoaderConfig(**_but(config, **other))).load_state_dict(state)
    with pytest.raises(ValueError, match="other stores"):
        Loader([store, other_store], config).load_state_dict(state)
    changed = {"batch": 6, "workers": 1, "slots": 4, "cameras": ("left",), "colour": "none"}
    Loader([store], LoaderConfig(**_but(config, **changed))).load_state_dict(state)
    Loader([store], config).load_state_dict({"seed": 0, "epoch": 3, "window": 4})


def test_what_is_left_out_is_told_after_a_change_of_ranks(store: Store) -> None:
    config, seen = LoaderConfig(batch=2, workers=0, colour="none"), []
    for taken in range(4):
        loader = Loader([store], config)
        total = len(loader._mixture)
        loader.load_state_dict({"seed": 0, "epoch": 0, "window": 2 * taken})
        state = loader.state_dict()
        ranks = [Loader([store], config, rank, 3) for rank in range(3)]
        for rank in ranks:
            rank.load_state_dict(state)
        left_out = ranks[0].left_out
        read = sum(len(batch.window_id) for rank in ranks for batch in rank)
        assert total - 2 * taken - read == left_out
        seen.append(left_out)
    assert len(set(seen)) > 1


def test_the_dataset_way_uses_the_loaders_device(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, plain = [], module.delivery_to

    def delivery(device, crew, views):
        told.append(device)
        return plain(None, crew, views)

    monkeypatch.setattr(module, "delivery_to", delivery)
    config = LoaderConfig(batch=6, workers=0)
    loader = Loader([store], config, device="cuda")
    next(iter(DataLoader(loader, batch_size=None)))
    for device in (None, "cpu"):
        batches = loader.batches(0, device=device)
        next(batches)
        batches.close()
    next(iter(Loader([store], config)))
    assert told == ["cuda", "cuda", "cpu", None]
    with pytest.raises(ValueError, match="cpu or cuda"):
        Loader([store], config, device="meta")


def test_a_camera_that_no_clip_has_is_refused(store: Store, other_store: Store) -> None:
    with pytest.raises(ValueError, match="no clip has a camera 'fornt': did you mean 'front'"):
        Loader([store], LoaderConfig(cameras=("fornt",), workers=0))
    config = LoaderConfig(cameras=("right", "left"), workers=0)
    with pytest.raises(ValueError, match=r"no clip has a camera 'right': .* of front, left"):
        Loader([other_store], config)
    assert len(Loader([other_store, store], config))  # some clips lack it
    Loader([other_store], LoaderConfig(cameras=("right",), colour="none", workers=0))


def test_it_is_a_dataset_of_torchs(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=6, workers=0))
    ids = [batch.window_id.tolist() for batch in DataLoader(loader, batch_size=None)]
    assert ids == [loader.window_ids(0, n).tolist() for n in range(len(loader))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchs_own_workers_are_refused(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=6, workers=0))
    with pytest.raises(ValueError, match="num_workers=0"):
        next(iter(DataLoader(loader, batch_size=None, num_workers=1)))


def test_two_epochs_at_once_do_not_mix(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=4, workers=0, keep_bytes=1 << 26))
    expected = [_read(Loader([store], LoaderConfig(batch=4, workers=0)), epoch) for epoch in (0, 1)]
    both = zip(loader.batches(0), loader.batches(1), strict=True)
    for (a, b), c, d in zip(both, *expected, strict=True):
        assert equal(a, c)
        assert equal(b, d)


def test_the_same_windows_whatever_order_clips_were_ingested_in(tmp_path: Path) -> None:
    clips = [make_clip(seed, instants=24) for seed in range(3)]
    a = filled(tmp_path / "a", clips)
    b = filled(tmp_path / "b", clips[2:])
    for clip in clips[:2]:
        with b.staging() as staging:
            from opendojo.store import stage_part

            b.publish(stage_part([clip], b.spec, staging))
        b = b.reload()
    config = LoaderConfig(batch=64, workers=0)
    one, other = (next(iter(Loader([s], config))) for s in (a, b))
    assert equal(one, other)
    assert a.fingerprint == b.fingerprint


def test_bad_requests_name_the_fix(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ingest longer clips"):
        Loader([store], LoaderConfig(window=WindowSpec(frames=500)))
    with pytest.raises(ValueError, match="ingest longer clips"):
        Loader([Store.create(tmp_path / "empty")], LoaderConfig())
    with pytest.raises(ValueError, match="weights"):
        Loader([store], LoaderConfig(weights=(1.0, 2.0)))
    with pytest.raises(ValueError, match="rank"):
        Loader([store], LoaderConfig(), rank=2, ranks=2)
    with pytest.raises(ValueError, match="run must divide"):
        LoaderConfig(batch=6, run=4)
    with pytest.raises(ValueError, match="cpu or cuda"):
        Loader([store], LoaderConfig(workers=0)).batches(0, device="meta")


@pytest.mark.gpu
def test_batches_on_the_device_are_the_rings_bit_for_bit(store: Store) -> None:
    config = LoaderConfig(batch=4, workers=2)
    expected = _read(Loader([store], config))
    loader = Loader([store], config)
    for epoch in (0, 0):
        got = list(loader.batches(epoch, device="cuda"))
        for a, b in zip(got, expected, strict=True):
            assert a.yuv.is_cuda
            assert equal(a.to("cpu"), b)
            assert torch.equal(a.frames.cpu(), b.frames)
    as_dataset = Loader([store], config, device="cuda")
    for a, b in zip(DataLoader(as_dataset, batch_size=None), expected, strict=True):
        assert a.yuv.is_cuda
        assert equal(a.to("cpu"), b)
    assert all(crew.pinned for crew in as_dataset._crews)
