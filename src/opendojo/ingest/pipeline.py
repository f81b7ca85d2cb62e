"""From folders of recordings to frames in the store, over every core, and what was left out.

Clips that the store has already (by their content) are passed over. The others go to workers in
batches, of one clip at first and larger as more come, so that a few clips spread over the cores and
many do not make many small files. Each staged part is published as it comes: an ingest that is
stopped keeps what it did and, run again, goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opendojo.clip import BadClip, Clip
from opendojo.ingest.content import shown
from opendojo.ingest.rejects import Rejects
from opendojo.ingest.sniff import find_clips, source_files
from opendojo.ingest.workers import Batch, Staged, Workers
from opendojo.store import Store

__all__ = ["IngestReport", "SourceReport", "ingest"]

_BATCH_CLIPS = 16
_BATCH_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What one of the paths given came to."""

    clips_new: int = 0
    clips_known: int = 0
    frames_new: int = 0
    rejects: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingest did."""

    clips_new: int
    """Clips published, those kept in part among them."""
    clips_known: int
    """Clips that the store had already, or that came twice."""
    frames_new: int
    """Frames published, of all cameras."""
    rejects: int
    """Files and clips of which nothing could be kept."""
    damaged: int
    """Clips kept up to where they break off."""
    seconds: float
    cpu_seconds: float
    """Processor time of this process and its workers."""
    bytes_in: int
    """Size of the new clips' sources."""
    bytes_out: int
    """By how much the store's files grew."""
    sources: dict[str, SourceReport]
    """The counts for each of the paths given."""

    @property
    def frames_per_s(self) -> float:
        """New frames a second of wall clock."""
        return self.frames_new / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where a new clip came from: the path given, and the size of its files."""

    path: str
    size_bytes: int


@dataclass
class _Tally:
    """Counts while they grow; `sources` maps a path given to its counts by name."""

    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    began_s: float = field(default_factory=time.monotonic)
    cpu_began_s: float = field(default_factory=time.process_time)

    def add(self, source: str, **counts: int) -> None:
        kept = self.sources.setdefault(source, {})
        for name, count in counts.items():
            kept[name] = kept.get(name, 0) + count

    def report(self, workers_cpu_s: float) -> IngestReport:
        """The counts so far; `workers_cpu_s` is the processor time of the workers."""
        sources = {name: SourceReport(**counts) for name, counts in self.sources.items()}
        return IngestReport(
            clips_new=sum(s.clips_new for s in sources.values()),
            clips_known=sum(s.clips_known for s in sources.values()),
            frames_new=sum(s.frames_new for s in sources.values()),
            rejects=sum(s.rejects for s in sources.values()),
            damaged=sum(s.damaged for s in sources.values()),
            seconds=time.monotonic() - self.began_s,
            cpu_seconds=time.process_time() - self.cpu_began_s + workers_cpu_s,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            sources=sources,
        )


def ingest(
    paths: Sequence[str | Path],
    store: Store,
    *,
    workers: int | None = None,
    on_progress: Callable[[IngestReport], None] | None = None,
    rejects_path: str | Path | None = None,
) -> IngestReport:
    """Put every clip found at `paths` into `store`; never stops for a bad one.

    `workers` is the number of processes, one for each core by default. `on_progress` is called with
    the report so far after every batch. What could not be read is appended to `rejects_path`
    (`rejects.jsonl` in the store by default).

    Raises `ValueError` where a path does not exist, `OSError` where the store cannot be written.
    On `KeyboardInterrupt` the workers are ended and what was published stays.
    """
    for path in paths:
        find_clips(path)  # a path that is not there is told of before any work
    store = store.reload()
    bytes_before = _stored_bytes(store)
    rejects = Rejects(Path(rejects_path) if rejects_path else store.path / "rejects.jsonl")
    tally = _Tally()
    origins: dict[str, _Origin] = {}
    count = _cores() if workers is None else workers
    with store.staging() as staging, Workers(count, store.spec, staging) as pool:
        clips = _new_clips(paths, store, tally, rejects, origins)
        for staged in pool.run(_batches(clips, origins, count)):
            _settle(staged, store, tally, rejects, origins)
            if on_progress is not None:
                on_progress(tally.report(pool.cpu_s))
        tally.bytes_out = _stored_bytes(store.reload()) - bytes_before
        return tally.report(pool.cpu_s)


def _new_clips(
    paths: Sequence[str | Path],
    store: Store,
    tally: _Tally,
    rejects: Rejects,
    origins: dict[str, _Origin],
) -> Iterator[Clip]:
    """Clips that the store does not have; `origins` learns which path each came from."""
    known = store.clip_ids()
    for path in paths:
        source = shown(Path(path))
        tally.add(source)
        for clip in find_clips(path, skip=[store.path]):
            if isinstance(clip, BadClip):
                tally.add(source, rejects=1)
                rejects.add(clip, kept_frames=0)
            elif clip.clip_id in known:
                tally.add(source, clips_known=1)
            else:
                known.add(clip.clip_id)
                origins[clip.clip_id] = _Origin(path=source, size_bytes=_source_bytes(clip))
                yield clip


def _batches(clips: Iterator[Clip], origins: dict[str, _Origin], workers: int) -> Iterator[Batch]:
    """Group clips of one dataset (rate and cameras); batches grow as more have gone before."""
    waiting: dict[tuple[object, ...], list[Clip]] = {}
    given = 0
    for clip in clips:
        key = (round(clip.rate_hz), tuple(camera.name for camera in clip.cameras))
        group = waiting.setdefault(key, [])
        group.append(clip)
        size_bytes = sum(origins[one.clip_id].size_bytes for one in group)
        if len(group) >= min(_BATCH_CLIPS, 1 + given // workers) or size_bytes >= _BATCH_BYTES:
            yield Batch(clips=tuple(waiting.pop(key)))
            given += 1
    for group in waiting.values():
        yield Batch(clips=tuple(group))


def _settle(
    staged: Staged, store: Store, tally: _Tally, rejects: Rejects, origins: dict[str, _Origin]
) -> None:
    """Publish what a batch came to, and write down what it did not."""
    if staged.lost:
        (clip,) = staged.batch.clips
        bad = BadClip(clip.source, staged.lost, remedy="read it alone; convert or leave it out")
        rejects.add(bad, kept_frames=0)
        tally.add(origins[clip.clip_id].path, rejects=1)
        return
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


def _cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS pins no process


def _source_bytes(clip: Clip) -> int:
    return sum(file.stat().st_size for file in source_files(clip))


def _stored_bytes(store: Store) -> int:
    """Size of the files that the store's pointer lists."""
    parts = store.pointer["parts"]
    return sum(size for part in parts for size, _ in part["files"].values())
