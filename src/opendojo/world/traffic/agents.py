"""Road users other than the ego, as a struct of tensors with fixed slots."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world.draw.scene import Kind

__all__ = ["Agents", "Neighbour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """Road users, [n, a]; places are the bodies' middles. float32 unless said otherwise."""

    mask: Tensor
    """bool: whether the slot holds somebody."""
    kind: Tensor
    """int64: `draw.scene.Kind`, CAR to PEDESTRIAN."""
    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    speed_mps: Tensor
    accel_mps2: Tensor
    length_m: Tensor
    width_m: Tensor
    height_m: Tensor
    lane: Tensor
    """int64: the lane (of people on foot, the walk) that is followed; -1 for none (replay)."""
    s_m: Tensor
    """Of the middle, along that lane."""
    d_m: Tensor
    """To the left of that lane's middle line."""

    @property
    def road_lane(self) -> Tensor:
        """The lane of those on wheels; -1 for people on foot, whose `lane` is a walk, and in
        empty slots."""
        return torch.where(self.mask & (self.kind != int(Kind.PEDESTRIAN)), self.lane, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """The ego as traffic sees it, [n]."""

    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    """The body's middle and its heading."""
    speed_mps: Tensor
    length_m: float
    width_m: float
    lane: Tensor
    """int64: the lane that its middle is on; -1 for none."""
    s_m: Tensor
    d_m: Tensor
