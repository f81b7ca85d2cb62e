"""Batches from stores: shuffled over everything, the same order on every machine, resumable."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from opendojo.loader.batch import Batch
from opendojo.loader.config import LoaderConfig
from opendojo.loader.crew import Crew
from opendojo.loader.delivery import delivery_to
from opendojo.loader.kept import Kept
from opendojo.loader.nvdec import device_batches
from opendojo.loader.order import Mixture
from opendojo.loader.ring import RowsLayout, row_fields
from opendojo.loader.window import WindowTable
from opendojo.store import Store

__all__ = ["Loader"]

_IDS_TOGETHER = 4096
"""Windows whose place in the order is worked out at once."""


class Loader(IterableDataset[Batch]):
    """Windows of one or several stores as batches.

    The order of an epoch depends on (seed, epoch) and on what the stores hold, on nothing else: not
    on workers, slots or ranks. Of every `ranks * batch` windows in that order each rank gets its
    `batch`; the last ones of an epoch are shared out evenly, so that all ranks give the same number
    of batches (`left_out` windows, fewer than `ranks`, stay out of that epoch).

    Iterating goes on from the loader's own place: `state_dict` after a batch, loaded into another
    loader of whatever ranks, goes on with the next. Workers start with the first batch and stay for
    the next epoch; they end with `close`, with the loader, or when an epoch is left early.
    `device` is where batches are given, unless `batches` is told another: None gives views of the
    ring. Raises `ValueError` where the stores differ in frame size, hold no window of the split, or
    none has a camera of that name.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        config: LoaderConfig,
        rank: int = 0,
        ranks: int = 1,
        device: torch.device | str | None = None,
    ) -> None:
        weights = config.weights or (1.0,) * len(stores)
        if len(weights) != len(stores):
            raise ValueError(f"{len(weights)} weights for {len(stores)} stores: give one for each")
        sizes = {(store.spec.width_px, store.spec.height_px) for store in stores}
        if len(sizes) != 1:
            raise ValueError(f"one frame size is needed, the stores have {sorted(sizes)}")
        if not 0 <= rank < ranks:
            raise ValueError(f"rank must be 0 to {ranks - 1}, not {rank}")
        _check_cameras(stores, config.read_cameras)
        _check_device(device)
        self.config = config
        self.rank, self.ranks = rank, ranks
        self.device = device
        self.width_px, self.height_px = sizes.pop()
        self.fingerprint = "-".join(store.fingerprint for store in stores)
        self.table = WindowTable(
            stores,
            config.window,
            config.split,
            config.held_out_share,
            stride_groups=config.stride_groups,
            without=config.without,
        )
        self._stores = list(stores)
        self._mixture = Mixture(self.table.windows, weights, seed=config.seed, run=config.run)
        self._order = _order_hash(config, weights)
        self._layout = RowsLayout(fields=self._fields(), rows=config.batch)
        self._kept = Kept(config.keep_bytes, self._layout.fields, len(self.table))
        self._crew: Crew | None = None
        self._crews: weakref.WeakSet[Crew] = weakref.WeakSet()
        self.incidents: list[str] = []
        """Workers that died or hung and were replaced, for people."""
        self._epoch, self._window = 0, 0
        if len(self) == 0:
            places = ", ".join(store.url for store in stores)
            raise ValueError(
                f"{places}: too few {config.split} windows of {config.window.frames} frames "
                f"({len(self._mixture)} for {ranks} ranks): ingest longer clips, or ask for "
                "shorter windows"
            )

    def _fields(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        window, pixels = self.config.window, self.width_px * self.height_px
        return row_fields(
            window.frames,
            len(self.config.read_cameras),
            window.path_points,
            pixels * 3 if self.config.colour == "rgb" else pixels * 3 // 2,
        )

    def __len__(self) -> int:
        """Batches of each rank in an epoch."""
        return self._count(0)

    @property
    def left_out(self) -> int:
        """Windows at the end of the epoch that iterating is in which stay out of it, so that all
        ranks give as many batches."""
        left = len(self._mixture) - self._window
        return left % (self.config.batch * self.ranks) % self.ranks

    @property
    def kept_windows(self) -> int:
        """Windows that are kept decoded."""
        return len(self._kept)

    def _share(self, position: int) -> tuple[int, int]:
        """Place and number of this rank's windows of the batches that begin at `position`."""
        left = len(self._mixture) - position
        each = min(self.config.batch, max(left, 0) // self.ranks)
        return position + self.rank * each, each

    def _count(self, position: int) -> int:
        """Batches of each rank from a place of the global order to the epoch's end."""
        block = self.config.batch * self.ranks
        whole, left = divmod(max(len(self._mixture) - position, 0), block)
        return whole + (left >= self.ranks)

    def _ids(self, epoch: int, position: int, batches: int) -> Iterator[npt.NDArray[np.int64]]:
        """Numbers of the windows of this rank's batches from a place of the global order on."""
        block = self.config.batch * self.ranks
        # The order costs little per window, but much per call.
        together = -(-_IDS_TOGETHER // self.config.batch)
        for start in range(0, batches, together):
            numbers = range(start, min(start + together, batches))
            shares = [self._share(position + number * block) for number in numbers]
            places = [np.arange(first, first + count) for first, count in shares]
            found = self._mixture.windows(epoch, np.concatenate(places))
            yield from np.split(found, np.cumsum([count for _, count in shares])[:-1])

    def window_ids(self, epoch: int, batch: int) -> npt.NDArray[np.int64]:
        """Numbers of the windows in one of this rank's batches of an epoch."""
        (found,) = self._ids(epoch, batch * self.config.batch * self.ranks, 1)
        return found

    def batches(
        self, epoch: int, start_batch: int = 0, device: torch.device | str | None = None
    ) -> Generator[Batch, None, None]:
        """The batches of an epoch from `start_batch` on; each is valid until the next is asked for.

        On a CUDA `device` (the loader's own, if not given) they are copied there from pinned memory
        while the batch before is computed with, and are the caller's own. Leaving early (closing
        the generator) ends the workers; after a whole epoch they stay for the next. Several
        generators may be used in turn, each has workers of its own. Raises `BadStore` naming the
        file that is missing or does not decode, `ConnectionError` where a far store gives no answer
        for two minutes, `BadClip` naming a clip that ends its workers.
        """
        _check_device(device)
        position = start_batch * self.config.batch * self.ranks
        return self._batches(epoch, position, self.device if device is None else device)

    def _batches(
        self, epoch: int, position: int, device: torch.device | str | None
    ) -> Generator[Batch, None, None]:
        count, slots = self._count(position), self.config.slots
        ids = self._ids(epoch, position, count)
        if self.config.decoder == "nvdec":
            if device is None or torch.device(device).type != "cuda":
                raise ValueError("decoder nvdec needs Loader(..., device='cuda')")
            yield from device_batches(self, self._stores, ids, torch.device(device))
            return
        leases: dict[int, dict[int, int]] = {}
        crew, asked = self._hire(), 0
        views = [
            Batch.of_rows(rows, self.height_px, self.width_px, rgb=self.config.colour == "rgb")
            for rows in crew.slots
        ]
        delivery = delivery_to(device, crew, views)
        try:
            for number in range(count):
                while asked < min(count, number + slots):
                    slot = asked % slots
                    orders = self.table.orders(next(ids))
                    leases[slot] = self._kept.direct(orders)
                    delivery.free(slot)
                    crew.fill(slot, orders)
                    asked += 1
                batch = delivery.take(number % slots)
                self._kept.settle(leases[number % slots])
                if number + 1 < count:
                    delivery.prepare((number + 1) % slots)
                yield batch
            self._crew, crew = crew, self._crew
        finally:
            delivery.finish()
            for lease in leases.values():
                self._kept.drop(lease)
            if crew is not None:
                crew.close()

    def _hire(self) -> Crew:
        crew, self._crew = self._crew, None
        if crew is None:
            crew = Crew(self._stores, self.config, self._layout, self._kept, self.incidents)
            self._crews.add(crew)
        return crew

    def worker_pids(self) -> list[int]:
        """Process ids of the workers there are now."""
        return [pid for crew in list(self._crews) for pid in crew.pids]

    def close(self) -> None:
        """End the workers that wait for the next epoch."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    def __iter__(self) -> Iterator[Batch]:
        if get_worker_info() is not None:
            raise ValueError(
                "the loader has workers of its own: give DataLoader num_workers=0, and set "
                "LoaderConfig.workers"
            )
        epoch, position = self._epoch, self._window
        block = self.config.batch * self.ranks
        with contextlib.closing(self._batches(epoch, position, self.device)) as batches:
            for batch in batches:
                position += block
                over = self._count(position) == 0
                self._epoch, self._window = (epoch + 1, 0) if over else (epoch, position)
                yield batch

    def set_epoch(self, epoch: int) -> None:
        """Iterate from the start of that epoch next."""
        self._epoch, self._window = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where iterating goes on: after the last batch it gave, for all ranks alike.

        `data` and `order` name what the stores hold and the settings that make the order.
        """
        place = {"seed": self.config.seed, "epoch": self._epoch, "window": self._window}
        return {**place, "data": self.fingerprint, "order": self._order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, by whatever number of ranks, in batches of any size.

        Raises `ValueError` where it was taken with another seed, of other data or in another order,
        or lies past the epoch's end. `data` and `order` may be left out. Where the epoch has fewer
        windows left than there are ranks, the next one begins.
        """
        if state["seed"] != self.config.seed:
            raise ValueError(f"the state is of seed {state['seed']}, not {self.config.seed}")
        if state.get("data", self.fingerprint) != self.fingerprint:
            raise ValueError(
                f"the state is of other stores, or of these before they grew ({state['data']}, not "
                f"{self.fingerprint}): open those, or start with `set_epoch`"
            )
        if state.get("order", self._order) != self._order:
            raise ValueError(
                "the state is of another order of windows: give the same window, split, "
                "held_out_share, weights, stride_groups, without and run, or start with `set_epoch`"
            )
        epoch, window = state["epoch"], state["window"]
        if not 0 <= window < len(self._mixture):
            raise ValueError(f"an epoch of {len(self._mixture)} windows has no such place: {state}")
        over = self._count(window) == 0  # too few are left for so many ranks
        self._epoch, self._window = (epoch + 1, 0) if over else (epoch, window)


def _check_device(device: torch.device | str | None) -> None:
    if device is not None and torch.device(device).type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, not {device}: call `.to` on the batches")


def _check_cameras(stores: Sequence[Store], wanted: Sequence[str]) -> None:
    """Some clips may lack a camera; one that all lack is a slip of the pen."""
    known: set[str] = set()
    for store in stores:
        for number in range(len(store.episodes.dataset_names)):
            known.update(store.episodes.dataset_cameras(number))
    for name in wanted if known else ():
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"no clip has a camera {name!r}: {hint}set LoaderConfig.cameras to some of "
                f"{', '.join(sorted(known))}"
            )


def _order_hash(config: LoaderConfig, weights: Sequence[float]) -> str:
    """Of the settings that say which windows there are and in which order they come."""
    facts = [
        *(config.window.frames, config.window.rate_hz, config.split, config.held_out_share),
        *(list(weights), config.stride_groups, sorted(config.without), config.run),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
