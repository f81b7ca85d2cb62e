"""What is known about a batch beside its pictures; every label is optional, and masked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

__all__ = ["Truth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Labels of b windows of t instants. None, or False in a mask, means not known."""

    path_m: Tensor | None = None
    """float32 [b, t, p, 2]: the ego's later places, x forward, y left, in m."""
    path_mask: Tensor | None = None
    """bool [b, t, p]."""
    judged: Tensor | None = None
    """int64 [b, t, m]: numbers of candidates of the vocabulary that the world's judge saw."""
    terms: Tensor | None = None
    """float32 [b, t, m, s]: their `SUB_SCORES`, 0 to 1."""
    terms_mask: Tensor | None = None
    """bool [b, t, m, s]."""
    occupancy: Tensor | None = None
    """bool [b, t, 2, gy, gx]: cells with vehicles; with people and cyclists."""
    occupancy_mask: Tensor | None = None
    """bool [b, t]."""
    road: Tensor | None = None
    """bool [b, t, 3, gy, gx]: drivable ground; lane lines; crossings."""
    road_mask: Tensor | None = None
    """bool [b, t]."""
    agents: Tensor | None = None
    """float32 [b, t, n, 6]: x, y (m), yaw (rad), length, width (m), speed (m/s) of others."""
    agents_mask: Tensor | None = None
    """bool [b, t, n]: the slot holds somebody."""
    agents_known: Tensor | None = None
    """bool [b, t]: who is not listed is not there."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Truth:
        """The same on another device."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def each(self, change: Callable[[Tensor], Tensor]) -> Truth:
        """The labels that there are, changed."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return Truth(**{k: None if v is None else change(v) for k, v in named.items()})
