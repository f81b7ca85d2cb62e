"""A store: ordinary files on disk that hold a fleet's frames at training size."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from opendojo.clip import Log
from opendojo.store.atomic import write_json
from opendojo.store.decode import PacketIndex, PacketReader
from opendojo.store.layout import (
    LOG_COLUMNS,
    Episode,
    StoreSpec,
    camera_from_json,
    part_path,
    video_key,
)
from opendojo.store.part import StagedPart
from opendojo.store.publish import POINTER, publish_parts, staging_folder, sweep

__all__ = ["Store"]

FORMAT = "opendojo-store"
VERSION = 1


class Store:
    """Frames of many clips, each reachable by its instant. Use `Store.open` or `Store.create`.

    A store object is a view of the moment it was opened; `reload` sees what was published since.
    """

    def __init__(self, path: Path, pointer: dict[str, Any]) -> None:
        self.path = path
        self.spec = StoreSpec(**pointer["spec"])
        self._pointer = pointer
        self._reader = PacketReader()
        self._index = lru_cache(maxsize=64)(self._load_index)
        self._log_table = lru_cache(maxsize=64)(self._load_log_table)

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store that is there. Raises `ValueError` where there is none."""
        root = Path(path)
        try:
            pointer = json.loads((root / POINTER).read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{root} is no store: make one with `opendojo ingest`") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{root / POINTER} is damaged ({error}): ingest again") from None
        if pointer.get("format") != FORMAT or pointer.get("version") != VERSION:
            raise ValueError(f"{root / POINTER} is not of a format this version reads")
        return cls(root, pointer)

    @classmethod
    def create(cls, path: str | Path, spec: StoreSpec | None = None) -> Store:
        """Open the store at `path`, or make an empty one; leftovers of a kill are swept.

        Raises `ValueError` where a store is there that keeps frames in another way, or where the
        folder holds other things; `OSError` where it cannot be written.
        """
        root = Path(path)
        spec = spec or StoreSpec()
        if (root / POINTER).exists():
            store = cls.open(root)
            if store.spec != spec:
                raise ValueError(f"{root} was made with {store.spec}, not {spec}: choose another")
            sweep(root, spec)
            return store
        root.mkdir(parents=True, exist_ok=True)
        strangers = [p.name for p in root.iterdir() if not p.name.startswith(".")]
        if strangers:
            raise ValueError(f"{root} is no store and holds {strangers[0]}: choose an empty folder")
        document = {
            "format": FORMAT,
            "version": VERSION,
            "spec": dataclasses.asdict(spec),
            "parts": [],
        }
        write_json(root / POINTER, document)
        return cls.open(root)

    def reload(self) -> Store:
        """The store as it is now."""
        return Store.open(self.path)

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

    def clip_ids(self) -> set[str]:
        """Ids of every clip the store holds."""
        return {clip for part in self._pointer["parts"] for clip in part["clips"]}

    @property
    def fingerprint(self) -> str:
        """A hash of what the store holds, whatever the order in which it came."""
        known = json.dumps([dataclasses.asdict(self.spec), sorted(self.clip_ids())])
        return hashlib.sha256(known.encode()).hexdigest()[:16]

    @property
    def frames(self) -> int:
        """Frames of all cameras of all clips."""
        return sum(part["instants"] * len(part["cameras"]) for part in self._pointer["parts"])

    @cached_property
    def episodes(self) -> tuple[Episode, ...]:
        """Every clip, in the order of their ids, whatever the order in which they came."""
        found = [e for part in self._pointer["parts"] for e in self._part_episodes(part)]
        return tuple(sorted(found, key=lambda episode: episode.clip_id))

    def _part_episodes(self, part: dict[str, Any]) -> list[Episode]:
        path = self._file(part["dataset"], "meta/episodes", part["part"], ".parquet")
        return [
            Episode(
                clip_id=row["clip_id"],
                source=row["source"],
                origin=row["origin"],
                dataset=part["dataset"],
                number=row["episode_index"],
                part=part["part"],
                row=row["row"],
                data_row=row["data_row"],
                instants=row["length"],
                rate_hz=row["rate_hz"],
                cameras=tuple(camera_from_json(line) for line in row["cameras"]),
            )
            for row in pq.read_table(str(path)).to_pylist()
        ]

    def log(self, episode: Episode) -> Log:
        """An episode's log at the times of its frames; absent columns are NaN throughout."""
        table = self._log_table(episode.dataset, episode.part)
        rows = slice(episode.data_row, episode.data_row + episode.instants)
        return Log(**{name: table[name][rows] for name in ("time_s", *LOG_COLUMNS)})

    def _load_log_table(self, dataset: str, part: int) -> dict[str, npt.NDArray[np.float64]]:
        columns = ["time_s", *LOG_COLUMNS]
        path = self._file(dataset, "data", part, ".parquet")
        table = pq.read_table(str(path), columns=columns)
        return {name: table.column(name).to_numpy() for name in columns}

    def decode(
        self,
        episode: Episode,
        instants: Sequence[int],
        out: npt.NDArray[np.uint8],
        cameras: Sequence[str] | None = None,
    ) -> None:
        """Decode chosen instants of chosen cameras (all by default) into `out`.

        `instants` rise (one may repeat); `out` is uint8 [len(instants), cameras, 6, height / 2,
        width / 2]. Cheapest where the first lies on a group boundary. A `Store` is used by one
        thread at a time.
        """
        names = [c.name for c in episode.cameras] if cameras is None else list(cameras)
        assert instants[0] >= 0, instants
        assert instants[-1] < episode.instants, instants
        start = instants[0] - instants[0] % self.spec.gop_frames
        rows = slice(episode.row + start, episode.row + instants[-1] + 1)
        wanted = [instant - start for instant in instants]
        index = self._index(episode.dataset, episode.part)
        for place, name in enumerate(names):
            offsets = index.column(f"{name}.offset")[rows]
            sizes = index.column(f"{name}.bytes")[rows]
            path = self._file(episode.dataset, f"videos/{video_key(name)}", episode.part, ".mp4")
            self._reader.decode(path, offsets, sizes, wanted, out[:, place])

    def _load_index(self, dataset: str, part: int) -> PacketIndex:
        return PacketIndex(self._file(dataset, "index", part, ".arrow"))

    def _file(self, dataset: str, kind: str, part: int, suffix: str) -> Path:
        return self.path / dataset / part_path(kind, part, suffix)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fresh = Store.open(state["path"])
        self.__dict__.update(fresh.__dict__)
