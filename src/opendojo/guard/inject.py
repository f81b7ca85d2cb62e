"""The injector: a mode of its own, entered before the guard, so that it works below it.

    with Injector(fault) as injector, guard.watch(model, optimizer) as watch:
        ...

It knows nothing of the guard and counts operators itself; the guard's own arithmetic passes it by.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from opendojo.guard.faults import Fault, corrupt

__all__ = ["Injector"]

_aten = torch.ops.aten
_PRODUCTS = frozenset(
    {
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten.mm.out,  # as compiled regions call them
        _aten.addmm.out,
        _aten.bmm.out,
        _aten.baddbmm.out,
        _aten.baddbmm.default,
        _aten.convolution.default,
        _aten.convolution_backward.default,
        _aten._scaled_dot_product_flash_attention_for_cpu.default,
        _aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
    }
)


class Injector(TorchDispatchMode):
    """Does one fault to the computation that runs while it is entered."""

    def __init__(self, fault: Fault | None) -> None:
        super().__init__()
        self.fault = fault
        self.armed = False
        """Faults happen only while this is set."""
        self.done = 0
        """How often it happened."""
        self.counts: dict[str, int] = {}
        """Operators of each site in one pass: set by a dry one."""
        self._seen: dict[str, int] = {}
        self._counting = True
        self._kept: list[Tensor] = []

    def begin(self) -> None:
        """A pass begins: operators count from 0."""
        self._seen, self._kept, self._counting = {}, [], True

    def pause(self) -> None:
        """Backward is over; operators no longer count until the next `begin`."""
        self._counting = False

    def end(self) -> None:
        """A dry pass ended: what it saw is what later passes are to be harmed by."""
        self.counts, self._counting = self._seen, False

    def between(self) -> None:
        """Forward is over, backward begins: activations lie in memory."""
        if self._due("saved") and self._kept:
            assert self.fault is not None
            target = self._kept[int(self.fault.place * len(self._kept))]
            self._harm(target)
        self._kept = []

    def idle(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Between two steps: weights and optimizer state lie in memory."""
        tensors: list[Tensor] = []
        if self._due("weight"):
            tensors = [p.detach() for p in model.parameters()]
        elif self._due("optimizer"):
            states = (optimizer.state[p] for p in model.parameters())
            tensors = [t for kept in states for t in kept.values() if t.dim()]
        if tensors and self.fault is not None:
            self._harm(tensors[int(self.fault.place * len(tensors))])

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Regions are compiled as if it were not there, and harmed as they run."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _PRODUCTS:
            return self._product(func, args, kwargs)
        out = func(*args, **kwargs)
        if "adam" in func._schema.name or "sgd" in func._schema.name:
            if self._due("update") and self.fault is not None:
                written = args[0]
                self._harm(written[int(self.fault.place * len(written))])
        elif self._counting and _makes(func, out):
            self._kept.append(out)
            if self._turn("other"):
                self._harm(out)
        return out

    def _product(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self._turn("operand"):
            with _disable_current_modes():
                places = [k for k, x in enumerate(args[:3]) if isinstance(x, Tensor)]
                place = places[(self.fault.seed if self.fault else 0) % len(places)]
                args = list(args)
                args[place] = args[place].detach().clone()
            self._harm(args[place])
        out = func(*args, **kwargs)
        first = out if isinstance(out, Tensor) else [t for t in out if isinstance(t, Tensor)]
        self._kept += [first] if isinstance(first, Tensor) else []
        if self._turn("product"):
            if isinstance(first, list):
                assert self.fault is not None
                first = first[self.fault.seed % len(first)]
            self._harm(first)
        return out

    def _turn(self, site: str) -> bool:
        if not self._counting:
            return False
        number = self._seen.get(site, 0)
        self._seen[site] = number + 1
        if not self._due(site) or self.fault is None:
            return False
        return number == int(self.fault.place * self.counts.get(site, 1))

    def _due(self, site: str) -> bool:
        fault = self.fault
        if fault is None or not self.armed or fault.site != site:
            return False
        if fault.duration == "transient":
            return self.done == 0
        return True

    def _harm(self, tensor: Tensor) -> None:
        assert self.fault is not None
        if self.fault.duration == "intermittent" and self.done and self.done % 2:
            self.done += 1  # this execution is spared
            return
        self.done += 1
        with _disable_current_modes(), torch.no_grad():
            corrupt(tensor.data, self.fault)  # `data`: autograd must not notice


def _makes(func: Any, out: Any) -> bool:
    """Whether an operator computed new numbers: no view, nothing in place, nothing at random."""
    if not isinstance(out, Tensor) or not out.is_floating_point() or out.dim() == 0:
        return False
    if func.is_view or func._schema.is_mutable or func._schema.name == "aten::_unsafe_view":
        return False
    return torch.Tag.nondeterministic_seeded not in func.tags
