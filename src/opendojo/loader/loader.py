"""Batches from stores: shuffled over everything, the same order on every machine, resumable."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from opendojo.clip import Log
from opendojo.loader.batch import Batch, ego_paths, empty_batch
from opendojo.loader.order import permuted
from opendojo.loader.window import Split, WindowSpec, WindowTable
from opendojo.store import Store

__all__ = ["Loader", "LoaderConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """What a loader reads, and in which order."""

    batch: int = 32
    """Windows in a batch; an epoch's last batch may hold fewer."""
    seed: int = 0
    """With the epoch, it alone decides the order."""
    cameras: tuple[str, ...] = ("front", "left", "right")
    """Slots of the rig, in the batch's order; a clip without one of them leaves it masked."""
    window: WindowSpec = field(default_factory=WindowSpec)
    """What one sample holds."""
    split: Split = "train"
    """`train`, `held-out` (the last part of every clip) or `all`."""
    held_out_share: float = 0.2
    """Share of each clip, at its end, that training does not see."""
    repeats: tuple[int, ...] = ()
    """How often each store's windows come in an epoch; empty means once each."""
    pixels: bool = True
    """False reads the logs alone."""
    prefetch: int = 2
    """Batches read ahead by a thread."""
    keep_bytes: int = 512 << 20
    """Decoded windows kept in memory for later epochs, up to so many bytes; 0 keeps none."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.prefetch < 1:
            raise ValueError("batch and prefetch must be at least 1")
        if self.keep_bytes < 0:
            raise ValueError(f"keep_bytes must not be below 0, not {self.keep_bytes}")
        if not 0.0 <= self.held_out_share < 1.0:
            raise ValueError(f"held_out_share must be 0 to 1, not {self.held_out_share}")
        if not self.cameras and self.pixels:
            raise ValueError("name at least one camera, or set pixels to False")


class Loader:
    """Windows of one or several stores as batches.

    The order of an epoch depends on (seed, epoch) and on what the stores hold, on nothing else.
    Raises `ValueError` where the stores differ in frame size or hold no window of the split.
    """

    def __init__(self, stores: Sequence[Store], config: LoaderConfig) -> None:
        repeats = config.repeats or (1,) * len(stores)
        if len(repeats) != len(stores):
            raise ValueError(f"{len(repeats)} repeats for {len(stores)} stores: give one for each")
        sizes = {(store.spec.width_px, store.spec.height_px) for store in stores}
        if len(sizes) != 1:
            raise ValueError(f"one frame size is needed, the stores have {sorted(sizes)}")
        self.config = config
        self.width_px, self.height_px = sizes.pop()
        self._paths = [store.path for store in stores]
        self.fingerprint = "-".join(store.fingerprint for store in stores)
        self.kept: dict[int, _Window] = {}
        """Decoded windows by number."""
        self.table = WindowTable(
            stores, config.window, config.split, config.held_out_share, repeats
        )
        if not len(self.table):
            places = ", ".join(str(path) for path in self._paths)
            raise ValueError(
                f"no clip in {places} is long enough for a {config.split} window of "
                f"{config.window.frames} frames: ingest longer clips or ask for shorter windows"
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.table) // self.config.batch)

    def window_ids(self, epoch: int, batch: int) -> npt.NDArray[np.int64]:
        """Numbers of the windows in a batch of an epoch."""
        size, count = self.config.batch, len(self.table)
        places = np.arange(batch * size, min((batch + 1) * size, count))
        return permuted(places, count, seed=self.config.seed, epoch=epoch)

    def batches(self, epoch: int, start_batch: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch from `start_batch` on, read ahead by a thread.

        Closing the generator ends the thread.
        """
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(self.config.prefetch)
        stopped = threading.Event()
        work = (epoch, start_batch, ready, stopped)
        thread = threading.Thread(target=self._read_ahead, args=work, daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            while thread.is_alive():
                _drain(ready)
                thread.join(0.01)

    def _read_ahead(
        self,
        epoch: int,
        start_batch: int,
        ready: queue.Queue[Batch | BaseException | None],
        stopped: threading.Event,
    ) -> None:
        try:
            reader = _WindowReader([Store.open(path) for path in self._paths], self)
            for number in range(start_batch, len(self)):
                if stopped.is_set():
                    return
                ready.put(reader.read(self.window_ids(epoch, number)))
            ready.put(None)
        except Exception as error:
            ready.put(error)


def _drain(ready: queue.Queue[Batch | BaseException | None]) -> None:
    while not ready.empty():
        ready.get_nowait()


@dataclass(frozen=True, slots=True)
class _Window:
    """One row of a batch."""

    frames: npt.NDArray[np.uint8]
    camera_mask: npt.NDArray[np.bool_]
    time_s: npt.NDArray[np.float64]
    speed_mps: npt.NDArray[np.float64]
    path_m: npt.NDArray[np.float32]
    path_mask: npt.NDArray[np.bool_]
    drawn: bool


class _WindowReader:
    """Decodes windows; used by one thread."""

    def __init__(self, stores: Sequence[Store], loader: Loader) -> None:
        self._stores = stores
        self._loader = loader
        self._log = lru_cache(maxsize=4096)(self._read_log)

    def read(self, window_ids: npt.NDArray[np.int64]) -> Batch:
        """The windows of these numbers, int64 [b], as one batch."""
        loader, config = self._loader, self._loader.config
        batch = empty_batch(
            len(window_ids),
            config.window.frames,
            len(config.cameras) if config.pixels else 0,
            config.window.path_points,
            loader.height_px,
            loader.width_px,
        )
        for row, number in enumerate(window_ids.tolist()):
            window = loader.kept.get(number)
            if window is None:
                window = self._window(number)
                if (len(loader.kept) + 1) * window.frames.nbytes <= config.keep_bytes:
                    loader.kept[number] = window
            batch.frames.numpy()[row] = window.frames
            batch.camera_mask.numpy()[row] = window.camera_mask
            batch.time_s.numpy()[row] = window.time_s
            batch.speed_mps.numpy()[row] = np.nan_to_num(window.speed_mps)
            batch.speed_mask.numpy()[row] = np.isfinite(window.speed_mps)
            batch.path_m.numpy()[row] = window.path_m
            batch.path_mask.numpy()[row] = window.path_mask
            batch.drawn[row] = window.drawn
            batch.window_id[row] = number
        return batch

    def _read_log(self, place: int) -> Log:
        number, episode = self._loader.table.episodes[place]
        cut = self._loader.table.cuts[place]
        log = self._stores[number].log(episode)
        return Log(
            time_s=log.time_s[:cut],
            **{name: column[:cut] for name, column in log.columns().items()},
        )

    def _window(self, number: int) -> _Window:
        config = self._loader.config
        place, first = self._loader.table.find(number)
        episode = self._loader.table.episodes[place][1]
        log = self._log(place)
        instants = _instants(log.time_s, first, episode.rate_hz, config.window)
        now_s = log.time_s[instants]
        path_m, path_mask = ego_paths(log, now_s, config.window.path_times_s)
        frames, camera_mask = self._pixels(place, instants.tolist())
        assert log.speed_mps is not None
        return _Window(
            frames=frames,
            camera_mask=camera_mask,
            time_s=now_s - now_s[0],
            speed_mps=log.speed_mps[instants],
            path_m=path_m,
            path_mask=path_mask,
            drawn=episode.origin == "drawn",
        )

    def _pixels(
        self, place: int, instants: list[int]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        number, episode = self._loader.table.episodes[place]
        wanted = self._loader.config.cameras if self._loader.config.pixels else ()
        there = {camera.name for camera in episode.cameras}
        mask = np.array([name in there for name in wanted], bool)
        height, width = self._loader.height_px // 2, self._loader.width_px // 2
        frames = np.zeros((len(instants), len(wanted), 6, height, width), np.uint8)
        for slot in np.flatnonzero(mask).tolist():
            out = frames[:, slot : slot + 1]
            self._stores[number].decode(episode, instants, out, cameras=[wanted[slot]])
        return frames, mask


def _instants(
    time_s: npt.NDArray[np.float64],
    first: int,
    rate_hz: float,
    spec: WindowSpec,
) -> npt.NDArray[np.int64]:
    """The stored instants nearest to a window's times, rising."""
    if spec.rate_hz is None:
        return np.arange(first, first + spec.frames)
    span = min(spec.span(rate_hz) + 1, len(time_s) - first)
    stored = time_s[first : first + span]
    aims = time_s[first] + np.arange(spec.frames) / spec.rate_hz
    after = np.clip(np.searchsorted(stored, aims), 1, len(stored) - 1) if span > 1 else 0
    nearer = np.abs(stored[after] - aims) < np.abs(stored[after - 1] - aims)
    return first + np.where(nearer, after, after - 1) if span > 1 else np.full(spec.frames, first)
