"""Which figure of a chip is worth improving: the same network with one figure changed at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from opendojo.machine.chips import Chip, find_chip, nearest
from opendojo.machine.figure import Figure
from opendojo.machine.kernels import CALLS, PRODUCTS
from opendojo.machine.placement import place
from opendojo.machine.plan import Plan, Terms
from opendojo.machine.pods import Pod
from opendojo.machine.shapes import Shape

__all__ = ["WORDS", "Change", "changed", "parse_factor", "what_if"]

WORDS = ("bandwidth", "idle", "link", "memory", "nic", "power", "price", "rate", "sram",
         "sram_bandwidth")  # fmt: skip
"""What may be changed: memory is its capacity, rate all formats, link and nic per direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure changed, all others as they are."""

    figure: str
    factor: float
    speedup: float
    """Useful work a day over that of the chip as it is."""
    joules: float
    """Joules for a unit over those of the chip as it is."""
    binds: str


def parse_factor(text: str) -> tuple[str, float]:
    """`sram=2x` as ("sram", 2.0). Raises `ValueError` that names the nearest word."""
    word, _, factor = text.partition("=")
    if word not in WORDS:
        raise ValueError(f"--set {text}: unknown figure {word!r}, nearest is "
                         f"{nearest(word, list(WORDS))!r} of {', '.join(WORDS)}")  # fmt: skip
    if not re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?x", factor) or float(factor[:-1]) <= 0:
        raise ValueError(f"--set {text}: give a factor above 0, as in {word}=2x")
    return word, float(factor[:-1])


def changed(chip: Chip, factors: Mapping[str, float]) -> Chip:
    """The chip with figures multiplied. Raises `ValueError` where it has no such figure."""
    for word, factor in factors.items():
        chip = _one(chip, word, factor)
    return chip


def _one(chip: Chip, word: str, factor: float) -> Chip:
    def times(figure: Figure | None, factor: float = factor) -> Figure:
        if figure is None:
            raise ValueError(f"{chip.name} gives no {word}: write it in a chip file of your own")
        return replace(figure, value=figure.value * factor, low=figure.low * factor,
                       high=figure.high * factor)  # fmt: skip

    if chip.kernels and word not in ("bandwidth", "idle", "memory", "power", "rate"):
        raise ValueError(f"{chip.name} is priced by measured kernels, {word} is not told from "
                         "them: change rate, bandwidth or memory")  # fmt: skip
    if chip.kernels and word in ("bandwidth", "rate"):
        chip = replace(chip, kernels=tuple(
            replace(k, seconds=times(k.seconds, 1 / factor))
            if (k.op.split()[0] in PRODUCTS) == (word == "rate") and not k.op.startswith(CALLS)
            else k for k in chip.kernels
        ))  # fmt: skip
    if word == "rate":
        return replace(chip, rates={name: times(rate) for name, rate in chip.rates.items()})
    if word in ("memory", "bandwidth"):
        if not chip.memories:
            raise ValueError(f"{chip.name} has no memory outside its cores: change sram instead")
        key = "capacity_bytes" if word == "memory" else "bandwidth_bytes_per_s"
        return replace(
            chip, memories=tuple(replace(m, **{key: times(getattr(m, key))}) for m in chip.memories)
        )
    key = {"sram": "sram_bytes", "sram_bandwidth": "sram_bytes_per_s", "idle": "idle_w",
           "link": "link_bytes_per_s", "nic": "nic_bytes_per_s", "power": "tdp_w",
           "price": "price_usd"}[word]  # fmt: skip
    return replace(chip, **{key: times(getattr(chip, key))})


def what_if(
    shape: Shape, pod: Pod, *, factors: Mapping[str, float] | None = None,
    chips: int | None = None, batch: float | None = None, terms: Terms | None = None,
    chip: Chip | None = None,
) -> tuple[Plan, list[Change], Change | None]:  # fmt: skip
    """The plan as it is, each change alone, the most useful first, and all of `factors` at once.

    Without factors every figure that the chip has is doubled in turn.
    """
    card = chip or find_chip(pod.chip)
    plain = place(shape, pod, chips=chips, batch=batch, chip=card, best=1, terms=terms)[0]

    def change(figure: str, with_these: Mapping[str, float]) -> Change:
        other = place(shape, pod, chips=plain.chips, batch=plain.batch, best=1, terms=terms,
                      chip=changed(card, with_these))[0]  # fmt: skip
        return Change(
            figure=figure, factor=with_these.get(figure, 0.0),
            speedup=other.units_per_day / plain.units_per_day,
            joules=other.joules_per_unit / plain.joules_per_unit, binds=other.binds,
        )  # fmt: skip

    wanted = dict(factors or {word: 2.0 for word in WORDS if _has(card, word)})
    alone = [change(word, {word: factor}) for word, factor in wanted.items()]
    alone.sort(key=lambda one: (-one.speedup, one.joules))
    together = change("all of them", wanted) if factors and len(wanted) > 1 else None
    return plain, alone, together


def _has(chip: Chip, word: str) -> bool:
    try:
        _one(chip, word, 2.0)
    except ValueError:
        return False
    return word not in ("idle", "power", "price")
