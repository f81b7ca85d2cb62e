"""Children that crash, hang, take all memory, or lose their nursery."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from drives import make_drive
from fake_clips import make_trouble
from lerobot_folders import make_lerobot
from recordings import make_video

from opendojo.clip import BadClip, Clip
from opendojo.ingest import IngestOptions, find_clips, process
from opendojo.ingest.process import MOST_KILLS, Beat, Child, Ended, Nursery
from opendojo.ingest.search import search
from opendojo.ingest.workers import Batch, Workers
from opendojo.store import StoreSpec
from opendojo.store.part import stage_part


def duty(pipe: Connection, beat: Beat, what: str) -> None:
    """Do as told; the pipe's messages are ("message", ...)."""
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(60)
    if what == "beats":
        for _ in range(6):
            time.sleep(0.3)
            beat()
    if what == "memory":
        with pytest.raises(MemoryError):
            bytearray(2 << 30)
    pipe.send(("message", (what, os.getpid())))


def tabulate(pipe: Connection, beat: Beat, folder: Path) -> None:
    """Find and stage whatever tables are read and written for; tell whether that took pandas."""
    clips = [clip for clip in find_clips(folder) if isinstance(clip, Clip)]
    parts = stage_part(clips, StoreSpec(), folder / "staging", beat)
    pipe.send(("message", (len(clips), sum(p.instants for p in parts), "pandas" in sys.modules)))


def answer(child: Child) -> Any:
    while True:
        while not child.pipe.poll(0.05):
            child.check()
        if (message := child.receive()) is not None:
            return message


def start(nursery: Nursery, what: str, hang_s: float = 30.0) -> Child:
    return Child(nursery, duty, what, hang_s=hang_s, memory_mb=1024)


def test_children_answer_crash_hang_and_are_bounded():
    with Nursery() as nursery:
        children = {what: start(nursery, what, 1.0) for what in ("crash", "hang", "beats")}
        children["memory"] = start(nursery, "memory")
        with pytest.raises(Ended, match="signal 11"):
            answer(children["crash"])
        with pytest.raises(Ended, match="no progress for 1 s"):
            answer(children["hang"])
        assert answer(children["beats"])[0] == "beats"  # 1.8 s in all, never silent for 1 s
        assert answer(children["memory"])[0] == "memory"
        pids = [child.pid for child in children.values()]
        for child in children.values():
            child.end()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_tables_do_not_take_pandas(tmp_path: Path):
    pytest.importorskip("pandas")
    make_drive(tmp_path / "drive")
    make_lerobot(tmp_path / "set")
    with Nursery() as nursery:
        child = Child(nursery, tabulate, tmp_path, hang_s=30.0, memory_mb=0)
        clips, instants, pandas = answer(child)
        child.end()
    assert (clips, instants) == (3, 12 + 12) and not pandas


def test_a_child_outlives_its_nursery_and_is_ended_without_another():
    with Nursery() as nursery:
        child = start(nursery, "hang")
    child.end()
    assert nursery._process is None


def test_a_killed_nursery_is_replaced():
    with Nursery() as nursery:
        first = start(nursery, "")
        assert nursery._process is not None
        os.kill(nursery._process.pid, signal.SIGKILL)
        second = start(nursery, "")
        assert answer(first)[1] == first.pid
        assert answer(second)[1] == second.pid
        first.end()
        second.end()


def test_a_nursery_that_is_killed_while_it_starts_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(process, "_PAUSE_S", 0.01)
    real, starts = Nursery._start, []

    def hostile(nursery: Nursery) -> Connection:
        pipe = real(nursery)
        assert nursery._process is not None
        starts.append(nursery._process.pid)
        if len(starts) < MOST_KILLS:
            os.kill(nursery._process.pid, signal.SIGKILL)
        return pipe

    monkeypatch.setattr(Nursery, "_start", hostile)
    with Nursery() as nursery:
        child = start(nursery, "")
        assert answer(child)[1] == child.pid
        child.end()
    assert len(starts) == MOST_KILLS
    monkeypatch.setattr(process, "_START", "import sys; sys.exit(3)")
    starts.clear()
    with Nursery() as nursery, pytest.raises(RuntimeError, match="3 times over"):
        starts[:] = range(MOST_KILLS)
        start(nursery, "")


@pytest.mark.slow
def test_a_search_goes_on_behind_a_file_that_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in "abcde":
        make_video(tmp_path / f"{name}.mp4", frames=4 + ord(name))
    monkeypatch.setattr(process, "_PAUSE_S", 0.01)
    # children take the path of this process, and import this in place of the site's
    site = tmp_path / "site"
    site.mkdir()
    (site / "usercustomize.py").write_text("")
    (site / "sitecustomize.py").write_text(
        "import os, signal, opendojo.ingest.sniff as sniff\n"
        "real = sniff.open_video\n"
        "def hostile(path):\n"
        f"    with open({str(tmp_path / 'opened')!r}, 'a') as file: file.write(path.name[0])\n"
        "    if path.name == 'b.mp4': os.kill(os.getpid(), signal.SIGSEGV)\n"
        f"    killed = open({str(tmp_path / 'opened')!r}).read().count('a') <= 4\n"
        "    if path.name == 'a.mp4' and killed: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if path.name == 'd.mp4': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(path)\n"
        "sniff.open_video = hostile\n"
    )
    monkeypatch.syspath_prepend(str(site))
    with Nursery() as nursery:
        search_all = search(tmp_path, [site], IngestOptions(), nursery)
        found = [one for one in search_all if one is not None]
    names = [f"{Path(c.source if isinstance(c, Clip) else c.file).name}" for c in found]
    assert names == [f"{name}.mp4" for name in "abcde"]
    assert (tmp_path / "opened").read_text() == "a" * 5 + "bb" + "c" + "d" * MOST_KILLS + "e"
    assert isinstance(found[1], BadClip) and "signal 11" in found[1].cause
    assert isinstance(found[3], BadClip) and f"killed {MOST_KILLS} times" in found[3].cause
    ids = [c.clip_id for c in found if isinstance(c, Clip)]
    assert ids == [c.clip_id for n in "ace" for c in find_clips(tmp_path / f"{n}.mp4")
                   if isinstance(c, Clip)]  # fmt: skip


@pytest.mark.slow
def test_a_clip_that_hangs_is_given_up_and_the_rest_staged(tmp_path: Path):
    clips = (make_trouble("stall", tmp_path / "a"), make_trouble("none", tmp_path / "b"))
    options = IngestOptions(hang_s=4.0)
    with Workers(2, StoreSpec(), tmp_path / "staging", options) as pool:
        results = list(pool.run(iter([Batch(clips=clips)])))
    (lost,) = (one for one in results if one.lost)
    assert [c.clip_id for c in lost.batch.clips] == ["a"] and "no progress" in lost.lost
    kept = [c.clip_id for one in results for part in one.parts for c in part.clips]
    assert kept == ["b"]
