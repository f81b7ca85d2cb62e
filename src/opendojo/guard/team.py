"""The guard of a training on several ranks: what one of them finds, all of them undo.

Each rank checks its own arithmetic. What is suspicious on one has gone into everybody's gradients
by the all-reduce, so that all do the step again, and all come to the same verdict, with the rank's
number in it. Three things are checked together:

- the all-reduce, by sums of sums (`Wire`),
- after the update, that all replicas hold the same bits: the minority is guilty of what happened
  to its memory or in its update,
- memory at rest that changed on one rank: it is put right from one where it did not.

    team = Team(); Wire(team, ddp)
    watch = Watch(ddp, optimizer, FULL, team=team)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import _disable_current_modes

from opendojo.guard.replicas import minority

__all__ = ["Team", "Wire"]

T = TypeVar("T")
_ALLOWED = 8.0
"""Times the round-off bound of adding R numbers that the sums may be apart."""


class Team:
    """The ranks of one training. Every method but `rank` and `ranks` is called by all of them."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        self.wire: Wire | None = None

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        with _disable_current_modes():
            value = torch.tensor(int(flag))
            dist.all_reduce(value, dist.ReduceOp.MAX, group=self.group)
            return bool(value)

    def every(self, mine: T) -> list[T]:
        """Each rank's own, in their order."""
        values: list[Any] = [None] * self.ranks
        with _disable_current_modes():
            dist.all_gather_object(values, mine, group=self.group)
        return values

    def odd_ones(self, hash_of_replica: int) -> list[int]:
        """Ranks whose replica is not that of more than half; all where no replica is."""
        with _disable_current_modes():
            mine = torch.tensor([hash_of_replica - (1 << 63)])
            found = [torch.empty_like(mine) for _ in range(self.ranks)]
            dist.all_gather(found, mine, group=self.group)
            return minority([int(one) for one in found])

    def copy_from(self, source: int, tensors: Iterable[Tensor]) -> None:
        """Give every rank the bits of one."""
        with torch.no_grad(), _disable_current_modes():
            for tensor in tensors:
                dist.broadcast(tensor.data, group_src=source, group=self.group)


class Wire:
    """Checks of DDP's all-reduce: the ranks' sums of a bucket, summed, are the sum of the result.

    The bound is that of adding R numbers, (R - 1) u sum |g|, `_ALLOWED` times. A bucket is scaled
    before it is sent, as DDP does by itself, so that no bit changes by being watched.
    """

    def __init__(self, team: Team, trainee: DistributedDataParallel) -> None:
        self.team = team
        self._before: list[Tensor] = []
        self._after: list[Tensor] = []
        self._rounding: list[float] = []
        team.wire = self
        trainee.register_comm_hook(None, lambda _, bucket: self.reduced(bucket))

    def begin(self) -> None:
        """A pass begins."""
        self._before, self._after, self._rounding = [], [], []

    def ratio(self) -> float:
        """The worst of difference over bound since `begin`; every rank must ask."""
        if not self._before:
            return 0.0
        with _disable_current_modes():
            before, after = torch.stack(self._before), torch.stack(self._after)
            dist.all_reduce(before, group=self.team.group)
            units = before.new_tensor(self._rounding)
            allowed = _ALLOWED * self.team.ranks * units * before[:, 1]
            apart = (after - before[:, 0]).abs()
            # where something is not finite the products' checks have their say
            known = before.isfinite().all(1)
            wrong = known & ~(apart <= allowed)
            worst = torch.where(wrong, apart / allowed, 0.0).max()
            return float("inf") if bool(worst.isnan()) else float(worst)

    def reduced(self, bucket: Any) -> torch.futures.Future[Tensor]:
        """DDP's hook: all-reduce a `GradBucket`, noting its sum before and after."""
        buffer = bucket.buffer()
        with _disable_current_modes():
            buffer.mul_(1.0 / self.team.ranks)
            wide = buffer.double()
            self._before.append(torch.stack([wide.sum(), wide.abs().sum()]))
            self._rounding.append(torch.finfo(buffer.dtype).eps)
            place = len(self._after)
            self._after.append(self._before[-1][0])
            work = dist.all_reduce(buffer, group=self.team.group, async_op=True)
        assert work is not None

        def received(future: torch.futures.Future[Any]) -> Tensor:
            total: Tensor = future.value()[0]
            self._after[place] = total.double().sum()
            return total

        return work.get_future().then(received)
