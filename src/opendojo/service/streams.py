"""What goes on while a client listens: events, logs, and both with charts for the page.

A listener waits on the event loop and takes a thread only to look; it is told nothing more once
its token is no longer valid.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from opendojo.service.charts import Curves
from opendojo.service.database import now_ms
from opendojo.service.manager import Manager
from opendojo.service.models import Event, Job
from opendojo.service.states import State
from opendojo.service.tenants import Caller, still_valid

__all__ = ["Seen", "events", "live", "log", "log_path", "log_piece"]

_EVENTS_S, _LOG_S, _CHARTS_S = 0.5, 0.3, 2.0
_PIECE = 65_536


@dataclass(slots=True)
class Seen:
    """How far a listener is: the last event, the attempt and how many bytes of its log."""

    event: int = 0
    attempt: int = 0
    offset: int = 0

    @classmethod
    def read(cls, text: str) -> Seen:
        """Back from `str`; from the beginning where that cannot be read."""
        try:
            event, attempt, offset = (min(int(one), 2**62) for one in text.split("-"))
        except ValueError:
            return cls()
        return cls(max(event, 0), max(attempt, 0), max(offset, 0))

    def __str__(self) -> str:
        return f"{self.event}-{self.attempt}-{self.offset}"


@dataclass(frozen=True, slots=True)
class _News:
    job: Job
    events: list[Event]

    @property
    def ended(self) -> bool:
        return State(self.job.state).finished


def _news(manager: Manager, caller: Caller, name: str, after: int) -> _News | None:
    """Where the job is and its events since; None where the caller may no longer know."""
    with manager.database.reading() as session:
        if not still_valid(session, caller, now_ms()):
            return None
        job = session.get_one(Job, name)
        query = select(Event).where(Event.job_id == name, Event.id > after).order_by(Event.id)
        return _News(job, list(session.scalars(query)))


def log_path(manager: Manager, name: str, attempt: int) -> Path:
    """An attempt's log."""
    return manager.folder(name) / f"attempt-{attempt}" / "log"


def log_piece(path: Path, offset: int, most: int = _PIECE) -> bytes:
    """Some bytes of a log from there on; none where there is no log yet."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(most)
    except FileNotFoundError:
        return b""


def _sent(kind: str, data: Any, number: object = None) -> str:
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"


def _told(one: Event) -> dict[str, Any]:
    return {"at_ms": one.at_ms, "state": one.state, "attempt": one.attempt, "text": one.text}


async def events(
    manager: Manager, caller: Caller, name: str, after: int, follow: bool
) -> AsyncIterator[str]:
    """A job's events as server-sent events, to its end where `follow`."""
    while True:
        news = await run_in_threadpool(_news, manager, caller, name, after)
        if news is None:
            return
        for one in news.events:
            after = one.id
            yield _sent("state", _told(one), one.id)
        if news.ended or not follow:
            return
        yield ": alive\n\n"
        await asyncio.sleep(_EVENTS_S)


async def log(manager: Manager, caller: Caller, name: str, follow: bool) -> AsyncIterator[bytes]:
    """The newest attempt's log; where `follow`, what comes and later attempts', to the end."""
    attempt, offset = -1, 0
    while True:
        news = await run_in_threadpool(_news, manager, caller, name, 2**62)
        if news is None:
            return
        if attempt < 0:
            attempt = news.job.attempts
        path = log_path(manager, name, attempt)
        if piece := await run_in_threadpool(log_piece, path, offset):
            offset += len(piece)
            yield piece
            continue
        if attempt < news.job.attempts:
            attempt, offset = attempt + 1, 0
            continue
        if news.ended or not follow:
            return
        await asyncio.sleep(_LOG_S)


async def live(manager: Manager, caller: Caller, name: str, seen: Seen) -> AsyncIterator[str]:
    """All that the page shows of a job: `state`, `log` and `charts`, then `end`."""
    curves, charts_s, work = Curves(), 0.0, manager.folder(name) / "work"
    clock = asyncio.get_running_loop().time
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        news = await run_in_threadpool(_news, manager, caller, name, seen.event)
        if news is None:
            return
        for one in news.events:
            seen.event = one.id
            yield _sent("state", _told(one) | {"id": one.id}, seen)
        path = log_path(manager, name, seen.attempt)
        if piece := await run_in_threadpool(log_piece, path, seen.offset):
            seen.offset += len(piece)
            yield _sent("log", {"attempt": seen.attempt, "text": decoder.decode(piece)}, seen)
            continue
        if seen.attempt < news.job.attempts:
            seen.attempt, seen.offset = seen.attempt + 1, 0
            decoder.reset()
            continue
        if news.ended or clock() - charts_s >= _CHARTS_S:
            charts_s = clock()
            if (drawn := await run_in_threadpool(curves.drawn, work)) is not None:
                yield _sent("charts", drawn)
        if news.ended:
            yield _sent("end", {"state": news.job.state})
            return
        yield ": alive\n\n"
        await asyncio.sleep(_EVENTS_S)
