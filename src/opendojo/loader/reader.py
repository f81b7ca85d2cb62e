"""From orders to rows: what a worker does, in whatever process; free of torch.

The labels of all windows of a task are made at once, from one read of each window's rows; its
frames are decoded straight into the slot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.clip import Camera
from opendojo.loader.config import LoaderConfig
from opendojo.loader.labels import LOG_WIDTH, label_windows, reaches, rows_wanted
from opendojo.loader.lens import lens_rows
from opendojo.loader.ring import Rows
from opendojo.store import Episode, Store

__all__ = ["Reader", "Window"]

_EPISODES = 4096
"""Episodes kept at hand: a small set is looked up once."""
_RIGS = 4096
"""Rigs whose geometry is kept at hand."""


@dataclass(slots=True)
class Window:
    """A window on its way into a row."""

    row: int
    keep: int
    store: int
    episode: Episode
    index: npt.NDArray[Any]
    """The store's rows from its first instant on."""
    slots: list[int]
    """Places of the cameras that are there."""
    instants: npt.NDArray[np.int64]


class Reader:
    """Fills rows of a slot; used by one thread."""

    def __init__(self, stores: Sequence[Store], config: LoaderConfig, kept: Rows | None) -> None:
        self._stores = stores
        self._config = config
        self._cameras = config.read_cameras
        self._kept = kept
        self._rigs: OrderedDict[int, tuple[Any, npt.NDArray[np.float32], list[bool]]] = (
            OrderedDict()
        )
        self._episode = lru_cache(_EPISODES)(self._find_episode)
        self._rgb: list[Any] = []
        if config.colour == "rgb":
            from opendojo.loader.rgb import RgbDecoder

            self._rgb = [RgbDecoder(store) for store in stores]

    def fill(self, orders: npt.NDArray[np.void], rows: Rows, on_row: Callable[[int], None]) -> None:
        """Fill `rows` as `orders`, `ring.ORDER` [n], say; `on_row` is told of each that is done.

        Raises `ValueError` naming the file where packets do not decode, `OSError` where files are
        missing.
        """
        rows["window_id"][:] = orders["window"]
        keep = orders["keep"].tolist()
        for row, place in enumerate(keep):
            if place < 0:
                _copy_row(self._kept, -place - 1, rows, row)
                on_row(row)
        fresh = [row for row, place in enumerate(keep) if place >= 0]
        self._fetch_rows(orders, fresh)
        windows = self.label(orders, fresh, rows)
        self._fetch_packets(windows)
        for group in self._groups(windows):
            self._decode(group, rows["frames"])
            for window in group:
                if window.keep:
                    _copy_row(rows, window.row, self._kept, window.keep - 1)
                on_row(window.row)

    def label(self, orders: npt.NDArray[np.void], fresh: list[int], rows: Rows) -> list[Window]:
        """Fill everything but the frames of the rows `fresh`; returns where those are found."""
        if not fresh:
            return []
        windows, columns = [], []
        told = orders.tolist()
        for row in fresh:
            _, number, keep, place, first, end = told[row]
            episode = self._episode(number, place)
            index, log = self._index(self._stores[number], episode, first, end)
            lens, there = self._rig(episode.cameras)
            rows["lens"][row] = lens
            rows["camera_mask"][row] = there
            rows["drawn"][row] = episode.origin == "drawn"
            slots = [slot for slot, camera in enumerate(there) if camera]
            windows.append(Window(row, keep, number, episode, index, slots, _NONE))
            columns.append(log)
        rates_hz = np.array([window.episode.rate_hz for window in windows])
        whole = len(fresh) == len(orders)
        labels = {name: rows[name] if whole else rows[name][fresh] for name in _LABELS}
        instants = label_windows(columns, rates_hz, self._config.window, labels)
        if not whole:
            for name, values in labels.items():
                rows[name][fresh] = values
        firsts = orders["first"]
        instants = instants + (firsts if whole else firsts[fresh])[:, None]
        for window, own in zip(windows, instants, strict=True):
            window.instants = own
        return windows

    def _fetch_rows(self, orders: npt.NDArray[np.void], fresh: list[int]) -> None:
        """Ask a far store for the rows of all windows at once; each alone would wait its turn."""
        runs: dict[int, list[tuple[Episode, int, int]]] = {}
        for row in fresh:
            _, number, _, place, first, end = orders[row].item()
            if self._stores[number].is_far:
                episode = self._episode(number, place)
                count = min(rows_wanted(self._config.window, episode.rate_hz), end - first)
                runs.setdefault(number, []).append((episode, first, count))
        for number, wanted in runs.items():
            self._stores[number].fetch_rows(wanted)

    def _fetch_packets(self, windows: list[Window]) -> None:
        """The same for their packets."""
        runs: dict[int, list[tuple[Episode, npt.NDArray[Any], list[str]]]] = {}
        for window in windows:
            if self._stores[window.store].is_far:
                count = int(window.instants[-1] - window.instants[0]) + 1
                names = [self._cameras[slot] for slot in window.slots]
                run = (window.episode, window.index[:count], names)
                runs.setdefault(window.store, []).append(run)
        for number, wanted in runs.items():
            self._stores[number].fetch_packets(wanted)

    def _find_episode(self, store: int, place: int) -> Episode:
        return self._stores[store].episodes[place]

    def _index(
        self, store: Store, episode: Episode, first: int, end: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        """A window's rows up to its last label or the end, and their columns of the log."""
        spec = self._config.window
        wanted = rows_wanted(spec, episode.rate_hz)
        while True:
            index = store.rows(episode, first, min(wanted, end - first))
            log = np.ndarray(
                (len(index), LOG_WIDTH), "<f8", index, strides=(index.dtype.itemsize, 8)
            )
            if len(index) == end - first or reaches(log, spec, episode.rate_hz):
                return index, log
            wanted *= 2  # the clip's frames come faster here than its rate says

    def _rig(self, cameras: tuple[Camera, ...]) -> tuple[npt.NDArray[np.float32], list[bool]]:
        known = self._rigs.get(id(cameras))
        if known is None:
            names = {camera.name for camera in cameras}
            there = [name in names for name in self._cameras]
            # The tuple is kept with it, so that no other gets its id.
            known = (cameras, lens_rows(cameras, self._cameras), there)
            self._rigs[id(cameras)] = known
            if len(self._rigs) > _RIGS:
                self._rigs.popitem(last=False)
        return known[1], known[2]

    def _groups(self, windows: list[Window]) -> list[list[Window]]:
        """The windows that share frames, together; each of the others alone."""
        if self._config.run == 1:
            return [[window] for window in windows]
        groups: list[list[Window]] = []
        for window in windows:
            before = groups[-1][-1] if groups else None
            if (
                before is not None
                and (before.store, before.episode.clip_id) == (window.store, window.episode.clip_id)
                and before.instants[0] <= window.instants[0] <= before.instants[-1]
            ):
                groups[-1].append(window)
            else:
                groups.append([window])
        return groups

    def _decode(self, group: list[Window], frames: npt.NDArray[np.uint8]) -> None:
        """Decode the frames of windows that share some, each once."""
        slots = group[0].slots
        if len(slots) < len(self._cameras):
            absent = [slot for slot in range(len(self._cameras)) if slot not in slots]
            for window in group:
                frames[window.row][:, absent] = 0
        if not slots:
            return
        if len(group) == 1:
            (window,) = group
            # Straight into the ring: its frames are followed by other fields of the slot.
            self._read(window, window.instants, frames[window.row], window.index, in_place=True)
            return
        union = np.unique(np.concatenate([window.instants for window in group]))
        decoded = np.empty((len(union), *frames.shape[2:]), np.uint8)
        self._read(group[0], union, decoded, None)
        for window in group:
            places = np.searchsorted(union, window.instants)
            for slot in slots:
                frames[window.row][:, slot] = decoded[places, slot]

    def _read(
        self,
        window: Window,
        instants: npt.NDArray[np.int64],
        out: npt.NDArray[np.uint8],
        index: npt.NDArray[Any] | None,
        *,
        in_place: bool = False,
    ) -> None:
        wanted = instants.tolist()
        first, last = window.slots[0], window.slots[-1]
        if last - first + 1 == len(window.slots):
            runs = [slice(first, last + 1)]
        else:
            runs = [slice(slot, slot + 1) for slot in window.slots]
        for run in runs:
            names = self._cameras[run]
            if self._rgb:
                self._rgb[window.store].decode(window.episode, wanted, out[:, run], names)
            else:
                store = self._stores[window.store]
                pixels = out[:, run]
                store.decode(window.episode, wanted, pixels, names, index, in_place=in_place)


_LABELS = ("time_s", "speed_mps", "speed_mask", "path_m", "path_mask")
_NONE = np.zeros(0, np.int64)


def _copy_row(source: Rows | None, source_row: int, target: Rows | None, row: int) -> None:
    assert source is not None
    assert target is not None
    for name, field in target.items():
        field[row] = source[name][source_row]
