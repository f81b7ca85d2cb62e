"""Processor packages and their memory, by the counters of the Linux power-capping interface.

A counter holds microjoules and wraps at `max_energy_range_uj`: after some 20 minutes at 200 W on
many processors. Who reads it only at the start and the end of a long stretch loses whole turns
without a sign, so it is sampled on the way. Where a process was stopped for so long that a turn may
have been missed, the range says so. Only root may read the counters since CVE-2020-8694.
"""

from __future__ import annotations

from pathlib import Path

from opendojo.machine.meter_source import STILL_S, Reading

__all__ = ["RaplSource", "find_rapl"]

_SPREAD = 0.1
_MOST_W = 600.0
"""More than any one package draws: what a gap in the samples may have hidden."""


class RaplSource:
    """The counters of all packages, and of their memory where it has one of its own."""

    def __init__(self, zones: list[Path]) -> None:
        self._zones = [_Zone(path) for path in zones]
        self.period_s = 60.0
        limits = [zone.limit_j for zone in self._zones if zone.limit_j]
        if limits:
            self.period_s = max(0.1, min(60.0, min(limits) / _MOST_W / 2))
        self._began_s = 0.0

    def begin(self, now_s: float) -> None:
        """Begin a stretch."""
        self._began_s = now_s
        for zone in self._zones:
            zone.begin(now_s)

    def sample(self, now_s: float) -> None:
        """Read every counter."""
        for zone in self._zones:
            zone.sample(now_s)

    def end(self, now_s: float) -> Reading | None:
        """Joules since `begin`; None where a package's counter vanished or stands still."""
        self.sample(now_s)
        packages = [zone for zone in self._zones if not zone.memory]
        memory = [zone for zone in self._zones if zone.memory and not zone.lost]
        long = now_s - self._began_s >= STILL_S
        if not packages or any(z.lost or (long and not z.joules) for z in packages):
            return None
        joules = sum(zone.joules for zone in (*packages, *memory))
        hidden = sum(zone.hidden_j for zone in (*packages, *memory))
        counts_memory = any(zone.joules for zone in memory)
        return Reading(
            joules=joules,
            low=(1 - _SPREAD) * joules,
            high=(1 + _SPREAD) * joules + hidden,
            method="rapl",
            measured=not hidden,
            scope="processor packages of the whole machine"
            + (" and their memory" if counts_memory else ""),
            excludes=(
                *(() if counts_memory else ("memory",)),
                "disk", "network", "fans", "power supply", "cooling",
            ),
            inputs={
                "packages": len(packages),
                "range": "10 % assumed",
                **({"may_have_wrapped_unseen_j": hidden} if hidden else {}),
            },
        )  # fmt: skip


class _Zone:
    """One counter."""

    def __init__(self, path: Path) -> None:
        self.memory = _name(path) == "dram"
        self._file = path / "energy_uj"
        limit_uj = _read(path / "max_energy_range_uj")
        self.limit_j = limit_uj / 1e6 if limit_uj else 0.0
        self.begin(0.0)

    def begin(self, now_s: float) -> None:
        self.joules = self.hidden_j = 0.0
        self._at_s, self._uj = now_s, _read(self._file)
        self.lost = self._uj is None

    def sample(self, now_s: float) -> None:
        uj = _read(self._file)
        if uj is None or self._uj is None:
            self.lost = True  # a single failure tells: files of sysfs do not come and go
            return
        grown_j = (uj - self._uj) / 1e6
        if grown_j < 0:
            grown_j += self.limit_j
            if grown_j < 0 or not self.limit_j:
                self.lost = True  # it went back without a turn to explain it
                return
        if self.limit_j:
            turns = (_MOST_W * (now_s - self._at_s) - grown_j) // self.limit_j
            self.hidden_j += max(0.0, turns) * self.limit_j
        self.joules += grown_j
        self._at_s, self._uj = now_s, uj


def find_rapl(powercap: Path) -> tuple[RaplSource | None, list[str]]:
    """The packages' counters, and notes on what keeps them from being read.

    The zone `psys` counts packages a second time, and cores and graphics are parts of a package:
    neither is taken.
    """
    folders = sorted(powercap.glob("intel-rapl:[0-9]*")) if powercap.is_dir() else []
    packages = [f for f in folders if f.name.count(":") == 1 and _name(f) != "psys"]
    memory = [f for f in folders if f.name.count(":") == 2 and _name(f) == "dram"]
    denied = [f for f in packages if _denied(f / "energy_uj")]
    if denied:
        return None, [f"RAPL may not be read: sudo chmod a+r {powercap}/intel-rapl:*/energy_uj"]
    whole = bool(packages) and all(_read(f / "energy_uj") is not None for f in packages)
    return (RaplSource([*packages, *memory]) if whole else None), []


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _denied(path: Path) -> bool:
    try:
        path.read_text()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # absent, unreadable or going away
