"""`opendojo machine package NAME`: yield, links, supply and heat of a package."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import tyro

from opendojo.cli.machine_chips import figure_row
from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageOf(Common):
    """Good dies and packages of a wafer, the cost of a bad core, supply and heat. Modelled.

    The figures it starts from follow, each with its range and source: many are not published.
    """

    name: Annotated[str, tyro.conf.Positional] = "dojo-tile"
    """A package by name or alias, or a TOML file."""


def run(arguments: list[str]) -> int:
    """Print what the formulas say of one package."""
    from opendojo.machine.pods import find_package, judge_package

    chosen = parse(PackageOf, "machine package", arguments, PackageOf.__doc__ or "")
    package = find_package(chosen.name)
    verdict = judge_package(package)
    worst, best = judge_package(package, "worst"), judge_package(package, "best")
    if chosen.json:
        print_document(
            {
                "package": dataclasses.asdict(package),
                "kind": "modelled",
                "verdict": dataclasses.asdict(verdict),
                "worst": dataclasses.asdict(worst),
                "best": dataclasses.asdict(best),
            }
        )
        return 0
    print(f"{package.name}: {package.chip}, {package.technology} (modelled; in brackets the worst "
          "and the best of all ranges)")  # fmt: skip
    for label, text in (
        ("dies of a wafer", lambda v: f"{v.dies_per_wafer}"),
        ("good dies", lambda v: f"{100 * v.die_yield:.1f} %"),
        ("without spare cores", lambda v: f"{100 * v.die_yield_without_spares:.1f} %"),
        ("good assemblies", lambda v: f"{100 * v.assembly_yield:.1f} %"),
        ("packages of a wafer", lambda v: f"{v.good_packages_per_wafer:.2f}"),
        ("a core too many costs", lambda v: f"{100 * v.bad_core_least:.2f} to "
                                            f"{100 * v.bad_core_most:.2f} % of the die"),
        ("links, per direction", lambda v: f"{v.edge_bytes_per_s / 1e12:.2f} TB/s raw"),
        ("supply", lambda v: f"{v.amperes:,.0f} A, {v.supply_loss_w:,.0f} W lost"),
        ("clock that is held", lambda v: f"{100 * v.held_clock:.0f} %"),
    ):  # fmt: skip
        shown = [text(one) for one in (verdict, worst, best)]
        between = f" ({shown[1]} | {shown[2]})" if len(set(shown)) > 1 else ""
        print(f"  {label:<24}{shown[0]}{between}")
    for name, figure in package.figures.items():
        print(figure_row(name, figure))
    if package.notes:
        print(package.notes)
    return 0
