"""A chip file out of what was measured on the machine at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from opendojo.machine.kernels import Kernel
from opendojo.machine.meter_model import find_cpu
from opendojo.machine.workload_file import write_text

__all__ = ["cache_bytes", "clock_hz", "table_text", "watts", "write_chip"]

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def write_chip(path: Path, table: Mapping[str, Any], kernels: Iterable[Kernel]) -> None:
    """Write a chip with its kernels; the file is there whole or not at all."""
    rows = [_row(kernel) for kernel in kernels]
    memory = "\n".join(
        f"\n[[chip.memory]]\n{table_text(one)}" for one in table.get("memory", ())
    )  # fmt: skip
    plain = {key: value for key, value in table.items() if key != "memory"}
    body = "\n".join(f"  {row}," for row in rows)
    write_text(path, f"[[chip]]\n{table_text(plain)}\nkernel = [\n{body}\n]\n{memory}\n")


def table_text(table: Mapping[str, Any]) -> str:
    """Lines of `key = value`."""
    return "\n".join(f"{key} = {_value(value)}" for key, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {_value(one)}" for key, one in value.items())  # pyright: ignore
        return f"{{ {inside} }}"
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text if any(c in text for c in ".e") else f"{text}.0"
    return json.dumps(value)


def _row(kernel: Kernel) -> str:
    told: dict[str, Any] = {"op": kernel.op, "format": kernel.format}
    if kernel.layout:
        told["layout"] = kernel.layout
    told |= {n: getattr(kernel, n) for n in ("m", "n", "k", "products") if getattr(kernel, n) > 1}
    told |= {n: float(getattr(kernel, n)) for n in ("flops", "bytes") if getattr(kernel, n)}
    figure = kernel.seconds
    told["seconds"] = {"value": figure.value, "low": figure.low, "high": figure.high}
    return _value(told)


def cache_bytes() -> dict[int, int]:
    """Bytes of this machine's data caches by level; empty where the system does not say."""
    found: dict[int, int] = {}
    for folder in sorted(_CACHES.glob("index*")):
        try:
            if (folder / "type").read_text().strip() == "Instruction":
                continue
            level = int((folder / "level").read_text())
            size = (folder / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        found[level] = int(size.rstrip("KM")) * {"K": 1 << 10, "M": 1 << 20}.get(size[-1], 1)
    return found


def clock_hz() -> float | None:
    """The clock that the system gives; None where it does not."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return None
    told = [line.split(":")[1] for line in lines if line.startswith("cpu MHz")]
    return float(told[0]) * 1e6 if told else None


def watts(threads: int) -> dict[str, dict[str, Any]]:
    """Idle and busy watts of so many threads, as `Meter` estimates them: never measured here."""
    cpu = find_cpu(_CPUINFO)
    if cpu is None:
        return {
            "idle_w": {"value": 2.0 * threads, "low": 0.2 * threads, "high": 5.0 * threads,
                       "grade": "unknown", "source": "assumed for any processor"},
            "tdp_w": {"value": 5.0 * threads, "low": 1.0 * threads, "high": 20.0 * threads,
                      "grade": "unknown", "source": "assumed for any processor"},
        }  # fmt: skip
    busy = threads * cpu["tdp_w"] / cpu["threads"]
    low, high = cpu["range"]["low"], cpu["range"]["high"]
    source = f"share of {cpu['name']}: {cpu['tdp_w']} W over {cpu['threads']} threads"
    idle = {"value": 0.3 * busy, "low": 0.1 * busy, "high": 0.5 * busy, "grade": "inferred",
            "source": f"a tenth to half of: {source}"}  # fmt: skip
    return {"idle_w": idle, "tdp_w": {"value": busy, "low": low * busy, "high": high * busy,
                                      "grade": "inferred", "source": source}}  # fmt: skip
