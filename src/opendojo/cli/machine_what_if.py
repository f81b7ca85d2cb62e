"""`opendojo machine what-if`: which figure of a chip is worth improving."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import tyro

from opendojo.cli.machine_network import Where, load_shape, precision_of, standing, terms_of
from opendojo.cli.show import parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf(Where):
    """Change figures of the chip one at a time and rank them by what a day gains. Modelled.

    `--set sram=2x bandwidth=1.5x`; without it every figure is doubled in turn.
    """

    network: Annotated[str, tyro.conf.Positional]
    """As in `machine plan`."""
    set: tuple[str, ...] = ()
    """FIGURE=FACTORx: bandwidth, idle, link, memory, nic, power, price, rate, sram,
    sram_bandwidth."""


def run(arguments: list[str]) -> int:
    """Print the ranking."""
    from opendojo.machine.what_if import parse_factor, what_if

    chosen = parse(WhatIf, "machine what-if", arguments, WhatIf.__doc__ or "")
    factors = dict(parse_factor(text) for text in chosen.set)
    pod, chip = standing(chosen.on)
    plain, alone, together = what_if(
        load_shape(chosen.network, precision_of(chosen, chip)), pod, factors=factors,
        chips=chosen.chips, batch=chosen.batch, terms=terms_of(chosen), chip=chip,
    )  # fmt: skip
    if chosen.json:
        print_document(
            {
                "kind": "modelled",
                "plan": dataclasses.asdict(plain),
                "changes": [dataclasses.asdict(one) for one in alone],
                "together": dataclasses.asdict(together) if together else None,
            }
        )
        return 0
    print(f"{plain.network} on {plain.chips:,} x {plain.chip}: {plain.units_per_day:.3g} "
          f"{plain.unit}s a day, {plain.binds} binds; modelled")  # fmt: skip
    for one in [*alone, *([together] if together else [])]:
        times = f"{one.factor:g}x" if one.factor else ""
        print(f"  {one.figure + ' ' + times:<22}{one.speedup:>7.3f} times the work a day, "
              f"{one.joules:.3f} times J/{plain.unit}; then {one.binds} binds")  # fmt: skip
    return 0
