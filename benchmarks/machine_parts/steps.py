"""Measured training steps, each beside reference calls that tell the machine's pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from machine_parts.networks import Made
from opendojo.machine.chips import Chip
from opendojo.machine.here import Here, step_here
from opendojo.machine.workload import Workload
from opendojo.model.measure import Pace, pace
from opendojo.model.trace import trace

__all__ = ["Case", "at_pace", "check", "loss_of"]

_REFERENCE = {"products": "product", "attention": "product", "traffic": "copy", "optimizer": "copy",
              "fresh": "copy", "launches": "launch"}  # fmt: skip
"""Which reference call a part of a step goes with."""


def loss_of(out: Any) -> Tensor:
    """A loss over all that a network gives out."""
    if isinstance(out, Tensor) and out.dim() == 0:
        return out
    outs = [out] if isinstance(out, Tensor) else list(out)
    return torch.stack([one.square().mean() for one in outs]).sum()


@dataclass
class Case:
    """One network: what was foretold, and what its steps took."""

    name: str
    module: nn.Module
    inputs: tuple[Any, ...]
    batch: int
    workload: Workload
    foretold: Here
    ratios: list[float] = field(default_factory=list)
    """Measured over foretold at the machine's pace of that moment."""
    plain: list[float] = field(default_factory=list)
    """Measured over foretold, as they are."""
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, make: Callable[[], Made], chip: Chip) -> Case:
        """Build the network, trace it and foretell its step; nothing is run."""
        torch.manual_seed(0)
        module, inputs, batch = make()
        workload = trace(module.train(), inputs, batch=batch, loss=loss_of, answer=True, name=name)
        return cls(name, module, inputs, batch, workload, step_here(workload, chip, batch=batch))

    def __post_init__(self) -> None:
        weights = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=True)

    def step(self) -> None:
        """One training step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss_of(self.module(*self.inputs)).backward()
        self.optimizer.step()

    def turn(self, then: Pace, clock: Callable[[], float], steps: int) -> None:
        """Some steps between two looks at the machine's pace; `then` is that of the calibration."""
        before, took = pace(clock), list[float]()
        for _ in range(steps):
            began_s = clock()
            self.step()
            took.append(clock() - began_s)
        seconds = sorted(took)[len(took) // 2]
        foretold = at_pace(self.foretold.parts, then, before, pace(clock))
        self.seconds.append(seconds)
        self.plain.append(seconds / self.foretold.seconds)
        self.ratios.append(seconds / foretold)


def at_pace(parts: dict[str, float], then: Pace, *now: Pace) -> float:
    """A step's parts, each longer by as much as its reference call takes longer now."""
    total = 0.0
    for name, seconds in parts.items():
        word = _REFERENCE[name]
        total += seconds * sum(getattr(p, word) for p in now) / len(now) / getattr(then, word)
    return total


def check(case: Case) -> float:
    """Arithmetic of the trace over PyTorch's own count on the real network, both passes."""
    with FlopCounterMode(display=False) as counter:
        case.step()
    return case.workload.flops() * case.batch / _counted(counter.get_total_flops(), case)


def _counted(flops: int, case: Case) -> float:
    """PyTorch counts products, but not attention on a processor; the trace counts that too, and
    some operations of an element."""
    small = sum(o.flops * o.times for o in case.workload.operators
                if (not o.m or o.kind == "attention") and o.phase != "optimizer")  # fmt: skip
    return flops + small * case.batch


def clock_here() -> Callable[[], float]:
    """Processor time with one thread, which waiting for a core does not lengthen, or the wall's."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter
