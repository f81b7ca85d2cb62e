"""A bounded folder of blocks, shared by many processes, in front of files that lie far away.

Every block is a file of its own, renamed into place, so a reader sees all of it or none. Torn and
rotten blocks (a power cut; blocks are not synced) fail their checksums and count as absent. A
ledger holds the bytes reserved so far: space is reserved before it is written, under a lock that
the kernel drops with its process, so the folder stays under its bound whoever dies, and when.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
import warnings
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["BlockCache", "CacheSpec"]

LAYOUT = "blocks-1"
"""Subfolder; a new layout takes a new name."""

PAGE_BYTES = 4 << 10
"""What one checksum covers: a window is checked without reading its whole block."""

SHARDS = 64
"""Folders that the blocks are spread over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """Where bytes of a remote store are kept, and how many."""

    folder: Path | None = None
    """None: `opendojo` in $XDG_CACHE_HOME, or in ~/.cache. Processes may share it."""
    bytes: int = 2 << 30
    """Bound on all files in the folder together; the least recently used go first."""
    block_bytes: int = 64 << 10
    """Files are fetched and kept in blocks of this size."""

    def __post_init__(self) -> None:
        if self.block_bytes < PAGE_BYTES or self.block_bytes % PAGE_BYTES:
            raise ValueError(
                f"block_bytes must be a multiple of {PAGE_BYTES}, not {self.block_bytes}"
            )
        if self.bytes < 16 * self.block_bytes:
            raise ValueError(
                f"a cache needs room for 16 blocks ({16 * self.block_bytes} bytes), "
                f"not {self.bytes}"
            )

    @property
    def path(self) -> Path:
        """The folder, with the default filled in."""
        if self.folder is not None:
            return self.folder
        home = os.environ.get("XDG_CACHE_HOME")
        return (Path(home) if home else Path.home() / ".cache") / "opendojo"


class BlockCache:
    """Blocks by (key, number), and whole files by key, in a folder of bounded size.

    A key names one version of one file for ever. Raises ValueError where the folder cannot be made.
    """

    def __init__(self, spec: CacheSpec) -> None:
        self._bound = spec.bytes
        self._folder = str(spec.path / LAYOUT)
        try:
            Path(self._folder, "new").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"the cache folder {spec.path} cannot be made ({error.strerror}): give "
                f"CacheSpec(folder=...) a folder on a local disk"
            ) from error

    def get(self, key: str, number: int, length: int, start: int, stop: int) -> bytes | None:
        """Bytes `start` to `stop` of a block that is `length` bytes long, or None if not there."""
        path = self._path(key, number)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            data = _read_pages(handle, length, start, stop)
            if data is None:
                Path(path).unlink(missing_ok=True)
            else:
                os.utime(handle)
        finally:
            os.close(handle)
        return data

    def has(self, key: str, number: int) -> bool:
        """Whether a block is there; whether it is whole shows when it is read."""
        return os.access(self._path(key, number), os.R_OK)

    def put(self, key: str, number: int, data: bytes | memoryview) -> None:
        """Keep a block, if there is room or room can be made at once."""
        pages = range(0, len(data), PAGE_BYTES)
        sums = [zlib.crc32(data[at : at + PAGE_BYTES]) for at in pages]
        try:
            with self._writing(self._path(key, number), 4 * len(sums) + len(data)) as handle:
                if handle is not None:
                    os.writev(handle, [struct.pack(f"<{len(sums)}I", *sums), data])
        except OSError as error:  # the block is in hand: a full disk costs speed, not the run
            warnings.warn(
                f"the cache {self._folder} does not take blocks ({error.strerror}): every read "
                f"goes over the network until there is room",
                RuntimeWarning,
                stacklevel=2,
            )

    def whole(self, key: str, length: int) -> Path | None:
        """The path of a whole file, or None if not there."""
        path = Path(self._path(key, None))
        try:
            if path.stat().st_size != length:
                return None
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    @contextlib.contextmanager
    def writing_whole(self, key: str, length: int) -> Iterator[int]:
        """A descriptor to write a whole file of `length` bytes to; in place when the body ends.

        Raises ValueError where the bound has no room for it.
        """
        with self._writing(self._path(key, None), length, wait=True) as handle:
            if handle is None:
                raise ValueError(
                    f"the cache is bounded to {self._bound} bytes and has no room for a file of "
                    f"{length} that must lie on disk whole: give CacheSpec(bytes=...) more"
                )
            yield handle
            os.fsync(handle)

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold the lock of a key, so that one process fetches what many want."""
        with self._locked(f"lock-{key[:2]}"):
            yield

    def _path(self, key: str, number: int | None) -> str:
        shard = (int(key[:8], 16) + (number or 0)) % SHARDS
        return f"{self._folder}/{shard:02x}/{key}-{'whole' if number is None else number}"

    @contextlib.contextmanager
    def _writing(self, path: str, size: int, wait: bool = False) -> Iterator[int | None]:
        """Reserve, let the body write, rename. The body gets None where there is no room."""
        reserved = self._reserve(size)
        if reserved is None and size <= self._bound and self._make_room(size, wait):
            reserved = self._reserve(size)
        if reserved is None:
            yield None
            return
        handle, fresh = reserved
        try:
            yield handle
            Path(path).parent.mkdir(exist_ok=True)
            fresh.rename(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)

    def _reserve(self, size: int) -> tuple[int, Path] | None:
        """Enter `size` bytes in the ledger and make a file of that size; None where full.

        The file is locked for as long as its writer lives: an unlocked one is an orphan.
        """
        with self._locked("ledger") as ledger:
            used = self._used(ledger)
            if used + size > self._bound:
                return None
            fresh = Path(self._folder, "new", secrets.token_hex(16))
            handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.ftruncate(handle, size)
            os.pwrite(ledger, struct.pack("<q", used + size), 0)
        return handle, fresh

    def _make_room(self, size: int, wait: bool) -> bool:
        """Evict by last use until an eighth of the bound is free, and set the ledger right.

        Returns False where another process is at it and we do not wait.
        """
        try:
            with self._locked("evict", wait), self._locked("ledger") as ledger:
                before = self._used(ledger)
                held = self._sweep_new()
                fcntl.flock(ledger, fcntl.LOCK_UN)  # others go on while we look
                goal = max(self._bound - self._bound // 8 - size - held, 0)
                left = held + self._evict(goal)
                fcntl.flock(ledger, fcntl.LOCK_EX)
                # reserved meanwhile: counted twice where we saw it, never left out
                since = self._used(ledger) - before
                os.pwrite(ledger, struct.pack("<q", left + since), 0)
        except BlockingIOError:
            return False
        return True

    def _used(self, ledger: int) -> int:
        """Bytes entered in the ledger; counted where it is new."""
        raw = os.pread(ledger, 8, 0)
        if len(raw) == 8:
            return struct.unpack("<q", raw)[0]
        return self._sweep_new() + sum(stat.st_size for _, stat in self._blocks())

    def _sweep_new(self) -> int:
        """Remove what dead writers left; the bytes of what living ones hold."""
        held = 0
        for entry in Path(self._folder, "new").iterdir():
            with contextlib.suppress(FileNotFoundError), entry.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    entry.unlink()
                except BlockingIOError:
                    held += os.fstat(file.fileno()).st_size
        return held

    def _evict(self, goal: int) -> int:
        """Remove the least recently used until at most `goal` bytes are left; the bytes left."""
        stamps_ns, sizes = array("q"), array("q")  # 16 bytes a block, however many there are
        for _, stat in self._blocks():
            stamps_ns.append(stat.st_mtime_ns)
            sizes.append(stat.st_size)
        left = sum(sizes)
        if left <= goal:
            return left
        order = np.argsort(np.frombuffer(stamps_ns, np.int64))
        freed = np.cumsum(np.frombuffer(sizes, np.int64)[order])
        last = min(int(np.searchsorted(freed, left - goal)), len(order) - 1)
        newest_ns = stamps_ns[order[last]]
        for path, stat in self._blocks():
            if left <= goal:
                break
            if stat.st_mtime_ns <= newest_ns:
                Path(path).unlink(missing_ok=True)
                left -= stat.st_size
        return left

    def _blocks(self) -> Iterator[tuple[str, os.stat_result]]:
        """All blocks and whole files; what goes away meanwhile is left out."""
        for shard in range(SHARDS):
            folder = Path(self._folder, f"{shard:02x}")
            for name in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208
                with contextlib.suppress(FileNotFoundError):
                    path = f"{folder}/{name}"
                    yield path, os.stat(path)  # noqa: PTH116 - of a string, for speed

    @contextlib.contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[int]:
        """Hold a lock file of the folder. Raises BlockingIOError where held and we do not wait."""
        Path(self._folder, "new").mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{self._folder}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield handle
        finally:
            os.close(handle)


def _read_pages(handle: int, length: int, start: int, stop: int) -> bytes | None:
    """Bytes of an open block, if its size and the checksums of the pages touched are right."""
    head = 4 * -(-length // PAGE_BYTES)
    if os.fstat(handle).st_size != head + length:
        return None
    first, end = start // PAGE_BYTES, -(-stop // PAGE_BYTES)
    sums = os.pread(handle, 4 * (end - first), 4 * first)
    base = first * PAGE_BYTES
    data = os.pread(handle, min(end * PAGE_BYTES, length) - base, head + base)
    for number, (there,) in enumerate(struct.iter_unpack("<I", sums)):
        if zlib.crc32(data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]) != there:
            return None
    return data[start - base : stop - base]
