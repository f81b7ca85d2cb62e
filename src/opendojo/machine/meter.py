"""Joules, with how they were got: counters where the machine has them, else an estimate by range.

Several methods stand behind one class. `nvml` reads the energy counter of each GPU board, and
`nvml_power` integrates samples of its power where it has none; `rapl` reads the counters of the
processor packages. These are measured, and leave out fans, disks and power supply. `cpu_model`
multiplies the seconds the processors were busy with a range of watts for this processor; it is
estimated. Where neither is to be had the joules are None and the core-seconds remain.

Boards and processors are added up; the sum is measured only where each part is, and `parts` keeps
each for itself. Counters count the whole machine, so one meter per machine is enough: with several
ranks on one, only the first should ask. Relative claims between two runs on one machine rest on
core-seconds, not on estimated joules.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opendojo.machine.meter_gpu import find_boards
from opendojo.machine.meter_model import core_seconds, find_cpu, modelled
from opendojo.machine.meter_rapl import find_rapl
from opendojo.machine.meter_source import Reading, Source

__all__ = ["Energy", "Meter"]

_POWERCAP = Path("/sys/class/powercap")
_CPUINFO = Path("/proc/cpuinfo")
_AUTO: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What a stretch of work drew."""

    joules: float | None
    """None where no method applies."""
    low: float | None
    """Lower end of the range."""
    high: float | None
    """Upper end of the range."""
    method: str
    """`nvml`, `nvml_power`, `rapl`, `cpu_model`, several joined by `+`, or `none`."""
    measured: bool
    """True where a meter was read; False marks an estimate."""
    scope: str
    """What is counted."""
    excludes: tuple[str, ...] = ()
    """What is not."""
    core_s: float
    """Processor seconds of this process and the children it has waited for."""
    wall_s: float
    """Seconds by the clock."""
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the method went by."""
    parts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Joules, low, high, method and measured of `gpu` and `cpu`, each where it is known."""

    def __add__(self, other: Energy) -> Energy:
        """The sum of two stretches; estimated as soon as one of them is."""
        joules, low, high = (
            None if a is None or b is None else a + b
            for a, b in (
                (self.joules, other.joules),
                (self.low, other.low),
                (self.high, other.high),
            )
        )
        words = dict.fromkeys([*self.method.split("+"), *other.method.split("+")])
        return dataclasses.replace(
            self,
            joules=joules,
            low=low,
            high=high,
            method="+".join(words),
            measured=self.measured and other.measured,
            core_s=self.core_s + other.core_s,
            wall_s=self.wall_s + other.wall_s,
            parts=_joined(self.parts, other.parts),
        )

    def per(self, frames: int) -> dict[str, Any]:
        """Joules per frame with range and method, for a report."""

        def share(value: float | None) -> float | None:
            return None if value is None or not frames else value / frames

        return {
            "joules_per_frame": share(self.joules),
            "low": share(self.low),
            "high": share(self.high),
            "method": self.method,
            "measured": self.measured,
            "core_s_per_frame": share(self.core_s),
        }


class Meter:
    """Reads energy between `start` and `stop`, or over a `with` block, which leaves `energy`.

    `nvml` is the module `pynvml` or its like; it is looked for where not given, and None leaves
    GPUs out.
    """

    energy: Energy

    def __init__(
        self, *, powercap: Path = _POWERCAP, cpuinfo: Path = _CPUINFO, nvml: Any = _AUTO
    ) -> None:
        self._cpu = find_cpu(cpuinfo)
        self._rapl, self.notes = find_rapl(powercap)
        self._boards: Source | None = None
        if nvml is not None:
            self._boards, more = find_boards(None if nvml is _AUTO else nvml)
            self.notes += more
        self._lock = threading.Lock()
        self._ended = threading.Event()
        weakref.finalize(self, self._ended.set)
        self.start()
        self._keep_sampling()

    def __enter__(self) -> Meter:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.energy = self.stop()

    def start(self) -> None:
        """Begin a stretch."""
        with self._lock:
            self._began_s, self._began_core_s = time.monotonic(), core_seconds()
            for source in self._sources:
                source.begin(self._began_s)

    def sample(self) -> None:
        """Read the counters, so that none turns over unseen; done now and then by itself."""
        with self._lock:
            for source in self._sources:
                source.sample(time.monotonic())

    def stop(self) -> Energy:
        """The energy since `start`; the meter goes on, so a later `stop` includes it."""
        with self._lock:
            now_s = time.monotonic()
            wall_s, core_s = now_s - self._began_s, core_seconds() - self._began_core_s
            gpu = self._boards.end(now_s) if self._boards else None
            cpu = self._rapl.end(now_s) if self._rapl else None
        if cpu is None and self._cpu is not None:
            cpu = modelled(self._cpu, core_s)
        return _whole(gpu, cpu, core_s, wall_s, self.notes)

    @property
    def _sources(self) -> list[Source]:
        return [source for source in (self._boards, self._rapl) if source is not None]

    def _keep_sampling(self) -> None:
        """Sample in the background for as long as somebody holds the meter."""
        if self._sources:
            arguments = (weakref.ref(self), self._ended)
            threading.Thread(target=_sampling, args=arguments, daemon=True).start()


def _sampling(meter: weakref.ref[Meter], ended: threading.Event) -> None:
    period_s = 0.0
    while not ended.wait(period_s):
        held = meter()
        if held is None:
            return
        held.sample()
        period_s = min(source.period_s for source in held._sources)  # pyright: ignore[reportPrivateUsage]
        del held


def _whole(
    gpu: Reading | None, cpu: Reading | None, core_s: float, wall_s: float, notes: list[str]
) -> Energy:
    known = {"gpu": gpu, "cpu": cpu}
    parts = {name: part for name, part in known.items() if part is not None}
    told = {"notes": list(notes)} if notes else {}
    if not parts:
        return Energy(
            joules=None,
            low=None,
            high=None,
            method="none",
            measured=False,
            scope="this processor is not in machine/cpus.toml; only core-seconds are known",
            core_s=core_s,
            wall_s=wall_s,
            inputs=told,
        )
    excludes = dict.fromkeys(word for part in parts.values() for word in part.excludes)
    if cpu is None:
        excludes["processors"] = None
    inputs = (cpu.inputs if cpu else {}) | ({"gpu": gpu.inputs} if gpu else {})
    return Energy(
        joules=sum(part.joules for part in parts.values()),
        low=sum(part.low for part in parts.values()),
        high=sum(part.high for part in parts.values()),
        method="+".join(part.method for part in parts.values()),
        measured=all(part.measured for part in parts.values()),
        scope="; ".join(part.scope for part in parts.values()),
        excludes=tuple(excludes),
        core_s=core_s,
        wall_s=wall_s,
        inputs={**inputs, **told},
        parts={name: part.as_dict() for name, part in parts.items()},
    )


def _joined(
    mine: dict[str, dict[str, Any]], others: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Parts of two stretches, those of one name added up."""
    joined = {name: dict(part) for name, part in mine.items()}
    for name, part in others.items():
        if name not in joined:
            joined[name] = dict(part)
            continue
        before = joined[name]
        words = dict.fromkeys([*before["method"].split("+"), *part["method"].split("+")])
        joined[name] = {
            **{key: before[key] + part[key] for key in ("joules", "low", "high")},
            "method": "+".join(words),
            "measured": before["measured"] and part["measured"],
        }
    return joined
