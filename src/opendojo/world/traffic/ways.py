"""What drivers know of their towns by heart: safe speeds, who crosses whom, where one may appear.

Derived once from the tables of `Towns`, in numpy; rows of lanes are laid flat over the towns, so
that lane l of town g is row g * L + l.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opendojo.world.traffic.known import STRETCHES, Known

if TYPE_CHECKING:
    from opendojo.world.town.towns import Towns

__all__ = ["Meetings", "Spots", "Ways"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meetings:
    """Pairs of lanes that cannot be used at once, [e]; row 0 is no meeting at all.

    The row for lanes i and j of town g is `row[first[g] + knot[i] * side[g] + knot[j]]`.
    """

    row: Tensor
    """int32, flat over the towns' square tables."""
    first: Tensor
    side: Tensor
    """int64 [g]."""
    from_m: Tensor
    to_m: Tensor
    """float32: the stretch of the lane itself."""
    other_from_m: Tensor
    other_to_m: Tensor
    """float32: the stretch of the other lane."""
    yields: Tensor
    """bool: the lane gives way to the other."""
    fork: Tensor
    """bool: both begin at one point."""
    merge: Tensor
    """bool: both end at one point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spots:
    """Where road users may appear, ragged over the towns."""

    first: Tensor
    count: Tensor
    """int64 [g]."""
    lane: Tensor
    """Of people on foot the walk."""
    s_m: Tensor
    way_m: Tensor
    """From there to where one may first have to halt."""


class Ways:
    """Tables over all towns on the towns' device."""

    def __init__(self, towns: Towns) -> None:
        self.towns = towns
        self.lanes = int(towns.length_m.shape[1])
        self.walks = int(towns.walk_length_m.shape[1])
        self.length_m = towns.length_m.reshape(-1)
        self.width_m = towns.width_m.reshape(-1)
        self.left, self.right = towns.left.reshape(-1), towns.right.reshape(-1)
        self.signal = towns.signal.reshape(-1)
        self.stop_m = towns.stop_m.reshape(-1)
        self.first = towns.first.reshape(-1)
        self.next = towns.next.reshape(-1, towns.next.shape[2])
        self.choices = (self.next >= 0).sum(1)
        self.curb = torch.where(towns.left_hand, 1.0, -1.0)
        self._learn(Known(towns), towns.length_m.device)

    def _learn(self, known: Known, device: torch.device) -> None:
        def real(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        def whole(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        self.pace_mps = real(known.paces())
        self.start_mps = self.pace_mps[self.first]
        self.knot = whole(known.knot.reshape(-1))
        columns = known.columns
        self.meetings = Meetings(
            row=whole(known.row).int(), first=whole(known.first_row), side=whole(known.side),
            yields=real(columns[4]) > 0, fork=real(columns[5]) > 0, merge=real(columns[6]) > 0,
            **{name: real(columns[i]) for i, name in enumerate(STRETCHES)},
        )  # fmt: skip
        self.hold_m = real(known.hold.reshape(-1))
        self.clear_m = real(known.clear.reshape(-1))
        self.last_m = real(known.last.reshape(-1))
        self.spots, self.walk_spots = (
            Spots(
                first=whole(first),
                count=whole(count),
                lane=whole(lane),
                s_m=real(s_m),
                way_m=real(way_m),
            )
            for first, count, lane, s_m, way_m in (known.spots(), known.walk_spots())
        )
        self.walk_low_m, self.walk_high_m = (real(v.reshape(-1)) for v in known.curbs())
