"""How a filled slot reaches the consumer: as it is, or copied to its device while it computes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from opendojo.loader.batch import Batch
from opendojo.loader.crew import Crew

__all__ = ["Delivery", "delivery_to"]


class Delivery(Protocol):
    """Takes batches out of a crew's ring in the order in which its slots were filled."""

    def free(self, slot: int) -> None:
        """Wait until a slot may be filled anew."""
        ...

    def take(self, slot: int) -> Batch:
        """The batch of a slot, once it is filled."""
        ...

    def prepare(self, slot: int) -> None:
        """See to the batch that is taken next, if it is filled already."""
        ...

    def finish(self) -> None:
        """Wait until nothing is read from the ring any more."""
        ...


def delivery_to(device: torch.device | str | None, crew: Crew, views: Sequence[Batch]) -> Delivery:
    """The delivery for a device; `views` are the slots as tensors. None is where the ring is."""
    if device is None or torch.device(device).type == "cpu":
        return _Views(crew, views)
    return _Copies(torch.device(device), crew, views)


class _Views:
    """The ring itself."""

    def __init__(self, crew: Crew, views: Sequence[Batch]) -> None:
        self._crew = crew
        self._views = views

    def free(self, slot: int) -> None:
        """The consumer has done with it: it asked for a later one."""

    def take(self, slot: int) -> Batch:
        self._crew.wait(slot)
        return self._views[slot].rows(self._crew.size(slot))

    def prepare(self, slot: int) -> None:
        """The workers do."""

    def finish(self) -> None:
        """Views are not read by anyone else."""


class _Copies:
    """Copies on a stream beside the consumer's, from the ring as pinned memory, one ahead."""

    def __init__(self, device: torch.device, crew: Crew, views: Sequence[Batch]) -> None:
        self._crew = crew
        self._views = views
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._copied: dict[int, tuple[Batch, Any]] = {}
        self._reading: dict[int, Any] = {}
        _pin(crew)

    def free(self, slot: int) -> None:
        event = self._reading.pop(slot, None)
        if event is not None:
            event.synchronize()

    def take(self, slot: int) -> Batch:
        """The batch on the device; the caller's stream waits for its copy."""
        if slot not in self._copied:
            self._crew.wait(slot)
            self._copy(slot)
        batch, event = self._copied.pop(slot)
        now = torch.cuda.current_stream(self._device)
        now.wait_event(event)
        for tensor in batch.tensors().values():
            tensor.record_stream(now)  # its memory is the side stream's
        return batch

    def prepare(self, slot: int) -> None:
        if slot not in self._copied and self._crew.wait(slot, block=False):
            self._copy(slot)

    def _copy(self, slot: int) -> None:
        view = self._views[slot].rows(self._crew.size(slot))
        with torch.cuda.stream(self._stream):
            batch = view.to(self._device, non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        self._copied[slot] = (batch, event)
        self._reading[slot] = event

    def finish(self) -> None:
        self._stream.synchronize()


def _pin(crew: Crew) -> None:
    """Register a crew's ring as pinned memory, until it is garbage."""
    if crew.pinned:
        return
    runtime: Any = torch.cuda.cudart()
    ring = torch.frombuffer(crew.memory.map, dtype=torch.uint8)
    failed = int(runtime.cudaHostRegister(ring.data_ptr(), len(ring), 0))
    if failed:
        raise OSError(f"CUDA could not pin {len(ring)} bytes of the ring: error {failed}")
    crew.pinned = True
    weakref.finalize(crew, runtime.cudaHostUnregister, ring.data_ptr()).atexit = False
