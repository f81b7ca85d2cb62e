"""Chance by counting: a draw is a hash of who asks, for what, and when; there is no generator."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from opendojo.world.exact import hashed

__all__ = ["Draw", "Seeds", "uniform", "uniforms"]

_SLOTS = 4096


class Draw(IntEnum):
    """What a draw is for: draws of different names are independent."""

    KIND = 1
    LENGTH = 2
    WIDTH = 3
    HEIGHT = 4
    ACCEL = 5
    BRAKE = 6
    HEADWAY = 7
    STANDSTILL = 8
    POLITENESS = 9
    SAFE_BRAKE = 10
    PACE = 11
    VICE = 12
    WAY = 13
    PLACE = 14
    ACTIVE = 15
    WAIT = 16
    SIDE = 17
    NERVE = 18


class Seeds(NamedTuple):
    """Seeds of a batch of worlds, int64 [n, 1] each: the low and the high 32 bits."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, seeds: Sequence[int], device: torch.device) -> Seeds:
        """Seeds in [0, 2^63)."""
        whole = torch.tensor(list(seeds), dtype=torch.int64, device=device)[:, None]
        return cls(whole & 0xFFFFFFFF, whole >> 32)


def uniform(seeds: Seeds, name: Draw, slot: Tensor, step: Tensor) -> Tensor:
    """Numbers in [0, 1), float32, multiples of 2^-24.

    `slot` (below 4096) and `step` are int64 and broadcast to [n, m]: equal keys, equal numbers.
    """
    drawn = hashed(seeds.low, seeds.high, slot + int(name) * _SLOTS, step)
    return (drawn >> 8).to(torch.float32) * (1.0 / 16777216.0)


def uniforms(seeds: Seeds, names: Sequence[Draw], slot: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    """The draws of several names at once: for each, what `uniform` gives."""
    offset = torch.tensor([int(name) * _SLOTS for name in names], device=slot.device)
    keys = slot[:, :, None] + offset, step[:, :, None]
    drawn = hashed(seeds.low[:, :, None], seeds.high[:, :, None], *keys)
    return ((drawn >> 8).to(torch.float32) * (1.0 / 16777216.0)).unbind(2)
