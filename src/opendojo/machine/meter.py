"""Joules, with how they were got: a counter where the machine has one, else an estimate by range.

Two methods stand behind one class. `rapl` reads the package counters of the Linux power-capping
interface; it is measured, and leaves out memory, fans, disks and power supply. `cpu_model`
multiplies the seconds the processors were busy with a range of watts for this processor; it is
estimated. Where neither is to be had the joules are None and the core-seconds remain. Relative
claims between two runs on one machine rest on core-seconds, not on estimated joules.
"""

from __future__ import annotations

import dataclasses
import os
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Energy", "Meter"]

_POWERCAP = Path("/sys/class/powercap")
_CPUINFO = Path("/proc/cpuinfo")


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
    """`rapl`, `cpu_model` or `none`."""
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
        same = self.method == other.method
        return dataclasses.replace(
            self,
            joules=joules,
            low=low,
            high=high,
            method=self.method if same else f"{self.method}+{other.method}",
            measured=self.measured and other.measured,
            core_s=self.core_s + other.core_s,
            wall_s=self.wall_s + other.wall_s,
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
    """Reads energy between `start` and `stop`, or over a `with` block, which leaves `energy`."""

    energy: Energy

    def __init__(self, *, powercap: Path = _POWERCAP, cpuinfo: Path = _CPUINFO) -> None:
        self._packages = _rapl_packages(powercap)
        self._cpu = _find_cpu(cpuinfo)
        self.start()

    def __enter__(self) -> Meter:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.energy = self.stop()

    def start(self) -> None:
        """Begin a stretch."""
        self._began_s, self._began_core_s = time.monotonic(), _core_s()
        self._began_uj = [_read_int(package / "energy_uj") for package in self._packages]

    def stop(self) -> Energy:
        """The energy since `start`; the meter goes on, so a later `stop` includes it."""
        wall_s, core_s = time.monotonic() - self._began_s, _core_s() - self._began_core_s
        joules = self._rapl_joules()
        if joules is not None:
            return Energy(
                joules=joules,
                low=0.9 * joules,
                high=1.1 * joules,
                method="rapl",
                measured=True,
                scope="processor packages of the whole machine",
                excludes=("memory", "disk", "network", "fans", "power supply", "cooling"),
                core_s=core_s,
                wall_s=wall_s,
                inputs={"packages": len(self._packages), "range": "10 % assumed"},
            )
        return _modelled(self._cpu, core_s, wall_s)

    def _rapl_joules(self) -> float | None:
        total = 0
        for package, began in zip(self._packages, self._began_uj, strict=True):
            now = _read_int(package / "energy_uj")
            if began is None or now is None:
                return None  # the counter vanished or may not be read
            if now < began:  # it wraps at max_energy_range_uj
                limit = _read_int(package / "max_energy_range_uj")
                if limit is None:
                    return None
                now += limit
            total += now - began
        return total / 1e6 if self._packages else None


def _modelled(cpu: dict[str, Any] | None, core_s: float, wall_s: float) -> Energy:
    if cpu is None:
        return Energy(
            joules=None,
            low=None,
            high=None,
            method="none",
            measured=False,
            scope="this processor is not in machine/cpus.toml; only core-seconds are known",
            core_s=core_s,
            wall_s=wall_s,
        )
    watts = cpu["tdp_w"] / cpu["threads"]
    return Energy(
        joules=core_s * watts,
        low=core_s * watts * cpu["range"]["low"],
        high=core_s * watts * cpu["range"]["high"],
        method="cpu_model",
        measured=False,
        scope="busy processor threads of this process and its children",
        excludes=("idle share of the host", "memory", "disk", "network", "cooling"),
        core_s=core_s,
        wall_s=wall_s,
        inputs={
            "cpu": cpu["name"],
            "w_per_busy_thread": watts,
            "tdp_w": cpu["tdp_w"],
            "threads": cpu["threads"],
            "source": cpu["source"],
            "range": cpu["range"],
        },
    )


def _core_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _rapl_packages(powercap: Path) -> list[Path]:
    folders = sorted(powercap.glob("intel-rapl:[0-9]*")) if powercap.is_dir() else []
    packages = [f for f in folders if f.name.count(":") == 1]
    return [f for f in packages if _read_int(f / "energy_uj") is not None]


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # absent, unreadable or going away: the caller falls back to the estimate


def _find_cpu(cpuinfo: Path) -> dict[str, Any] | None:
    try:
        text = cpuinfo.read_text()
    except OSError:
        return None
    fields: dict[str, str] = {}
    for line in text.split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    table = tomllib.loads((Path(__file__).parent / "cpus.toml").read_text())
    for cpu in table["cpu"]:
        families = cpu["family"] if isinstance(cpu["family"], list) else [cpu["family"]]
        if (
            fields.get("vendor_id") == cpu["vendor"]
            and int(fields.get("cpu family", "-1")) in families
            and int(fields.get("model", "-1")) in cpu["models"]
        ):
            return {**cpu, "range": table["range"]}
    return None
