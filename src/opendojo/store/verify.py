"""Is the store whole, and what is in it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from opendojo.store.atomic import file_sha256
from opendojo.store.decode import PacketIndex
from opendojo.store.encode import read_packets
from opendojo.store.layout import Episode, part_path, video_key
from opendojo.store.publish import leftovers
from opendojo.store.store import Store

__all__ = ["Fault", "store_stats", "verify_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong with a file of a store."""

    file: str
    cause: str
    remedy: str
    harmless: bool = False
    """True for what a killed writer left behind: nothing reads it, the next ingest removes it."""


_RESTORE = "restore the file from a copy, or remove the store and ingest again"


def verify_store(store: Store, *, decode: bool = False) -> list[Fault]:
    """Check every listed file by size and hash, and every index against its video.

    With `decode`, every frame is decoded as well. Returns what is wrong; nothing is changed.
    """
    faults: list[Fault] = []
    for part in store.pointer["parts"]:
        found = _check_files(store, part)
        if not found:
            found = _check_index(store, part)
        faults += found
    bad = {fault.file.split("/")[0] for fault in faults}
    if decode:
        for episode in store.episodes:
            if episode.dataset not in bad:
                faults += _check_decode(store, episode)
    for path in leftovers(store.path, store.pointer):
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


def _check_files(store: Store, part: dict[str, Any]) -> list[Fault]:
    faults: list[Fault] = []
    for name, (size, digest) in part["files"].items():
        path = store.path / part["dataset"] / name
        label = f"{part['dataset']}/{name}"
        if not path.is_file():
            faults.append(Fault(file=label, cause="missing", remedy=_RESTORE))
        elif path.stat().st_size != size:
            cause = f"{path.stat().st_size} bytes where {size} were published"
            faults.append(Fault(file=label, cause=cause, remedy=_RESTORE))
        elif file_sha256(path) != digest:
            faults.append(Fault(file=label, cause="content differs (SHA-256)", remedy=_RESTORE))
    return faults


def _check_index(store: Store, part: dict[str, Any]) -> list[Fault]:
    home = store.path / part["dataset"]
    index = PacketIndex(home / part_path("index", part["part"], ".arrow"))
    for camera in part["cameras"]:
        name = part_path(f"videos/{video_key(camera)}", part["part"], ".mp4")
        packets = np.array(list(read_packets(home / name)), np.int64).reshape(-1, 3)
        columns = [index.column(f"{camera}.{c}") for c in ("offset", "bytes", "key")]
        if not np.array_equal(packets, np.stack(columns, 1)):
            cause = "the packet index does not match the video"
            return [Fault(file=f"{part['dataset']}/{name}", cause=cause, remedy=_RESTORE)]
    return []


def _check_decode(store: Store, episode: Episode) -> list[Fault]:
    spec, cameras = store.spec, len(episode.cameras)
    out = np.empty((64, cameras, 6, spec.height_px // 2, spec.width_px // 2), np.uint8)
    try:
        for first in range(0, episode.instants, 64):
            instants = range(first, min(first + 64, episode.instants))
            store.decode(episode, instants, out[: len(instants)])
    except ValueError as error:
        file = f"{episode.dataset} episode {episode.number} ({episode.source})"
        return [Fault(file=file, cause=str(error), remedy=_RESTORE)]
    return []


def store_stats(store: Store) -> dict[str, Any]:
    """What a store holds: clips, frames, seconds, bytes, labelled share, by dataset and in all."""
    datasets: dict[str, dict[str, Any]] = {}
    for part in store.pointer["parts"]:
        row = datasets.setdefault(
            part["dataset"],
            {"clips": 0, "instants": 0, "cameras": part["cameras"], "fps": part["fps"], "bytes": 0,
             "video_bytes": 0, "seconds": 0.0, "with_path": 0, "drawn": 0},
        )  # fmt: skip
        row["clips"] += len(part["clips"])
        row["instants"] += part["instants"]
        row["bytes"] += sum(size for size, _ in part["files"].values())
        row["video_bytes"] += sum(s for n, (s, _) in part["files"].items() if n.endswith(".mp4"))
    for episode in store.episodes:
        row = datasets[episode.dataset]
        row["seconds"] += episode.instants / episode.rate_hz
        row["drawn"] += episode.origin == "drawn"
        log = store.log(episode)
        row["with_path"] += log.x_m is not None and not np.isnan(log.x_m).all()
    for row in datasets.values():
        row["frames"] = row["instants"] * len(row["cameras"])
        row["video_bytes_per_frame"] = row["video_bytes"] / max(row["frames"], 1)
    return {
        "path": str(store.path),
        "fingerprint": store.fingerprint,
        "width_px": store.spec.width_px,
        "height_px": store.spec.height_px,
        "gop_frames": store.spec.gop_frames,
        "clips": len(store.episodes),
        "frames": store.frames,
        "bytes": sum(row["bytes"] for row in datasets.values()),
        "datasets": datasets,
    }
