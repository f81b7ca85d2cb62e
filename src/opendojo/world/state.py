"""What is so at one instant, for a batch of worlds: a struct of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opendojo.world.config import WorldConfig
from opendojo.world.exact import wrapped
from opendojo.world.road import LANE_M, Road, stream
from opendojo.world.roads import Roads

__all__ = ["Cars", "Ego", "State", "start"]

START_S_M = 3.0
"""Arc length at which the ego starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ego:
    """The ego vehicles, float32 [n]: rear axle's place, heading, and what the actuators do."""

    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    speed_mps: Tensor
    steer_rad: Tensor
    accel_mps2: Tensor

    def rows(self, first: int, last: int) -> Ego:
        """The egos of some of the worlds."""
        return Ego(**{name: getattr(self, name)[first:last] for name in Ego.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cars:
    """The other cars, float32 [n, a] but for `mask`; places are the bodies' centres."""

    mask: Tensor
    """bool: whether this slot holds a car."""
    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    speed_mps: Tensor
    s_m: Tensor
    """Arc length of the centre along the road."""
    d_m: Tensor
    """Offset from the centre line, held for good: these cars keep their lane."""
    length_m: Tensor
    width_m: Tensor
    height_m: Tensor
    desired_mps: Tensor
    """The speed this driver takes on a free straight."""

    def rows(self, first: int, last: int) -> Cars:
        """The cars of some of the worlds."""
        return Cars(**{name: getattr(self, name)[first:last] for name in Cars.__slots__})

    @property
    def oncoming(self) -> Tensor:
        """bool [n, a]: drives against s, in the left lane."""
        return self.d_m > 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A batch of worlds at one instant."""

    ego: Ego
    cars: Cars
    step: int
    """Steps since the start."""


def start(seeds: Sequence[int], drawn: Sequence[Road], roads: Roads, config: WorldConfig) -> State:
    """The state in which worlds of these seeds begin; each seed draws from its own streams."""
    device = roads.x_m.device
    ego_rows, car_rows = [], []
    for seed, road in zip(seeds, drawn, strict=True):
        rng = stream(seed, 1)
        ego_rows.append([START_S_M, -LANE_M / 2 + rng.uniform(-0.4, 0.4), rng.uniform(-0.05, 0.05)])
        car_rows.append(_cars(stream(seed, 2), road, config.other_cars))
    s, d, skew = torch.tensor(np.array(ego_rows), dtype=torch.float32, device=device).unbind(1)
    x, y, yaw = (v[:, 0] for v in roads.place(s[:, None], d[:, None]))
    zero = torch.zeros_like(x)
    speed = roads.limit_mps * 0.8
    speed = torch.minimum(speed, roads.at(roads.ahead_mps, s[:, None])[:, 0])
    ego = Ego(x_m=x, y_m=y, yaw_rad=yaw + skew, speed_mps=speed, steer_rad=zero, accel_mps2=zero)
    table = torch.tensor(np.array(car_rows), dtype=torch.float32, device=device)
    mask, s, d, desired, length, width, height = table.view(len(seeds), 7, -1).unbind(1)
    pace = torch.where(d > 0, roads.at(roads.oncoming_mps, s), roads.at(roads.ahead_mps, s))
    x, y, yaw = roads.place(s, d)
    yaw = torch.where(d > 0, wrapped(yaw + np.pi), yaw)
    cars = Cars(
        mask=mask > 0.5, x_m=x, y_m=y, yaw_rad=yaw, speed_mps=torch.minimum(desired, pace),
        s_m=s, d_m=d, length_m=length, width_m=width, height_m=height, desired_mps=desired,
    )  # fmt: skip
    return State(ego=ego, cars=cars, step=0)


def _cars(rng: np.random.Generator, road: Road, slots: int) -> np.ndarray:
    """Draw the cars of one world: [7, slots] in the order in which `start` unpacks them.

    Every other slot holds a car ahead in the ego's lane, the rest oncoming ones.
    """
    slot = np.arange(slots)
    oncoming = slot % 2 == 1
    gap = np.where(oncoming, rng.uniform(30.0, 110.0, slots), rng.uniform(22.0, 60.0, slots))
    s_m = np.where(oncoming, np.cumsum(gap * oncoming), np.cumsum(gap * ~oncoming)) + 10.0
    side = np.where(oncoming, LANE_M / 2, -LANE_M / 2) + rng.uniform(-0.2, 0.2, slots)
    share = np.where(oncoming, rng.uniform(0.75, 1.0, slots), rng.uniform(0.6, 0.95, slots))
    tall = rng.random(slots) < 0.3
    length = np.where(tall, rng.uniform(4.4, 5.2, slots), rng.uniform(3.9, 4.8, slots))
    width = np.where(tall, rng.uniform(1.8, 1.95, slots), rng.uniform(1.7, 1.85, slots))
    height = np.where(tall, rng.uniform(1.75, 2.0, slots), rng.uniform(1.45, 1.55, slots))
    there = (rng.random(slots) < 0.85) & (s_m < road.length_m - 10.0)
    return np.stack([there, s_m, side, share * road.limit_mps, length, width, height])
