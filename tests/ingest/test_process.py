"""Children that crash, hang, take all memory, or lose their nursery."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_clips import make_trouble
from recordings import make_video

from opendojo.clip import BadClip, Clip
from opendojo.ingest import IngestOptions, find_clips
from opendojo.ingest.process import Beat, Child, Ended, Nursery
from opendojo.ingest.search import search
from opendojo.ingest.workers import Batch, Workers
from opendojo.store import StoreSpec


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


def tabulate(pipe: Connection, beat: Beat) -> None:
    """Make a table of arrays, as staging does; tell whether that took pandas."""
    import pyarrow

    pyarrow.table({"time_s": np.zeros(3)})
    pipe.send(("message", "pandas" in sys.modules))


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


def test_tables_do_not_take_pandas():
    with Nursery() as nursery:
        child = Child(nursery, tabulate, hang_s=30.0, memory_mb=0)
        assert not answer(child)
        child.end()


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


@pytest.mark.slow
def test_a_search_goes_on_behind_a_file_that_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in "abc":
        make_video(tmp_path / f"{name}.mp4", frames=4 + ord(name))
    # children take the path of this process, and import this in place of the site's
    site = tmp_path / "site"
    site.mkdir()
    (site / "usercustomize.py").write_text("")
    (site / "sitecustomize.py").write_text(
        "import os, signal, opendojo.ingest.sniff as sniff\n"
        "real = sniff.open_video\n"
        "def hostile(path):\n"
        "    if path.name == 'b.mp4': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(path)\n"
        "sniff.open_video = hostile\n"
    )
    monkeypatch.syspath_prepend(str(site))
    with Nursery() as nursery:
        found = list(search(tmp_path, [site], IngestOptions(), nursery))
    names = [f"{Path(c.source if isinstance(c, Clip) else c.file).name}" for c in found]
    assert names == ["a.mp4", "b.mp4", "c.mp4"]
    assert isinstance(found[1], BadClip) and "signal 9" in found[1].cause
    ids = [c.clip_id for c in found if isinstance(c, Clip)]
    assert ids == [c.clip_id for n in "ac" for c in find_clips(tmp_path / f"{n}.mp4")
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
