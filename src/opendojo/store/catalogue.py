"""The catalogue: which clips a store holds and where, found without reading any of them.

A segment is a folder of immutable files under `catalogue/`: a structured array sorted by clip id,
memory-mapped, so that a store of 10^9 frames opens in milliseconds and a worker keeps none of it
in memory; quality flags of every group; names; and the hashes of the files. `segments.py` writes
them.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from opendojo.clip import Camera
from opendojo.store.bad import BadStore, reading
from opendojo.store.layout import Episode, camera_from_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CATALOGUE", "CLIP_ID_BYTES", "EPISODE_DTYPE", "Episodes", "Segment", "read_table"]

CATALOGUE = "catalogue"
"""Folder of the segments."""

CLIP_ID_BYTES = 32

EPISODE_DTYPE = np.dtype(
    [
        ("clip_id", f"S{CLIP_ID_BYTES}"),
        ("dataset", "<u2"),
        ("rig", "<u4"),
        ("part", "<u4"),
        ("number", "<u8"),
        ("row", "<u8"),
        ("instants", "<u4"),
        ("rate_hz", "<f8"),
        ("drawn", "|u1"),
        ("gop_row", "<u8"),
    ]
)
"""A clip in a segment; `dataset` and `rig` count in the segment's own `names.json`."""


class Segment:
    """One folder of the catalogue, mapped; `files` reads the store's files by name.

    `sums` are the SHA-256 of its files, by their names, that are checked as they are read. Raises
    `BadStore` where one is damaged.
    """

    def __init__(self, files: Any, name: str, sums: Mapping[str, str] | None = None) -> None:
        self._files, self._sums = files, sums or {}
        self.folder = f"{CATALOGUE}/{name}"
        """Its files' place in the store."""
        self.rows: npt.NDArray[Any] = self._map("episodes.npy", EPISODE_DTYPE)
        self.gops: npt.NDArray[np.uint8] = self._map("gops.npy", np.dtype(np.uint8))
        self._names = files.read(f"{self.folder}/names.json")
        self.rig = lru_cache(maxsize=4096)(self._parse_rig)

    def _local(self, name: str) -> str:
        return str(self._files.local(f"{self.folder}/{name}", self._sums.get(name)))

    def _map(self, name: str, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        path = self._local(name)
        with reading(self._label(name)):
            found = np.load(path, mmap_mode="r")
            if found.dtype != kind or found.ndim != 1:
                raise ValueError(f"it holds {found.ndim} axes of {found.dtype}")
        return found

    def _label(self, name: str) -> str:
        return f"{self._files.url}/{self.folder}/{name}"

    @cached_property
    def names(self) -> dict[str, Any]:
        """`datasets` by number and `rigs` by number, each camera as JSON."""
        wanted, label = self._sums.get("names.json"), self._label("names.json")
        if wanted is not None and hashlib.sha256(self._names).hexdigest() != wanted:
            raise BadStore(label, "content differs (SHA-256)")
        with reading(label):
            names: dict[str, Any] = json.loads(self._names)
            if not all(isinstance(names[key], list) for key in ("datasets", "rigs")):
                raise ValueError("no lists of data sets and rigs")
        return names

    def _parse_rig(self, number: int) -> tuple[Camera, ...]:
        with reading(self._label("names.json")):
            return tuple(camera_from_json(line) for line in self.names["rigs"][number])

    def limit(self, clips: Mapping[str, int]) -> None:
        """Leave out what came after the first so many clips of each dataset."""
        counts = np.array([clips.get(name, 0) for name in self.names["datasets"]], np.uint64)
        self.rows = self.rows[self.rows["number"] < counts[self.rows["dataset"]]]

    def before(self, clip_id: str) -> tuple[int, bool]:
        """How many of its clips come before that id, and whether the next one is it."""
        key = clip_id.encode()
        place = bisect.bisect_left(self.rows, key, key=lambda row: row["clip_id"])
        return place, place < len(self.rows) and bool(self.rows[place]["clip_id"] == key)

    def clip_ids(self) -> list[str]:
        """Ids of its clips, rising."""
        return [clip.decode() for clip in self.rows["clip_id"].tolist()]

    def file_table(self) -> pa.Table:
        """`dataset`, `part`, `path`, `bytes`, `sha256` of every file it lists."""
        return read_table(self._local("files.parquet"), self._label("files.parquet"))


def read_table(path: str, label: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file. Raises `BadStore` by the name of `label` where it cannot be read."""
    import pyarrow.parquet as pq

    with reading(label):
        try:
            return pq.read_table(path, columns=columns)
        except OSError as error:  # what Arrow says of damaged pages, and disks of themselves
            raise ValueError(str(error)) from error


class Episodes(Sequence[Episode]):
    """Every clip of a store in the order of their ids; an item is built when it is asked for."""

    def __init__(
        self,
        segments: Sequence[Segment],
        datasets: Mapping[str, tuple[str, ...]],
        gop_frames: int,
    ) -> None:
        self._segments = tuple(segments)
        self._cameras = tuple(datasets.values())
        self.dataset_names = tuple(datasets)
        """Folders of the datasets, by number."""
        self._gop_frames = gop_frames
        self._ends = np.cumsum([len(s.rows) for s in segments], dtype=np.int64)
        self._count = int(self._ends[-1]) if len(self._ends) else 0

    @cached_property
    def _order(self) -> npt.NDArray[np.int64] | None:
        """Place of each clip in the segments laid end to end; None where one holds them all."""
        if len(self._segments) < 2:
            return None
        ids = np.concatenate([segment.rows["clip_id"] for segment in self._segments])
        return np.argsort(ids, kind="stable")  # timsort: it finds the runs and merges them

    def _column(self, columns: list[npt.NDArray[Any]], kind: Any) -> npt.NDArray[Any]:
        if not columns:
            return np.zeros(0, kind)
        whole = columns[0] if len(columns) == 1 else np.concatenate(columns)
        whole = whole.astype(kind)
        return whole if self._order is None else whole[self._order]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Episode: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Episode, ...]: ...
    def __getitem__(self, place: int | slice) -> Episode | tuple[Episode, ...]:
        if isinstance(place, slice):
            return tuple(self[i] for i in range(*place.indices(self._count)))
        segment, row = self._find_row(place)
        name = segment.names["datasets"][row["dataset"]]
        return Episode(
            clip_id=row["clip_id"].decode(),
            origin="drawn" if row["drawn"] else "recorded",
            dataset=name,
            number=int(row["number"]),
            part=int(row["part"]),
            row=int(row["row"]),
            instants=int(row["instants"]),
            rate_hz=float(row["rate_hz"]),
            cameras=segment.rig(int(row["rig"])),
        )

    def _find_row(self, place: int) -> tuple[Segment, Any]:
        if place < 0:
            place += self._count
        if not 0 <= place < self._count:
            raise IndexError(place)
        whole = place if self._order is None else int(self._order[place])
        number = int(np.searchsorted(self._ends, whole, side="right"))
        segment = self._segments[number]
        return segment, segment.rows[whole - int(self._ends[number]) + len(segment.rows)]

    @cached_property
    def instants(self) -> npt.NDArray[np.int64]:
        """Instants of each clip, int64 [n]."""
        return self._column([s.rows["instants"] for s in self._segments], np.int64)

    @cached_property
    def rate_hz(self) -> npt.NDArray[np.float64]:
        """Nominal rate of each clip, float64 [n]."""
        return self._column([s.rows["rate_hz"] for s in self._segments], np.float64)

    @cached_property
    def drawn(self) -> npt.NDArray[np.bool_]:
        """Whether the world drew each clip, bool [n]."""
        return self._column([s.rows["drawn"] for s in self._segments], np.bool_)

    @cached_property
    def dataset(self) -> npt.NDArray[np.int64]:
        """Number of each clip's dataset in `dataset_names`, int64 [n]."""
        columns: list[npt.NDArray[Any]] = []
        for segment in self._segments:
            known = [self.dataset_names.index(name) for name in segment.names["datasets"]]
            columns.append(np.array(known, np.int64)[segment.rows["dataset"]])
        return self._column(columns, np.int64)

    def dataset_cameras(self, number: int) -> tuple[str, ...]:
        """Names of the cameras of a dataset."""
        return self._cameras[number]

    @cached_property
    def gops(self) -> npt.NDArray[np.uint8]:
        """Quality flags of every group of every clip, uint8; `gop_row` says where each begins."""
        if len(self._segments) == 1:
            return self._segments[0].gops
        return np.concatenate([s.gops for s in self._segments] or [np.zeros(0, np.uint8)])

    @cached_property
    def gop_row(self) -> npt.NDArray[np.int64]:
        """Place in `gops` of each clip's first group, int64 [n]."""
        base, columns = 0, list[npt.NDArray[Any]]()
        for segment in self._segments:
            columns.append(segment.rows["gop_row"].astype(np.int64) + base)
            base += len(segment.gops)
        return self._column(columns, np.int64)

    def gop_flags(self, place: int) -> npt.NDArray[np.uint8]:
        """Flags that all frames of all cameras of a group share, uint8 [groups]."""
        segment, row = self._find_row(place)
        first = int(row["gop_row"])
        return segment.gops[first : first + -(-int(row["instants"]) // self._gop_frames)]

    def find(self, clip_id: str) -> int | None:
        """The place of a clip, or None where it is not there."""
        places = [segment.before(clip_id) for segment in self._segments]
        return sum(n for n, _ in places) if any(there for _, there in places) else None

    def clip_ids(self) -> list[str]:
        """Ids of every clip, in no order."""
        return [clip_id for segment in self._segments for clip_id in segment.clip_ids()]
