"""Chips, packages and pods as data: every figure with unit, source and grade.

    chip = find_chip("A100-80GB")
    chip.rate("bf16").value          # FLOP/s, dense
    chip.link_bytes_per_s.value      # one direction, all links to the scale-up fabric together

Rates are dense and count a multiply-add as two. Bandwidths of links are per direction and per chip.
The files are `data/chips/*.toml`, `data/packages/*.toml` and `data/pods/*.toml`; a file of one's
own has the same form.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from opendojo.machine.figure import Figure, as_figure, as_table, check_keys, text_of
from opendojo.machine.kernels import Kernel, kernel_of

__all__ = ["FORMATS", "Chip", "Memory", "all_chips", "find_chip", "load_chips", "nearest"]

FORMATS = ("bf16", "fp16", "fp32", "fp4", "fp64", "fp8", "int8", "tf32")
"""Formats a chip may give a rate for. A configurable 8-bit float counts as fp8."""

_FIGURES = {
    "clock_hz": "Hz",
    "cores": "1",
    "die_area_mm2": "mm2",
    "idle_w": "W",
    "link_bytes_per_s": "B/s per direction",
    "nic_bytes_per_s": "B/s per direction",
    "price_usd": "USD",
    "sram_bytes": "B",
    "sram_bytes_per_core": "B",
    "sram_bytes_per_s": "B/s",
    "tdp_w": "W",
}
_NEEDED = ("cores", "clock_hz", "link_bytes_per_s", "nic_bytes_per_s", "idle_w", "tdp_w")
_KEYS = (
    "aliases",
    "fabric",
    "grade",
    "kernel",
    "memory",
    "name",
    "notes",
    "pod",
    "process",
    "rates_flops_per_s",
    "source",
    "vendor",
    "year",
    *_FIGURES,
)
_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory outside the cores: HBM, GDDR, LPDDR."""

    name: str
    capacity_bytes: Figure
    bandwidth_bytes_per_s: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One accelerator, as a program addresses it."""

    name: str
    aliases: tuple[str, ...]
    vendor: str
    year: int
    process: str
    fabric: str
    """The scale-up fabric's name."""
    pod: str
    """Name of the pod it usually stands in."""
    cores: Figure
    """Of the kind that work is dealt to: streaming multiprocessors, compute units, tensor cores."""
    clock_hz: Figure
    """The clock at which the rates below hold."""
    rates: dict[str, Figure]
    """FLOP/s by format, dense."""
    memories: tuple[Memory, ...]
    """Fastest first; empty where all memory is SRAM."""
    link_bytes_per_s: Figure
    """Scale-up fabric, per direction, all links of the chip together."""
    nic_bytes_per_s: Figure
    """Scale-out network, per direction, this chip's share."""
    idle_w: Figure
    tdp_w: Figure
    sram_bytes: Figure | None = None
    """Shared on-chip memory: last-level cache, or all scratchpads together."""
    sram_bytes_per_core: Figure | None = None
    sram_bytes_per_s: Figure | None = None
    price_usd: Figure | None = None
    die_area_mm2: Figure | None = None
    kernels: tuple[Kernel, ...] = ()
    """What `opendojo machine calibrate` measured, where the chip is the machine at hand."""
    notes: str = ""

    def rate(self, number_format: str) -> Figure:
        """Dense FLOP/s in a format; bf16 and fp16 stand in for one another, fp32 for tf32.

        Raises `ValueError` where the chip has no such format.
        """
        for name in (number_format, *_STAND_IN.get(number_format, ())):
            if name in self.rates:
                return self.rates[name]
        raise ValueError(
            f"{self.name} has no rate for {number_format}, only {', '.join(sorted(self.rates))}"
        )

    def figures(self) -> dict[str, Figure]:
        """Every figure by its name, in the order of the file's keys."""
        found = {f"rate {name}": figure for name, figure in self.rates.items()}
        for memory in self.memories:
            found[f"{memory.name} capacity_bytes"] = memory.capacity_bytes
            found[f"{memory.name} bandwidth_bytes_per_s"] = memory.bandwidth_bytes_per_s
        for key in _FIGURES:
            figure = getattr(self, key)
            if figure is not None:
                found[key] = figure
        return found


_STAND_IN = {"bf16": ("fp16",), "fp16": ("bf16",), "tf32": ("fp32",)}


def find_chip(name: str) -> Chip:
    """A chip by its name or an alias; case, spaces and dashes do not count.

    A name that ends in `.toml` is read as a file of one's own, with one chip. Raises `ValueError`
    that names the nearest for one that is not known.
    """
    if name.endswith(".toml"):
        chips = load_chips(Path(name))
        if len(chips) != 1:
            raise ValueError(f"{name}: holds {len(chips)} chips, one is needed here")
        return chips[0]
    index = _index()
    if (key := plain(name)) in index:
        return index[key]
    names = [known for chip in all_chips() for known in (chip.name, *chip.aliases)]
    raise ValueError(f"unknown chip {name!r}, nearest is {nearest(name, names)!r}")


def plain(name: str) -> str:
    """A name without what writers differ in."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def nearest(name: str, names: list[str]) -> str:
    """The name that is most like another one."""
    keys = {plain(known): known for known in names}
    return keys[difflib.get_close_matches(plain(name), list(keys), n=1, cutoff=0.0)[0]]


@cache
def all_chips() -> tuple[Chip, ...]:
    """All chips of the tables, sorted by vendor, year and name."""
    chips = [chip for path in sorted((_DATA / "chips").glob("*.toml")) for chip in load_chips(path)]
    return tuple(sorted(chips, key=lambda chip: (chip.vendor, chip.year, chip.name)))


@cache
def _index() -> dict[str, Chip]:
    index: dict[str, Chip] = {}
    for chip in all_chips():
        for known in (chip.name, *chip.aliases):
            if index.setdefault(plain(known), chip) is not chip:
                raise ValueError(f"two chips are called {known!r}")
    return index


def load_chips(path: Path) -> list[Chip]:
    """Chips of a TOML file. Raises `ValueError` in one sentence for what is wrong in it."""
    document = read_toml(path)
    check_keys(document, ("chip",), str(path))
    return [_chip(raw, str(path)) for raw in tables(document, "chip", str(path))]


def tables(document: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    """The tables of `[[key]]`. Raises `ValueError` where there is none."""
    found: Any = document.get(key)
    if not isinstance(found, list) or not found:
        raise ValueError(f"{where}: has no [[{key}]]")
    return [as_table(raw, where) for raw in cast(list[Any], found)]


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML document. Raises `ValueError` where the file is absent or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from error


def _chip(raw: Mapping[str, Any], path: str) -> Chip:
    name = text_of(raw, "name", path)
    where = f"{path}: {name}"
    check_keys(raw, _KEYS, where)
    source, grade = text_of(raw, "source", where), text_of(raw, "grade", where)
    missing = [key for key in _NEEDED if key not in raw]
    if missing:
        raise ValueError(f"{where}: {missing[0]} is missing")
    figures = {
        key: as_figure(raw[key], unit, f"{where}: {key}", source=source, grade=grade,
                       above_zero=key in ("cores", "clock_hz", "tdp_w"))
        for key, unit in _FIGURES.items()
        if key in raw
    }  # fmt: skip
    year = raw.get("year")
    if not isinstance(year, int):
        raise ValueError(f"{where}: year must be a whole number, not {year!r}")
    return Chip(
        name=name,
        aliases=tuple(raw.get("aliases", ())),
        vendor=text_of(raw, "vendor", where),
        year=year,
        process=text_of(raw, "process", where, default=""),
        fabric=text_of(raw, "fabric", where, default=""),
        pod=text_of(raw, "pod", where, default=""),
        rates=_rates(raw.get("rates_flops_per_s"), where, source, grade),
        memories=tuple(_memory(memory, where, source, grade) for memory in raw.get("memory", ())),
        kernels=tuple(
            kernel_of(one, f"{where}: kernel", source=source, grade=grade)
            for one in raw.get("kernel", ())
        ),
        notes=text_of(raw, "notes", where, default=""),
        **figures,
    )


def _rates(raw: Any, where: str, source: str, grade: str) -> dict[str, Figure]:
    if not raw:
        raise ValueError(f"{where}: rates_flops_per_s is missing: give at least one format's rate")
    raw = as_table(raw, f"{where}: rates_flops_per_s")
    check_keys(raw, FORMATS, f"{where}: rates_flops_per_s")
    return {
        name: as_figure(value, "FLOP/s dense", f"{where}: rate {name}", source=source, grade=grade,
                        above_zero=True)
        for name, value in raw.items()
    }  # fmt: skip


def _memory(raw: Any, where: str, source: str, grade: str) -> Memory:
    raw = as_table(raw, f"{where}: memory")
    keys = {"capacity_bytes": "B", "bandwidth_bytes_per_s": "B/s"}
    check_keys(raw, ("name", *keys), f"{where}: memory")
    name = text_of(raw, "name", f"{where}: memory")
    figures: list[Figure] = []
    for key, unit in keys.items():
        if key not in raw:
            raise ValueError(f"{where}: memory {name}: {key} is missing")
        figures.append(
            as_figure(raw[key], unit, f"{where}: memory {name}: {key}", source=source, grade=grade,
                      above_zero=True)
        )  # fmt: skip
    return Memory(name, *figures)
