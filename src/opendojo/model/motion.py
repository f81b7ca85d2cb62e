"""What the network is told beside the pictures: time, own speed, and what the route asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

__all__ = ["COMMANDS", "STEP_S", "Motion"]

COMMANDS = ("unknown", "follow", "left", "straight", "right")
"""Names of the commands by their number; 1 more than `world.route`'s, since 0 is unknown here."""

STEP_S = 0.1
"""Time between instants where nobody tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Times, speeds and commands of b windows of t instants."""

    time_s: Tensor
    """float64 [b, t]: rising in each window; only differences count."""
    speed_mps: Tensor
    """float32 [b, t]; anything where unknown."""
    speed_mask: Tensor
    """bool [b, t]: the speed is known."""
    command: Tensor
    """int64 [b, t]: number of a `COMMANDS`."""

    @classmethod
    def of(
        cls,
        speed_mps: Tensor,
        speed_mask: Tensor | None = None,
        *,
        time_s: Tensor | None = None,
        command: Tensor | None = None,
    ) -> Motion:
        """Motion where some of it is not told: speeds are known, steps even, commands unknown."""
        steps = torch.arange(speed_mps.shape[1], device=speed_mps.device, dtype=torch.float64)
        if time_s is None:
            time_s = (steps * STEP_S).expand(speed_mps.shape)
        if speed_mask is None:
            speed_mask = torch.ones_like(speed_mps, dtype=torch.bool)
        if command is None:
            command = torch.zeros_like(speed_mps, dtype=torch.int64)
        return cls(time_s=time_s, speed_mps=speed_mps, speed_mask=speed_mask, command=command)

    def last(self) -> Motion:
        """The newest instant alone, [b, 1]."""
        return self.each(lambda tensor: tensor[:, -1:])

    def to(self, device: torch.device | str) -> Motion:
        """The same on another device."""
        return self.each(lambda tensor: tensor.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Motion:
        """The motion with every tensor changed."""
        return Motion(**{f.name: change(getattr(self, f.name)) for f in fields(self)})
