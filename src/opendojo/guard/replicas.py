"""Which rank is wrong: majority of hashes where replicas agree, buddy replay where they differ.

After the update all replicas hold the same weights: the ranks in the minority of their hashes are
guilty of what happened to memory, on the wire or in the update. A wrong local gradient is summed
into every replica alike and is not seen so. On audit steps each rank therefore does its
neighbour's share of the batch again: a guilty rank is at odds with both of its neighbours, once by
its own gradient and once by its check of the next one's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Audit", "agree", "audit", "guilty_of_pairs", "minority", "sums_agree"]


def minority(hashes: Sequence[int]) -> list[int]:
    """Ranks whose hash is not that of more than half; all of them where no hash is."""
    value, count = Counter(hashes).most_common(1)[0]
    if count * 2 <= len(hashes):
        return list(range(len(hashes)))
    return [rank for rank, one in enumerate(hashes) if one != value]


def agree(mine: int, group: dist.ProcessGroup | None = None) -> list[int]:
    """Exchange 8 bytes a rank; the guilty ranks, an empty list where all agree. All must ask."""
    return minority(_gathered(mine, group))


class Audit:
    """What an audit step found."""

    def __init__(self, own: list[int], checks: list[int]) -> None:
        self.own, self.checks = own, checks
        """Hash of each rank's own gradient; each rank's hash of its successor's share."""

    @property
    def guilty(self) -> list[int]:
        """Ranks that are wrong; empty where nobody is."""
        return guilty_of_pairs(self.own, self.checks)


def audit(gradient_hash: Callable[[int], int], group: dist.ProcessGroup | None = None) -> Audit:
    """Do the next rank's share as well as the own one; `gradient_hash` is given whose share.

    It must do the whole forward and backward pass from that rank's data and random state.
    """
    rank, count = dist.get_rank(group), dist.get_world_size(group)
    own = gradient_hash(rank)
    check = gradient_hash((rank + 1) % count)
    return Audit(_gathered(own, group), _gathered(check, group))


def guilty_of_pairs(own: Sequence[int], checks: Sequence[int]) -> list[int]:
    """Ranks at odds with most of their neighbours: `checks[r]` is rank r's of rank r + 1.

    With two ranks both are named: a third must decide, or a replay.
    """
    count = len(own)
    odds: Counter[int] = Counter()
    for rank in range(count):
        buddy = (rank + 1) % count
        if checks[rank] != own[buddy]:
            odds[rank] += 1
            odds[buddy] += 1
    if not odds:
        return []
    most = max(odds.values())
    return sorted(rank for rank, number in odds.items() if number == most)


def sums_agree(before: Tensor, after: Tensor, group: dist.ProcessGroup | None = None) -> bool:
    """All-reduce by sums of sums: the ranks' sums of a bucket, summed, are the result's sum.

    `before` is this rank's bucket, `after` the sum over ranks; the bound is that of adding R
    numbers, (R - 1) u sum |g|, at 8 times, in float64 sums of float32 numbers. It tells a fault of
    the wire from one of arithmetic before it.
    """
    sums = torch.stack([before.double().sum(), before.double().abs().sum()])
    dist.all_reduce(sums, group=group)
    unit = torch.finfo(after.dtype).eps
    allowed = 8 * dist.get_world_size(group) * unit * sums[1]
    return bool((after.double().sum() - sums[0]).abs() <= allowed)


def _gathered(mine: int, group: dist.ProcessGroup | None) -> list[int]:
    every: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(every, mine, group=group)
    return every
