"""Packages and pods as data: what chips are put on, and how many stand together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from opendojo.machine.chips import nearest, plain, read_toml, tables
from opendojo.machine.figure import Figure, as_figure, check_keys, text_of
from opendojo.machine.package import (
    Cooling,
    assembly_yield,
    bad_core_cost,
    die_yield,
    dies_per_wafer,
    edge_bytes_per_s,
    held_clock,
    supply,
)

__all__ = [
    "Corner", "Package", "Pod", "Verdict", "all_packages", "all_pods", "find_package", "find_pod",
    "judge_package", "load_packages", "load_pods",
]  # fmt: skip

_DATA = Path(__file__).parent / "data"
_PACKAGE = {
    "clustering": "1",
    "coolant_c": "degC",
    "core_columns": "1",
    "core_rows": "1",
    "core_volts": "V",
    "defects_per_mm2": "1/mm2",
    "die_area_mm2": "mm2",
    "die_w": "W",
    "dies": "1",
    "dies_needed": "1",
    "edge_bits_per_s": "bit/s per direction and lane",
    "edge_lanes": "1",
    "good_share": "1",
    "idle_share": "1",
    "kelvin_per_w": "K/W",
    "limit_c": "degC",
    "power_w": "W",
    "process_yield": "1",
    "repairable_share": "1",
    "spare_cores": "1",
    "supply_ohm": "ohm",
    "supply_w": "W",
}
_POD = {
    "chips_per_node": "1",
    "host_cores_per_node": "1",
    "host_memory_bytes_per_node": "B",
    "nodes": "1",
    "overhead_w_per_node": "W",
    "price_usd": "USD",
    "pue": "1",
    "scale_up_chips": "1",
}
_POD_OPTIONAL = ("host_cores_per_node", "host_memory_bytes_per_node", "price_usd")
_BETTER_HIGH = {
    "core_columns", "core_rows", "core_volts", "edge_bits_per_s",
    "edge_lanes", "good_share", "limit_c", "process_yield", "repairable_share", "spare_cores",
    "supply_w",
}  # fmt: skip
"""Figures of a package of which more is better; less is for all others.

A smaller clustering number puts more of the defects on the same dies and leaves more clean."""
Corner = Literal["value", "worst", "best"]
_Named = TypeVar("_Named", "Package", "Pod")
_TEXTS = ("aliases", "grade", "name", "notes", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Dies on a carrier."""

    name: str
    aliases: tuple[str, ...]
    chip: str
    technology: str
    figures: dict[str, Figure]
    notes: str = ""

    def value(self, key: str) -> float:
        """Value of a figure."""
        return self.figures[key].value


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """Nodes of chips: the largest that is sold or was built as one."""

    name: str
    aliases: tuple[str, ...]
    chip: str
    fabric: str
    """Topology of the scale-up fabric: "switch", "ring", "torus2d", "torus3d", "mesh2d", "full"."""
    chips_per_node: Figure
    nodes: Figure
    scale_up_chips: Figure
    """Chips that reach each other at the chip's link rate."""
    overhead_w_per_node: Figure
    """Host, fans, switches: all of a node's power that is not a chip's."""
    pue: Figure
    host_cores_per_node: Figure | None = None
    host_memory_bytes_per_node: Figure | None = None
    price_usd: Figure | None = None
    notes: str = ""

    def chips(self) -> int:
        """All chips of the pod."""
        return round(self.chips_per_node.value * self.nodes.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a package comes to. Modelled."""

    dies_per_wafer: int
    die_yield: float
    die_yield_without_spares: float
    good_dies_per_wafer: float
    assembly_yield: float
    good_packages_per_wafer: float
    """Of the chip's own wafers: good dies x assembly yield / dies on a package."""
    bad_core_least: float
    bad_core_most: float
    """Share of a die's rate that one bad core beyond the spares costs."""
    edge_bytes_per_s: float
    """Per direction, all four edges of a die."""
    amperes: float
    supply_loss_w: float
    held_clock: float


def judge_package(package: Package, corner: Corner = "value") -> Verdict:
    """Yield, links, supply and heat of a package by the formulas of `machine.package`.

    The corners take every figure at the end of its range that is bad (or good) at once: they
    enclose the answer, and are less likely than any single range.
    """

    def v(key: str) -> float:
        figure = package.figures[key]
        if corner == "value":
            return figure.value
        return figure.low if (corner == "worst") == (key in _BETTER_HIGH) else figure.high

    spares = round(v("spare_cores"))
    area, density, clustering = v("die_area_mm2"), v("defects_per_mm2"), v("clustering")
    on_wafer = dies_per_wafer(area)
    good = die_yield(
        area, density, clustering, spare_cores=spares, repairable_share=v("repairable_share")
    )
    dies = round(v("dies"))
    whole = assembly_yield(dies, round(v("dies_needed")), v("good_share"), v("process_yield"))
    least, most = bad_core_cost(round(v("core_rows")), round(v("core_columns")), spares, spares + 1)
    amperes, loss_w = supply(v("power_w"), v("core_volts"), v("supply_ohm"))
    cooling = Cooling(
        nominal_w=v("die_w"),
        idle_share=v("idle_share"),
        kelvin_per_w=v("kelvin_per_w"),
        coolant_c=v("coolant_c"),
        limit_c=v("limit_c"),
        supply_w=v("supply_w") / dies,
    )
    return Verdict(
        dies_per_wafer=on_wafer,
        die_yield=good,
        die_yield_without_spares=die_yield(area, density, clustering),
        good_dies_per_wafer=on_wafer * good,
        assembly_yield=whole,
        good_packages_per_wafer=on_wafer * good / dies * whole,
        bad_core_least=least,
        bad_core_most=most,
        edge_bytes_per_s=edge_bytes_per_s(round(v("edge_lanes")), v("edge_bits_per_s"), 4),
        amperes=amperes,
        supply_loss_w=loss_w,
        held_clock=held_clock(cooling),
    )


def load_packages(path: Path) -> list[Package]:
    """Packages of a file. Raises `ValueError` in one sentence for what is wrong in it."""
    found: list[Package] = []
    for raw, where in _tables(path, "package"):
        check_keys(raw, (*_TEXTS, "chip", "technology", *_PACKAGE), where)
        found.append(
            Package(
                name=text_of(raw, "name", where),
                aliases=tuple(raw.get("aliases", ())),
                chip=text_of(raw, "chip", where),
                technology=text_of(raw, "technology", where),
                figures=_figures(raw, _PACKAGE, (), where),
                notes=text_of(raw, "notes", where, default=""),
            )
        )
    return found


def load_pods(path: Path) -> list[Pod]:
    """Pods of a file. Raises `ValueError` in one sentence for what is wrong in it."""
    found: list[Pod] = []
    for raw, where in _tables(path, "pod"):
        check_keys(raw, (*_TEXTS, "chip", "fabric", *_POD), where)
        figures = _figures(raw, _POD, _POD_OPTIONAL, where)
        if figures["pue"].low < 1:
            raise ValueError(f"{where}: pue: {figures['pue'].low:g} must be at least 1")
        found.append(
            Pod(
                name=text_of(raw, "name", where),
                aliases=tuple(raw.get("aliases", ())),
                chip=text_of(raw, "chip", where),
                fabric=text_of(raw, "fabric", where),
                notes=text_of(raw, "notes", where, default=""),
                **figures,
            )
        )
    return found


def _tables(path: Path, key: str) -> list[tuple[Mapping[str, Any], str]]:
    document = read_toml(path)
    check_keys(document, (key,), str(path))
    return [
        (raw, f"{path}: {text_of(raw, 'name', str(path))}")
        for raw in tables(document, key, str(path))
    ]


def _figures(
    raw: Mapping[str, Any], units: Mapping[str, str], optional: tuple[str, ...], where: str
) -> dict[str, Figure]:
    source, grade = text_of(raw, "source", where), text_of(raw, "grade", where)
    for key in units:
        if key not in raw and key not in optional:
            raise ValueError(f"{where}: {key} is missing")
    return {
        key: as_figure(raw[key], unit, f"{where}: {key}", source=source, grade=grade)
        for key, unit in units.items()
        if key in raw
    }


@cache
def all_packages() -> tuple[Package, ...]:
    """All packages of the tables."""
    paths = sorted((_DATA / "packages").glob("*.toml"))
    return tuple(package for path in paths for package in load_packages(path))


@cache
def all_pods() -> tuple[Pod, ...]:
    """All pods of the tables."""
    paths = sorted((_DATA / "pods").glob("*.toml"))
    return tuple(pod for path in paths for pod in load_pods(path))


def find_package(name: str) -> Package:
    """By name or alias, or out of a file. Raises `ValueError` that names the nearest."""
    known = load_packages(Path(name)) if name.endswith(".toml") else list(all_packages())
    return known[0] if name.endswith(".toml") else _find(name, known, "package")


def find_pod(name: str) -> Pod:
    """By name or alias, or out of a file. Raises `ValueError` that names the nearest."""
    known = load_pods(Path(name)) if name.endswith(".toml") else list(all_pods())
    return known[0] if name.endswith(".toml") else _find(name, known, "pod")


def _find(name: str, known: list[_Named], word: str) -> _Named:
    for one in known:
        if plain(name) in {plain(other) for other in (one.name, *one.aliases)}:
            return one
    raise ValueError(
        f"unknown {word} {name!r}, nearest is {nearest(name, [one.name for one in known])!r}"
    )
