"""Streaming de-duplication: is this window a twin of one that came before, in bounded memory.

Each embedding becomes 152 signs of random projections (SimHash: Charikar, STOC 2002). Four bands of
22 signs each are keys of a table of places; 64 others are kept as the code that a candidate is
checked by. A query also looks under keys in which its least certain signs are turned (multi-probe:
Lv et al., VLDB 2007), so that few tables do. Only what is no twin is kept.

Memory is 8 bytes a vector for codes and 4 x 4 x `ways` x buckets for tables, fixed when it is made:
340 MB for 10,000,000. Given a folder, both are files mapped into memory, and survive the process.

    dedupe = Dedupe(DedupeConfig(dims=64, capacity=10_000_000))
    twin_of = dedupe.add(embeddings)      # int64 [n]: number of the twin, -1 where there is none
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opendojo.store.atomic import write_json

__all__ = ["Dedupe", "DedupeConfig"]

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]

_CODE_BITS = 64
_TABLES, _BAND_BITS = 4, 22
_KEY_BITS = _TABLES * _BAND_BITS
_WAYS = 2
_UNSURE = 7
"""Signs of a band that a query turns: each alone, and pairs of the first `_PAIRED`."""
_PAIRED = 4
_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupeConfig:
    """What counts as a twin, and how many vectors are remembered."""

    dims: int = 64
    """Numbers of an embedding."""
    capacity: int = 1_000_000
    """Vectors remembered; beyond it the oldest are forgotten."""
    cosine: float = 0.98
    """Cosine from which two embeddings are twins; by their codes, so give or take 0.01."""
    seed: int = 0
    """Decides the projections."""

    def __post_init__(self) -> None:
        if self.dims < 2 or self.capacity < 1:
            raise ValueError("dedupe needs dims of 2 or more and a capacity above 0")
        if not 0.5 < self.cosine < 1.0:
            raise ValueError(f"dedupe.cosine {self.cosine}: must be between 0.5 and 1")

    @property
    def apart(self) -> int:
        """Signs of 64 in which twins may differ: what is expected at `cosine`, and two sigmas."""
        share = math.acos(self.cosine) / math.pi
        sigma = math.sqrt(_CODE_BITS * share * (1.0 - share))
        return round(_CODE_BITS * share + 2.0 * sigma)

    @property
    def buckets(self) -> int:
        """Buckets of a table: a power of two, one or two vectors each when it is full."""
        return 1 << max(8, min(_BAND_BITS + 1, math.ceil(math.log2(self.capacity / 1.3))))


class Dedupe:
    """Remembers what came before, and names twins of it.

    Args:
        config: sizes and threshold.
        folder: keep codes and tables there as mapped files; in memory where None. A folder that
            holds some goes on from the last `sync`. Raises `ValueError` where it holds others.
    """

    def __init__(self, config: DedupeConfig | None = None, folder: Path | None = None) -> None:
        self.config = config = config or DedupeConfig()
        rng = np.random.Generator(np.random.Philox(key=[config.seed, 3]))
        # the code has signs of its own: those of the keys agree already where a candidate is found
        self._planes = rng.standard_normal((config.dims, _KEY_BITS + _CODE_BITS)).astype(np.float32)
        self._mixers = rng.integers(1, 1 << 63, _TABLES, dtype=np.uint64) | np.uint64(1)
        self._folder, self.count = folder, 0
        known = self._opened() if folder is not None else None
        if known is not None:
            self.count = known
        self._codes = self._array("codes", (config.capacity,), np.uint64, 0)
        self._tables = self._array("tables", (_TABLES, config.buckets * _WAYS), np.int32, -1)

    @property
    def bytes(self) -> int:
        """Size of codes and tables."""
        return self._codes.nbytes + self._tables.nbytes

    def add(self, embeddings: npt.NDArray[np.floating]) -> Ints:
        """For each of `embeddings` [n, d] the number of its twin, or -1; those without are kept.

        Numbers count the vectors kept, from 0: see `count`. Twins within one call are found too.
        """
        parts = [
            self._add(np.asarray(embeddings[at : at + _BATCH], np.float32))
            for at in range(0, len(embeddings), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _add(self, vectors: npt.NDArray[np.float32]) -> Ints:
        if vectors.shape[1] != self.config.dims:
            raise ValueError(f"embeddings of {vectors.shape[1]} numbers, not {self.config.dims}")
        margins = vectors @ self._planes
        signs = margins > 0
        codes = np.packbits(signs[:, _KEY_BITS:], axis=1).view(np.uint64)[:, 0]
        keys = self._keys(signs, margins)
        twin = self._earlier(codes, keys)
        inside = _within(codes, keys, twin < 0, self.config.apart)
        kept = (twin < 0) & (inside < 0)
        numbers = np.where(kept, self.count + np.cumsum(kept) - 1, -1)
        # a twin within the batch may itself be the twin of another
        root = inside.copy()
        while (deeper := (root >= 0) & (inside[root] >= 0)).any():
            root[deeper] = inside[root[deeper]]
        twin = np.where(root >= 0, np.where(twin[root] >= 0, twin[root], numbers[root]), twin)
        self._keep(codes[kept], keys[kept, :, 0])
        return twin

    def _keys(
        self, signs: npt.NDArray[np.bool_], margins: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.uint32]:
        """Keys [n, table, probe]: that of a vector first, then those with signs turned."""
        n = len(signs)
        bands = signs[:, :_KEY_BITS].reshape(n, _TABLES, _BAND_BITS)
        unsure = np.abs(margins[:, :_KEY_BITS]).reshape(bands.shape)
        weights = (1 << np.arange(_BAND_BITS)).astype(np.uint32)
        own = (bands * weights).sum(2, dtype=np.uint32)
        least = np.argpartition(unsure, _UNSURE, 2)[..., :_UNSURE]
        order = np.argsort(np.take_along_axis(unsure, least, 2), 2)
        turned = weights[np.take_along_axis(least, order, 2)]
        masks = [np.zeros((n, _TABLES), np.uint32), *(turned[..., k] for k in range(_UNSURE))]
        pairs = itertools.combinations(range(_PAIRED), 2)
        masks += [turned[..., a] | turned[..., b] for a, b in pairs]
        return own[..., None] ^ np.stack(masks, 2)

    def _bucket(self, keys: npt.NDArray[np.uint32], table: int) -> Ints:
        """Keys to buckets; multiplicative hashing spreads keys that lie close."""
        mixed = keys.astype(np.uint64) * self._mixers[table]
        shift = np.uint64(64 - int(math.log2(self.config.buckets)))
        return (mixed >> shift).astype(np.int64)

    def _earlier(self, codes: Codes, keys: npt.NDArray[np.uint32]) -> Ints:
        """Numbers of the nearest twins among what is kept, -1 for none."""
        best = np.full(len(codes), self.config.apart + 1, np.int64)
        twin = np.full(len(codes), -1, np.int64)
        oldest = self.count - self.config.capacity
        for table in range(_TABLES):
            for probe in range(keys.shape[2]):
                bucket = self._bucket(keys[:, table, probe], table) * _WAYS
                for way in range(_WAYS):
                    place = self._tables[table][bucket + way].astype(np.int64)
                    some = np.flatnonzero((place >= 0) & (place < self.count))
                    if not len(some):
                        continue
                    apart = np.bitwise_count(self._codes[place[some]] ^ codes[some])
                    nearer = apart < best[some]
                    rows = some[nearer]
                    best[rows], twin[rows] = apart[nearer], place[rows]
        if oldest > 0:  # places are numbers modulo the capacity
            newest = (self.count - 1) % self.config.capacity
            turns = (self.count - 1) // self.config.capacity
            twin = np.where(
                twin < 0,
                -1,
                twin + (turns - (twin > newest)) * self.config.capacity,
            )
        return twin

    def _keep(self, codes: Codes, keys: npt.NDArray[np.uint32]) -> None:
        """Write codes and places; a full bucket forgets one of its two."""
        numbers = self.count + np.arange(len(codes))
        places = numbers % self.config.capacity
        self._codes[places] = codes
        for table in range(_TABLES):
            bucket = self._bucket(keys[:, table], table) * _WAYS
            row = self._tables[table]
            full = row[bucket] >= 0
            way = np.where(full, 1, 0)
            way = np.where(full & (row[bucket + 1] >= 0), (numbers >> table) & 1, way)
            row[bucket + way] = places
        self.count += len(codes)

    def sync(self) -> None:
        """Push a folder's files to the disk, and note how many vectors they hold."""
        if self._folder is None:
            return
        for array in (self._codes, self._tables):
            assert isinstance(array, np.memmap)
            array.flush()
        write_json(self._folder / "dedupe.json", {**asdict(self.config), "count": self.count})

    def _opened(self) -> int | None:
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "dedupe.json"
        if not path.exists():
            return None
        told = json.loads(path.read_text())
        count = told.pop("count")
        if told != asdict(self.config):
            raise ValueError(f"{self._folder} remembers with other settings: choose another folder")
        return int(count)

    def _array(self, name: str, shape: tuple[int, ...], kind: type, start: int) -> np.ndarray:
        if self._folder is None:
            return np.full(shape, start, kind)
        path = self._folder / f"{name}.npy"
        if path.exists() and self.count:
            return np.load(path, mmap_mode="r+")
        made = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
        if start:
            made[:] = start
        return made


def _within(
    codes: Codes, keys: npt.NDArray[np.uint32], open_: npt.NDArray[np.bool_], apart: int
) -> Ints:
    """For each row of a batch an earlier row that is its twin, -1 for none."""
    best = np.full(len(codes), apart + 1, np.int64)
    twin = np.full(len(codes), -1, np.int64)
    rows = np.flatnonzero(open_)
    for table in range(keys.shape[1]):
        own = keys[:, table, 0]
        order = np.argsort(own, kind="stable")
        ordered = own[order]
        for probe in range(keys.shape[2]):
            asked = keys[rows, table, probe]
            place = np.searchsorted(ordered, asked, "left")
            other = order[np.minimum(place, len(order) - 1)]
            good = (own[other] == asked) & (other < rows)
            distance = np.bitwise_count(codes[other] ^ codes[rows])
            nearer = good & (distance < best[rows])
            best[rows[nearer]], twin[rows[nearer]] = distance[nearer], other[nearer]
    return twin
