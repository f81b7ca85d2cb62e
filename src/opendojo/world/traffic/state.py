"""What is so in traffic at one instant, beyond what `Agents` shows: who drives, and where to."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import TypeVar

import torch
from torch import Tensor

from opendojo.world.traffic.agents import Agents

__all__ = [
    "AHEAD",
    "LATER",
    "NEVER",
    "NOTHING",
    "UNKNOWN",
    "Drivers",
    "TrafficState",
    "Vice",
    "Walkers",
    "chosen",
    "joined",
    "part",
]

AHEAD = 6
"""Columns of a path: the lane behind, the present one, and the next four."""
UNKNOWN = -1
"""In a path: not yet chosen."""
NOTHING = -2
"""In a path: no lane leads on; no lane at all."""
NEVER = 1 << 40
"""As a step: not granted."""
LATER = -1
"""As the step of a grant: before all others."""


class Vice(IntEnum):
    """What rule a driver breaks."""

    NONE = 0
    LATE_BRAKE = 1
    """Keeps too close, brakes late and hard."""
    CUT_IN = 2
    """Changes lanes into gaps that are too small."""
    RED_RUNNER = 3
    """Neither stops at red nor gives way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """Who sits in the vehicles' slots, [n, v]; float32 unless said otherwise. For the names see
    the papers on IDM (Treiber, Hennecke, Helbing 2000) and MOBIL (Kesting et al. 2007)."""

    accel_mps2: Tensor
    brake_mps2: Tensor
    headway_s: Tensor
    standstill_m: Tensor
    politeness: Tensor
    safe_brake_mps2: Tensor
    pace: Tensor
    """Speed on a free road as a share of what is sensible there."""
    top_mps: Tensor
    side: Tensor
    """Share of the way from the lane's middle to its kerb at which the driver keeps."""
    vice: Tensor
    """int64, `Vice`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walkers:
    """People on foot beyond their `Agents` columns, [n, p]."""

    way: Tensor
    """float32: +1 along the walk, -1 against it."""
    out: Tensor
    """bool: on the road, from kerb to kerb."""
    until: Tensor
    """int64: the step until which the person stands at the walk's end."""
    pace_mps: Tensor
    """float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficState:
    """A batch of n worlds' traffic; of the slots the first v are vehicles', the rest walkers'."""

    agents: Agents
    drivers: Drivers
    walkers: Walkers
    path: Tensor
    """int64 [n, v, AHEAD]: the lane behind, the present one and those to come; or UNKNOWN (only
    after all that are known) or NOTHING."""
    granted: Tensor
    """int64 [n, v, AHEAD]: the step since which the driver may enter that lane of the path, which
    others cross; NEVER where not."""
    waited: Tensor
    """int64 [n, v]: steps for which the vehicle has stood."""
    other_lane: Tensor
    """int64 [n, v]: during a lane change the lane that is left; else NOTHING."""
    other_s_m: Tensor
    """float32 [n, v]: the middle's place along that lane."""
    change: Tensor
    """float32 [n, v]: how far a lane change has come, 0 to 1; 1 where there is none."""
    change_from_m: Tensor
    """float32 [n, v]: the offset at which it began."""
    ego_lane: Tensor
    ego_before: Tensor
    """int64 [n]: the ego's lane, and the one that it was on before that; NOTHING for none."""


Struct = TypeVar("Struct", Agents, Drivers, Walkers)


def chosen(which: Tensor, new: Struct, old: Struct) -> Struct:
    """The new values where `which`, else the old; field by field."""
    return replace(
        old,
        **{
            f.name: torch.where(which, getattr(new, f.name), getattr(old, f.name))
            for f in fields(old)
        },
    )


def part(agents: Agents, first: int, last: int | None) -> Agents:
    """Some of the slots."""
    return Agents(**{f.name: getattr(agents, f.name)[:, first:last] for f in fields(agents)})


def joined(vehicles: Agents, walkers: Agents) -> Agents:
    """The slots of both, one after the other."""
    return Agents(
        **{
            f.name: torch.cat([getattr(vehicles, f.name), getattr(walkers, f.name)], 1)
            for f in fields(vehicles)
        }
    )
