"""One step on a machine whose kernels were measured: operator by operator, with an interval.

    chip = find_chip("here.toml")                  # of `opendojo machine calibrate`
    found = step_here(workload, chip, batch=32)
    found.seconds, found.low_s, found.high_s, found.parts

An operator costs what its kernel does at that size (`opendojo.machine.kernels`) and its share of
what the framework spends on each call: the graph of the backward pass, views, modules. Memory that
the process asks the system for anew in each step costs its first touch: tensors above the
allocator's largest class, and activations past what it gives back.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from opendojo.machine.chips import Chip
from opendojo.machine.kernels import Prices, sized
from opendojo.machine.workload import Operator, Workload

__all__ = ["Here", "prices_of", "step_here"]

_MAPPED_BYTES = 32 << 20
"""glibc gives memory of this size and more back at once [mallopt(3), M_MMAP_THRESHOLD]."""
_TRIMMED_BYTES = (256 << 10, 64 << 20)
"""And what lies free above twice the largest block that was ever given back, at least and at most
so much [mallopt(3), M_TRIM_THRESHOLD]."""
_WITHIN_80 = 1.2816
_UNSEEN = 0.05
"""Standard deviation of the logarithm that no kernel tells: order, caches, the loop around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """One step. Modelled from measured kernels."""

    seconds: float
    low_s: float
    high_s: float
    """Low and high hold 80 %."""
    parts: dict[str, float]
    """Seconds: products, attention, traffic, launches, optimizer, fresh."""
    by_operator: dict[str, float]
    """Seconds by family of operators, the dearest first."""
    half_width: float
    """Of the interval, in logarithm."""


def prices_of(chip: Chip) -> Prices:
    """What operators cost there. Raises `ValueError` where nothing was measured."""
    if not chip.kernels:
        raise ValueError(f"{chip.name} has no measured kernels: run `opendojo machine calibrate`")
    memory = chip.memories[0].bandwidth_bytes_per_s.value if chip.memories else 1e10
    rates = {name: figure.value for name, figure in chip.rates.items()}
    return Prices(chip.kernels, rates=rates, bytes_per_s=memory)


def step_here(workload: Workload, chip: Chip, *, batch: float) -> Here:
    """A training step (or a forward pass, where the workload has no other) on `batch` samples."""
    prices = prices_of(chip)
    calls = _call_seconds(prices)
    parts: dict[str, float] = defaultdict(float)
    by_family: dict[str, float] = defaultdict(float)
    doubt: dict[str, float] = defaultdict(float)
    known: dict[tuple[object, ...], tuple[float, float]] = {}
    for operator in workload.operators:
        kernel = sized(operator, batch)
        key = (kernel, operator.kind)
        if key not in known:
            known[key] = prices.seconds(kernel, operator.kind)
        seconds, spread = known[key]
        family = kernel.op
        parts[_part(operator)] += operator.times * seconds
        by_family[family] += operator.times * seconds
        doubt[family] += operator.times * seconds * spread
        parts["launches"] += operator.times * calls.get(operator.phase, 0.0)
    facts = dict(workload.facts)
    for name, seconds in calls.items():
        parts["launches"] += facts.get(name, 0.0) * seconds
    parts["fresh"] = _fresh_bytes(workload, batch) * prices.once("fresh byte")
    total = sum(parts.values())
    variance = sum((part / total) ** 2 for part in doubt.values()) + _UNSEEN**2
    half = _WITHIN_80 * math.sqrt(variance)
    return Here(
        seconds=total, low_s=total * math.exp(-half), high_s=total * math.exp(half),
        parts={name: seconds for name, seconds in parts.items() if seconds > 0},
        by_operator=dict(sorted(by_family.items(), key=lambda item: -item[1])), half_width=half,
    )  # fmt: skip


def _fresh_bytes(workload: Workload, batch: float) -> float:
    """What a step asks the system for anew: memory that the step before has given back.

    A step begins with weights and averages alone, for gradients are dropped. It grows by what is
    kept for the backward pass, or by the gradients that take its place, and by what is passed on
    between two operators; at its end all above the trim threshold goes back.
    """
    largest = workload.largest_activation_bytes * batch
    mapped, kept, weight = 0.0, 0.0, 0.0
    for operator in workload.operators:
        if operator.phase == "optimizer":
            continue
        written = operator.written_bytes * (batch if operator.batched else 1.0)
        mapped += operator.times * written if written >= _MAPPED_BYTES else 0.0
        if operator.phase == "backward":
            kept = max(workload.activation_bytes * batch, 4.0 * workload.parameters)
            weight = max(weight, operator.weight_bytes if operator.m else 0.0)
    low, high = _TRIMMED_BYTES
    free = min(max(2 * max(largest, weight), low), high)
    return max(mapped, kept + 2 * largest - free, 0.0)


def _part(operator: Operator) -> str:
    if operator.phase == "optimizer":
        return "optimizer"
    if operator.kind == "attention":
        return "attention"
    return "products" if operator.m and operator.kind in ("matmul", "conv") else "traffic"


def _call_seconds(prices: Prices) -> dict[str, float]:
    """What the framework adds to a call, by phase and by the names of a trace's facts."""
    launch, forward = prices.once("launch"), prices.once("launch forward")
    view = prices.once("view forward")
    return {
        "forward": max(0.0, forward - launch),
        "backward": max(0.0, prices.once("launch both") - forward),
        "views_forward": view,
        "views_backward": max(0.0, prices.once("view both") - view),
        "modules": prices.once("module"),
    }
