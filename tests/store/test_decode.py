"""The hot path: what it leaves out, and what damage does to it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from clips import make_clip
from opendojo.store import Store, StoreSpec, stage_part
from opendojo.store.decode import PacketReader

CODECS = ("h264", "mpeg2", "hevc", "av1")


@pytest.fixture(scope="module", params=CODECS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    codec: Literal["h264", "mpeg2", "hevc", "av1"] = request.param
    store = Store.create(tmp_path_factory.mktemp("store") / "s", StoreSpec(codec=codec))
    with store.staging() as staging:
        clip = make_clip(1, instants=32, cameras=("front",))
        store.publish(stage_part([clip], store.spec, staging))
    return store.reload()


@pytest.fixture(scope="module")
def whole(store: Store) -> np.ndarray:
    out = np.empty((32, 1, store.spec.frame_bytes), np.uint8)
    store.decode(store.episodes[0], range(32), out)
    return out[:, 0]


def test_a_damaged_packet_never_reaches_the_next_window(store: Store, whole: np.ndarray) -> None:
    reader, episode = PacketReader(store.spec), store.episodes[0]
    head = store.extradata(episode, "front")
    rng = np.random.default_rng(3)
    out = np.empty((8, store.spec.frame_bytes), np.uint8)
    refused = 0
    for _ in range(40):
        first = 8 * int(rng.integers(3))
        packets = store.packets(episode, "front", first, 8)
        victim = int(rng.integers(8))
        damaged = bytearray(packets[victim])
        for place in rng.integers(len(damaged), size=3):
            damaged[place] ^= 1 << int(rng.integers(8))
        packets[victim] = bytes(damaged)
        try:
            reader.decode(head, b"".join(packets), [len(p) for p in packets], range(8), out)
        except ValueError:
            refused += 1
        good = store.packets(episode, "front", first + 8, 8)
        reader.decode(head, b"".join(good), [len(p) for p in good], range(8), out)
        assert np.array_equal(out, whole[first + 8 : first + 16])
    assert refused > 0


def test_a_broken_off_run_leaves_the_next_alone(store: Store, whole: np.ndarray) -> None:
    episode = store.episodes[0]
    out = np.empty((1, 1, store.spec.frame_bytes), np.uint8)
    for instant in (3, 17, 8, 31, 0, 12):
        store.decode(episode, [instant], out)
        assert np.array_equal(out[0, 0], whole[instant])


def test_sparse_windows_skip_what_they_do_not_need(store: Store, whole: np.ndarray) -> None:
    episode = store.episodes[0]
    for wanted in ([1, 12, 13, 26], [0, 31], [5, 5, 24], [0, 8, 16, 24]):
        out = np.empty((len(wanted), 1, store.spec.frame_bytes), np.uint8)
        store.decode(episode, wanted, out)
        assert np.array_equal(out[:, 0], whole[wanted])


def test_packets_that_are_not_there_are_named(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.staging() as staging:
        store.publish(stage_part([make_clip(0, cameras=("front",))], store.spec, staging))
    store = store.reload()
    (video,) = store.path.rglob("*.mp4")
    good = video.read_bytes()
    out = np.empty((8, 1, store.spec.frame_bytes), np.uint8)
    start = int(store.rows(store.episodes[0], 0, 1)["front.offset"][0])
    video.write_bytes(good[:start] + bytes(len(good) - start))
    with pytest.raises(ValueError, match=r"front/chunk-000/file-000\.mp4.*instants 0 to 7"):
        store.decode(store.episodes[0], range(8), out)
    video.write_bytes(good[: start + 10])
    with pytest.raises(ValueError, match=r"front/chunk-000/file-000\.mp4"):
        store.reload().decode(store.episodes[0], range(8), out)
    video.write_bytes(good)
    store.reload().decode(store.episodes[0], range(8), out)
