"""What a step achieved of what the machine can: model FLOPs, share of peak, joules per frame."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.flop_counter import FlopCounterMode

from opendojo.machine import Meter
from opendojo.train.trainee import rows_in, rows_of

__all__ = ["Gauge", "Peak", "model_flops", "peak_of"]

_KNOWN_FLOPS = {
    ("H200", "bf16"): 989.4e12,
    ("H200", "fp32"): 66.9e12,
    ("H100", "bf16"): 989.4e12,
    ("H100", "fp32"): 66.9e12,
    ("A100", "bf16"): 312e12,
    ("A100", "fp32"): 19.5e12,
    ("L40S", "bf16"): 362e12,
    ("L4", "bf16"): 121e12,
}
"""Dense peak per second by a word of the device's name, from the makers' data sheets (SXM)."""

_ONE_PROCESS = ("cpu_model",)
"""Methods of the energy meter that see the process that asks, and not its fellow ranks."""

_FORWARD_AND_BACKWARD = 3
"""A backward pass takes two products for each of the forward pass: one for inputs, one for weights
(Kaplan et al., 2020, section 2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What a device could do in a second."""

    flops_per_s: float
    """Floating point operations, a multiply and an add being two."""
    source: str
    """`known` from the maker's data sheet, or `measured` on a matrix product."""


def peak_of(device: torch.device, precision: str) -> Peak:
    """The device's peak at the present number of threads."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for (word, kind), flops_per_s in _KNOWN_FLOPS.items():
            if word in name.split() and kind == precision:
                return Peak(flops_per_s=flops_per_s, source="known")
    return _measured(str(device), precision, torch.get_num_threads())


@functools.cache
def _measured(device: str, precision: str, threads: int) -> Peak:
    """The best of some square matrix products; threads only tell the cached results apart."""
    side = 4096 if device.startswith("cuda") else 512
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.rand(side, side, device=device).to(kind)
    best_s = float("inf")
    for _ in range(8):
        began_s = time.perf_counter()
        product = left @ left
        product[0, 0].item()  # waits for the device
        best_s = min(best_s, time.perf_counter() - began_s)
    return Peak(flops_per_s=2 * side**3 / best_s, source="measured")


def model_flops(trainee: nn.Module, batch: Any) -> float | None:
    """Floating point operations of a training step per row of a batch, on the real operators.

    Matrix products and convolutions of a forward pass over at most two rows, times three. Buffers
    and random state are left as they were. None where there is nothing to count, or where the
    trainee does not take two rows of its batch.
    """
    rows = min(2, rows_in(batch) or 0)
    if rows == 0:
        return None
    kept = [buffer.clone() for buffer in trainee.buffers()]
    try:
        counted = _counted(trainee, rows_of(batch, 0, rows))
    except Exception as error:
        # Somebody else's network may need its batch whole. A missing figure must not stop the run.
        print(f"warning: model FLOPs could not be counted: {error}", file=sys.stderr)
        return None
    finally:
        for buffer, before in zip(trainee.buffers(), kept, strict=True):
            buffer.copy_(before)
    return counted * _FORWARD_AND_BACKWARD / rows or None


def _counted(trainee: nn.Module, batch: Any) -> int:
    device = next(trainee.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        prepare: Callable[..., Any] | None = getattr(trainee, "prepare", None)
        if prepare is not None:
            batch = prepare(batch, torch.Generator().manual_seed(0))
        forward = type(trainee).forward  # not `trainee()`: that may be compiled
        trainee(batch) if isinstance(trainee, FSDPModule) else forward(trainee, batch)
    return counter.get_total_flops()


class Gauge:
    """Rates and energy of steps, as a row of the metrics tells them."""

    def __init__(self, peak: Peak, ranks: int = 1, every_s: float = 0.2) -> None:
        self.peak = peak
        self._ranks = ranks
        self._every_s = every_s
        self._meter = Meter()
        self._read_s = time.perf_counter()
        self._joules: float | None = 0.0
        self._frames = 0
        self._energy: dict[str, Any] = {}

    def rates(self, flops: float | None, took_s: float) -> dict[str, Any]:
        """Model FLOPs per second of all ranks, and their share of the peak; None if not known."""
        per_s = None if flops is None else flops / took_s
        share = None if per_s is None else per_s / self.peak.flops_per_s
        return {
            "model_flops_per_s": None if per_s is None else per_s * self._ranks,
            "peak_share": share,
            "peak_source": self.peak.source,
        }

    def energy(self, frames: int) -> dict[str, Any]:
        """Joules per frame since the meter was last read, at most every `every_s` seconds.

        `frames` are those of all ranks. A meter that reads this process alone stands for every
        rank, for all do the same; one that reads a counter is taken to see all of them.
        """
        self._frames += frames
        now_s = time.perf_counter()
        if self._energy and now_s - self._read_s < self._every_s:
            return self._energy
        energy = self._meter.stop()
        drawn = None
        if energy.joules is not None and self._joules is not None and self._frames:
            seen = self._ranks if energy.method in _ONE_PROCESS else 1
            drawn = seen * (energy.joules - self._joules) / self._frames
        self._energy = {
            "joules_per_frame": drawn,
            "energy_method": energy.method,
            "energy_measured": energy.measured,
        }
        self._read_s, self._joules, self._frames = now_s, energy.joules, 0
        return self._energy
