"""`opendojo machine calibrate`: measure the machine at hand and write it as a chip."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

if TYPE_CHECKING:
    from opendojo.model.measure import Measured

__all__ = ["run"]

_FORMATS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrate(Common):
    """Measure this machine's processor and write a chip file that `machine plan --on` takes.

    Matrix products, convolutions, attention, norms, copies, gathers, the optimizer and the calls
    themselves, forward and backward, in many sizes; with as many threads as PyTorch uses
    (OMP_NUM_THREADS). The file is replaced at the end and in one instant; Ctrl-C leaves it as it
    was. A GPU is not measured.
    """

    out: Annotated[Path, tyro.conf.Positional] = Path("here.toml")
    """The chip file to write."""
    seconds: float = 100.0
    """How long to measure, on the clock that is used: processor time with one thread."""
    formats: tuple[str, ...] = _FORMATS
    """Formats to measure: fp32, bf16."""
    share: float = 1.0
    """Of the shapes; less is quicker and foretells worse."""


def run(arguments: list[str]) -> int:
    """Measure, write, say what was found."""
    chosen = parse(Calibrate, "machine calibrate", arguments, Calibrate.__doc__ or "")
    if not chosen.out.parent.is_dir():
        raise ValueError(f"{chosen.out}: there is no folder {chosen.out.parent}")
    if chosen.out.suffix != ".toml":
        raise ValueError(f"{chosen.out}: call it {chosen.out.stem}.toml, as chip files are called")
    if unknown := set(chosen.formats) - set(_FORMATS) or not chosen.formats:
        named = "none" if unknown is True else ", ".join(sorted(unknown))  # pyright: ignore
        raise ValueError(f"--formats {named}: choose from {', '.join(_FORMATS)}")
    if not 0.1 <= chosen.share <= 1 or chosen.seconds <= 0:
        raise ValueError("--share must be from 0.1 to 1, --seconds above 0")
    from opendojo.machine.chip_file import write_chip
    from opendojo.machine.chips import find_chip
    from opendojo.model.measure import measure

    progress = Progress()
    found = measure(seconds=chosen.seconds, formats=chosen.formats, share=chosen.share,
                    tell=lambda stage, done, total: progress(stage, done, total))  # fmt: skip
    progress.close()
    table = _table(found)
    write_chip(chosen.out, table, found.kernels)
    chip = find_chip(str(chosen.out))
    told = {
        "file": str(chosen.out), "chip": chip.name, "threads": found.threads,
        "clock": found.clock, "rounds": found.rounds, "kernels": len(found.kernels),
        "noise": found.noise, "busy_share": found.busy_share, "refused": found.refused,
        "flops_per_s": {name: rate.value for name, rate in chip.rates.items()},
        "copy_bytes_per_s": found.copy_bytes_per_s, "read_bytes_per_s": found.read_bytes_per_s,
        "cached_bytes_per_s": found.cached_bytes_per_s, "launch_s": found.pace.launch,
    }  # fmt: skip
    if chosen.json:
        print_document({"kind": "measured", **told})
        return 0
    _show(chosen.out, found, told)
    return 0


def _show(out: Path, found: Measured, told: dict[str, Any]) -> None:
    rates = ", ".join(f"{name} {rate / 1e9:,.4g} GFLOP/s" for name, rate in
                      told["flops_per_s"].items())  # fmt: skip
    print(f"{told['chip']}, {found.threads} threads, {len(found.kernels)} kernels, {found.rounds} "
          f"rounds by {found.clock}")  # fmt: skip
    print(f"  products  {rates}")
    print(f"  memory    read {found.read_bytes_per_s / 1e9:.3g} GB/s, copy "
          f"{found.copy_bytes_per_s / 1e9:.3g}, in a core's cache "
          f"{found.cached_bytes_per_s / 1e9:.3g}")  # fmt: skip
    print(f"  a call    {1e6 * found.pace.launch:.3g} us")
    print(f"  noise     a kernel's rounds lie {100 * found.noise:.0f} % apart (median); this "
          f"process had {100 * found.busy_share:.0f} % of a core")  # fmt: skip
    if found.noise > 0.3 or found.busy_share < 0.8:
        print("  the machine was busy with other work: what is foretold from this file holds for "
              "such times; calibrate again when it is quiet")  # fmt: skip
    print(f"written to {out}: opendojo machine plan nano --on {out} --batch 32 --precision fp32")


def _table(found: Measured) -> dict[str, Any]:
    """The chip as its file has it."""
    import torch

    from opendojo.machine.chip_file import cache_bytes, clock_hz, watts
    from opendojo.machine.scale import machine_facts

    facts, caches = machine_facts(), cache_bytes()
    method = (f"median of {found.rounds} rounds by {found.clock}, {found.threads} threads, "
              f"PyTorch {torch.__version__}, {time.strftime('%Y-%m-%d')}")  # fmt: skip
    rates = {
        form: max(k.flops / k.seconds.value for k in found.kernels
                  if k.op == "mm" and k.format == form)
        for form in sorted({k.format for k in found.kernels if k.op == "mm"})
    }  # fmt: skip
    table: dict[str, Any] = {
        "name": f"this machine, {facts['cpu']}", "vendor": str(facts["cpu"]).split()[0],
        "year": time.localtime().tm_year, "process": "", "fabric": "none", "pod": "this-machine",
        "source": f"opendojo machine calibrate: {method}", "grade": "measured",
        "notes": f"kernels' rounds lie {100 * found.noise:.0f} % apart; the process had "
                 f"{100 * found.busy_share:.0f} % of a core of {os.cpu_count()}",
        "cores": found.threads,
        "clock_hz": clock_hz() or {"value": 3e9, "low": 1e9, "high": 6e9, "grade": "unknown",
                                   "source": "the system does not say"},
        "link_bytes_per_s": 0.0, "nic_bytes_per_s": 0.0, **watts(found.threads),
    }  # fmt: skip
    if caches:
        table["sram_bytes"] = {"value": float(caches[max(caches)]), "source": "the system's word"}
        table["sram_bytes_per_s"] = found.cached_bytes_per_s
    table["rates_flops_per_s"] = rates
    table["memory"] = [{"name": "DRAM", "capacity_bytes": float(facts["memory_bytes"]),
                        "bandwidth_bytes_per_s": found.copy_bytes_per_s}]  # fmt: skip
    return table
