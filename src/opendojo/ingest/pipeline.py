"""From folders of recordings to frames in the store, over every core, and what was left out.

Clips that the store has already (by their content) are passed over. The others go to workers in
batches, of one clip at first and larger as more come, so that a few clips spread over the cores and
many do not make many small files. Each staged part is published as it comes: an ingest that is
stopped keeps what it did and, run again, goes on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from opendojo.clip import BadClip, Clip
from opendojo.ingest.content import shown
from opendojo.ingest.options import IngestOptions, cores
from opendojo.ingest.process import Nursery
from opendojo.ingest.rejects import Rejects
from opendojo.ingest.report import IngestReport, Tally
from opendojo.ingest.search import search
from opendojo.ingest.sniff import source_files
from opendojo.ingest.workers import Batch, Staged, Workers
from opendojo.store import Store

__all__ = ["ingest"]

_BATCH_CLIPS = 16
_BATCH_BYTES = 256 << 20
_SAME_SIZE = 4
"""Batches of one size for each worker: the last of them, alone, then adds little to the whole."""


class Pool(Protocol):
    """Where batches are staged: processes of this machine, or a cluster."""

    def __enter__(self) -> Pool: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def width(self) -> int:
        """Batches that are worked on at a time."""
        ...

    @property
    def cpu_s(self) -> float:
        """Processor time of all that stages."""
        ...

    def run(self, batches: Iterator[Batch | None]) -> Iterator[Staged]:
        """See `Workers.run`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where a new clip came from: the path given, and the size of its files."""

    path: str
    size_bytes: int


def ingest(
    paths: Sequence[str | Path],
    store: Store,
    *,
    workers: int | None = None,
    options: IngestOptions | None = None,
    on_progress: Callable[[IngestReport], None] | None = None,
    rejects_path: str | Path | None = None,
) -> IngestReport:
    """Put every clip found at `paths` into `store`; never stops for a bad one.

    `workers` is the number of processes, one for each core by default. `on_progress` is called with
    the report so far after every batch. What could not be read is appended to `rejects_path`
    (`rejects.jsonl` in the store by default).

    Raises `ValueError` where a path does not exist or Ray is asked for and not installed, `OSError`
    where the store cannot be written, `ConnectionError` where the cluster cannot be reached. On
    `KeyboardInterrupt` the workers are ended and what was published stays.
    """
    options = options or IngestOptions()
    for path in paths:  # told of before any work
        if not os.path.lexists(path):
            raise ValueError(f"{shown(Path(path))} does not exist: give a file or a folder")
    count = cores() if workers is None else workers
    store = store.reload()
    rejects = Rejects(Path(rejects_path) if rejects_path else store.path / "rejects.jsonl")
    tally = Tally()
    origins: dict[str, _Origin] = {}
    with contextlib.ExitStack() as held:
        staging = held.enter_context(store.staging())
        nursery = held.enter_context(Nursery())
        pool = held.enter_context(_pool(count, store, staging, options, nursery))

        def found(path: Path) -> Iterator[Clip | BadClip | None]:
            return search(path, [store.path], options, nursery, tally.add_cpu_s)

        # closed before the nursery, which the searcher is a child of
        clips = held.enter_context(
            contextlib.closing(_new_clips(paths, found, store, tally, rejects, origins))
        )
        for staged in pool.run(_batches(clips, origins, pool.width)):
            _settle(staged, store, tally, rejects, origins)
            if on_progress is not None:
                on_progress(tally.report(pool.cpu_s))
        return tally.report(pool.cpu_s)


def _pool(
    count: int, store: Store, staging: Path, options: IngestOptions, nursery: Nursery
) -> Pool:
    if not options.cluster:
        return Workers(count, store.spec, staging, options, nursery)
    from opendojo.ingest.cluster import Cluster

    return Cluster(store.spec, staging, options)


def _new_clips(
    paths: Sequence[str | Path],
    find: Callable[[Path], Iterator[Clip | BadClip | None]],
    store: Store,
    tally: Tally,
    rejects: Rejects,
    origins: dict[str, _Origin],
) -> Generator[Clip | None, None, None]:
    """Clips that the store does not have, None where there is none yet.

    `origins` learns which path each came from.
    """
    for path in paths:
        source = shown(Path(path))
        tally.add(source)
        for clip in find(Path(path)):
            if clip is None:
                yield None
            elif isinstance(clip, BadClip):
                tally.add(source, rejects=1)
                rejects.add(clip, kept_frames=0)
            elif clip.clip_id in origins or store.holds(clip.clip_id):
                tally.add(source, clips_known=1)
            else:
                origins[clip.clip_id] = _Origin(path=source, size_bytes=_source_bytes(clip))
                yield clip


def _batches(
    clips: Iterator[Clip | None], origins: dict[str, _Origin], width: int
) -> Iterator[Batch | None]:
    """Group clips of one dataset (rate and cameras); batches grow as more have gone before.

    None where there is no clip yet.
    """
    waiting: dict[tuple[object, ...], list[Clip]] = {}
    given = 0
    for clip in clips:
        if clip is None:
            yield None
            continue
        key = (round(clip.rate_hz), tuple(camera.name for camera in clip.cameras))
        group = waiting.setdefault(key, [])
        group.append(clip)
        size_bytes = sum(origins[one.clip_id].size_bytes for one in group)
        enough = min(_BATCH_CLIPS, 1 + given // (_SAME_SIZE * width))
        if len(group) >= enough or size_bytes >= _BATCH_BYTES:
            yield Batch(clips=tuple(waiting.pop(key)))
            given += 1
    for group in waiting.values():
        yield Batch(clips=tuple(group))


def _settle(
    staged: Staged, store: Store, tally: Tally, rejects: Rejects, origins: dict[str, _Origin]
) -> None:
    """Publish what a batch came to, and write down what it did not."""
    if staged.lost:
        (clip,) = staged.batch.clips
        bad = BadClip(clip.source, staged.lost, remedy="read it alone; convert or leave it out")
        rejects.add(bad, kept_frames=0)
        tally.add(origins[clip.clip_id].path, rejects=1)
        return
    for part in staged.parts:
        tally.add_part(part, staged.drift_db)
    store.publish(staged.parts)
    for clip in (clip for part in staged.parts for clip in part.clips):
        origin = origins[clip.clip_id]
        if clip.damage is not None:
            rejects.add(clip.damage, kept_frames=clip.frames)
        if clip.instants:
            tally.add(origin.path, clips_new=1, frames_new=clip.frames)
            tally.add(origin.path, damaged=int(clip.damage is not None))
            tally.bytes_in += origin.size_bytes
        else:
            tally.add(origin.path, rejects=1)


def _source_bytes(clip: Clip) -> int:
    return sum(file.stat().st_size for file in source_files(clip))
