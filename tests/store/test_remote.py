"""Stores on a real S3 server that fails: the oracle is the bytes that were uploaded."""

from __future__ import annotations

import fcntl
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto")

from clips import make_clip
from opendojo.store import Store, StoreSpec, far, stage_part
from opendojo.store.cache import LAYOUT, PAGE_BYTES
from opendojo.store.files import CacheSpec, RemoteFiles
from store.s3_server import KINDS, S3Server

pytestmark = pytest.mark.slow

URL = "s3://fleet/store"
BLOCK = 8 * PAGE_BYTES
CONTENT = random.Random(0).randbytes(100 * BLOCK + 4321)

READER = """
import random, sys
from pathlib import Path
from opendojo.store.files import CacheSpec, RemoteFiles
folder, blocks, seed, reads, most = sys.argv[1], *map(int, sys.argv[2:])
spec = CacheSpec(folder=Path(folder), bytes=blocks * 32768, block_bytes=32768)
content = random.Random(0).randbytes(100 * 32768 + 4321)
files, dice = RemoteFiles("s3://fleet/store", spec), random.Random(seed)
for number in range(reads):
    offset = dice.randrange(len(content))
    size = min(dice.randrange(most), len(content) - offset)
    assert files.read_range("a", offset, size) == content[offset : offset + size]
    if number == 0:
        print("reading", flush=True)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server without faults, with file `a` in store URL; found by the environment alone."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(far, "PAUSE_S", 0.02)
    running.faults()
    s3 = filesystem()
    if not s3.exists("fleet/store/a"):
        s3.mkdir("fleet")
        s3.pipe_file("fleet/store/a", CONTENT)
    running.counts()
    return running


def filesystem() -> Any:
    import fsspec

    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)


def spec(folder: Path, blocks: int = 4000) -> CacheSpec:
    return CacheSpec(folder=folder, bytes=blocks * BLOCK, block_bytes=BLOCK)


def reader(folder: Path, blocks: int, seed: int, reads: int, most: int) -> subprocess.Popen[str]:
    numbers = map(str, (blocks, seed, reads, most))
    return subprocess.Popen(
        [sys.executable, "-c", READER, str(folder), *numbers], stdout=subprocess.PIPE, text=True
    )


def held_bytes(folder: Path) -> int:
    """Bytes on disk while nobody can reserve more; a file that moves meanwhile counts once."""
    root = folder / LAYOUT
    sizes: dict[int, int] = {}
    with (root / "ledger").open() as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        for path in root.glob("*/*"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            sizes[stat.st_ino] = stat.st_size
    return sum(sizes.values())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_fault_gives_the_right_bytes(
    server: S3Server, tmp_path: Path, kind: str
) -> None:
    server.faults(kind, share=1, depth=2)
    files = RemoteFiles(URL, spec(tmp_path))
    assert files.read_range("a", 12_345, 5 * BLOCK) == CONTENT[12_345 : 12_345 + 5 * BLOCK]
    assert server.counts()["faults"] >= 2


def test_all_faults_at_once_give_the_right_bytes(server: S3Server, tmp_path: Path) -> None:
    server.faults(*KINDS, share=3, depth=3)
    files, dice = RemoteFiles(URL, spec(tmp_path, blocks=40)), random.Random(5)
    for number in range(16):
        ranges = []
        for _ in range(4):
            offset = dice.randrange(len(CONTENT))
            ranges.append(("a", offset, min(dice.randrange(6 * BLOCK), len(CONTENT) - offset)))
        if number % 2:
            files.prefetch(ranges)
        for name, offset, size in ranges:
            assert files.read_range(name, offset, size) == CONTENT[offset : offset + size]
        assert held_bytes(tmp_path) <= 40 * BLOCK
    whole = RemoteFiles(URL, spec(tmp_path)).local("a")
    assert whole.read_bytes() == CONTENT
    assert server.counts()["faults"] > 20


def test_an_answer_that_takes_too_long_is_asked_for_again(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RemoteFiles(URL, spec(tmp_path))
    files.read_range("a", 0, 1)
    server.faults("slow", share=1, depth=1, slow_s=4)
    server.counts()
    monkeypatch.setattr(far, "ANSWER_S", 1.5)
    assert files.read_range("a", 5 * BLOCK, 10) == CONTENT[5 * BLOCK : 5 * BLOCK + 10]
    assert server.counts()["gets"] >= 2


def test_a_server_that_never_recovers_and_an_endpoint_that_is_dead(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RemoteFiles(URL, spec(tmp_path))
    files.read_range("a", 0, 1)
    server.faults("503", share=1, depth=1000)
    monkeypatch.setattr(far, "BUDGET_S", 2.0)
    with pytest.raises(
        ConnectionError, match=rf"{URL}/a bytes {BLOCK} to .* tries in [12] s.*Slow"
    ):
        files.read_range("a", BLOCK, 1)
    assert server.counts()["gets"] > 4
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(
        ConnectionError, match=r"after \d+ tries .*check the network and the endpoint"
    ):
        RemoteFiles(URL, spec(tmp_path)).read("store.json")


def test_missing_things_are_not_asked_for_again(server: S3Server, tmp_path: Path) -> None:
    files = RemoteFiles(URL, spec(tmp_path))
    assert not files.exists("none")
    server.counts()
    with pytest.raises(ValueError, match=rf"{URL}/none: FileNotFoundError.*check the url"):
        files.read("none")
    assert server.counts()["heads"] == 1
    with pytest.raises(ValueError, match=r"FileNotFoundError.*check the url"):
        RemoteFiles("s3://no-such-bucket/store", spec(tmp_path)).read("store.json")


def test_processes_that_share_a_cache_read_right_under_its_bound(
    server: S3Server, tmp_path: Path
) -> None:
    server.faults("500", "lie", "drop", share=4, depth=1)
    readers = [reader(tmp_path, 40, seed, reads=120, most=3 * BLOCK) for seed in range(4)]
    samples = []
    for child in readers:
        assert child.stdout is not None
        child.stdout.readline()
    while any(child.poll() is None for child in readers):
        samples.append(held_bytes(tmp_path))
        time.sleep(0.02)
    assert [child.wait() for child in readers] == [0, 0, 0, 0]
    for child in readers:
        child.communicate()
    assert len(samples) > 5
    assert 20 * BLOCK < max(samples) <= 40 * BLOCK


def test_a_cache_outlives_kills_of_its_writers(server: S3Server, tmp_path: Path) -> None:
    dice = random.Random(3)
    for number in range(6):
        child = reader(tmp_path, 24, number, reads=100_000, most=4 * BLOCK)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(dice.uniform(0, 0.15))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert held_bytes(tmp_path) <= 24 * BLOCK
    files = RemoteFiles(URL, spec(tmp_path, blocks=24))
    for at in range(0, len(CONTENT), BLOCK):
        assert files.read_range("a", at, 10) == CONTENT[at : at + 10]
    assert held_bytes(tmp_path) <= 24 * BLOCK
    assert not list((tmp_path / LAYOUT / "new").iterdir())


def test_a_whole_store_opens_by_url_and_decodes_bit_equal_under_faults(
    server: S3Server, tmp_path: Path
) -> None:
    local = Store.create(tmp_path / "here", StoreSpec())
    for seed in range(3):
        cameras = ("front", "left") if seed else ("front",)
        with local.staging() as staging:
            clips = [make_clip(seed, instants=48, cameras=cameras)]
            local.publish(stage_part(clips, local.spec, staging))
    local = local.reload()
    filesystem().put(str(tmp_path / "here"), "fleet/whole", recursive=True)

    server.faults(*KINDS, share=4, depth=2)
    cache = CacheSpec(folder=tmp_path / "cache", bytes=64 * PAGE_BYTES, block_bytes=4 * PAGE_BYTES)
    far_store = pickle.loads(pickle.dumps(Store.open("s3://fleet/whole", cache)))
    assert far_store.fingerprint == local.fingerprint
    assert [e.clip_id for e in far_store.episodes] == [e.clip_id for e in local.episodes]
    dice = random.Random(0)
    for _ in range(120):
        place = dice.randrange(len(local.episodes))
        start = 8 * dice.randrange(5)
        frames = [decoded(store, place, range(start, start + 8)) for store in (local, far_store)]
        np.testing.assert_array_equal(*frames)
        assert held_bytes(tmp_path / "cache") <= cache.bytes
    assert server.counts()["faults"] > 4  # which requests fail depends on the names of segments


def decoded(store: Store, place: int, instants: range) -> npt.NDArray[np.uint8]:
    episode = store.episodes[place]
    out = np.empty((len(instants), len(episode.cameras), store.spec.frame_bytes), np.uint8)
    store.decode(episode, instants, out)
    return out


WINDOWS, WINDOW_BYTES, ROWS_BYTES = 600, 8 * 1805, 8 * 120
"""Windows of 8 frames of one camera at 512x256 in H.264, and their rows in the index."""


@pytest.mark.parametrize(
    ("room", "most_requests", "most_bytes"), [("all", 0.35, 1.02), ("1/8", 2.1, 9.5)]
)
def test_cost_of_windows_in_random_order(
    server: S3Server, tmp_path: Path, room: str, most_requests: float, most_bytes: float
) -> None:
    """Run with `-s` for the figures of `docs/guides/objects.md`."""
    dice = random.Random(0)
    sizes = {"index.npy": ROWS_BYTES, "video.mp4": WINDOW_BYTES}
    data = {name: dice.randbytes(WINDOWS * size) for name, size in sizes.items()}
    s3 = filesystem()
    for name, content in data.items():
        s3.pipe_file(f"fleet/cost/{name}", content)
    held = sum(map(len, data.values()))
    bound = 2 * held if room == "all" else max(held // 8, 16 * CacheSpec().block_bytes)
    files = RemoteFiles("s3://fleet/cost", CacheSpec(folder=tmp_path, bytes=bound))
    server.counts()
    reads = WINDOWS if room == "all" else WINDOWS // 3
    for window in dice.sample(range(WINDOWS), reads):
        for name, size in sizes.items():
            there = data[name][window * size : (window + 1) * size]
            assert files.read_range(name, window * size, size) == there
    counts = server.counts()
    requests = (counts["gets"] + counts["heads"]) / reads
    over = counts["bytes"] / (reads * (WINDOW_BYTES + ROWS_BYTES))
    print(f"\nthe cache has room for {room}: {requests:.2f} requests a window, {over:.2f} x bytes")
    assert requests < most_requests
    assert over < most_bytes
