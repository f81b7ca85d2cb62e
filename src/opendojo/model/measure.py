"""Measure the machine at hand: each probe in turns, and what the machine itself did meanwhile.

    found = measure(seconds=120.0)
    found.kernels, found.noise, found.clock

With one thread the clock is processor time, which other work on the machine does not lengthen
directly; with more it is the wall's. All probes are gone through again and again until the time is
used up, so that a slow minute touches every probe and the median over the rounds none.
"""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from opendojo.machine.figure import Figure
from opendojo.machine.kernels import Kernel
from opendojo.model.probes import Probe, all_probes

__all__ = ["Measured", "Pace", "measure", "pace"]

_TURN_S = 4e-4
_TURNS = 3
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_FRESH_BYTES = 96 << 20
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds of three reference calls: a machine's speed at one moment."""

    product: float
    """A matrix product of 384 rows, columns and depth, fp32."""
    copy: float
    """Of 16 MB."""
    launch: float
    """Of one small addition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found."""

    kernels: tuple[Kernel, ...]
    threads: int
    clock: str
    rounds: int
    noise: float
    """Median over the probes of (slowest - fastest) / median of their rounds; 0 with one round."""
    busy_share: float
    """Processor time over wall time with one thread: below 1 other work had the core."""
    pace: Pace
    read_bytes_per_s: float
    copy_bytes_per_s: float
    cached_bytes_per_s: float
    refused: tuple[str, ...]
    """Operators that this build of the framework does not have."""


def clock_of(threads: int) -> tuple[str, Clock]:
    """The clock's name, and the clock."""
    if threads == 1:
        return "processor time", time.process_time
    return "wall time", time.perf_counter


def measure(
    *, seconds: float = 120.0, formats: tuple[str, ...] = ("fp32", "bf16"), share: float = 1.0,
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> Measured:  # fmt: skip
    """Go through all probes until `seconds` of the clock are used up, at least once."""
    threads = torch.get_num_threads()
    name, clock = clock_of(threads)
    found: dict[int, list[float]] = {}
    refused: dict[str, None] = {}
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    began_s, rounds, paces = clock(), 0, list[Pace]()
    probes = all_probes(formats, share=share)
    moved: dict[int, float] = {}
    with _kept_memory(), torch.no_grad():
        torch.manual_seed(0)
        while not rounds or (clock() - began_s) * (1 + 1 / rounds) < seconds:
            for number, probe in enumerate(probes):
                if number % 100 == 0:
                    paces.append(pace(clock))
                    tell(f"round {rounds + 1}", number, len(probes))
                if probe.op in refused:
                    continue
                try:
                    took, bytes_ = _once(probe, clock)
                except (RuntimeError, NotImplementedError, AttributeError):
                    refused[probe.op] = None
                    continue
                found.setdefault(number, []).append(took)
                moved[number] = bytes_
            rounds += 1
        reads = [_read(clock) for _ in range(3)]
        cached = [_cached(clock) for _ in range(3)]
    fresh = [_fresh(clock) for _ in range(3)]
    kernels = [_kernel(probes[n], moved[n], turns) for n, turns in found.items()]
    middle = Pace(**{k: statistics.median(getattr(p, k) for p in paces)
                     for k in ("product", "copy", "launch")})  # fmt: skip
    hot = middle.copy / (2 * _COPY_BYTES)
    per_byte = [one - 2 * hot for one in fresh]
    kernels.append(Kernel(op="fresh byte", bytes=1.0, seconds=_figure(
        [max(one, 1e-15) for one in per_byte])))  # fmt: skip
    for word in ("product", "copy", "launch"):
        kernels.append(Kernel(op=f"pace {word}", bytes=1.0,
                              seconds=_figure([getattr(p, word) for p in paces])))  # fmt: skip
    spans = [(max(t) - min(t)) / statistics.median(t) for t in found.values() if len(t) > 1]
    return Measured(
        kernels=tuple(kernels), threads=threads, clock=name, rounds=rounds, pace=middle,
        noise=statistics.median(spans) if spans else 0.0,
        busy_share=min(1.0, (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)),
        read_bytes_per_s=statistics.median(reads), copy_bytes_per_s=1 / hot,
        cached_bytes_per_s=statistics.median(cached), refused=tuple(refused),
    )  # fmt: skip


def _once(probe: Probe, clock: Clock) -> tuple[float, float]:
    """Seconds of a call, and the bytes of its tensors."""
    grad = probe.op.startswith(("launch", "view", "module"))
    with torch.set_grad_enabled(grad and probe.op != "launch"):
        calls = probe.make()
        bytes_ = probe.bytes or _touched(calls[0])
        took = turns_of(calls, clock)
    return statistics.median(took) / probe.divide, bytes_


def turns_of(calls: Sequence[Callable[[], Any]], clock: Clock, turns: int = _TURNS) -> list[float]:
    """Seconds of a call in each of some turns; the calls are done one after another."""
    calls[0]()
    before = clock()
    calls[-1]()
    once = max(clock() - before, 1e-7)
    count = max(1, math.ceil(_TURN_S / once))
    took: list[float] = []
    at = 0
    for _ in range(turns):
        before = clock()
        for _ in range(count):
            calls[at]()
            at = at + 1 if at + 1 < len(calls) else 0
        took.append((clock() - before) / count)
    return took


def _touched(call: Callable[[], Any]) -> float:
    """Bytes of the distinct tensors that go in and come out, as a trace counts them."""
    cells = [cell.cell_contents for cell in call.__closure__ or ()]
    return float(sum(_sizes((cells, call())).values()))


def _sizes(value: Any) -> dict[int, int]:
    if isinstance(value, torch.Tensor):
        return {value.untyped_storage()._cdata: value.numel() * value.element_size()}
    if isinstance(value, (tuple, list)):
        return {key: size for one in value for key, size in _sizes(one).items()}
    return {}


def _kernel(probe: Probe, bytes_: float, turns: list[float]) -> Kernel:
    return Kernel(
        op=probe.op, format=probe.format, layout=probe.layout, flops=probe.flops, bytes=bytes_,
        seconds=_figure(turns), **probe.sizes,
    )  # fmt: skip


def _figure(turns: Sequence[float]) -> Figure:
    value = max(statistics.median(turns), 1e-15)
    return Figure(
        value=value, unit="s", grade="measured", source="opendojo machine calibrate",
        low=min(*turns, value), high=max(*turns, value),
    )  # fmt: skip


_COPY_BYTES = 16 << 20
_SOURCE: dict[str, torch.Tensor] = {}


def pace(clock: Clock) -> Pace:
    """Time the reference calls now."""
    if not _SOURCE:
        _SOURCE.update(a=torch.ones(384, 384), b=torch.ones(384, 384), c=torch.zeros(384, 384),
                       x=torch.ones(_COPY_BYTES // 4), y=torch.ones(_COPY_BYTES // 4),
                       z=torch.ones(8))  # fmt: skip
    s = _SOURCE
    with torch.no_grad():
        return Pace(
            product=statistics.median(turns_of([lambda: torch.mm(s["a"], s["b"], out=s["c"])],
                                               clock)),
            copy=statistics.median(turns_of([lambda: s["y"].copy_(s["x"])], clock)),
            launch=statistics.median(turns_of([lambda: s["z"] + s["z"]], clock)),
        )  # fmt: skip


def _read(clock: Clock) -> float:
    """Bytes a second of a sum over memory that no cache holds."""
    x = torch.ones(96 << 18)
    return x.nbytes / statistics.median(turns_of([lambda: torch.sum(x)], clock))


def _cached(clock: Clock) -> float:
    """Bytes a second, read and written, of a copy that stays in a core's own cache."""
    x, y = torch.ones(1 << 15), torch.ones(1 << 15)
    return 2 * x.nbytes / statistics.median(turns_of([lambda: y.copy_(x)], clock))


def _fresh(clock: Clock) -> float:
    """Seconds of a byte copied to where the process had no memory before."""
    source = torch.ones(_FRESH_BYTES // 8)
    took = turns_of([source.clone], clock)
    return statistics.median(took) / source.nbytes


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Keep freed memory in the process, so that kernels are timed without the system's part."""
    try:
        tune = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        yield
        return
    tune(_M_MMAP_MAX, 0)
    tune(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        tune(_M_MMAP_MAX, 65_536)
        tune(_M_TRIM_THRESHOLD, 64 << 20)
