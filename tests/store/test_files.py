"""The files of a store: the oracle is always the bytes that were written."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from opendojo.store import far
from opendojo.store.cache import LAYOUT, PAGE_BYTES, BlockCache
from opendojo.store.files import CacheSpec, LocalFiles, RemoteFiles, files_at

BLOCK = 8 * PAGE_BYTES


class FarMemory(MemoryFileSystem):
    """fsspec's memory, with a count of requests and faults to order."""

    protocol = "far"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in the base class
    pseudo_dirs = [""]  # noqa: RUF012
    requests: list[tuple[str, int | None, int | None]] = []  # noqa: RUF012
    faults: list[Exception | int] = []  # noqa: RUF012
    """Of the next requests: an error to raise, or how many bytes to leave out."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("far://", "memory://"))

    def info(self, path: str, **kwargs: Any) -> Any:
        FarMemory.requests.append(("info", None, None))
        return super().info(path, **kwargs)

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        FarMemory.requests.append(("cat", start, end))
        fault = FarMemory.faults.pop(0) if FarMemory.faults else 0
        if isinstance(fault, Exception):
            raise fault
        data = super().cat_file(path, start, end, **kwargs)
        return data[: len(data) - fault]


fsspec.register_implementation("far", FarMemory, clobber=True)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Files at far://fleet, by name; no faults, and pauses that a test can wait for."""
    monkeypatch.setattr(far, "PAUSE_S", 0.001)
    FarMemory.store.clear()
    FarMemory.faults.clear()
    data = {
        "store.json": b'{"generation": 1}',
        "names.json": b"{}",
        "videos/a.mp4": random.Random(1).randbytes(40 * BLOCK + 777),
        "videos/b.mp4": random.Random(2).randbytes(3 * BLOCK),
    }
    for name, content in data.items():
        upload(name, content)
    FarMemory.requests.clear()
    yield data
    FarMemory.store.clear()


def upload(name: str, content: bytes) -> None:
    FarMemory().pipe_file(f"/fleet/{name}", content)


def cats() -> list[tuple[int | None, int | None]]:
    """Byte ranges asked for since last time."""
    ranges = [(start, end) for kind, start, end in FarMemory.requests if kind == "cat"]
    FarMemory.requests.clear()
    return ranges


def spec(folder: Path, blocks: int = 1000) -> CacheSpec:
    return CacheSpec(folder=folder, bytes=blocks * BLOCK, block_bytes=BLOCK)


def blocks_of(folder: Path) -> list[Path]:
    return [path for path in (folder / LAYOUT).glob("*/*") if path.parent.name != "new"]


def held_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / LAYOUT).glob("*/*"))


def some_ranges(data: dict[str, bytes], count: int, seed: int = 0) -> list[tuple[str, int, int]]:
    dice = random.Random(seed)
    ranges = []
    for _ in range(count):
        name = dice.choice(sorted(data))
        offset = dice.randrange(len(data[name]))
        size = min(dice.choice((0, 1, 100, BLOCK, 3 * BLOCK + 5)), len(data[name]) - offset)
        ranges.append((name, offset, size))
    return ranges


# local


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    data = {f"{n}.bin": random.Random(n).randbytes(1000 + n) for n in range(300)}
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path, data


def test_local_ranges_are_the_bytes_written_and_descriptors_are_bounded(folder: Any) -> None:
    root, data = folder
    files = LocalFiles(root)
    gc.collect()  # stores of other tests, and what they hold open
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for name, offset, size in some_ranges(data, 2000):
        assert files.read_range(name, offset, size) == data[name][offset : offset + size]
    assert 200 < len(os.listdir("/proc/self/fd")) - before <= 256  # noqa: PTH208
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert files.read("7.bin") == data["7.bin"]
    assert files.local("7.bin").read_bytes() == data["7.bin"]
    assert files.exists("7.bin")
    assert not files.exists("none")


def test_threads_that_evict_one_anothers_descriptors_read_right(folder: Any) -> None:
    root, data = folder
    files = pickle.loads(pickle.dumps(LocalFiles(root)))

    def read(seed: int) -> bool:
        return all(
            files.read_range(name, offset, size) == data[name][offset : offset + size]
            for name, offset, size in some_ranges(data, 500, seed)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_a_local_file_cut_short_names_file_offset_and_what_is_there(folder: Any) -> None:
    root, _ = folder
    files = LocalFiles(root)
    files.read_range("0.bin", 0, 1000)
    os.truncate(root / "0.bin", 600)
    with pytest.raises(ValueError, match=r"0\.bin: 500 bytes from byte 200 on .* has 600.*verify"):
        files.read_range("0.bin", 200, 500)
    with pytest.raises(ValueError, match=r"1\.bin: 1099511627776 bytes"):
        files.read_range("1.bin", 0, 1 << 40)
    with pytest.raises(ValueError, match=r"1\.bin"):
        files.read_range("1.bin", -1, 5)
    for call in (files.read, files.local, lambda name: files.read_range(name, 0, 1)):
        with pytest.raises(ValueError, match=r"none\.bin.*copy it again"):
            call("none.bin")
    with pytest.raises(ValueError, match="not those published"):
        files.local("1.bin", sha256="0" * 64)


def test_urls_choose_the_files_and_a_local_store_needs_no_fsspec(tmp_path: Path) -> None:
    assert isinstance(files_at(tmp_path), LocalFiles)
    assert files_at(f"file://{tmp_path}").url == str(tmp_path)
    cache = CacheSpec(folder=tmp_path)
    assert isinstance(files_at("memory://fleet/", cache), RemoteFiles)
    code = (
        "import sys; from opendojo.store.files import files_at; files_at('/tmp');"
        "assert not {'fsspec', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# far


def test_far_ranges_are_the_bytes_written_and_the_second_time_free(
    cloud: dict[str, bytes], tmp_path: Path
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))
    del cloud["store.json"]
    ranges = [*some_ranges(cloud, 300), ("videos/a.mp4", 0, len(cloud["videos/a.mp4"]))]
    for name, offset, size in ranges:
        assert files.read_range(name, offset, size) == cloud[name][offset : offset + size]
    assert files.read("videos/b.mp4") == cloud["videos/b.mp4"]
    asked = cats()
    assert sum(end - start for start, end in asked if start is not None and end) == sum(
        map(len, cloud.values())
    ), "each byte crosses the network once"
    again = pickle.loads(pickle.dumps(files))
    for name, offset, size in ranges:
        assert again.read_range(name, offset, size) == cloud[name][offset : offset + size]
    assert cats() == []


def test_the_pointer_is_read_anew_and_a_store_made_anew_is_not_mixed_with_the_old(
    cloud: dict[str, bytes], tmp_path: Path
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))
    assert files.read("store.json") == cloud["store.json"]
    assert files.read("videos/b.mp4") == cloud["videos/b.mp4"]
    upload("store.json", b'{"generation": 2}')
    assert files.read("store.json") == b'{"generation": 2}'
    other = random.Random(3).randbytes(len(cloud["videos/b.mp4"]))
    upload("videos/b.mp4", other)
    assert RemoteFiles("far://fleet", spec(tmp_path)).read("videos/b.mp4") == other


def test_prefetch_asks_once_for_neighbours_and_reading_then_asks_nothing(
    cloud: dict[str, bytes], tmp_path: Path
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))
    ranges = [("videos/a.mp4", n * BLOCK + 5, 100) for n in (*range(10), 20)]
    files.prefetch([*ranges, ("videos/b.mp4", 0, 10)])
    assert sorted(cats()) == [(0, BLOCK), (0, 10 * BLOCK), (20 * BLOCK, 21 * BLOCK)]  # type: ignore[type-var]
    for name, offset, size in ranges:
        assert files.read_range(name, offset, size) == cloud[name][offset : offset + size]
    files.prefetch(ranges)
    assert cats() == []
    with pytest.raises(ValueError, match="are wanted and the file has"):
        files.prefetch([("videos/b.mp4", 3 * BLOCK, 1)])


def test_the_cache_stays_under_its_bound_and_keeps_what_is_used(
    cloud: dict[str, bytes], tmp_path: Path
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path, blocks=16))
    for n in range(120):
        name, offset, size = "videos/a.mp4", (7 * n % 40) * BLOCK + 9, 50
        assert files.read_range(name, offset, size) == cloud[name][offset : offset + size]
        assert files.read_range(name, 40 * BLOCK, 777) == cloud[name][-777:]
        assert held_bytes(tmp_path) <= 16 * BLOCK
    asked = cats()
    assert asked.count((40 * BLOCK, 40 * BLOCK + 777)) == 1, "the hot block was evicted"
    assert len(asked) > 80, "a cache of 16 blocks cannot hold 40"


def test_torn_and_rotten_blocks_are_fetched_again(cloud: dict[str, bytes], tmp_path: Path) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))
    name = "videos/b.mp4"
    for harm in range(4):
        assert files.read(name) == cloud[name]
        for path in blocks_of(tmp_path):
            raw = bytearray(path.read_bytes())
            raw[random.Random(harm).randrange(len(raw))] ^= 0x10
            path.write_bytes((raw, raw[:-1], raw[: len(raw) // 2], b"")[harm])
        assert files.read(name) == cloud[name]
    for path in (tmp_path / LAYOUT).glob("*/*"):
        path.unlink()
    assert files.read(name) == cloud[name]


def test_a_ledger_that_lies_or_is_gone_is_set_right(
    cloud: dict[str, bytes], tmp_path: Path
) -> None:
    ledger = tmp_path / LAYOUT / "ledger"
    for content in (b"", b"\xff" * 7 + b"\x7f", b"\0" * 3):
        files = RemoteFiles("far://fleet", spec(tmp_path, blocks=16))
        ledger.write_bytes(content)
        assert files.read("videos/a.mp4") == cloud["videos/a.mp4"]
        assert 0 < held_bytes(tmp_path) <= int.from_bytes(ledger.read_bytes(), "little")
        assert held_bytes(tmp_path) <= 16 * BLOCK


def test_what_dead_writers_left_is_swept_and_what_living_ones_hold_is_counted(
    tmp_path: Path,
) -> None:
    cache = BlockCache(spec(tmp_path, blocks=16))
    for n in range(8):
        (tmp_path / LAYOUT / "new" / f"orphan{n}").write_bytes(bytes(BLOCK))
    with cache.writing_whole("c" * 32, 6 * BLOCK):
        for n in range(40):
            cache.put("d" * 32, n, bytes(BLOCK))
            assert held_bytes(tmp_path) <= 16 * BLOCK + 8 * BLOCK * (n < 8)
        assert [path.stat().st_size for path in (tmp_path / LAYOUT / "new").iterdir()] == [
            6 * BLOCK
        ]
    assert cache.whole("c" * 32, 6 * BLOCK) is not None


def test_whole_files_are_checked_bounded_and_fetched_once(
    cloud: dict[str, bytes], tmp_path: Path
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path, blocks=60))
    content = cloud["videos/a.mp4"]
    with pytest.raises(ValueError, match=r"fleet/videos/a\.mp4.*not those published"):
        files.local("videos/a.mp4", sha256="0" * 64)
    assert held_bytes(tmp_path) == 0
    digest = hashlib.sha256(content).hexdigest()
    assert files.local("videos/a.mp4", sha256=digest).read_bytes() == content
    cats()
    assert files.local("videos/a.mp4").read_bytes() == content
    assert cats() == []
    small = RemoteFiles("far://fleet", spec(tmp_path / "small", blocks=30))
    with pytest.raises(ValueError, match=r"no room for a file of .*CacheSpec\(bytes"):
        small.local("videos/a.mp4")


def test_a_full_disk_costs_a_warning_and_not_the_run(
    cloud: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.warns(RuntimeWarning, match="does not take blocks .No space left"):
        assert files.read("videos/b.mp4") == cloud["videos/b.mp4"]
    assert held_bytes(tmp_path) == 0


# faults


def test_faults_that_pass_are_tried_again(cloud: dict[str, bytes], tmp_path: Path) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))
    for fault in (OSError(errno.EIO, "500"), TimeoutError(), ConnectionResetError(), 1, BLOCK):
        FarMemory.faults[:] = [fault] * 5
        offset = len(cats()) + random.Random(str(fault)).randrange(30 * BLOCK)
        got = files.read_range("videos/a.mp4", offset, 99)
        assert got == cloud["videos/a.mp4"][offset : offset + 99]
    FarMemory.faults[:] = [3, OSError("503")]
    assert files.read("store.json") == cloud["store.json"]


class Clock:
    """Time that passes in pauses alone; the server answers again after `outage_s`."""

    def __init__(self, outage_s: float) -> None:
        self.now_s, self.outage_s = 0.0, outage_s
        self.pauses_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s
        self.pauses_s.append(pause_s)
        if self.now_s > self.outage_s:
            FarMemory.faults.clear()


@pytest.mark.parametrize("outage_s", [60.0, 100.0, 1e6])
def test_an_outage_is_borne_for_two_minutes_with_signs_of_life(
    cloud: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outage_s: float
) -> None:
    files, clock, beats = RemoteFiles("far://fleet", spec(tmp_path)), Clock(outage_s), []
    files.exists("videos/b.mp4")
    files.tell_waits(lambda: beats.append(clock.now_s))
    monkeypatch.setattr(far, "time", clock)
    monkeypatch.setattr(far, "PAUSE_S", 0.2)
    FarMemory.faults[:] = [OSError("503")] * 1000
    FarMemory.requests.clear()
    if outage_s < far.BUDGET_S:
        assert files.read_range("videos/b.mp4", 0, 10) == cloud["videos/b.mp4"][:10]
    else:
        with pytest.raises(ConnectionError, match=r"no right answer after \d+ tries in 1[012]\d s"):
            files.read_range("videos/b.mp4", 0, 10)
    assert min(outage_s, 100.0) < clock.now_s < 130.0
    assert max(np.diff([0.0, *beats])) < 1.01
    assert 10 < len(cats()) < 35


def test_a_dead_end_names_url_range_cause_and_remedy(
    cloud: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))
    monkeypatch.setattr(far, "BUDGET_S", 0.2)
    FarMemory.faults[:] = [OSError("http://me:hush@host/?token=hush says 503")] * 100
    with pytest.raises(ConnectionError) as caught:
        files.read_range("videos/a.mp4", 0, 10)
    text = str(caught.value)
    assert f"far://fleet/videos/a.mp4 bytes 0 to {BLOCK}: no right answer after " in text
    assert "says" not in text or "503" in text
    assert "hush" not in text
    assert "run again" in text
    FarMemory.faults.clear()
    assert files.read_range("videos/a.mp4", 0, 10) == cloud["videos/a.mp4"][:10]


def test_what_is_missing_or_forbidden_is_said_at_once(
    cloud: dict[str, bytes], tmp_path: Path
) -> None:
    files = RemoteFiles("far://fleet", spec(tmp_path))
    assert not files.exists("none")
    assert files.exists("videos/b.mp4")
    assert not files.exists("videos"), "a folder is no file"
    with pytest.raises(ValueError, match=r"far://fleet/none: .*whole store was uploaded"):
        files.read("none")
    files.read_range("videos/b.mp4", 0, 0)
    cats()
    FarMemory.faults[:] = [PermissionError("Forbidden")]
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY"):
        files.read_range("videos/b.mp4", 0, 10)
    assert len(cats()) == 1
    with pytest.raises(ValueError, match="are wanted and the file has"):
        files.read_range("videos/b.mp4", 3 * BLOCK - 1, 2)


def test_no_secret_is_taken_pickled_or_shown(
    cloud: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("s3://me:hush@bucket/store", "https://host/store?X-Amz-Signature=hush"):
        with pytest.raises(ValueError, match="environment") as caught:
            files_at(url)
        assert "hush" not in str(caught.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    files = RemoteFiles("far://fleet", spec(tmp_path))
    files.read("names.json")
    assert b"hush" not in pickle.dumps(files)
    assert "hush" not in repr(files)


def test_a_missing_package_and_a_bad_folder_name_the_remedy(tmp_path: Path) -> None:
    fsspec.register_implementation("absent", "no_such_package.Files", errtxt="Install absent")
    with pytest.raises(ValueError, match=r"Install absent.*pip install opendojo\[remote\]"):
        files_at("absent://bucket/store", spec(tmp_path))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot be made .*CacheSpec\(folder"):
        RemoteFiles("far://fleet", spec(tmp_path / "file"))
    with pytest.raises(ValueError, match="16 blocks"):
        CacheSpec(bytes=1000)
    with pytest.raises(ValueError, match="multiple of 4096"):
        CacheSpec(block_bytes=1000)
