"""Workers: that die, hang, start, fail and end."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from loader_kit import equal, filled

from clips import make_clip
from kills import digest, run_kills
from opendojo.clip import BadClip
from opendojo.loader import Loader, LoaderConfig, crew, worker
from opendojo.store import Store

FAST = {"batch": 4, "keep_bytes": 0}


def _gone(pids: list[int], within_s: float = 20.0) -> bool:
    """All these processes end, as children that are waited for or as strangers."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.01)
    return False


def _names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def _expected(store: Store) -> list[str]:
    return [digest(batch) for batch in Loader([store], LoaderConfig(workers=0, **FAST)).batches(0)]


def test_killed_workers_are_named_and_their_windows_given_again(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    loader = Loader([store], LoaderConfig(workers=2, **FAST))
    got = []
    for number, batch in enumerate(loader.batches(0)):
        got.append(digest(batch))
        if number in (0, 3):
            victim = loader.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
    assert got == _expected(store)
    assert len(loader.worker_pids()) == 2
    loader.close()
    assert loader.incidents
    assert all("SIGKILL" in line and "worker" in line for line in loader.incidents)
    assert "replaced, its windows are given again" in capfd.readouterr().err


@pytest.mark.slow
def test_many_kills_change_nothing(store: Store) -> None:
    assert run_kills(store, 40, workers=2) == (40, 40)


@pytest.mark.slow
def test_a_stopped_worker_is_replaced(store: Store) -> None:
    loader = Loader([store], LoaderConfig(workers=1, hang_s=0.5, **FAST))
    batches = loader.batches(0)
    got = [digest(next(batches))]
    stopped = loader.worker_pids()
    os.kill(stopped[0], signal.SIGSTOP)
    got += [digest(batch) for batch in batches]
    assert got == _expected(store)
    loader.close()
    assert "no progress for 0.5 s" in loader.incidents[0]
    assert _gone(stopped)


def _breaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Have workers run `body` as they start: a file that Python imports by itself."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(body))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.slow
def test_a_window_that_ends_every_worker_is_refused_by_its_clip(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = store.episodes[1].clip_id
    _breaker(
        tmp_path,
        monkeypatch,
        f"""
        import os, sys
        if sys.argv[0] == "-c":
            from opendojo.store import Store
            plain = Store.decode
            def decode(self, episode, *rest, **more):
                if episode.clip_id == {bad!r} and rest[0][0] == 8:
                    os.kill(os.getpid(), 9)
                return plain(self, episode, *rest, **more)
            Store.decode = decode
        """,
    )
    loader = Loader([store], LoaderConfig(workers=1, **FAST))
    with pytest.raises(BadClip, match=bad):
        list(loader.batches(0))
    assert len(loader.incidents) == 2
    assert not loader.worker_pids()


@pytest.mark.parametrize(
    ("end", "workers"),
    [("os._exit(3)", 3), ("os.kill(os.getpid(), 11)", 3), ("os.kill(os.getpid(), 9)", 10)],
)
def test_workers_that_do_not_start_are_given_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, workers: int
) -> None:
    monkeypatch.setattr(crew, "_START_S", 0.2)  # what being killed from outside is borne for
    _breaker(tmp_path, monkeypatch, f"import os, sys\nif sys.argv[0] == '-c':\n    {end}")
    loader = Loader([store], LoaderConfig(workers=1, **FAST))
    with pytest.raises(RuntimeError, match="workers do not start"):
        list(loader.batches(0))
    assert workers - 1 <= len(loader.incidents) < workers + 20
    assert not loader.worker_pids()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_stops_a_worker_at_its_start_reaches_the_caller(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such decoder here")

    monkeypatch.setattr(worker, "Reader", broken)
    _breaker(
        tmp_path,
        monkeypatch,
        """
        import sys
        if sys.argv[0] == "-c":
            import opendojo.loader.worker as worker
            def broken(*_):
                raise ValueError("no such decoder here")
            worker.Reader = broken
        """,
    )
    loader = Loader([store], LoaderConfig(workers=workers, **FAST))
    with pytest.raises(ValueError, match="no such decoder here"):
        list(loader.batches(0))
    assert loader.incidents == []


def test_a_worker_that_waits_for_a_far_store_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says at each try that it waits; one whose tries do not end is found all the same."""
    told = []
    monkeypatch.setattr(Store, "is_far", property(lambda self: True))
    monkeypatch.setattr(Store, "tell_waits", lambda self, beat: told.append(beat))
    loader = Loader([store], LoaderConfig(workers=0, hang_s=1.0, **FAST))
    batches = loader.batches(0)
    next(batches)
    (hired,) = loader._crews
    assert hired._hang_s == 45.0
    before = hired._ring.board.progress.sum()
    told[0]()
    assert hired._ring.board.progress.sum() == before + 1
    batches.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_reaches_the_caller_by_name(tmp_path: Path, workers: int) -> None:
    store = filled(tmp_path / "s", [make_clip(0, instants=40, cameras=("front",))])
    (video,) = (tmp_path / "s").rglob("*.mp4")
    data = bytearray(video.read_bytes())
    rows = store.rows(store.episodes[0], 0, 40)
    at, size = int(rows["front.offset"][16]), int(rows["front.bytes"][16])
    data[at : at + size] = bytes(size)
    video.write_bytes(data)
    loader = Loader([store], LoaderConfig(cameras=("front",), workers=workers, **FAST))
    with pytest.raises(ValueError, match=video.name):
        list(loader.batches(0))
    assert not loader.worker_pids()


def test_a_missing_file_reaches_the_caller(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", [make_clip(0, instants=40, cameras=("front",))])
    (video,) = (tmp_path / "s").rglob("*.mp4")
    video.unlink()
    with pytest.raises((OSError, ValueError), match=video.name):
        list(Loader([store], LoaderConfig(cameras=("front",), workers=0, **FAST)).batches(0))


def _close(loader: Loader) -> list[int]:
    batches = loader.batches(0)
    next(batches)
    ran = loader.worker_pids()
    batches.close()
    return ran


def _raise(loader: Loader) -> list[int]:
    ran = []
    with contextlib.suppress(KeyError):
        for _ in loader.batches(0):
            ran = loader.worker_pids()
            raise KeyError
    return ran


def _whole(loader: Loader) -> list[int]:
    for _ in loader.batches(0):
        pass
    return loader.worker_pids()


@pytest.mark.parametrize("leave", [_close, _whole, pytest.param(_raise, marks=pytest.mark.slow)])
def test_workers_end_with_what_they_work_for(
    store: Store, leave: Callable[[Loader], list[int]]
) -> None:
    gc.collect()
    before = _names("/proc/self/fd")
    loader = Loader([store], LoaderConfig(workers=1, **FAST))
    ran = leave(loader)
    del loader
    gc.collect()
    assert len(ran) == 1
    assert _gone(ran)
    assert _names("/proc/self/fd") == before


def test_the_thread_ends_with_its_epoch_left(store: Store) -> None:
    gc.collect()
    before = threading.active_count()
    loader = Loader([store], LoaderConfig(workers=0, **FAST))
    _close(loader)
    assert threading.active_count() == before
    _whole(loader)
    assert threading.active_count() == before + 1  # it waits for the next epoch
    loader.close()
    assert threading.active_count() == before


@pytest.mark.slow
def test_epochs_share_their_workers(store: Store) -> None:
    loader = Loader([store], LoaderConfig(workers=1, **FAST))
    seen = set()
    for epoch in range(2):
        for _ in loader.batches(epoch):
            seen.update(loader.worker_pids())
    assert len(seen) == 1
    loader.close()


_SCRIPT = """
import sys
from opendojo.loader import Loader, LoaderConfig
from opendojo.store import Store
loader = Loader([Store.open(sys.argv[1])], LoaderConfig(workers=1, batch=4, keep_bytes=0))
batches = loader.batches(0)
next(batches)
print(*loader.worker_pids(), flush=True)
"""


@pytest.mark.slow
def test_an_unguarded_script_works_and_its_exit_ends_the_workers(
    store: Store, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT + "print(sum(1 for _ in batches))")
    run = subprocess.run(
        [sys.executable, str(script), store.url], capture_output=True, text=True, check=True
    )
    pids, batches = run.stdout.splitlines()
    assert int(batches) == len(_expected(store)) - 1
    assert run.stderr == ""
    assert _gone([int(pid) for pid in pids.split()])


@pytest.mark.slow
def test_a_killed_consumer_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT + "import time; time.sleep(100)")
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    shared = _names("/dev/shm")
    consumer = subprocess.Popen(
        [sys.executable, str(script), store.url], stdout=subprocess.PIPE, env=environment
    )
    assert consumer.stdout is not None
    workers = [int(pid) for pid in consumer.stdout.readline().split()]
    consumer.kill()
    consumer.wait()
    consumer.stdout.close()
    assert workers
    assert _gone(workers)
    assert _names("/dev/shm") <= shared
    assert not list((tmp_path / "temporary").iterdir())


def test_a_worker_imports_neither_torch_nor_pyarrow() -> None:
    code = (
        "import sys, opendojo.loader.worker; "
        "print({'torch', 'pyarrow', 'fsspec', 'multiprocessing'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


@pytest.mark.slow
def test_memory_does_not_grow(store: Store) -> None:
    loader = Loader([store], LoaderConfig(workers=1, **FAST))

    def anonymous_bytes() -> int:
        (pid,) = loader.worker_pids()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous"))

    _whole(loader)
    first = anonymous_bytes()
    for epoch in range(30):
        for batch in loader.batches(epoch):
            assert batch.yuv.shape[0] <= 4
    assert anonymous_bytes() < first + (8 << 20)
    assert first < 60 << 20
    loader.close()


def test_views_are_of_the_ring_and_clones_are_not(store: Store) -> None:
    loader = Loader([store], LoaderConfig(workers=0, slots=2, batch=4, keep_bytes=0))
    batches = loader.batches(0)
    first = next(batches)
    kept = first.clone()
    assert equal(first, kept)
    next(batches)
    third = next(batches)
    assert third.yuv.data_ptr() == first.yuv.data_ptr()
    assert not equal(first, kept)
    batches.close()
