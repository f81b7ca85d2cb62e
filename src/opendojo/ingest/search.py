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
from opendojo.ingest.process import (
    MOST_KILLS,
    Beat,
    Child,
    Ended,
    Nursery,
    killed_too_often,
    pause_s,
)
from opendojo.ingest.sniff import find_clips

__all__ = ["search"]

_REMEDY = "read it alone; convert or leave it out"
_TICK_S = 0.02
"""How long there may be nothing before it is said."""


def search(
    path: Path,
    skip: Sequence[Path],
    options: IngestOptions,
    nursery: Nursery,
    spent: Callable[[float], None] = lambda cpu_s: None,
) -> Iterator[Clip | BadClip | None]:
    """Every clip at `path` as `find_clips` gives them; nothing in them can harm this process.

    None comes where there is nothing yet, so that the caller waits for nothing else meanwhile. A
    path at which the searcher ends is tried once more before it is named as bad, and some times
    more where it was killed, which nothing in a file does. `spent` is told the searcher's processor
    time. Raises `RuntimeError` where no searcher can be started.
    """
    after: Path | None = None
    before: Path | None = None
    at: Path | None = None
    given = kills = deaths = 0
    while True:
        child = Child(
            nursery, _search, path, skip, after,
            hang_s=options.hang_s, memory_mb=options.memory_mb,
        )  # fmt: skip
        passed = given
        try:
            for kind, what in _messages(child):
                if kind == "nothing":
                    yield None
                elif kind == "done":
                    spent(what)
                    return
                elif kind == "at":
                    if what != at:
                        before, at = at or before, what
                        given = kills = deaths = 0
                elif passed:
                    passed -= 1  # it was given before the searcher ended
                else:
                    given, kills = given + 1, 0
                    yield what
        except Ended as ended:
            after = before
            kills, deaths = kills + ended.killed, deaths + (not ended.killed)
            if kills == MOST_KILLS or deaths == 2:
                cause = killed_too_often(kills) if ended.killed else str(ended)
                yield BadClip(shown(at or path), f"opening it failed: {cause}", remedy=_REMEDY)
                if at is None:
                    return
                after, before, at = at, at, None
                given = kills = deaths = 0
            elif ended.killed:
                yield from _pause(pause_s(kills))
        finally:
            child.end()


def _pause(seconds: float) -> Iterator[None]:
    """Nothing, for so long."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, _TICK_S))
        yield None


def _messages(child: Child) -> Iterator[tuple[str, Any]]:
    while True:
        while not child.pipe.poll(_TICK_S):
            child.check()
            yield "nothing", None
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
