"""The files of a store by name and byte range, on this disk or on any file system of fsspec.

    files = files_at("s3://fleet/store", CacheSpec(bytes=100 << 30))
    files.read("store.json")                       # asked for anew each time
    files.read_range("videos/file-000.mp4", 4096, 14000)

All files but the pointer are immutable once a store lists them, so their blocks may be kept for
ever. A far file's version (ETag or time) is asked for once per process and is part of the key:
a store made anew under the same url is never read through blocks of the old one.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

from opendojo.store.atomic import file_sha256
from opendojo.store.bad import BadStore
from opendojo.store.cache import BlockCache, CacheSpec
from opendojo.store.far import Far, FarFile

__all__ = ["POINTER", "CacheSpec", "LocalFiles", "RemoteFiles", "files_at"]

POINTER = "store.json"
"""The one file of a store that changes; never cached."""

OPEN_FILES = 256
"""Descriptors that one `LocalFiles` keeps open."""

REQUEST_BYTES = 4 << 20
"""Most bytes of one request; times `far.REQUESTS` it bounds what a prefetch holds in memory."""

_Range = tuple[str, int, int]


class _Descriptor:
    """An open file that closes with its last reference, so that no reader loses it in mid-read."""

    __slots__ = ("number", "size")

    def __init__(self, root: str, name: str) -> None:
        self.number = -1
        path = f"{root}/{name}"
        try:
            self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _missing(path, error.strerror) from error
        self.size = os.fstat(self.number).st_size

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class LocalFiles:
    """Files below a local folder. Pickled by path: descriptors are opened where they are used."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        # lru_cache is one call into C and safe between threads; partial keeps it free of self
        self._open = functools.lru_cache(OPEN_FILES)(functools.partial(_Descriptor, str(self.root)))

    def __reduce__(self) -> Any:
        return LocalFiles, (self.root,)

    def __repr__(self) -> str:
        return f"LocalFiles({str(self.root)!r})"

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.root)

    def read(self, name: str) -> bytes:
        """All bytes of a file, as they are now. Raises BadStore where it cannot be read."""
        path = self.root / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise _missing(str(path), error.strerror) from error

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset`. Raises BadStore where the file has fewer.

        By pread and not by memory map: a file cut short is an error here, and SIGBUS there.
        """
        file = self._open(name)
        if offset >= 0 <= size and offset + size <= file.size:
            data = os.pread(file.number, size, offset)
            if len(data) == size:
                return data
        raise _short(f"{self.root}/{name}", offset, size, os.fstat(file.number).st_size)

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self.root / name).is_file()

    def local(self, name: str, sha256: str | None = None) -> Path:
        """A path to map into memory. Raises BadStore if not there or not of that `sha256`."""
        path = self.root / name
        if not path.is_file():
            raise _missing(str(path), "no such file")
        if sha256 is not None and file_sha256(path) != sha256:
            raise _altered(str(path), sha256)
        return path

    def prefetch(self, ranges: Iterable[_Range]) -> None:
        """Nothing to do: the bytes are here."""

    def close(self) -> None:
        """Close all descriptors; reading opens them again."""
        self._open.cache_clear()


class RemoteFiles:
    """Files below a url, by byte ranges through a cache on disk. Pickled by url and cache.

    Every method raises ValueError where a file is missing or forbidden, and ConnectionError where
    the far side gives no right answer after several tries.
    """

    def __init__(self, url: str, cache: CacheSpec | None = None) -> None:
        self.url = url.rstrip("/")
        self.cache = cache or CacheSpec()
        self._far = Far(self.url)
        self._blocks = BlockCache(self.cache)

    def __reduce__(self) -> Any:
        return RemoteFiles, (self.url, self.cache)

    def __repr__(self) -> str:
        return f"RemoteFiles({self.url!r})"

    def read(self, name: str) -> bytes:
        """All bytes of a file; the pointer's as they are now."""
        if name == POINTER:
            return self._far.now(name)
        return self.read_range(name, 0, self._far.file(name).size)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset`. Raises BadStore where the file has fewer."""
        file = self._far.file(name)
        key = self._key(file)
        pieces: dict[int, bytes | memoryview] = {}
        missing: list[int] = []
        for number in self._numbers(file, offset, size):
            length = min(self.cache.block_bytes, file.size - number * self.cache.block_bytes)
            piece = self._blocks.get(key, number, length, *self._within(number, offset, size))
            if piece is None:
                missing.append(number)
            else:
                pieces[number] = piece
        for numbers, data in self._fetched(file, missing):
            for number in numbers:
                start, stop = self._within(number, offset, size)
                base = (number - numbers.start) * self.cache.block_bytes
                pieces[number] = memoryview(data)[base + start : base + stop]
        if len(pieces) == 1:
            return bytes(*pieces.values())
        return b"".join(pieces[number] for number in sorted(pieces))

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name now."""
        return self._far.exists(name)

    def local(self, name: str, sha256: str | None = None) -> Path:
        """A local copy of a whole file, to be opened (mapped) at once; checked when it is fetched.

        Once open it stays readable, even where the cache has evicted it meanwhile.
        """
        file = self._far.file(name)
        key = self._key(file)
        with self._blocks.alone(key):
            path = self._blocks.whole(key, file.size)
            if path is None:
                self._download(file, sha256)
                path = self._blocks.whole(key, file.size)
        assert path is not None, "the newest file of the cache was evicted"
        return path

    def prefetch(self, ranges: Iterable[_Range]) -> None:
        """Fetch what the cache lacks of (name, offset, size) ranges, many at once.

        What it fetches goes to the cache and not to memory; more than the cache holds is in vain.
        """
        ranges = list(ranges)
        names = dict.fromkeys(name for name, _, _ in ranges)
        files = dict(zip(names, self._far.pool.map(self._far.file, names), strict=True))
        wanted: dict[str, set[int]] = {name: set() for name in names}
        for name, offset, size in ranges:
            wanted[name].update(self._numbers(files[name], offset, size))
        runs: list[tuple[FarFile, range]] = []
        for name, numbers in wanted.items():
            key = self._key(files[name])
            missing = [n for n in sorted(numbers) if not self._blocks.has(key, n)]
            runs.extend((files[name], run) for run in self._runs(missing))
        for _ in self._far.pool.map(lambda run: len(self._fetch(*run)), runs):
            pass

    def tell_waits(self, told: Callable[[], None]) -> None:
        """Call `told` at each try and during pauses, from whatever thread; not pickled."""
        self._far.beat = told

    def close(self) -> None:
        """Let go of connections; reading opens them again."""
        self._far.close()

    def _key(self, file: FarFile) -> str:
        facts = (self.url, file.name, file.version, str(file.size), str(self.cache.block_bytes))
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]

    def _fetched(self, file: FarFile, missing: list[int]) -> Iterator[tuple[range, bytes]]:
        """Runs of missing blocks with their bytes; several at once where there are several."""
        runs = list(self._runs(missing))
        fetch = functools.partial(self._fetch, file)
        fetched = map(fetch, runs) if len(runs) < 2 else self._far.pool.map(fetch, runs)
        return zip(runs, fetched, strict=True)

    def _fetch(self, file: FarFile, numbers: range) -> bytes:
        """Bytes of neighbouring blocks in one request; each is put into the cache."""
        block = self.cache.block_bytes
        data = self._far.range(file, numbers.start * block, min(numbers.stop * block, file.size))
        for place, number in enumerate(numbers):
            piece = memoryview(data)[place * block : (place + 1) * block]
            self._blocks.put(self._key(file), number, piece)
        return data

    def _download(self, file: FarFile, sha256: str | None) -> None:
        with self._blocks.writing_whole(self._key(file), file.size) as handle:

            def copy(start: int) -> None:
                stop = min(start + REQUEST_BYTES, file.size)
                os.pwrite(handle, self._far.range(file, start, stop), start)

            starts = range(0, file.size, REQUEST_BYTES)
            copies = [self._far.pool.submit(copy, start) for start in starts]
            try:
                for done in copies:
                    done.result()
            finally:  # none may write once the descriptor is closed
                wait([done for done in copies if not done.cancel()])
            if sha256 is not None:
                with open(handle, "rb", closefd=False) as copied:
                    if hashlib.file_digest(copied, "sha256").hexdigest() != sha256:
                        raise _altered(f"{self.url}/{file.name}", sha256)

    def _numbers(self, file: FarFile, offset: int, size: int) -> range:
        """Numbers of the blocks that a range touches."""
        if offset < 0 or size < 0 or offset + size > file.size:
            raise _short(f"{self.url}/{file.name}", offset, size, file.size)
        block = self.cache.block_bytes
        return range(offset // block, -(-(offset + size) // block) if size else offset // block)

    def _within(self, number: int, offset: int, size: int) -> tuple[int, int]:
        """Start and stop, within a block, of what a range wants of it."""
        base = number * self.cache.block_bytes
        return max(offset - base, 0), min(offset + size - base, self.cache.block_bytes)

    def _runs(self, numbers: list[int]) -> Iterator[range]:
        """Neighbouring blocks together, as far as one request goes."""
        most = max(1, REQUEST_BYTES // self.cache.block_bytes)
        at = 0
        while at < len(numbers):
            end = at + 1
            while end < len(numbers) and end - at < most and numbers[end] == numbers[end - 1] + 1:
                end += 1
            yield range(numbers[at], numbers[end - 1] + 1)
            at = end


def files_at(url: str | Path, cache: CacheSpec | None = None) -> LocalFiles | RemoteFiles:
    """The files below a folder or a url (s3://, gs://, http://, memory://, ...).

    Raises ValueError where the url's package is missing or the url carries credentials.
    """
    text = str(url)
    if "://" not in text:
        return LocalFiles(text)
    if text.startswith(("file://", "local://")):
        return LocalFiles(text.partition("://")[2])
    return RemoteFiles(text, cache)


_AGAIN = "copy it again, or run `opendojo store verify` and ingest again what it names"


def _missing(path: str, cause: str | None) -> BadStore:
    return BadStore(
        path,
        cause or "cannot be read",
        "the store is not whole here: copy it again, or run `opendojo store verify` to see what is "
        "missing",
    )


def _short(path: str, offset: int, size: int, there: int) -> BadStore:
    cause = (
        f"{size} bytes from byte {offset} on are wanted and the file has {there}: it was cut "
        "short, or its index is of another file"
    )
    return BadStore(path, cause, _AGAIN)


def _altered(path: str, sha256: str) -> BadStore:
    return BadStore(path, f"the bytes are not those published (SHA-256 {sha256[:16]}...)", _AGAIN)
