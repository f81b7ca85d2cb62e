"""What a step must start from to be done again: random state, buffers; and whole snapshots."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from opendojo.guard.fingerprint import fingerprints

__all__ = ["Moment", "Ring", "Snapshot", "random_state", "set_random_state", "state_tensors"]


def state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Weights, buffers and optimizer state by name; shared, not copied."""
    tensors: dict[str, Tensor] = {f"weight {name}": p for name, p in model.named_parameters()}
    tensors |= {f"buffer {name}": b for name, b in model.named_buffers()}
    if optimizer is None:
        return tensors
    number = 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for kind, value in sorted(optimizer.state.get(parameter, {}).items()):
                if isinstance(value, Tensor):
                    tensors[f"optimizer {number} {kind}"] = value
            number += 1
    return tensors


def random_state() -> tuple[Any, ...]:
    """State of torch's, Python's and numpy's generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda, random.getstate(), np.random.get_state()


def set_random_state(state: tuple[Any, ...]) -> None:
    """Put `random_state`'s back."""
    cpu, cuda, python, numpy = state
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
    random.setstate(python)
    np.random.set_state(numpy)


class Moment:
    """The instant before a step: everything a forward and backward pass may change."""

    def __init__(self, model: nn.Module) -> None:
        self._random = random_state()
        self._buffers = [(b, b.detach().clone()) for b in model.buffers()]

    def restore(self) -> None:
        """Go back to it; gradients are not touched."""
        set_random_state(self._random)
        with torch.no_grad():
            for buffer, kept in self._buffers:
                buffer.copy_(kept)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole training state at the beginning of a step."""

    step: int
    tensors: dict[str, Tensor]
    hashes: dict[str, int]
    random: tuple[Any, ...]
    extra: Any

    def whole(self) -> bool:
        """Whether its own memory is as it was written."""
        return fingerprints(self.tensors) == self.hashes


class Ring:
    """The last few snapshots, and the steps taken since the oldest of them."""

    def __init__(self, depth: int, every: int) -> None:
        if depth < 2 or every < 1:
            raise ValueError("a ring needs at least 2 snapshots, 1 or more steps apart")
        self.depth, self.every = depth, every
        self.snapshots: list[Snapshot] = []
        self.recorded: list[tuple[int, Any]] = []

    def due(self, step: int) -> bool:
        """Whether a snapshot is wanted before `step`."""
        return not self.snapshots or step - self.snapshots[-1].step >= self.every

    def add(self, snapshot: Snapshot) -> None:
        """Keep one more; forget the oldest, and the recorded steps before it."""
        self.snapshots.append(snapshot)
        while len(self.snapshots) > self.depth:
            self.snapshots.pop(0)
        oldest = self.snapshots[0].step
        self.recorded = [entry for entry in self.recorded if entry[0] >= oldest]

    def newest_whole(self) -> Snapshot | None:
        """The newest snapshot whose hashes hold; damaged ones are dropped."""
        while self.snapshots:
            if self.snapshots[-1].whole():
                return self.snapshots[-1]
            self.snapshots.pop()
        return None

    def since(self, step: int) -> Sequence[tuple[int, Any]]:
        """Recorded steps from `step` on, in order."""
        return [entry for entry in self.recorded if entry[0] >= step]
