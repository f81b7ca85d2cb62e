"""A full disk or a read-only one: a clear error, and the store as it was."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clips import make_clip
from opendojo.store import Store, stage_part, verify_store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB; skips where mounting one is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    store = Store.create(small_disk / "s")
    with store.staging() as staging:
        store.publish(stage_part([make_clip(0)], store.spec, staging))
    (small_disk / "ballast").write_bytes(bytes(350_000))
    with pytest.raises(OSError) as caught, store.staging() as staging:
        for seed in range(1, 20):
            parts = stage_part([make_clip(seed, instants=120)], store.spec, staging)
            store.publish(parts)
    assert caught.value.errno == errno.ENOSPC
    (small_disk / "ballast").unlink()
    store = Store.create(small_disk / "s")
    assert verify_store(store, decode=True) == []
    assert make_clip(0).clip_id in store.clip_ids()


def test_a_read_only_disk_is_an_os_error(small_disk: Path) -> None:
    store = Store.create(small_disk / "s")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only") as caught, store.staging():
        pass
    assert caught.value.errno == errno.EROFS
    assert verify_store(store) == []
