"""Segments: whatever the order in which clips came, the same store."""

from __future__ import annotations

import dataclasses
import math
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import make_clip
from opendojo.store import Store, stage_part, verify_store
from opendojo.store.catalogue import EPISODE_DTYPE, Episodes, Segment
from opendojo.store.files import LocalFiles
from opendojo.store.layout import camera_to_json
from opendojo.store.segments import Addition, write_segment


def addition(clips: list[int], number: int) -> Addition:
    """What a publication of made-up clips of 20 instants would add, without their files."""
    rig = tuple(camera_to_json(c) for c in make_clip(cameras=("front",)).cameras)
    other = tuple(camera_to_json(c) for c in make_clip(cameras=("rear",)).cameras)
    rows = np.zeros(len(clips), EPISODE_DTYPE)
    rows["clip_id"] = [f"{clip * 7919 % 10007:032x}" for clip in clips]
    rows["dataset"] = np.array(clips) % 2
    rows["rig"] = np.array(clips) % 2
    rows["instants"] = 20
    rows["rate_hz"] = np.array(clips) + 1.0
    rows["drawn"] = np.array(clips) % 3 == 0
    rows["number"] = number + np.arange(len(clips))
    rows["gop_row"] = 3 * np.arange(len(clips))
    names = {"datasets": ["10hz-front", "10hz-rear"], "rigs": [rig, other]}
    gops = np.repeat(np.array(clips), 3).astype(np.uint8)
    line = {"dataset": "10hz-front", "part": number, "path": "x", "bytes": 1, "sha256": "0"}
    return Addition(rows=rows, gops=gops, names=names, files=[line], frames=20 * len(clips))


def catalogue(root: Path, order: list[int], size: int) -> tuple[list[Any], Episodes, int]:
    """Publish in runs of `size`; the list, the episodes, and the rows written in all."""
    root.mkdir()
    files, listed, written = LocalFiles(root), [], 0
    for first in range(0, len(order), size):
        added = addition(order[first : first + size], first)
        listed = write_segment(root, listed, files, added)
        written += listed[-1]["clips"]
    segments = [Segment(files, line["name"]) for line in listed]
    datasets = {"10hz-front": ("front",), "10hz-rear": ("rear",)}
    return listed, Episodes(segments, datasets, 8), written


def test_segments_stay_few_and_are_rewritten_seldom(tmp_path: Path) -> None:
    order = list(range(64))
    random.Random(1).shuffle(order)
    listed, episodes, written = catalogue(tmp_path / "c", order, 1)
    assert len(episodes) == 64
    assert len(listed) <= math.log2(64) + 1
    assert written <= 64 * (math.log2(64) + 1)
    files = sum(
        Segment(LocalFiles(tmp_path / "c"), n["name"]).file_table().num_rows for n in listed
    )
    assert files == 64


def test_the_order_in_which_clips_came_does_not_show(tmp_path: Path) -> None:
    order = list(range(61))
    known = []
    for seed, size in ((0, 61), (1, 7), (2, 1), (3, 50)):
        random.Random(seed).shuffle(order)
        listed, episodes, _ = catalogue(tmp_path / str(seed), list(order), size)
        assert (size == 61) == (len(listed) == 1)
        ids = [episode.clip_id for episode in episodes]
        assert ids == sorted(ids)
        assert [episodes.find(clip_id) for clip_id in ids] == list(range(61))
        assert episodes.find("f" * 32) is None
        assert np.array_equal(episodes.instants, [e.instants for e in episodes])
        assert np.array_equal(episodes.rate_hz, [e.rate_hz for e in episodes])
        assert np.array_equal(episodes.drawn, [e.origin == "drawn" for e in episodes])
        names = [episodes.dataset_names[n] for n in episodes.dataset]
        assert names == [e.dataset for e in episodes]
        for place, episode in enumerate(episodes):
            clip = round(episode.rate_hz) - 1
            assert episodes.gop_flags(place).tolist() == [clip] * 3
            first = episodes.gop_row[place]
            assert episodes.gops[first : first + 3].tolist() == [clip] * 3
            assert [c.name for c in episode.cameras] == [["front", "rear"][clip % 2]]
        whole = sum(int(line["sum"], 16) for line in listed) % (1 << 128)
        plain = [dataclasses.replace(e, number=0, part=0, row=0) for e in episodes]
        known.append((whole, sum(line["frames"] for line in listed), plain))
    assert all(one == known[0] for one in known)


def test_episodes_index_like_a_sequence(tmp_path: Path) -> None:
    _, episodes, _ = catalogue(tmp_path / "c", [4, 2, 9, 5, 7], 3)
    assert episodes[-1] == episodes[4] == list(episodes)[4]
    assert episodes[1:3] == (episodes[1], episodes[2])
    with pytest.raises(IndexError):
        episodes[5]
    assert len(Episodes([], {}, 8)) == 0
    assert len(Episodes([], {}, 8).instants) == 0


def publish(store: Store, seed: int) -> Store:
    with store.staging() as staging:
        clip = make_clip(seed, instants=9, cameras=("front",))
        store.publish(stage_part([clip], store.spec, staging))
    return store.reload()


def test_a_pickled_store_stays_the_view_it_was(tmp_path: Path) -> None:
    store = publish(publish(Store.create(tmp_path / "s"), 0), 1)
    before = pickle.dumps(store)
    later = store
    for seed in range(2, 7):
        later = publish(later, seed)
    assert len(later.episodes) == 7
    names = {line["name"] for line in store.pointer["segments"]}
    assert not names & {folder.name for folder in (tmp_path / "s/catalogue").iterdir()}
    again = pickle.loads(before)
    assert again.episodes[:] == store.episodes[:]
    assert again.fingerprint == store.fingerprint != later.fingerprint
    assert again.frames == 18


def test_one_who_read_the_pointer_before_a_publication_still_opens(tmp_path: Path) -> None:
    store = publish(Store.create(tmp_path / "s"), 0)
    publish(store, 1)
    old = Store(store.files, store.pointer)
    assert len(old.episodes) == 1
    assert verify_store(store.reload()) == []


def test_a_sweep_leaves_a_live_writers_staging_alone(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.staging() as staging:
        parts = stage_part([make_clip(0)], store.spec, staging)
        (tmp_path / "s/.staging/dead").mkdir()
        (tmp_path / "s/catalogue/half").mkdir()
        assert {f.file for f in verify_store(store)} == {".staging/dead", "catalogue/half"}
        Store.create(tmp_path / "s")
        assert verify_store(store) == []
        assert store.publish(parts) == 60
    assert verify_store(store.reload(), decode=True) == []
    assert not any((tmp_path / "s/.staging").iterdir())


def test_groups_carry_the_flags_that_all_their_frames_share(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.staging() as staging:
        store.publish(
            stage_part([make_clip(s, instants=21) for s in range(2)], store.spec, staging)
        )
    store = store.reload()
    for place, episode in enumerate(store.episodes):
        rows = store.rows(episode, 0, episode.instants)
        flags = np.stack([rows[f"{camera.name}.flags"] for camera in episode.cameras])
        expected = [np.bitwise_and.reduce(flags[:, g : g + 8], axis=None) for g in (0, 8, 16)]
        assert store.episodes.gop_flags(place).tolist() == expected


def test_a_damaged_catalogue_is_found(tmp_path: Path) -> None:
    store = publish(Store.create(tmp_path / "s"), 0)
    (rows,) = (tmp_path / "s/catalogue").glob("*/episodes.npy")
    data = bytearray(rows.read_bytes())
    data[-EPISODE_DTYPE.itemsize] ^= 1  # its clip id
    rows.write_bytes(data)
    (fault,) = verify_store(store.reload())
    assert fault.file.startswith("catalogue/")


def test_version_1_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": "opendojo-store", "version": 1}')
    with pytest.raises(ValueError, match="version 1, this program reads 2: ingest again"):
        Store.open(tmp_path)
