"""What a clip is made of: equal content has an equal id, whatever it is called."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from opendojo.clip import BadClip

__all__ = ["check_file", "content_id", "reason", "shown", "step", "watched"]

_ID_DIGITS = 32
_CHUNK_BYTES = 1 << 20
_BEAT: ContextVar[Callable[[], None]] = ContextVar("beat", default=lambda: None)


@contextlib.contextmanager
def watched(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` again and again while files are searched and hashed within: it takes its time."""
    token = _BEAT.set(beat)
    try:
        yield
    finally:
        _BEAT.reset(token)


def step() -> None:
    """Give the beat of whoever watches."""
    _BEAT.get()()


def content_id(reader: str, files: Sequence[Path], extra: bytes = b"") -> str:
    """Hash the reader's name and the bytes of `files`, in their order; 32 hex digits.

    `extra` is for what the reader takes from elsewhere than the files. A file that is not there
    counts as such, so that a recording which lost a picture is another recording. The files are
    streamed. Raises `BadClip` where one cannot be read.
    """
    whole = hashlib.sha256(reader.encode() + b"\0" + extra + b"\0")
    for file in files:
        whole.update(_digest(file))
    return whole.hexdigest()[:_ID_DIGITS]


def _digest(file: Path) -> bytes:
    if not file.is_file():
        return b"absent"
    try:
        digest, beat = hashlib.sha256(), _BEAT.get()
        with file.open("rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                beat()
        return digest.digest()
    except OSError as fault:
        raise BadClip(shown(file), reason(fault), remedy="see that it can be read") from fault


def check_file(file: Path) -> None:
    """Raise `BadClip` unless `file` is an ordinary file with something in it."""
    try:
        if not file.is_file():
            raise BadClip(shown(file), "not an ordinary file", remedy="give a file or a folder")
        if file.stat().st_size == 0:
            raise BadClip(shown(file), "the file is empty (0 bytes)", remedy="copy it again")
    except OSError as fault:
        raise BadClip(shown(file), reason(fault), remedy="see that it can be read") from fault


def shown(path: Path) -> str:
    """A path as text that any file can hold, even where its name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def reason(fault: BaseException) -> str:
    """An exception in a few words for people, without the paths that some put in."""
    text = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return text.splitlines()[0][:200]
