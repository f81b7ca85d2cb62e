from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drives import make_drive
from fake_clips import make_trouble
from recordings import make_video

from opendojo.ingest import IngestReport, ingest, pipeline
from opendojo.store import Store, verify_store


def rejects_of(store: Store) -> list[dict[str, Any]]:
    path = store.path / "rejects.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Two videos, one of them cut off, a drive, a copy, and things that are no recordings."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    make_video(folder / "a.mp4", frames=10)
    make_video(folder / "cut.mkv", frames=20, options={"bf": "0"})
    data = (folder / "cut.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(data[: int(0.7 * len(data))])
    make_drive(folder / "drive")
    shutil.copy(folder / "a.mp4", folder / "copy of a.mp4")
    (folder / "broken.mp4").write_text("no video")
    (folder / "LICENSE").write_text("free")
    return folder


def test_everything_readable_is_stored_once_and_the_rest_named(fleet: Path, tmp_path: Path):
    store = Store.create(tmp_path / "store")
    seen: list[IngestReport] = []
    report = ingest([fleet], store, workers=2, on_progress=seen.append)
    store = store.reload()
    assert (report.clips_new, report.clips_known) == (3, 1)
    assert (report.rejects, report.damaged) == (1, 1)
    cut = next(e for e in store.episodes if store.source(e).endswith("cut.mkv"))
    assert 0 < cut.instants < 20
    assert report.frames_new == store.frames == 10 + 36 + cut.instants
    assert sum(e.origin == "drawn" for e in store.episodes) == 1
    assert report.bytes_in > 0 and report.bytes_out > 0 and report.cpu_seconds > 0
    assert report.frames_per_s == report.frames_new / report.seconds
    assert list(report.sources) == [str(fleet)]
    assert report.sources[str(fleet)].frames_new == report.frames_new
    assert [one.clips_new for one in seen][-1] == 3

    entries = {Path(entry["file"]).name: entry for entry in rejects_of(store)}
    assert set(entries) == {"broken.mp4", "cut.mkv"}
    assert entries["cut.mkv"]["kept_frames"] == entries["cut.mkv"]["frame"] == cut.instants
    assert entries["broken.mp4"]["kept_frames"] == 0 and entries["broken.mp4"]["remedy"]

    again = ingest([fleet], store, workers=2)
    assert (again.clips_new, again.clips_known, again.frames_new) == (0, 4, 0)
    assert (again.bytes_in, again.bytes_out) == (0, 0)
    assert len(rejects_of(store)) == 2
    assert store.reload().frames == store.frames


@pytest.mark.slow
def test_real_road_and_vehicle_frames_all_arrive(shared_data: Path, tmp_path: Path):
    store = Store.create(tmp_path / "store")
    report = ingest([shared_data / "road", shared_data / "rc"], store)
    assert (report.frames_new, report.rejects, report.damaged) == (423 + 136, 0, 0)
    assert report.sources[str(shared_data / "road")].frames_new == 423
    assert rejects_of(store) == []
    store = store.reload()
    rc = next(e for e in store.episodes if store.source(e).endswith("driving_dataset"))
    log = store.log(rc)
    assert log.steer_rad is not None and log.speed_mps is not None
    assert np.degrees(log.steer_rad[16]) == pytest.approx(-32.0)
    assert np.isnan(log.speed_mps).all()


def test_clips_of_a_later_day_are_added(fleet: Path, tmp_path: Path):
    store = Store.create(tmp_path / "store")
    ingest([fleet / "a.mp4"], store, workers=1)
    report = ingest([fleet / "drive"], store, workers=1)  # the same object, opened before
    assert report.clips_new == 1
    assert store.reload().frames == 10 + 36


def test_a_store_inside_the_folder_is_not_read_back(tmp_path: Path):
    make_video(tmp_path / "a.mp4")
    store = Store.create(tmp_path / "store")
    for _ in range(2):
        ingest([tmp_path], store, workers=1)
    assert store.reload().frames == 10
    assert rejects_of(store) == []


def test_missing_paths_are_told_before_any_work(fleet: Path, tmp_path: Path):
    store = Store.create(tmp_path / "store")
    with pytest.raises(ValueError, match="does not exist"):
        ingest([fleet, tmp_path / "nowhere"], store)
    assert store.reload().frames == 0


def test_an_interrupt_keeps_what_was_published(fleet: Path, tmp_path: Path):
    store = Store.create(tmp_path / "store")

    def stop(_: IngestReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest([fleet], store, workers=1, on_progress=stop)
    kept = store.reload()
    assert len(kept.clip_ids()) == 1
    assert not list((store.path / ".staging").iterdir())
    report = ingest([fleet], kept, workers=1)
    assert report.clips_new == 2
    assert verify_store(kept.reload(), decode=True) == []


def test_a_clip_that_kills_its_worker_is_rejected_and_nothing_else_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clips = [make_trouble("crash", tmp_path / "a"), make_trouble("none", tmp_path / "b")]
    monkeypatch.setattr(pipeline, "search", lambda *_: iter(clips))
    store = Store.create(tmp_path / "store")
    report = ingest([tmp_path], store, workers=1)
    assert (report.clips_new, report.frames_new, report.rejects) == (1, 3, 1)
    (entry,) = rejects_of(store)
    assert entry["file"] == "a" and "signal 11" in entry["cause"] and entry["remedy"]


def test_a_target_that_cannot_be_written_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @contextlib.contextmanager
    def staging(store: Store) -> Iterator[Path]:
        (store.path / "file").touch()
        yield store.path / "file" / "inside"

    path = make_video(tmp_path / "a.mp4")
    store = Store.create(tmp_path / "store")
    monkeypatch.setattr(Store, "staging", staging)
    with pytest.raises(OSError) as caught:
        ingest([path], store, workers=1)
    assert caught.value.errno == errno.ENOTDIR
    assert rejects_of(store) == []


def test_rejects_may_lie_elsewhere(fleet: Path, tmp_path: Path):
    store = Store.create(tmp_path / "store")
    elsewhere = tmp_path / "elsewhere.jsonl"
    ingest([fleet / "broken.mp4"], store, rejects_path=elsewhere)
    assert len(elsewhere.read_text().splitlines()) == 1
    assert rejects_of(store) == []
