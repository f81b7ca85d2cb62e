"""Stores that lie behind a network: the same batches, fetched a task at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loader_kit import equal

from opendojo.loader import Loader, LoaderConfig
from opendojo.store import Store
from opendojo.store.files import CacheSpec

CONFIG = LoaderConfig(batch=6, workers=0, keep_bytes=0)


@pytest.fixture
def far(store: Store, tmp_path: Path) -> Store:
    """The store's files in fsspec's file system in memory."""
    memory = pytest.importorskip("fsspec").filesystem("memory")
    if memory.exists("/fleet"):
        memory.rm("/fleet", recursive=True)
    memory.put(str(store.path), "/fleet", recursive=True)
    return Store.open("memory://fleet", CacheSpec(folder=tmp_path / "cache"))


def test_batches_are_those_of_the_store_at_hand(store: Store, far: Store) -> None:
    here = Loader([store], CONFIG).batches(0)
    for a, b in zip(Loader([far], CONFIG).batches(0), here, strict=True):
        assert equal(a, b)


def test_what_was_fetched_ahead_is_read_without_the_network(store: Store, far: Store) -> None:
    episode = far.episodes[0]
    names = [camera.name for camera in episode.cameras]
    far.fetch_rows([(episode, 0, 8)])
    far.fetch_packets([(episode, far.rows(episode, 0, 8), names)])
    pytest.importorskip("fsspec").filesystem("memory").rm("/fleet", recursive=True)
    shape = (8, len(names), far.spec.frame_bytes)
    pixels, wanted = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    far.decode(episode, range(8), pixels)
    store.decode(store.episodes[0], range(8), wanted)
    assert np.array_equal(pixels, wanted)
    with pytest.raises((ValueError, OSError)):
        far.decode(far.episodes[1], range(8, 16), pixels)
