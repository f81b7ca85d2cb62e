"""Chips side by side on one network, and what was claimed of them answered. Modelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from opendojo.machine.chips import find_chip
from opendojo.machine.placement import default_batch, place
from opendojo.machine.plan import Plan, Terms
from opendojo.machine.pods import find_pod
from opendojo.machine.shapes import Shape

__all__ = ["NEAR", "Claim", "compare", "dies_of"]

NEAR = 1.3
"""Two rates within this factor of one another count as near."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence that was said, and what the model says of it."""

    claim: str
    ratio: float
    low: float
    high: float
    """Of 80 %, both chips' intervals taken as independent."""
    rated: float
    """The same ratio of dense rates in the format used."""
    answer: str


def dies_of(chip: str) -> int:
    """Dies of what is addressed as one chip: 25 of a D1 tile, else one."""
    return 25 if find_chip(chip).name == "Tesla D1 training tile" else 1


def compare(
    shape: Shape, names: Sequence[str], *, chips: int = 64, batch: float | None = None,
    terms: Terms | None = None,
) -> tuple[list[Plan], dict[str, str], list[Claim]]:  # fmt: skip
    """The best plan of each on as many chips and the same batch, why others have none, and claims.

    The claims are answered where Dojo 1 and Dojo 2, or Dojo 2 and a B200 have plans: that Dojo 2 is
    ten times Dojo 1 (die by die) and near a B200 (Musk, 2025).
    """
    samples = batch or default_batch(shape, chips)
    plans: list[Plan] = []
    refused: dict[str, str] = {}
    for name in names:
        card = find_chip(name)
        if not card.pod:
            raise ValueError(f"{card.name} stands in no pod: write one and give it as `pod`")
        try:
            plans += place(shape, find_pod(card.pod), chips=chips, batch=samples, chip=card, best=1,
                           terms=terms)  # fmt: skip
        except ValueError as error:
            refused[card.name] = str(error)
    by_name = {plan.chip: plan for plan in plans}
    claims: list[Claim] = []
    for word, first, second, goal in (
        ("Dojo 2 is ten times Dojo 1, die by die", "dojo2", "dojo1", 10.0),
        ("Dojo 2 is near a B200, die by chip", "dojo2", "b200", 1.0),
        ("Dojo 3 is ten times Dojo 2", "dojo3", "dojo2", 10.0),
    ):
        one, other = find_chip(first).name, find_chip(second).name
        if one in by_name and other in by_name:
            claims.append(_claim(shape, word, by_name[one], by_name[other], goal))
    return plans, refused, claims


def _claim(shape: Shape, word: str, one: Plan, other: Plan, goal: float) -> Claim:
    def rated(plan: Plan) -> float:
        chip = find_chip(plan.chip)
        return next(chip.rates[f] for f in shape.formats if f in chip.rates).value / dies_of(
            plan.chip
        )

    ratio = one.units_per_day / one.chips / dies_of(one.chip)
    ratio /= other.units_per_day / other.chips / dies_of(other.chip)
    width = math.hypot(math.log(one.high_s / one.step_s), math.log(other.high_s / other.step_s))
    low, high = ratio * math.exp(-width), ratio * math.exp(width)
    if low <= goal * NEAR and high >= goal / NEAR:
        inside = goal / NEAR <= ratio <= goal * NEAR
        answer = "as modelled, yes" if inside else "not as modelled, but within what is not known"
    else:
        answer = "more than that" if low > goal else "no"
    return Claim(
        claim=word, ratio=ratio, low=low, high=high, rated=rated(one) / rated(other), answer=answer
    )
