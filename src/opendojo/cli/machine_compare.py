"""`opendojo machine compare`: chips side by side on one network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import tyro

from opendojo.cli.machine_network import load_shape
from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare(Common):
    """The best layout of one network on as many of each chip, and the claims on Dojo answered.

    A "dojo1" is a tile of 25 dies. Modelled; the data path is taken as quick enough.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (
        "dojo1", "dojo2", "dojo3", "b200", "h100",
    )  # fmt: skip
    """Chips by name or alias, or .toml files."""
    network: str = "gpt-7b"
    """As in `machine plan`."""
    chips: int = 64
    """Of each."""
    batch: float | None = None
    """Samples of a step, the same for all."""


def run(arguments: list[str]) -> int:
    """Print the table and the answers."""
    from opendojo.machine.compare import compare
    from opendojo.machine.plan import Terms

    chosen = parse(Compare, "machine compare", arguments, Compare.__doc__ or "")
    if chosen.chips < 1:
        raise ValueError(f"--chips {chosen.chips}: give at least 1")
    terms = Terms(decode_core_s=0.0, unit_bytes=0.0)
    plans, refused, claims = compare(
        load_shape(chosen.network), chosen.names, chips=chosen.chips, batch=chosen.batch,
        terms=terms,
    )  # fmt: skip
    if chosen.json:
        print_document(
            {
                "kind": "modelled",
                "plans": [dataclasses.asdict(plan) for plan in plans],
                "refused": refused,
                "claims": [dataclasses.asdict(claim) for claim in claims],
            }
        )
        return 0
    print(f"{chosen.network} on {chosen.chips} of each; modelled, 80 % intervals")
    for plan in plans:
        per_chip = plan.units_per_day / plan.chips / 86_400
        print(f"  {plan.chip:<24}{per_chip:>10,.4g} {plan.unit}s/s a chip "
              f"({plan.units_per_day_low / plan.chips / 86_400:,.3g} to "
              f"{plan.units_per_day_high / plan.chips / 86_400:,.3g}), {plan.kw:,.4g} kW, "
              f"{plan.joules_per_unit:.3g} J/{plan.unit}; {plan.binds}")  # fmt: skip
    for name, reason in refused.items():
        print(f"  {name:<24}no: {reason}")
    for claim in claims:
        print(f"{claim.claim}: {claim.ratio:.3g} times ({claim.low:.2g} to {claim.high:.2g}), "
              f"rated {claim.rated:.3g}: {claim.answer}")  # fmt: skip
    return 0
