"""`opendojo doctor`: is this machine fit for the work?"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]

NEEDED_BYTES = 2_000_000_000
"""Free disk below which the demo is not sure to finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor(Common):
    """Check processors, memory, disk, codecs, versions and meters of this machine."""

    folder: Path = Path()
    """Where runs will be written."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 4 where the machine is unfit."""
    chosen = parse(Doctor, "doctor", arguments, Doctor.__doc__ or "")
    checks = [_check(name, work, chosen.folder) for name, work in _CHECKS.items()]
    unfit = [check for check in checks if not check["ok"]]
    if chosen.json:
        print_document({"ok": not unfit, "checks": checks})
    else:
        for check in checks:
            print(f"{'ok  ' if check['ok'] else 'BAD '} {check['name']:<10} {check['found']}")
    return 4 if unfit else 0


def _check(name: str, work: Callable[[Path], tuple[bool, str]], folder: Path) -> dict[str, Any]:
    try:
        ok, found = work(folder)
    except Exception as error:  # a check that fails is a finding, whatever it was
        ok, found = False, f"{type(error).__name__}: {error}"
    return {"name": name, "ok": ok, "found": found}


def _machine(_: Path) -> tuple[bool, str]:
    from opendojo.machine import machine_facts

    facts = machine_facts()
    memory = facts["memory_bytes"] / 2**30
    return memory > 2, f"{facts['cores']} cores of {facts['cpu']}, {memory:.0f} GiB memory"


def _versions(_: Path) -> tuple[bool, str]:
    names = ("opendojo", "torch", "numpy", "av", "pyarrow")
    return True, ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _devices(_: Path) -> tuple[bool, str]:
    import torch

    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    return True, ", ".join(names) if names else "no GPU: networks train on the processor"


def _disk(folder: Path) -> tuple[bool, str]:
    free = shutil.disk_usage(folder).free
    block, size = os.urandom(1 << 20), 32
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began_s = time.perf_counter()
        for _block in range(size):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        rate = size / (time.perf_counter() - began_s)
    return free > NEEDED_BYTES, f"{free / 1e9:.1f} GB free, {rate:.0f} MiB/s written and synced"


def _codec(_: Path) -> tuple[bool, str]:
    import numpy as np

    from opendojo.clip import Frame
    from opendojo.store.encode import VideoFile, read_packets
    from opendojo.store.layout import StoreSpec

    half = np.full((32, 64), 128, np.uint8)
    frame = Frame(y=np.full((64, 128), 90, np.uint8), u=half, v=half, time_s=0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "try.mp4"
        video = VideoFile(path, StoreSpec(), 10)
        video.begin_clip()
        for _frame in range(16):
            video.add(frame)
        video.end_clip()
        video.close()
        keys = [key for _, _, key in read_packets(path)]
    return keys.count(True) == 2, f"H.264 encoder works, {keys.count(True)} groups of 8 frames"


def _clock(_: Path) -> tuple[bool, str]:
    year = time.gmtime().tm_year
    return 2024 <= year <= 2100, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def _meter(_: Path) -> tuple[bool, str]:
    from opendojo.machine import Meter

    energy = Meter().stop()
    state = "measured" if energy.measured else "estimated"
    return True, f"energy by {energy.method} ({state}): {energy.scope}"


_CHECKS: dict[str, Callable[[Path], tuple[bool, str]]] = {
    "machine": _machine,
    "versions": _versions,
    "devices": _devices,
    "disk": _disk,
    "codec": _codec,
    "clock": _clock,
    "meter": _meter,
}
