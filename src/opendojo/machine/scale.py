"""From rates measured here to the machine a fleet would need."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

__all__ = ["FLEET_FRAMES_PER_DAY", "cores_for", "machine_facts"]

FLEET_FRAMES_PER_DAY = 16_000_000_000
"""Frames a large fleet sends in a day: 185,185 each second."""


def cores_for(
    frames_per_core_s: float, frames_per_day: float = FLEET_FRAMES_PER_DAY
) -> dict[str, Any]:
    """Cores that keep up with a fleet at a rate measured on one core of this machine.

    Modelled: it takes speed to grow linearly with cores of this kind, and the frames to be of the
    kind that was measured. Raises `ValueError` where the rate is not above 0.
    """
    if frames_per_core_s <= 0:
        raise ValueError(f"a rate must be above 0, not {frames_per_core_s}")
    return {
        "cores": frames_per_day / 86_400 / frames_per_core_s,
        "frames_per_day": frames_per_day,
        "frames_per_core_s": frames_per_core_s,
        "kind": "modelled",
        "method": "measured rate per core-second of this machine, linear in cores",
    }


def machine_facts() -> dict[str, Any]:
    """This machine, for the record beside a measurement."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return {
        "cpu": name,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
