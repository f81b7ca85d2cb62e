"""A file system far away: sizes, versions and byte ranges of its files, asked for with patience.

Faults that pass (5xx, time-outs, resets, short answers) are tried again, with pauses that grow and
scatter; what is missing or forbidden is said at once, with what to check.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Far", "FarFile"]

REQUESTS = 16
"""Requests under way at once, of one process."""

KNOWN_FILES = 65_536
"""Sizes and versions of files that a process remembers."""

PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
"""Mean pause after the first failure; it doubles with each up to the second, and is spread by
half."""

ANSWER_S = 30.0
"""How long one try may take."""

BUDGET_S = 120.0
"""After which no further try is begun."""

BEAT_S = 1.0
"""How often `Far.beat` is called during a pause."""

VERSIONS = (
    "ETag", "etag", "md5Hash", "Content-MD5", "mtime", "LastModified", "Last-Modified",
    "last_modified", "updated", "modified", "created",
)  # fmt: skip
"""What file systems call the version of a file; the best first."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FarFile:
    """What is known of a file far away."""

    name: str
    """Below the url."""
    path: str
    """As the file system calls it."""
    size: int
    """Bytes."""
    version: str
    """Changes with its bytes; empty where the file system says nothing."""


class _Session:
    """What one process holds to talk to the far side: never pickled, never taken over a fork."""

    def __init__(self, url: str) -> None:
        self.pid = os.getpid()
        self.fs, self.root = _connect(url)
        self.known: dict[str, FarFile] = {}
        self.pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="store-fetch")

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the file system, for ANSWER_S at most where it can be stopped."""
        if not self.fs.async_impl:
            return getattr(self.fs, method)(*args, **kwargs)
        import fsspec.asyn

        call = functools.partial(getattr(self.fs, f"_{method}"), *args, **kwargs)
        return fsspec.asyn.sync(self.fs.loop, call, timeout=ANSWER_S)


class Far:
    """The files below a url of any file system that fsspec knows.

    Raises ValueError where a file is missing or forbidden, or the url's package is not installed,
    and ConnectionError where no right answer came within BUDGET_S.
    """

    beat: Callable[[], None] = staticmethod(lambda: None)
    """Called at each try and during pauses, by whatever thread: somebody waits here, patiently."""

    def __init__(self, url: str) -> None:
        if re.search(r"://[^/]*@|\?", url):
            raise ValueError(
                "a store's url must not carry credentials: give them in the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...), which is never written down"
            )
        self.url = url
        self._held: _Session | None = _Session(url)

    @property
    def pool(self) -> ThreadPoolExecutor:
        """REQUESTS threads of this process."""
        return self._session.pool

    @property
    def _session(self) -> _Session:
        if self._held is None or self._held.pid != os.getpid():
            self._held = _Session(self.url)
        return self._held

    def file(self, name: str) -> FarFile:
        """Size and version of a file, asked for once per process."""
        known = self._session.known
        if name not in known:
            if len(known) >= KNOWN_FILES:
                known.clear()
            known[name] = self._patiently(name, lambda: self._look(name))
        return known[name]

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name now."""

        def look() -> bool:
            try:
                self._look(name)
            except FileNotFoundError as error:
                if _passes(error):
                    raise
                return False
            return True

        return self._patiently(name, look)

    def range(self, file: FarFile, start: int, stop: int) -> bytes:
        """Exactly the bytes from `start` to `stop`."""
        what = f"{file.name} bytes {start} to {stop}"
        return self._patiently(what, lambda: self._exactly(file, start, stop))

    def now(self, name: str) -> bytes:
        """All bytes of a file that may change, as they are now."""

        def whole() -> bytes:
            file = self._look(name)
            return self._exactly(file, 0, file.size)

        return self._patiently(name, whole)

    def close(self) -> None:
        """Let go of connections; asking opens them again."""
        if self._held is not None and self._held.pid == os.getpid():
            self._held.pool.shutdown()
        self._held = None

    def _look(self, name: str) -> FarFile:
        path = f"{self._session.root}/{name}"
        info = self._session.ask("info", path)
        if info["type"] != "file":
            raise FileNotFoundError(path)
        if info.get("size") is None or info.get("partial") is False:
            raise NotImplementedError("the server tells no sizes or serves no byte ranges")
        version = next((str(info[tag]) for tag in VERSIONS if info.get(tag)), "")
        return FarFile(name, path, info["size"], version)

    def _exactly(self, file: FarFile, start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        data = self._session.ask("cat_file", file.path, start=start, end=stop)
        if len(data) > stop - start:
            raise NotImplementedError("the server serves no byte ranges")
        if len(data) < stop - start:
            raise OSError(f"only {len(data)} of {stop - start} bytes came")
        return data

    def _patiently(self, what: str, call: Callable[[], _T]) -> _T:
        """Call, and call again after faults that pass."""
        began_s = time.monotonic()
        for attempt in itertools.count(1):
            self.beat()
            try:
                return call()
            except Exception as error:
                if not _passes(error):
                    raise _refused(f"{self.url}/{what}", error) from error
                doubled_s = PAUSE_S * 2 ** min(attempt - 1, 16) * random.uniform(0.5, 1.5)
                pause_s = min(doubled_s, LONGEST_PAUSE_S)
                spent_s = time.monotonic() - began_s
                if spent_s + pause_s > BUDGET_S:
                    raise ConnectionError(
                        f"{self.url}/{what}: no right answer after {attempt} tries in "
                        f"{spent_s:.0f} s; the last: {_plain(error)}; check the network and the "
                        f"endpoint (AWS_ENDPOINT_URL), then run again: it goes on where it was"
                    ) from error
                self._pause(pause_s)
        raise AssertionError("the last try returns or raises")

    def _pause(self, pause_s: float) -> None:
        until_s = time.monotonic() + pause_s
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, BEAT_S))
            self.beat()


def _connect(url: str) -> tuple[Any, str]:
    """A file system of fsspec's for a url, and the path of the url in it."""
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if url.startswith(("s3://", "s3a://")):
        # one try each: trying again is ours, with a limit
        once = {"retries": {"total_max_attempts": 1}, "max_pool_connections": REQUESTS}
        options["config_kwargs"] = {**once, "connect_timeout": 5, "read_timeout": ANSWER_S}
    try:
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(url, **options)
    except ImportError as error:
        raise ValueError(
            f"{url} needs a package that is not installed ({error}): pip install opendojo[remote]"
        ) from error
    if hasattr(fs, "retries"):
        fs.retries = 1
    return fs, root.rstrip("/")


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error; fsspec's HTTP says FileNotFoundError of every fault."""
    status = getattr(error, "status", None)
    return status if status is not None else getattr(error.__cause__, "status", None)


def _passes(error: BaseException) -> bool:
    """Whether a fault may be gone at the next try."""
    status = _status(error)
    if status is not None:
        return status >= 500 or status in (408, 429)
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return False
    if type(error) is FileNotFoundError and type(error.__cause__).__module__.startswith("aiohttp"):
        return True
    final = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError)
    return not isinstance(error, (*final, ValueError, TypeError, AssertionError))


def _refused(what: str, error: Exception) -> ValueError:
    status = _status(error)
    if status in (401, 403) or isinstance(error, PermissionError) or "Credentials" in repr(error):
        remedy = (
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and that the key may "
            "read the bucket (for a public one set FSSPEC_S3_ANON=true)"
        )
    elif isinstance(error, FileNotFoundError):
        remedy = "check the url's bucket and folder, and that the whole store was uploaded"
    else:
        remedy = "give a url of an object store, or of a web server that serves byte ranges"
    return ValueError(f"{what}: {_plain(error)}; {remedy}")


def _plain(error: BaseException) -> str:
    """An error as one line, without what an endpoint's url may say of users and keys."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_S:.0f} s"
    text = re.sub(r"://[^/\s@]*@", "://", f"{type(error).__name__}: {error}")
    return re.sub(r"\?\S*", "", " ".join(text.split()))[:300]
