"""A store: ordinary files on disk, or behind a url, that hold a fleet's frames at training size."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.clip import Log
from opendojo.store.atomic import locked, write_json
from opendojo.store.bad import BadStore, reading
from opendojo.store.catalogue import CATALOGUE, Episodes, Segment, read_table
from opendojo.store.decode import PacketReader
from opendojo.store.files import POINTER, CacheSpec, LocalFiles, RemoteFiles, files_at
from opendojo.store.layout import (
    LOG_COLUMNS,
    Episode,
    StoreSpec,
    index_dtype,
    part_path,
    video_key,
)
from opendojo.store.part import StagedPart
from opendojo.store.pointer import new_pointer, read_pointer
from opendojo.store.publish import LOCK, publish_parts
from opendojo.store.sweep import staging_folder, sweep

__all__ = ["Store", "open_segment"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """What the reader must know of a part beside its rows."""

    index: str
    """File of its packet index."""
    header_bytes: int
    """Bytes of the index before its first row."""
    videos: dict[str, str]
    """File of each camera's video."""
    heads: dict[str, tuple[str, bytes]]
    """Codec and extradata of each camera's video."""


class Store:
    """Frames of many clips, each reachable by its instant. Use `Store.open` or `Store.create`.

    A store object is a view of the moment it was opened; `reload` sees what was published since.
    It is pickled as that view. One thread at a time uses it.
    """

    def __init__(self, files: LocalFiles | RemoteFiles, pointer: dict[str, Any]) -> None:
        self.files = files
        """The store's files by name and byte range."""
        with reading(f"{files.url}/{POINTER}"):
            self.spec = StoreSpec(**pointer["spec"])
        self._pointer = pointer
        self._segments = [open_segment(files, line) for line in pointer["segments"]]
        self._reader = PacketReader(self.spec)
        self._part = lru_cache(maxsize=16384)(self._load_part)
        self._dtype = lru_cache(maxsize=None)(self._index_dtype)

    @classmethod
    def open(cls, path: str | Path, cache: CacheSpec | None = None) -> Store:
        """Open a store that is there, in a folder or at a url that fsspec knows.

        `cache` bounds what is kept of a remote store on this disk. Raises `ValueError` where there
        is no store, or one of another version, and `BadStore`, one of them, where it is damaged.
        """
        files = files_at(path, cache)
        if not files.exists(POINTER):
            raise ValueError(f"{path} is no store: make one with `opendojo ingest`")
        while True:
            pointer = read_pointer(files)
            try:
                return cls(files, pointer)
            except ValueError:
                # A writer may have merged segments away since the pointer was read.
                if read_pointer(files)["generation"] == pointer["generation"]:
                    raise

    @classmethod
    def create(cls, path: str | Path, spec: StoreSpec | None = None) -> Store:
        """Open the store at `path`, or make an empty one; leftovers of a kill are swept.

        Raises `ValueError` where a store is there that keeps frames in another way, or where the
        folder holds other things; `OSError` where it cannot be written.
        """
        root = Path(path)
        spec = spec or StoreSpec()
        if not (root / POINTER).exists():
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / LOCK):
                if not (root / POINTER).exists():  # another may have made it, and filled it
                    _make(root, spec)
        store = cls.open(root)
        if store.spec != spec:
            raise ValueError(f"{root} was made with {store.spec}, not {spec}: choose another")
        sweep(root, spec)
        return store

    @property
    def url(self) -> str:
        """Where the store is: its folder's path, or its url."""
        return self.files.url

    @property
    def path(self) -> Path:
        """The folder of a local store. Raises `ValueError` where the store is remote."""
        if isinstance(self.files, LocalFiles):
            return self.files.root
        raise ValueError(f"{self.url} is read only from here: copy the store to a local disk first")

    def reload(self) -> Store:
        """The store as it is now."""
        cache = self.files.cache if isinstance(self.files, RemoteFiles) else None
        return Store.open(self.url, cache)

    def staging(self) -> AbstractContextManager[Path]:
        """A folder to stage parts in, removed at the end."""
        return staging_folder(self.path)

    def publish(self, parts: Sequence[StagedPart]) -> int:
        """Add staged parts; return the new frames. Clips that are there already add nothing."""
        return publish_parts(self.path, self.spec, parts)

    @property
    def pointer(self) -> dict[str, Any]:
        """The content of `store.json`."""
        return self._pointer

    @property
    def segments(self) -> Sequence[Segment]:
        """The catalogue's segments."""
        return self._segments

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what the store holds, whatever the order and the layout in which it came."""
        lines = self._pointer["segments"]
        total = sum(int(line["sum"], 16) for line in lines) % (1 << 128)
        clips = sum(line["clips"] for line in lines)
        known = json.dumps([dataclasses.asdict(self.spec), clips, f"{total:032x}"], sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()[:16]

    @property
    def frames(self) -> int:
        """Frames of all cameras of all clips."""
        return sum(line["frames"] for line in self._pointer["segments"])

    @property
    def size_bytes(self) -> int:
        """Size of all published files of its datasets."""
        return sum(counted["bytes"] for counted in self._pointer["datasets"].values())

    @cached_property
    def episodes(self) -> Episodes:
        """Every clip, in the order of their ids, whatever the order in which they came."""
        datasets = self._pointer["datasets"]
        cameras = {name: tuple(datasets[name]["cameras"]) for name in sorted(datasets)}
        return Episodes(self._segments, cameras, self.spec.gop_frames)

    def clip_ids(self) -> set[str]:
        """Ids of every clip the store holds."""
        return set(self.episodes.clip_ids())

    def holds(self, clip_id: str) -> bool:
        """Whether the store has that clip; found by bisection."""
        return any(segment.before(clip_id)[1] for segment in self._segments)

    def source(self, episode: Episode) -> str:
        """Where a clip came from, for people. It reads a Parquet file."""
        name = self._file(episode.dataset, "meta/episodes", episode.part, ".parquet")
        label = f"{self.url}/{name}"
        table = read_table(str(self.files.local(name)), label, ["row", "source"])
        with reading(label):
            rows = table.column("row").to_pylist()
            return table.column("source")[rows.index(episode.row)].as_py()

    def rows(self, episode: Episode, first: int, count: int) -> npt.NDArray[Any]:
        """Rows of the packet index from an instant on, `index_dtype` [count], by one read."""
        assert 0 <= first <= first + count <= episode.instants, (first, count, episode)
        dtype = self._dtype(episode.dataset)
        part = self._part(episode.dataset, episode.part)
        offset = part.header_bytes + (episode.row + first) * dtype.itemsize
        data = self.files.read_range(part.index, offset, count * dtype.itemsize)
        return np.frombuffer(data, dtype)

    @property
    def is_far(self) -> bool:
        """Whether it lies where reading waits for a network, so that fetching ahead pays."""
        return isinstance(self.files, RemoteFiles)

    def tell_waits(self, told: Callable[[], None]) -> None:
        """Have `told` called now and then while a far store's answers are waited for."""
        if isinstance(self.files, RemoteFiles):
            self.files.tell_waits(told)

    def fetch_rows(self, runs: Iterable[tuple[Episode, int, int]]) -> None:
        """Bring rows of (episode, first, count) into the cache of a far store, many at once."""
        ranges = []
        for episode, first, count in runs:
            part = self._part(episode.dataset, episode.part)
            size = self._dtype(episode.dataset).itemsize
            ranges.append(
                (part.index, part.header_bytes + (episode.row + first) * size, count * size)
            )
        self.files.prefetch(ranges)

    def fetch_packets(
        self, runs: Iterable[tuple[Episode, npt.NDArray[Any], Sequence[str]]]
    ) -> None:
        """Bring packets of (episode, its rows, cameras) into the cache of a far store at once."""
        ranges = []
        for episode, rows, names in runs:
            part = self._part(episode.dataset, episode.part)
            for name in names:
                begin = int(rows[f"{name}.offset"][0])
                end = int(rows[f"{name}.offset"][-1]) + int(rows[f"{name}.bytes"][-1])
                ranges.append((part.videos[name], begin, end - begin))
        self.files.prefetch(ranges)

    def log(self, episode: Episode) -> Log:
        """An episode's log at the times of its frames; absent columns are NaN throughout."""
        rows = self.rows(episode, 0, episode.instants)
        return Log(**{n: np.ascontiguousarray(rows[n]) for n in ("time_s", *LOG_COLUMNS)})

    def decode(
        self,
        episode: Episode,
        instants: Sequence[int],
        out: npt.NDArray[np.uint8],
        cameras: Sequence[str] | None = None,
        rows: npt.NDArray[Any] | None = None,
        *,
        in_place: bool = False,
    ) -> None:
        """Decode chosen instants of chosen cameras (all by default) into `out`.

        `instants` rise (one may repeat); `out` is uint8 [len(instants), cameras, frame_bytes] with
        frames of `StoreSpec.frame_bytes`, its last axis without gaps. `rows`, where they were read
        already, are `self.rows` from the group boundary at or before the first instant on to the
        last one or further. `in_place` saves a copy where `out` is memory that goes on for a line
        of a picture after its end, and does not move while the store is used. Cheapest where the
        first instant lies on a boundary. Raises `ValueError` naming the file where packets cannot
        be read or do not decode.
        """
        gop = self.spec.gop_frames
        start = instants[0] - instants[0] % gop
        count = instants[-1] + 1 - start
        if rows is None:
            rows = self.rows(episode, start, count)
        names = [c.name for c in episode.cameras] if cameras is None else cameras
        wanted = [instant - start for instant in instants]
        part = self._part(episode.dataset, episode.part)
        rows = rows[:count]
        for place, name in enumerate(names):
            data, sizes = self._read(part, name, rows)
            try:
                head, rows_out = part.heads[name], out[:, place]
                self._reader.decode(head, data, sizes, wanted, rows_out, in_place=in_place)
            except ValueError as error:
                where = f"clip {episode.clip_id}, instants {start} to {instants[-1]}"
                raise BadStore(
                    f"{self.url}/{part.videos[name]}",
                    f"{error}, {where}",
                    "run `opendojo store verify --decode`",
                ) from error

    def packets(self, episode: Episode, camera: str, first: int, count: int) -> list[bytes]:
        """Encoded packets of one camera, one per instant, as they lie in its video file."""
        part = self._part(episode.dataset, episode.part)
        data, sizes = self._read(part, camera, self.rows(episode, first, count))
        ends = np.cumsum(sizes).tolist()
        return [data[end - size : end] for size, end in zip(sizes, ends, strict=True)]

    def extradata(self, episode: Episode, camera: str) -> tuple[str, bytes]:
        """Codec (as `StoreSpec.codec`) and the headers that decode a camera's packets."""
        return self.head(episode.dataset, episode.part, camera)

    def head(self, dataset: str, part: int, camera: str) -> tuple[str, bytes]:
        """Codec and headers of one part's video."""
        return self._part(dataset, part).heads[camera]

    def _read(self, part: _Part, camera: str, rows: npt.NDArray[Any]) -> tuple[bytes, list[int]]:
        """Packets of one camera end to end, and their sizes."""
        sizes: list[int] = rows[f"{camera}.bytes"].tolist()
        offsets = rows[f"{camera}.offset"]
        begin = int(offsets[0])
        size = int(offsets[-1]) - begin + sizes[-1]
        if size != sum(sizes):
            cause, remedy = "packets do not lie end to end", "run `opendojo store verify`"
            raise BadStore(f"{self.url}/{part.index}", cause, remedy)
        return self.files.read_range(part.videos[camera], begin, size), sizes

    def _load_part(self, dataset: str, part: int) -> _Part:
        beside = self._file(dataset, "index", part, ".json")
        data = self.files.read(beside)
        with reading(f"{self.url}/{beside}"):
            document = json.loads(data)
            heads = {
                name: (head["codec"], bytes.fromhex(head["extradata"]))
                for name, head in document["cameras"].items()
            }
            return _Part(
                index=self._file(dataset, "index", part, ".npy"),
                header_bytes=operator.index(document["header_bytes"]),
                videos={
                    name: self._file(dataset, f"videos/{video_key(name)}", part, ".mp4")
                    for name in heads
                },
                heads=heads,
            )

    def _index_dtype(self, dataset: str) -> np.dtype[Any]:
        return index_dtype(self._pointer["datasets"][dataset]["cameras"])

    def _file(self, dataset: str, kind: str, part: int, suffix: str) -> str:
        return f"{dataset}/{part_path(kind, part, suffix)}"

    def __reduce__(self) -> Any:
        return _as_of, (self.files, self._pointer)


def _as_of(files: LocalFiles | RemoteFiles, pointer: dict[str, Any]) -> Store:
    """The store as that pointer saw it, even where its segments were merged into others since."""
    try:
        return Store(files, pointer)
    except ValueError:
        now = Store.open(files.url, files.cache if isinstance(files, RemoteFiles) else None)
        if any(name not in now.pointer["datasets"] for name in pointer["datasets"]):
            raise
    store = Store(files, {**pointer, "segments": now.pointer["segments"]})
    for segment in store.segments:  # clips of a dataset are numbered in the order they came in
        segment.limit({name: counted["clips"] for name, counted in pointer["datasets"].items()})
    store.pointer["segments"] = pointer["segments"]
    return store


def _make(root: Path, spec: StoreSpec) -> None:
    """Write an empty store into a folder that must hold nothing else."""
    strangers = [
        p.name for p in root.iterdir() if not p.name.startswith(".") and p.name != CATALOGUE
    ]
    if strangers:
        raise ValueError(f"{root} is no store and holds {strangers[0]}: choose an empty folder")
    (root / CATALOGUE).mkdir(exist_ok=True)
    write_json(root / POINTER, new_pointer(spec))


def open_segment(files: LocalFiles | RemoteFiles, line: Mapping[str, Any]) -> Segment:
    """The segment that a line of the pointer names.

    What comes over a network is checked by its hash; a disk's files by `verify`, for it takes time.
    """
    far = isinstance(files, RemoteFiles)
    return Segment(files, line["name"], line.get("sha256") if far else None)
