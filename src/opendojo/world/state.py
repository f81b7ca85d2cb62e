"""What is so at one instant, for a batch of worlds: a struct of tensors."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from opendojo.world.traffic import Agents, Neighbour, ReplayState, TrafficState
from opendojo.world.vehicle import Ego

__all__ = ["Moving", "State", "digests", "merged"]

Struct = TypeVar("Struct")


class Moving(Protocol):
    """Whoever moves the other road users: `Traffic`, or the `Replay` of recorded tracks."""

    def start(self, ego: Neighbour) -> Any:
        """Who is around at the start: a `TrafficState` or a `ReplayState`."""
        ...

    def step(self, state: Any, ego: Neighbour, step: Tensor, step_s: float) -> Any:
        """The state at `step` + 1, from those at `step` int64 [n]."""
        ...

    def signals(self, step: Tensor) -> Tensor:
        """What the lights show at steps [n]: int64 [n, signals]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A batch of n worlds at one instant."""

    ego: Ego
    traffic: TrafficState | ReplayState
    step: Tensor
    """int64 [n]: steps since the start."""
    s_m: Tensor
    """float32 [n]: where the body's middle is along the route."""
    d_m: Tensor
    """float32 [n]: how far to its left."""

    @property
    def agents(self) -> Agents:
        """The other road users."""
        return self.traffic.agents


def _leaves(struct: Any) -> Iterator[Tensor]:
    for field in dataclasses.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, Tensor):
            yield value
        else:
            yield from _leaves(value)


def digests(state: State) -> list[str]:
    """A hash of everything in each world's state: equal for equal states, bit by bit."""
    hashes = [hashlib.sha256() for _ in range(len(state.step))]
    for leaf in _leaves(state):
        for row, digest in zip(leaf.cpu().contiguous().numpy(), hashes, strict=True):
            digest.update(row.tobytes())
    return [digest.hexdigest()[:16] for digest in hashes]


def merged(mask: Tensor, new: Struct, old: Struct) -> Struct:
    """A struct of the new values in worlds where mask [n], of the old ones elsewhere."""

    def one(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor):
            return torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b)
        return merged(mask, a, b)

    names = [field.name for field in dataclasses.fields(old)]  # type: ignore[arg-type]
    values = {name: one(getattr(new, name), getattr(old, name)) for name in names}
    return dataclasses.replace(old, **values)  # type: ignore[type-var]
