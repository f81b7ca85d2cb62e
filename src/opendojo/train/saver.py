"""Checkpoints written beside the training: the loop waits for a copy in memory, not for a disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from opendojo.train.checkpoint import begin, publish
from opendojo.train.parallel import first, rank_of, ranks_of
from opendojo.train.state import save_tensors
from opendojo.train.step import Progress

__all__ = ["Saver"]


class Saver:
    """Writes one checkpoint at a time in a thread; the next one waits for it.

    Ranks meet in a process group of their own, so that writing and training never take each other's
    messages. All ranks call the same methods in the same order.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._group: Any = dist.new_group(backend="gloo") if ranks_of() > 1 else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._copy: dict[str, Tensor] = {}
        self._pending: Future[None] | None = None

    def save(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Copy the tensors and begin to write them; waits for the checkpoint before."""
        self.wait()
        partial = first(lambda: begin(self.folder, progress.step))
        self._stage(tensors)
        self._pending = self._thread.submit(self._write, partial, progress)

    def wait(self) -> None:
        """Until the last checkpoint is published; raises what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from error

    def close(self) -> None:
        """End the thread; a checkpoint being written is finished, its failure is not told."""
        self._thread.shutdown(wait=True)

    def _stage(self, tensors: dict[str, Tensor]) -> None:
        if self._copy.keys() != tensors.keys():
            self._copy = {
                name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()
            }
            return
        for name, tensor in tensors.items():
            self._copy[name].copy_(tensor)

    def _write(self, partial: Path, progress: Progress) -> None:
        save_tensors(self._copy, partial, self._group)
        if rank_of() == 0:
            publish(self.folder, partial, progress, self.keep)
