from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_clips import Kind, make_trouble

from opendojo.ingest import process
from opendojo.ingest.process import MOST_KILLS
from opendojo.ingest.workers import Batch, Staged, Workers
from opendojo.store import StoreSpec


def stage(batches: list[Batch], staging: Path, count: int = 2) -> list[Staged]:
    with Workers(count, StoreSpec(), staging) as pool:
        return list(pool.run(iter(batches)))


def test_a_clip_that_kills_its_worker_is_tried_once_more_alone(tmp_path: Path):
    kinds: dict[str, Kind] = {"a": "none", "b": "crash", "c": "none", "d": "none", "e": "none"}
    clips = {name: make_trouble(kind, tmp_path / name) for name, kind in kinds.items()}
    batches = [
        Batch(clips=tuple(clips[name] for name in "abc")),
        Batch(clips=(clips["d"],)),
        Batch(clips=(clips["e"],)),
    ]
    results = stage(batches, tmp_path / "staging")
    kept = [clip.clip_id for r in results for part in r.parts for clip in part.clips]
    assert sorted(kept) == ["a", "c", "d", "e"]
    (lost,) = (result for result in results if result.lost)
    assert [clip.clip_id for clip in lost.batch.clips] == ["b"]
    assert "signal 11" in lost.lost
    assert len((tmp_path / "b").read_text().splitlines()) == 2  # once in its batch, once alone
    assert len((tmp_path / "d").read_text().splitlines()) == 1  # others are not touched


def test_a_worker_killed_from_outside_loses_nothing(tmp_path: Path):
    batch = Batch(clips=(make_trouble("kill 4 times", tmp_path / "a"),))
    (result,) = stage([batch], tmp_path / "staging", count=1)
    assert not result.lost and result.parts[0].clips[0].instants == 3


def test_a_clip_whose_workers_are_killed_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process, "_PAUSE_S", 0.01)
    clips = (make_trouble("kill", tmp_path / "a"), make_trouble("none", tmp_path / "b"))
    results = stage([Batch(clips=clips)], tmp_path / "staging", count=1)
    (lost,) = (result for result in results if result.lost)
    assert f"killed {MOST_KILLS} times (signal 9)" in lost.lost
    assert len((tmp_path / "a").read_text().splitlines()) == MOST_KILLS
    assert [c.clip_id for r in results for part in r.parts for c in part.clips] == ["b"]


def test_the_first_batch_is_staged_before_the_second_is_there(tmp_path: Path):
    first, second = (Batch(clips=(make_trouble("none", tmp_path / name),)) for name in "ab")
    asked: list[int] = []

    def come() -> Iterator[Batch | None]:
        yield first
        for _ in range(3000):
            if asked:
                break
            time.sleep(0.01)
            yield None
        else:
            raise AssertionError("the first was not staged while the second was awaited")
        yield second

    with Workers(2, StoreSpec(), tmp_path / "staging") as pool:
        for staged in pool.run(come()):
            asked.append(len(staged.parts))
    assert asked == [1, 1]


def test_a_fault_in_a_reader_is_told_and_stops_nothing(tmp_path: Path):
    clips = (make_trouble("fail", tmp_path / "a"), make_trouble("none", tmp_path / "b"))
    results = stage([Batch(clips=clips)], tmp_path / "staging", count=1)
    assert sorted(bool(result.lost) for result in results) == [False, True]
    assert any("ZeroDivisionError" in result.lost for result in results)


def test_a_target_that_cannot_be_written_is_an_os_error(tmp_path: Path):
    (tmp_path / "file").touch()
    batch = Batch(clips=(make_trouble("none", tmp_path / "a"),))
    with pytest.raises(OSError) as caught:
        stage([batch], tmp_path / "file" / "staging", count=1)
    assert caught.value.errno == errno.ENOTDIR


def test_workers_end_with_the_context(tmp_path: Path):
    mark = tmp_path / "a"

    def interrupt() -> None:
        while not (mark.exists() and mark.read_text().endswith("\n")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        stage([Batch(clips=(make_trouble("stall", mark),))], tmp_path / "staging", count=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_no_batch_starts_no_worker(tmp_path: Path):
    assert stage([], tmp_path / "staging") == []
    with pytest.raises(ValueError, match="1 or more"):
        Workers(0, StoreSpec(), tmp_path)
