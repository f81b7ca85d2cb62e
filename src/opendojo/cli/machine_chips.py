"""`opendojo machine chips [NAME]`: what is known of accelerators, and how well."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from opendojo.cli.show import Common, parse, print_document

if TYPE_CHECKING:
    from opendojo.machine.chips import Chip
    from opendojo.machine.figure import Figure

__all__ = ["figure_row", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chips(Common):
    """A table of the chips; with a name, every figure with unit, range, grade and source.

    Rates are dense FLOP/s, links are per direction. A `~` is a claim or inferred, a `?` unknown.
    """

    name: Annotated[str | None, tyro.conf.Positional] = None
    """A chip by name or alias, or a TOML file with one's own."""


def run(arguments: list[str]) -> int:
    """Print the table or one chip."""
    from opendojo.machine.chips import all_chips, find_chip

    chosen = parse(Chips, "machine chips", arguments, Chips.__doc__ or "")
    chips = all_chips() if chosen.name is None else (find_chip(chosen.name),)
    if chosen.json:
        print_document({"chips": [dataclasses.asdict(chip) for chip in chips]})
    elif chosen.name is None:
        print(f"{'chip':<28}{'year':>5}{'bf16 TF/s':>11}{'fp8 TF/s':>11}{'GB':>9}{'TB/s':>8}"
              f"{'link GB/s':>11}{'TDP W':>8}")  # fmt: skip
        for chip in chips:
            print(_row(chip))
        print(
            "dense; links per direction; ~ claimed or inferred, ? unknown: see `machine chips NAME`"
        )
    else:
        _print_chip(chips[0])
    return 0


def _row(chip: Chip) -> str:
    half = chip.rates.get("bf16", chip.rates.get("fp16"))
    eight = chip.rates.get("fp8")
    memory = chip.memories[0] if chip.memories else None
    return (
        f"{chip.name:<28}{chip.year:>5}{_short(half, 1e12):>11}{_short(eight, 1e12):>11}"
        f"{_short(memory.capacity_bytes if memory else chip.sram_bytes, 1e9):>9}"
        f"{_short(memory.bandwidth_bytes_per_s if memory else chip.sram_bytes_per_s, 1e12):>8}"
        f"{_short(chip.link_bytes_per_s, 1e9):>11}{_short(chip.tdp_w, 1):>8}"
    )


def _short(figure: Figure | None, scale: float) -> str:
    if figure is None:
        return "-"
    mark = {"measured": "", "published": "", "claimed": "~", "inferred": "~", "unknown": "?"}[
        figure.grade
    ]
    return f"{mark}{figure.value / scale:.4g}"


def _print_chip(chip: Chip) -> None:
    print(f"{chip.name} ({chip.vendor}, {chip.year}; {chip.process or 'process not known'}; "
          f"{chip.fabric or 'no fabric'}; stands in {chip.pod or 'no pod'})")  # fmt: skip
    for name, figure in chip.figures().items():
        print(figure_row(name, figure))
    if chip.notes:
        print(chip.notes)


def figure_row(name: str, figure: Figure) -> str:
    """One figure; values that contradict it follow on lines of their own."""
    between = f" [{figure.low:.4g} to {figure.high:.4g}]" if figure.low < figure.high else ""
    note = f" ({figure.note})" if figure.note else ""
    unit = "" if figure.unit == "1" else f" {figure.unit}"
    head = f"  {name:<30}{figure.value:>10.4g}{unit}{between}"
    lines = [f"{head}, {figure.grade}: {figure.source}{note}"]
    lines += [
        f"  {'':<30}{other.value:>10.4g} says {other.source}; not used: {other.reason}"
        for other in figure.others
    ]
    return "\n".join(lines)
