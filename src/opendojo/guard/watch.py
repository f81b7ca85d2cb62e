"""`guard.watch(model, optimizer)`: suspicion, verdict, commit, around any training loop.

    with guard.watch(model, optimizer) as watch:
        for batch in data:
            loss = watch.step(lambda: loss_of(model, batch))
    print(watch.ledger.text())

`step` does forward and backward under the checks. Where nothing is flagged the optimizer steps.
Where something is, the same step is done again from the same random state: other bits and no flag
mean a transient fault, and the run goes on with the right gradients; the same wrong bits again mean
a permanent one. Where memory at rest has changed, a snapshot is put back and the steps since are
done again. In each case the weights end with the bits of an undisturbed run.

A loop that calls `loss.backward()` and `optimizer.step()` itself is watched as well: the
optimizer's step then raises `Suspected` before it changes anything.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from opendojo.guard.fingerprint import fingerprint, fingerprints, total
from opendojo.guard.ledger import Event, Ledger
from opendojo.guard.mode import Flag, Mode, Rates
from opendojo.guard.moment import (
    Moment,
    Ring,
    Snapshot,
    random_state,
    set_random_state,
    state_tensors,
)
from opendojo.guard.products import Bound
from opendojo.guard.regions import seeing
from opendojo.guard.saved import saved_hooks
from opendojo.guard.team import Team

__all__ = ["FULL", "SAMPLED", "CorruptState", "PermanentFault", "Suspected", "Watch", "watch"]

FULL = Rates(products=1, duplicates=8, saved=8, rest=8, optimizer=8, replicas=1)
"""Every product checked."""
SAMPLED = Rates(products=8, duplicates=64, saved=64, rest=64, optimizer=64, replicas=8)
"""1 in 8 products."""

_BUFFERS, _WEIGHTS = ("buffer ",), ("weight ", "optimizer ")
_ATTEMPTS = 5
"""Times a step is done again before its device is given up."""


class Suspected(ArithmeticError):
    """Something was flagged in a step that this room cannot do again; no weight has changed."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__("; ".join(event.line() for event in events))
        self.events = events


class PermanentFault(Suspected):
    """The same part is wrong every time: this device must not go on."""


class CorruptState(Suspected):
    """Weights or optimizer state changed at rest and no snapshot is there to go back to."""


@dataclass(slots=True)
class _Try:
    loss: Tensor
    flags: list[Flag]
    bits: int


class Watch:
    """A watched training; made by `watch`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        rates: Rates,
        *,
        bound: Bound = "statistical",
        least_flops: float = 0.0,
        ring: Ring | None = None,
        rank: int = 0,
        team: Team | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.team = team
        self.model, self.optimizer, self.rates, self.ring = model, optimizer, rates, ring
        self.ledger = Ledger()
        self.mode = Mode(rates, self.ledger, bound, least_flops)
        self.number, self.rank = 0, rank if team is None else team.rank
        self.deterministic: bool | None = None
        """Whether a step done twice gives the same bits; None until `qualify`."""
        self.uneven: list[str] = []
        """Operators whose results differed when it did not."""
        self._tell = tell or (lambda line: None)
        self._at_rest: dict[str, int] | None = None
        self._suspects: list[str] = []
        self._compared = 0
        self._began: Moment | None = None
        self._committing = False
        self._entered = False

    # the loop's own steps -------------------------------------------------------------

    def step(
        self, compute: Callable[[], Tensor], commit: Callable[[], Any] | None = None
    ) -> Tensor:
        """One step: `compute` gives the loss (or does backward itself); `commit` updates.

        Returns the loss, detached. Raises `PermanentFault` where the step is wrong each time,
        `CorruptState` where memory changed and there is no ring.
        """
        if self.team is not None:
            loss = self.settled(compute)
            while not self.check_rest():
                loss = self.settled(compute)
            self.commit(commit)
            return loss
        if self._changed(_BUFFERS):
            self._recover()
        if self.ring is not None and self.ring.due(self.number):
            if self._changed(_WEIGHTS):
                self._recover()
            self.ring.add(self.snapshot())
        loss = self.settled(compute)
        if self._changed(_WEIGHTS):
            self._recover()
            loss = self.settled(compute)
        if self.ring is not None:
            self.ring.recorded.append((self.number, (compute, commit)))
        self.commit(commit)
        return loss

    def settled(self, compute: Callable[[], Tensor]) -> Tensor:
        """Forward and backward, done again where something was flagged; the loss, detached.

        Afterwards the gradients are right, or `PermanentFault` was raised.
        """
        with _disable_current_modes():
            moment = self._began = Moment(self.model)
        first = self._attempt(compute, hashed=False)
        if not self._anywhere(first.flags):
            return first.loss
        began_s = time.perf_counter()
        try:
            return self._verdict(compute, moment, first)
        finally:
            self.ledger.lost_s += time.perf_counter() - began_s

    def commit(self, commit: Callable[[], Any] | None = None) -> None:
        """The update, done twice and compared where its turn has come; then hash what it wrote."""
        if commit is None:
            assert self.optimizer is not None, "without an optimizer, say how to commit"
            commit = self.optimizer.step
        self._committing = True
        try:
            self._update(commit)
        finally:
            self._committing = False
        self._done()

    def check_rest(self) -> bool:
        """Whether weights and optimizer state are what was written; to be asked after `settled`.

        False where they were not and another rank's were put in their place: the step must then be
        settled again. Raises `CorruptState` where nobody has them whole.
        """
        changed = self._changed(_WEIGHTS)
        if not self._anywhere(changed):
            return True
        flags = [Flag(0, name, "rest", float("inf")) for name in changed]
        whole = [rank for rank, names in enumerate(self._everywhere(changed)) if not names]
        if self.team is None or not whole:
            raise CorruptState(self._record(flags, "open"))
        self._record(flags, "restored")
        self._copy_from(whole[0])
        if self._began is not None:
            self._began.restore()
        return False

    def check_replicas(self) -> None:
        """Put right the replicas that are not like most; nothing where there is no team.

        Raises `CorruptState` where there is no majority, or where steps were taken since replicas
        were last compared: theirs may have gone into everybody's weights.
        """
        if self.team is None or self.number == self._compared:
            return
        with _disable_current_modes():
            state = {n: t for n, t in self._state().items() if n.startswith(_WEIGHTS)}
            odd = self.team.odd_ones(total(fingerprints(state)))
        fresh = self.number - self._compared == 1
        self._compared = self.number
        if not odd:
            return
        mended = fresh and len(odd) < self.team.ranks
        flags = [(rank, Flag(0, "a replica", "replica", float("inf"))) for rank in odd]
        events = self._told(flags, "restored" if mended else "open")
        if not mended:
            raise CorruptState(events)
        self._copy_from(next(rank for rank in range(self.team.ranks) if rank not in odd))

    def _copy_from(self, rank: int) -> None:
        assert self.team is not None
        state = self._state()
        self.team.copy_from(rank, [state[n] for n in sorted(state) if n.startswith(_WEIGHTS)])
        self._at_rest = None

    def snapshot(self, extra: Any = None) -> Snapshot:
        """A copy of the whole state, as it is now, with its hashes."""
        with _disable_current_modes():
            tensors = {name: t.detach().clone() for name, t in self._state().items()}
            return Snapshot(self.number, tensors, fingerprints(tensors), random_state(), extra)

    def qualify(self, compute: Callable[[], Tensor]) -> bool:
        """Do a step three times: are its bits the same? Operators that differ go to `uneven`.

        Leaves gradients behind and nothing else changed.
        """
        moment = Moment(self.model)
        kept: list[list[tuple[str, int]]] = []
        bits: list[int] = []
        for _ in range(3):
            moment.restore()
            seen: list[tuple[str, int]] = []
            self.mode.hook = lambda place, func, out, seen=seen: seen.append(_named(func, out))
            bits.append(self._attempt(compute, hashed=True).bits)
            kept.append(seen)
        self.mode.hook = None
        moment.restore()
        self.deterministic = len(set(bits)) == 1
        if not self.deterministic:
            names: dict[str, None] = {}
            for other in kept[1:]:
                pairs = zip(kept[0], other, strict=False)
                names |= {one[0]: None for one, two in pairs if one != two}
            self.uneven = list(names)
        return self.deterministic

    # attempts and verdicts ------------------------------------------------------------

    def _attempt(self, compute: Callable[[], Tensor], *, hashed: bool) -> _Try:
        for parameter in self.model.parameters():
            parameter.grad = None
        self.mode.begin(self.number)
        if self.team is not None and self.team.wire is not None:
            self.team.wire.begin()
        entered = contextlib.nullcontext() if self._entered else self._looking()
        with entered:
            loss = compute()
            if loss.requires_grad:
                loss.backward()
        flags = self.mode.flags()
        if self.team is not None and self.team.wire is not None:
            ratio = self.team.wire.ratio()
            flags += [Flag(0, "all-reduce", "wire", ratio)] if ratio > 0.0 else []
        bits = self._bits(loss) if hashed or flags else 0
        return _Try(loss.detach(), list(flags), bits)

    def _anywhere(self, found: object) -> bool:
        """Whether there is something here or, of a team, on any rank."""
        return bool(found) if self.team is None else self.team.any(bool(found))

    def _everywhere(self, mine: Any) -> list[Any]:
        """Each rank's, or this one's alone."""
        return [mine] if self.team is None else self.team.every(mine)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self.rates.saved:
                spared = frozenset(buffer.data_ptr() for buffer in self.model.buffers())
                hooks = saved_hooks(
                    self.rates.saved,
                    lambda: self.number,
                    lambda where: self.mode.add(where, "saved"),
                    spared,
                )
                stack.enter_context(hooks)
            stack.enter_context(seeing(self.mode))
            stack.enter_context(self.mode)
            yield

    def _bits(self, loss: Tensor) -> int:
        with _disable_current_modes():
            named = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
            return total(fingerprints({"loss": loss.detach(), **named}))

    def _verdict(self, compute: Callable[[], Tensor], moment: Moment, first: _Try) -> Tensor:
        dirty, seen = [first], self._everywhere(_signs(first))
        for _ in range(_ATTEMPTS):
            moment.restore()
            self.ledger.replays += 1
            self.mode.settle = {flag.place for one in dirty for flag in one.flags}
            again = self._attempt(compute, hashed=True)
            self.mode.settle = set()
            if not self._anywhere(again.flags):
                verdict = "transient" if len(dirty) == 1 else "intermittent"
                self._record(first.flags, verdict)
                return again.loss
            dirty, last = [*dirty, again], seen
            seen = self._everywhere(_signs(again))
            if seen == last:
                break
        events = self._record(dirty[-1].flags, "permanent")
        raise PermanentFault(events)

    def _record(self, flags: list[Flag], verdict: str) -> list[Event]:
        if self.team is None:
            return self._told([(self.rank, flag) for flag in flags], verdict)
        every = enumerate(self.team.every(flags))
        return self._told([(rank, flag) for rank, some in every for flag in some], verdict)

    def _told(self, flags: list[tuple[int, Flag]], verdict: str) -> list[Event]:
        """Write down what was found, of whatever rank; every rank writes the same."""
        found = {(rank, flag.where): flag for rank, flag in flags}
        events = [
            Event(step=self.number, where=flag.where, what=flag.what, ratio=flag.ratio,
                  verdict=verdict, rank=rank)
            for (rank, _), flag in found.items()
        ]  # fmt: skip
        self.ledger.events += events
        if self.team is None or self.team.rank == 0:
            for event in events[:1]:
                self._tell(event.line())
        return events

    # state at rest and its recovery ----------------------------------------------------

    def _state(self) -> dict[str, Tensor]:
        return state_tensors(self.model, self.optimizer)

    def _changed(self, kinds: tuple[str, ...]) -> list[str]:
        """Names of tensors of those kinds that are not what was written after the last step.

        Buffers are looked at before the forward pass, which may write them, weights and optimizer
        state after the backward pass, when all their readers but the update are done.
        """
        written = {n: h for n, h in (self._at_rest or {}).items() if n.startswith(kinds)}
        if not written:
            return []
        with _disable_current_modes():
            state = self._state()
            self._suspects = [n for n, value in written.items() if fingerprint(state[n]) != value]
        return self._suspects

    def _recover(self) -> None:
        """Back to the newest whole snapshot, then forward again with the recorded steps."""
        began_s = time.perf_counter()
        flags = [Flag(0, name, "rest", float("inf")) for name in self._suspects]
        with _disable_current_modes():
            snapshot = self.ring.newest_whole() if self.ring is not None else None
        if snapshot is None or self.ring is None:
            raise CorruptState(self._record(flags, "open"))
        self._record(flags, "restored")
        now = self.number
        self._restore(snapshot)
        for _number, (compute, commit) in self.ring.since(snapshot.step):
            self.settled(compute)
            self.ledger.replays += 1
            self.commit(commit)
        self._at_rest = None
        assert self.number == now, "the ring has lost a step"
        self.ledger.lost_s += time.perf_counter() - began_s

    def _restore(self, snapshot: Snapshot) -> None:
        state = self._state()
        with torch.no_grad(), _disable_current_modes():
            for name, tensor in state.items():
                if name in snapshot.tensors:
                    tensor.copy_(snapshot.tensors[name])
                else:
                    tensor.zero_()  # optimizer state that was not there yet
        set_random_state(snapshot.random)
        self.ledger.steps -= self.number - snapshot.step
        self.number, self._at_rest = snapshot.step, None

    # the update ------------------------------------------------------------------------

    def _update(self, commit: Callable[[], Any]) -> None:
        every = self.rates.optimizer
        twice = every and (self.number + 1) % every == 0 and self.optimizer is not None
        if not twice or not self.optimizer or not self.optimizer.state:
            commit()
            return
        moment = random_state()
        with _disable_current_modes():
            before = {name: t.detach().clone() for name, t in self._state().items()}
        bits: list[int] = []
        for number in range(_ATTEMPTS):
            if number:
                set_random_state(moment)
                state = self._state()
                with torch.no_grad(), _disable_current_modes():
                    for name, tensor in before.items():
                        state[name].copy_(tensor)
            commit()
            self.ledger.duplicates += 1
            with _disable_current_modes():
                bits.append(total(fingerprints(self._state())))
            if bits[-1] in bits[:-1]:
                break
        else:
            flag = Flag(0, "the optimizer's step", "optimizer", float("inf"))
            raise PermanentFault(self._record([flag], "permanent"))
        if len(bits) > 2:
            flag = Flag(0, "the optimizer's step", "optimizer", float("inf"))
            self._record([flag], "transient")

    def _done(self) -> None:
        self.number += 1
        self._at_rest = None
        self.ledger.steps += 1
        if self.rates.replicas and self.number % self.rates.replicas == 0:
            self.check_replicas()
        every = self.rates.rest
        if every and self.number % every == 0:
            with _disable_current_modes():
                self._at_rest = fingerprints(self._state())

    # a loop that does not call `step` ---------------------------------------------------

    def _before_step(self, *_: Any) -> None:
        if self._committing:
            return
        flags = self.mode.flags()
        if self._anywhere(flags):
            raise Suspected(self._record(flags, "open"))
        if not self.check_rest():
            raise Suspected(self.ledger.events[-1:])

    def _after_step(self, *_: Any) -> None:
        if not self._committing:
            self._done()
            self.mode.begin(self.number)


@contextlib.contextmanager
def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rates: Rates = FULL,
    *,
    bound: Bound = "statistical",
    least_flops: float = 0.0,
    ring: Ring | None = None,
    rank: int = 0,
    team: Team | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Watch]:
    """Watch a training loop; see the module's text. Numbers are never changed by being watched.

    `ring` keeps snapshots for faults of memory; `least_flops` leaves smaller products unguarded,
    which the ledger counts; `tell` is given one line when something is found. With a `team` all of
    its ranks watch, and a replica that is whole takes the place of snapshots.
    """
    options: dict[str, Any] = {"least_flops": least_flops, "ring": ring, "rank": rank, "team": team}
    watched = Watch(model, optimizer, rates, bound=bound, tell=tell, **options)
    hooks = [
        optimizer.register_step_pre_hook(watched._before_step),
        optimizer.register_step_post_hook(watched._after_step),
    ]
    try:
        with watched._looking():
            watched._entered = True
            yield watched
    finally:
        watched._entered = False
        for hook in hooks:
            hook.remove()


def _signs(one: _Try) -> tuple[list[str], int]:
    """What a rank found, to be held against what it finds when it does the same again."""
    return sorted({flag.where for flag in one.flags}), one.bits if one.flags else 0


def _named(func: Any, out: Any) -> tuple[str, int]:
    tensors = out if isinstance(out, list | tuple) else (out,)
    real = [t for t in tensors if isinstance(t, Tensor) and t.layout == torch.strided]
    return func._schema.name, sum(fingerprint(t) * (2 * k + 1) for k, t in enumerate(real))
