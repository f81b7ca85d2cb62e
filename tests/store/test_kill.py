"""A writer killed at any instant leaves the old store or the new one, and loses nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clips import make_clip
from opendojo.store import Store, stage_part, verify_store

_WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from clips import make_clip
from opendojo.store import Store, stage_part
store = Store.create(sys.argv[1])
print("ready", flush=True)
for seed in range(12):
    clip = make_clip(seed, instants=9)
    if clip.clip_id in store.reload().clip_ids():
        continue
    with store.staging() as staging:
        store.publish(stage_part([clip], store.spec, staging))
    print(seed, flush=True)
"""


def _run(path: Path, kill_after_s: float | None) -> list[int]:
    """Run the writer; kill it after a while. Returns the clips it said it had published."""
    command = [sys.executable, "-c", _WRITER, str(path), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.send_signal(signal.SIGKILL)
        said = process.stdout.read().split()
    return [int(word) for word in said]


def check_killed_repeatedly(path: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged: set[str] = set()
    for _ in range(kills):
        if Path(path / "store.json").exists() and len(Store.open(path).clip_ids()) == 12:
            for file in sorted(path.rglob("*"), reverse=True):
                file.unlink() if not file.is_dir() else file.rmdir()
            acknowledged.clear()
        said = _run(path, rng.uniform(0.0, 0.5))
        acknowledged |= {make_clip(s, instants=9).clip_id for s in said}
        store = Store.open(path)
        assert [f for f in verify_store(store, decode=True) if not f.harmless] == []
        assert acknowledged <= store.clip_ids()
    _run(path, None)
    store = Store.open(path)
    assert verify_store(store, decode=True) == []
    assert store.clip_ids() == {make_clip(seed, instants=9).clip_id for seed in range(12)}
    assert store.frames == 12 * 9 * 3


def test_killed_a_few_times(tmp_path: Path) -> None:
    check_killed_repeatedly(tmp_path / "s", kills=4, seed=1)


@pytest.mark.slow
def test_killed_fifty_times(tmp_path: Path) -> None:
    check_killed_repeatedly(tmp_path / "s", kills=50, seed=2)


def test_stopped_before_each_file_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename and every fsync of a publication in turn is the last thing that happens."""

    class Stop(BaseException):
        pass

    root = tmp_path / "s"
    store = Store.create(root)
    with store.staging() as staging:
        store.publish(stage_part([make_clip(0, instants=9)], store.spec, staging))
    calls, limit = 0, 0
    real_fsync, real_rename = os.fsync, Path.rename

    def step() -> None:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise Stop

    def fsync(handle: int) -> None:
        step()
        real_fsync(handle)

    def rename(self: Path, target: Path) -> Path:
        step()
        return real_rename(self, target)

    frames_seen = set()
    while True:
        calls, limit = 0, limit + 1
        store = Store.create(root)
        with store.staging() as staging:
            parts = stage_part([make_clip(1, instants=9)], store.spec, staging)
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", fsync)
                patch.setattr(Path, "rename", rename)
                try:
                    store.publish(parts)
                except Stop:
                    pass
                else:
                    break
        now = Store.open(root)
        frames_seen.add(now.frames)
        assert [f for f in verify_store(now) if not f.harmless] == []
        assert now.frames in (27, 54)
        if now.frames == 54:  # the pointer was replaced: what is left is to sync it
            break
    assert limit > 10
    assert 27 in frames_seen
    assert verify_store(Store.create(root)) == []
