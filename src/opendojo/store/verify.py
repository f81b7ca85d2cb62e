"""Is the store whole, and what is in it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from opendojo.store.atomic import file_sha256
from opendojo.store.bad import RESTORE, BadStore, reading
from opendojo.store.catalogue import Segment, read_table
from opendojo.store.encode import read_head, read_packets
from opendojo.store.files import POINTER, files_at
from opendojo.store.layout import Episode, index_dtype, part_path, video_key
from opendojo.store.pointer import read_pointer
from opendojo.store.quality import FLAGS
from opendojo.store.segments import id_sum
from opendojo.store.store import Store, open_segment
from opendojo.store.sweep import leftovers

__all__ = ["Fault", "store_stats", "verify_at", "verify_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong with a file of a store."""

    file: str
    cause: str
    remedy: str
    harmless: bool = False
    """True for what a killed writer left behind: nothing reads it, the next ingest removes it."""


def verify_at(path: str | Path, *, decode: bool = False) -> tuple[Store | None, list[Fault]]:
    """As `verify_store`, of a store that may be too damaged to open.

    Returns it without the segments of its catalogue that cannot be read, or None where not even
    the pointer can. Raises `ValueError` where there is no store.
    """
    files = files_at(path)
    if not files.exists(POINTER):
        raise ValueError(f"{path} is no store: make one with `opendojo ingest`")
    while True:
        try:
            pointer = read_pointer(files)
        except BadStore as bad:
            return None, [_fault(files.url, bad)]
        faults: list[Fault] = []
        whole = [
            line
            for line in pointer["segments"]
            if not _told(files.url, faults, lambda line=line: _check_opens(files, line))
        ]
        # A writer may have merged segments away since the pointer was read.
        if not faults or read_pointer(files)["generation"] == pointer["generation"]:
            break
    store = Store(files, {**pointer, "segments": whole})
    return store, faults + _faults(store, pointer, decode)


def verify_store(store: Store, *, decode: bool = False) -> list[Fault]:
    """Check every listed file by size and hash, every index against its video, the catalogue.

    With `decode`, every frame is decoded as well. Returns what is wrong; nothing is changed.
    """
    return _faults(store, store.pointer, decode)


def _check_opens(files: Any, line: dict[str, Any]) -> list[Fault]:
    assert open_segment(files, line).names is not None
    return []


def _fault(url: str, bad: BadStore) -> Fault:
    return Fault(file=bad.file.removeprefix(f"{url}/"), cause=bad.cause, remedy=bad.remedy)


def _told(url: str, faults: list[Fault], check: Callable[[], list[Fault]]) -> int:
    """Add what a check finds, or what it stumbles over; says how much that is."""
    try:
        found = check()
    except BadStore as bad:
        found = [_fault(url, bad)]
    faults += found
    return len(found)


def _faults(store: Store, listed: dict[str, Any], decode: bool) -> list[Fault]:
    """What is wrong; `listed` is the pointer on the disk, with every segment."""
    faults: list[Fault] = []
    for segment, line in zip(store.segments, store.pointer["segments"], strict=True):
        _told(store.url, faults, lambda s=segment, n=line: _check_segment(store, s, n))
        _told(store.url, faults, lambda s=segment: _check_files(store, s))
    bad = {fault.file for fault in faults}
    for dataset, counted in store.pointer["datasets"].items():
        for part in range(counted["parts"]):
            where = (dataset, part, counted["cameras"])
            _told(store.url, faults, lambda w=where: _check_index(store, *w, bad))
    if decode and not any(file.startswith("catalogue/") for file in bad):
        damaged = {fault.file.split("/")[0] for fault in faults}
        for episode in store.episodes:
            if episode.dataset not in damaged:
                _told(store.url, faults, lambda e=episode: _check_decode(store, e))
    for path in leftovers(store.path, listed):
        name = str(path.relative_to(store.path))
        faults.append(
            Fault(
                file=name,
                cause="left by a writer that was killed; nothing lists it",
                remedy="the next ingest removes it",
                harmless=True,
            )
        )
    return faults


def _check_segment(store: Store, segment: Segment, line: dict[str, Any]) -> list[Fault]:
    """A segment's files by their hashes, which stores made before may lack, and its sums."""
    differ = [
        Fault(file=f"{segment.folder}/{name}", cause="content differs (SHA-256)", remedy=RESTORE)
        for name, sha256 in sorted(line.get("sha256", {}).items())
        if file_sha256(store.files.local(f"{segment.folder}/{name}")) != sha256
    ]
    if differ:
        return differ
    rows = segment.rows
    ids = rows["clip_id"]
    groups = -(-rows["instants"].astype(np.int64) // store.spec.gop_frames)
    with reading(f"{store.url}/{segment.folder}"):
        whole = (
            len(rows) == line["clips"]
            and int(rows["instants"].sum()) == line["instants"]
            and id_sum(segment.clip_ids()) == int(line["sum"], 16)
            and bool((ids[1:] > ids[:-1]).all())
            and int(groups.sum()) == len(segment.gops)
            and bool((rows["dataset"] < len(segment.names["datasets"])).all())
            and bool((rows["rig"] < len(segment.names["rigs"])).all())
        )
    if whole:
        return []
    cause = "the catalogue does not hold what the pointer says"
    return [Fault(file=segment.folder, cause=cause, remedy=RESTORE)]


def _check_files(store: Store, segment: Segment) -> list[Fault]:
    found: list[Fault] = []
    for line in segment.file_table().to_pylist():
        found += _check_file(store, line)
    return found


def _check_file(store: Store, line: dict[str, Any]) -> list[Fault]:
    label = f"{line['dataset']}/{line['path']}"
    path = store.path / label
    if not path.is_file():
        return [Fault(file=label, cause="missing", remedy=RESTORE)]
    if path.stat().st_size != line["bytes"]:
        cause = f"{path.stat().st_size} bytes where {line['bytes']} were published"
        return [Fault(file=label, cause=cause, remedy=RESTORE)]
    if file_sha256(path) != line["sha256"]:
        return [Fault(file=label, cause="content differs (SHA-256)", remedy=RESTORE)]
    return []


def _check_index(
    store: Store, dataset: str, part: int, cameras: list[str], bad: set[str]
) -> list[Fault]:
    """Compare a part's index with its videos, where their files are whole."""
    name = f"{dataset}/{part_path('index', part, '.npy')}"
    videos = {c: f"{dataset}/{part_path(f'videos/{video_key(c)}', part, '.mp4')}" for c in cameras}
    if bad & {name, name.removesuffix("npy") + "json", *videos.values()}:
        return []
    with reading(f"{store.url}/{name}"):
        index = np.load(store.path / name)
    if index.dtype != index_dtype(cameras):
        return [Fault(file=name, cause="its columns are not the log's", remedy=RESTORE)]
    for camera, video in videos.items():
        packets = np.array(list(read_packets(store.path / video)), np.int64).reshape(-1, 3)
        columns = [index[f"{camera}.{c}"] for c in ("offset", "bytes", "key")]
        if not np.array_equal(packets, np.stack(columns, 1)):
            cause = "the packet index does not match the video"
            return [Fault(file=video, cause=cause, remedy=RESTORE)]
        if store.head(dataset, part, camera) != read_head(store.path / video, store.spec):
            cause = "the headers beside the packet index do not match the video"
            return [Fault(file=video, cause=cause, remedy=RESTORE)]
    return []


def _check_decode(store: Store, episode: Episode) -> list[Fault]:
    step = store.spec.gop_frames
    out = np.empty((step, len(episode.cameras), store.spec.frame_bytes), np.uint8)
    try:
        for first in range(0, episode.instants, step):
            instants = range(first, min(first + step, episode.instants))
            store.decode(episode, instants, out[: len(instants)])
    except BadStore as bad:
        file = f"{episode.dataset} episode {episode.number} ({store.source(episode)})"
        return [Fault(file=file, cause=f"{bad.file}: {bad.cause}", remedy=RESTORE)]
    return []


def store_stats(store: Store) -> dict[str, Any]:
    """What a store holds: clips, frames, seconds, bytes, by dataset and in all.

    Of each dataset also the share of clips with a path, of frames with each quality flag, and per
    camera the bytes of a frame and the measured luma PSNR (mean and least over clips). Reads the
    index of every part.
    """
    datasets = {
        name: _dataset_stats(store, name, counted)
        for name, counted in sorted(store.pointer["datasets"].items())
    }
    return {
        "path": str(store.path),
        "fingerprint": store.fingerprint,
        "width_px": store.spec.width_px,
        "height_px": store.spec.height_px,
        "gop_frames": store.spec.gop_frames,
        "codec": store.spec.codec,
        "clips": len(store.episodes),
        "frames": store.frames,
        "bytes": store.size_bytes,
        "datasets": datasets,
    }


def _dataset_stats(store: Store, name: str, counted: dict[str, Any]) -> dict[str, Any]:
    cameras = counted["cameras"]
    tally = _Tally(cameras)
    for part in range(counted["parts"]):
        tally.add(store, name, part)
    frames = counted["instants"] * len(cameras)
    return {
        "clips": counted["clips"],
        "instants": counted["instants"],
        "cameras": cameras,
        "fps": counted["fps"],
        "bytes": counted["bytes"],
        "video_bytes": sum(tally.video_bytes.values()),
        "seconds": tally.seconds,
        "with_path": tally.with_path,
        "drawn": tally.drawn,
        "frames": frames,
        "video_bytes_per_frame": sum(tally.video_bytes.values()) / frames,
        "flagged": {flag: count / frames for flag, count in tally.flagged.items()},
        "by_camera": {
            camera: {
                "bytes_per_frame": tally.video_bytes[camera] / counted["instants"],
                "psnr_db": float(np.mean(tally.psnr_db[camera])),
                "least_psnr_db": float(np.min(tally.psnr_db[camera])),
            }
            for camera in cameras
        },
    }


class _Tally:
    """Sums over the parts of a dataset."""

    def __init__(self, cameras: list[str]) -> None:
        self.seconds = 0.0
        self.with_path = self.drawn = 0
        self.flagged = dict.fromkeys(FLAGS, 0)
        self.video_bytes = dict.fromkeys(cameras, 0)
        self.psnr_db: dict[str, list[float]] = {camera: [] for camera in cameras}

    def add(self, store: Store, dataset: str, part: int) -> None:
        """Count one part."""
        home = store.path / dataset
        rows_path = home / part_path("index", part, ".npy")
        clips_path = str(home / part_path("meta/episodes", part, ".parquet"))
        with reading(str(rows_path)):
            index = np.load(
                store.files.local(str(rows_path.relative_to(store.path))), mmap_mode="r"
            )
        for clip in read_table(clips_path, clips_path).to_pylist():
            rows = index[clip["row"] : clip["row"] + clip["length"]]
            self.seconds += clip["length"] / clip["rate_hz"]
            self.drawn += clip["origin"] == "drawn"
            self.with_path += not np.isnan(rows["x_m"]).all()
            for camera, found in self.psnr_db.items():
                found.append(clip[f"psnr_db/{camera}"])
                self.video_bytes[camera] += int(rows[f"{camera}.bytes"].sum(dtype=np.int64))
                for flag, bit in FLAGS.items():
                    self.flagged[flag] += int(np.count_nonzero(rows[f"{camera}.flags"] & bit))
