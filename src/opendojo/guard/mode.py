"""The mode below autograd that sees every operator of a step, forward and backward.

Operators run as they are; their results are looked at afterwards and never changed. On a processor
a verdict of each check is known at once; on an accelerator ratios are collected and asked for once
a step. Other modes that were entered before, such as the injector, see the operators but not the
checks.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from opendojo.guard.ledger import Ledger
from opendojo.guard.plan import (
    Product,
    counted_flops,
    is_counted,
    kind_of,
    product_of,
    repeatable,
    same_bits,
)
from opendojo.guard.products import Bound
from opendojo.guard.settle import confirmed

__all__ = ["Flag", "Mode", "Rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How much is checked: each is 1 in so many, 0 is never."""

    products: int = 1
    """Of products, convolutions and attention."""
    duplicates: int = 8
    """Of all other operators, done twice."""
    saved: int = 8
    """Of activations kept for the way back, hashed."""
    rest: int = 8
    """Of steps after and before which weights and optimizer state are hashed."""
    optimizer: int = 8
    """Of steps whose update is done twice."""
    replicas: int = 1
    """Of steps after which the ranks of a team compare their weights."""

    def __post_init__(self) -> None:
        for name in ("products", "duplicates", "saved", "rest", "optimizer", "replicas"):
            if getattr(self, name) < 0:
                raise ValueError(f"guard {name} {getattr(self, name)}: 1 in so many, or 0")


@dataclass(slots=True)
class Flag:
    """A suspicion within a step."""

    place: int
    """Number of the operator in the step."""
    kind: str
    what: str
    ratio: float

    @property
    def where(self) -> str:
        """For a person."""
        told = self.what in ("product", "duplicate")
        return f"{self.kind} #{self.place}" if told else self.kind


@dataclass(slots=True)
class _Open:
    place: int
    kind: str
    ratio: Tensor = field(repr=False)


_WRITES_UNSAID = frozenset(("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"))
"""Operators that write their arguments 3 and 4 without saying so in their schema."""
_KNOWN = frozenset(("aten", "prim", "prims", "profiler", "c10d", "opendojo_guard"))
"""Namespaces whose operators are what their names say; of sums over ranks see `team.Wire`."""


def _badness(ratio: float) -> float:
    return math.inf if math.isnan(ratio) else ratio


class Mode(TorchDispatchMode):
    """Checks operators while it is entered; `flags` says what was found since `begin`."""

    def __init__(self, rates: Rates, ledger: Ledger, bound: Bound, least_flops: float) -> None:
        super().__init__()
        self.rates, self.ledger, self.least_flops = rates, ledger, least_flops
        self.bound: Bound = bound
        self.settle: set[int] = set()
        """Places at which an accelerator's result is held against float64 too."""
        self.hook: Callable[[int, Any, Any], None] | None = None
        self._open: list[_Open] = []
        self._found: list[Flag] = []
        self._direct: dict[int, Callable[[], Any]] = {}
        self._place = 0
        self._turn = 0

    def begin(self, turn: int) -> None:
        """A step, or a replay of it: places count from 0 again; `turn` shifts the samples."""
        self._open, self._found, self._place, self._turn = [], [], 0, turn
        self._direct = {}

    def add(self, kind: str, what: str, ratio: float = math.inf) -> None:
        """Raise a suspicion from outside, such as a hash that changed."""
        self._found.append(Flag(self._place, kind, what, ratio))

    def flags(self) -> list[Flag]:
        """All suspicions since `begin`; waits for the accelerator once."""
        if self._open:
            device = self._open[0].ratio.device
            values = torch.stack([o.ratio.to(device, torch.float32) for o in self._open]).tolist()
            for o, value in zip(self._open, values, strict=True):
                self._note(o.place, o.kind, value)
            self._open = []
        return self._found

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Regions are compiled as if it were not there; `regions` looks into them."""
        return True

    def saw(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """A product within a compiled region."""
        if self._direct.pop(id(_first(out)), _gone)() is _first(out):
            return  # it came through the dispatcher, like an eager one
        place = self._place
        self._place = place + 1
        product = product_of(func, args, kwargs)
        if product is not None:
            with _quiet():
                self._product(func, product, args, kwargs, out, place)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        place = self._place
        self._place = place + 1
        product = product_of(func, args, kwargs)
        if product is not None:
            self._direct[id(_first(out))] = weakref.ref(_first(out))
            if "out" in kwargs:
                func = func.overloadpacket.default
                kwargs = {name: value for name, value in kwargs.items() if name != "out"}
            with _quiet():
                self._product(func, product, args, kwargs, out, place)
        elif func.namespace not in _KNOWN:
            self.ledger.unknown[str(func)] += 1
        elif is_counted(func):
            self._unguarded(func, counted_flops(func, args, kwargs, out))
        elif repeatable(func):
            every = self.rates.duplicates
            if every and (place + self._turn) % every == 0:
                with _quiet():
                    self._duplicate(func, args, kwargs, out, place)
        if self.hook is not None:
            with _quiet():
                self.hook(place, func, out)
        return out

    def _product(
        self, func: Any, product: Product, args: Any, kwargs: Any, out: Any, place: int
    ) -> None:
        ledger, every = self.ledger, self.rates.products
        flops = product.flops if product.flops >= 0 else counted_flops(func, args, kwargs, out)
        if not every or flops < self.least_flops or not _plain(args):
            self._unguarded(func, flops)
            return
        ledger.flops += flops
        ledger.guarded_flops += flops
        if (place + self._turn) % every:
            return
        ledger.checks += 1
        ledger.checked_flops += flops
        ratios = product.check(out, self.bound)
        if flops < _LITTLE and _short(out):
            self._duplicate(func, args, kwargs, out, place)
        if ratios and ratios[0].device.type != "cpu" and place not in self.settle:
            self._open += [_Open(place, kind_of(func), ratio) for ratio in ratios]
            return
        values = [ratio.item() for ratio in ratios]
        if all(value <= 1.0 for value in values):
            ledger.worst = max([ledger.worst, *values])
            return
        self._suspect(func, args, kwargs, out, place, max(values, key=_badness))

    def _suspect(
        self, func: Any, args: Any, kwargs: Any, out: Any, place: int, ratio: float
    ) -> None:
        """Beyond the bound: the arguments are still at hand, so float64 says at once."""
        wrong = confirmed(func, args, kwargs, out)
        if wrong is False:
            if math.isfinite(ratio):
                self.ledger.cleared += 1
            else:
                self.ledger.overflows += 1
            return
        self._found.append(Flag(place, kind_of(func), "product", ratio))

    def _unguarded(self, func: Any, flops: float) -> None:
        self.ledger.flops += flops
        self.ledger.unguarded[kind_of(func)] += int(flops)

    def _duplicate(self, func: Any, args: Any, kwargs: Any, out: Any, place: int) -> None:
        self.ledger.duplicates += 1
        if kind_of(func) in _WRITES_UNSAID and args[5]:
            # in training the result does not depend on running statistics, which it writes
            args = (*args[:3], None, None, *args[5:])
        if not same_bits(func(*args, **kwargs), out):
            self._found.append(Flag(place, kind_of(func), "duplicate", math.inf))

    def _note(self, place: int, kind: str, ratio: float) -> None:
        if ratio <= 1.0:
            self.ledger.worst = max(self.ledger.worst, ratio)
        else:
            self._found.append(Flag(place, kind, "product", ratio))


_LITTLE = 8e6
"""FLOPs of a product in 16 bits below which it is also done twice: a checksum of few and coarsely
rounded numbers is dull, and its call costs as much as the product."""


def _first(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else next(x for x in out if isinstance(x, Tensor))


def _gone() -> None:
    """A reference to nothing."""


def _short(out: Any) -> bool:
    return _first(out).dtype in (torch.bfloat16, torch.float16)


def _plain(args: Any) -> bool:
    """Whether all tensors are ordinary floating point ones with elements."""
    return all(
        not isinstance(x, Tensor)
        or (x.layout == torch.strided and x.is_floating_point() and x.numel() > 0)
        for x in args
    )


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """Keeps the check's own operators from modes that were entered before."""
    if torch._C._len_torch_dispatch_stack() == 0:
        return _NOTHING
    return _disable_current_modes()


_NOTHING = contextlib.nullcontext()
