"""The estimate for machines without a meter: busy core-seconds by a range of watts.

Processors are data (`cpus.toml`). Who is not in the table gets no joules, only core-seconds.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from opendojo.machine.meter_source import Reading

__all__ = ["core_seconds", "find_cpu", "modelled"]


def modelled(cpu: dict[str, Any], core_s: float) -> Reading:
    """The share of the processor's design power that the busy threads stand for."""
    watts = cpu["tdp_w"] / cpu["threads"]
    return Reading(
        joules=core_s * watts,
        low=core_s * watts * cpu["range"]["low"],
        high=core_s * watts * cpu["range"]["high"],
        method="cpu_model",
        measured=False,
        scope="busy processor threads of this process and its children",
        excludes=("idle share of the host", "memory", "disk", "network", "cooling"),
        inputs={
            "cpu": cpu["name"],
            "w_per_busy_thread": watts,
            "tdp_w": cpu["tdp_w"],
            "threads": cpu["threads"],
            "source": cpu["source"],
            "range": cpu["range"],
        },
    )


def core_seconds() -> float:
    """Processor seconds of this process and the children it has waited for, so far."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def find_cpu(cpuinfo: Path) -> dict[str, Any] | None:
    """This processor's row of the table, with the range; None where it has none."""
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
