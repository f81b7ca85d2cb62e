"""The search for clips, in a process of its own: opening a recording decodes its first frames.

Where a file kills the searcher or holds it for too long, the file is named as bad, and the search
goes on behind it in a new process: its order is always the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av.logging

from opendojo.clip import BadClip, Clip
from opendojo.ingest.content import shown, watched
from opendojo.ingest.options import IngestOptions
from opendojo.ingest.process import Beat, Child, Ended, Nursery
from opendojo.ingest.sniff import find_clips

__all__ = ["search"]

_REMEDY = "read it alone; convert or leave it out"


def search(
    path: Path,
    skip: Sequence[Path],
    options: IngestOptions,
    nursery: Nursery,
    spent: Callable[[float], None] = lambda cpu_s: None,
) -> Iterator[Clip | BadClip]:
    """Every clip at `path` as `find_clips` gives them; nothing in them can harm this process.

    A path at which the searcher ends is tried once more before it is named as bad. `spent` is told
    the searcher's processor time. Raises `RuntimeError` where no searcher can be started.
    """
    after: Path | None = None
    before = at = failed = None
    given = 0
    while True:
        child = Child(
            nursery, _search, path, skip, after,
            hang_s=options.hang_s, memory_mb=options.memory_mb,
        )  # fmt: skip
        passed = given
        try:
            for kind, what in _messages(child, options):
                if kind == "done":
                    spent(what)
                    return
                if kind == "at":
                    if what != at:
                        before, at, given = at, what, 0
                elif passed:
                    passed -= 1  # it was given before the searcher ended
                else:
                    given += 1
                    yield what
        except Ended as ended:
            after = before
            if failed == at:
                yield BadClip(shown(at or path), f"opening it failed: {ended}", remedy=_REMEDY)
                if at is None:
                    return
                after, before, at, given = at, at, None, 0
            failed = at
        finally:
            child.end()


def _messages(child: Child, options: IngestOptions) -> Iterator[tuple[str, Any]]:
    while True:
        while not child.pipe.poll(min(options.hang_s / 4, 1.0)):
            child.check()
        message = child.receive()
        if message is not None:
            yield message


def _search(
    pipe: Connection, beat: Beat, path: Path, skip: Sequence[Path], after: Path | None
) -> None:
    """The child's duty."""
    av.logging.set_level(None)  # what is wrong with a file is said once, in the rejects

    def send(kind: str, what: Any) -> None:
        pipe.send(("message", (kind, what)))

    with watched(beat):
        for found in find_clips(path, skip=skip, after=after, opening=lambda p: send("at", p)):
            send("found", found)
    send("done", time.process_time())
