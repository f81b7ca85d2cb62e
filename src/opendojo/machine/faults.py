"""Failures and silent corruption: what is left of a day of training.

Rates are per chip and second. Failures come as a Poisson process, the sum over all chips; that is
what the literature's formulas and the ones here take, bursts and ageing are not in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from opendojo.machine.figure import Figure

__all__ = ["FAILURES", "SILENT", "Guard", "Outcome", "checkpoint_interval_s", "outcome"]

DAY_S = 86_400.0

FAILURES = Figure(
    value=419 / 54 / 16_384 / DAY_S,
    unit="1/s per chip",
    grade="published",
    source="Llama 3 (arXiv 2407.21783): 419 unexpected interruptions, 16,384 H100, 54 days",
    low=0.5 * 419 / 54 / 16_384 / DAY_S,
    high=3 * 419 / 54 / 16_384 / DAY_S,
    note="One fleet; the range is an assumption for others.",
)
SILENT = Figure(
    value=6 / 54 / 16_384 / DAY_S,
    unit="1/s per chip",
    grade="published",
    source="Llama 3 (arXiv 2407.21783): 6 recognised silent corruptions, 16,384 H100, 54 days",
    low=6 / 54 / 16_384 / DAY_S,
    high=100 * 6 / 54 / 16_384 / DAY_S,
    note="A floor: those that nobody recognised are not counted. The upper end is an assumption "
    "between it and one bad device per thousand (Meta, arXiv 2102.11245).",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What watches for silent corruption."""

    overhead: float = 0.0
    """Share added to the time of every step."""
    caught: float = 0.0
    """Share of corruptions it catches at once."""
    replay_s: float = 0.0
    """To compute again what was caught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What faults leave of the time."""

    useful: float
    """Share of the time that is first-time work of training."""
    interval_s: float
    """Work between checkpoints."""
    mtbf_s: float
    failures_per_day: float
    caught_per_day: float
    uncaught_per_day: float
    """Silent corruptions that reach the weights. They cost no time here, and are in no share."""


def checkpoint_interval_s(checkpoint_s: float, mtbf_s: float) -> float:
    """Work between checkpoints that loses least: Daly (FGCS 22-3, 2006), eq. 37.

    sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C for C < 2 M, else M. Its first factor is
    Young's (CACM 17-9, 1974).
    """
    if checkpoint_s <= 0 or mtbf_s <= 0:
        raise ValueError("a checkpoint's time and the time between failures must be above 0")
    if math.isinf(mtbf_s):
        return math.inf
    ratio = checkpoint_s / (2 * mtbf_s)
    if ratio >= 1:
        return mtbf_s
    first = math.sqrt(2 * checkpoint_s * mtbf_s)
    return first * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint_s


def outcome(
    chips: int,
    *,
    checkpoint_s: float,
    restart_s: float,
    interval_s: float | None = None,
    failures_per_chip_s: float = FAILURES.value,
    silent_per_chip_s: float = SILENT.value,
    guard: Guard | None = None,
) -> Outcome:
    """Useful share of the time of `chips` that all stop when one does; exact in expectation.

    A segment is `interval_s` of unguarded work and a checkpoint. An attempt lasts W = w (1 + g) + C
    + r N, N Poisson with mean s c w (1 + g), and ends well with p = E exp(-W / M). Attempts are
    independent, a failure costs a restart that can fail itself (mean M (exp(R / M) - 1)):

        E T = M exp(R / M) (1 - p) / p,  useful = w / E T

    which is Daly's complete model without a guard. Raises `ValueError` for impossible inputs.
    """
    watch = guard or Guard()
    if chips < 1 or min(checkpoint_s, failures_per_chip_s) <= 0 or interval_s == 0:
        raise ValueError(
            "chips, a checkpoint's time, its interval and the failures must be above 0"
        )
    if min(restart_s, silent_per_chip_s, watch.overhead, watch.replay_s, interval_s or 0.0) < 0:
        raise ValueError("times, rates and overheads must be at least 0")
    if not 0 <= watch.caught <= 1:
        raise ValueError(f"the caught share {watch.caught:g} must be 0 to 1")
    mtbf_s = 1 / (chips * failures_per_chip_s)
    silent = chips * silent_per_chip_s
    slower = 1 + watch.overhead
    work_s = interval_s or checkpoint_interval_s(checkpoint_s, mtbf_s) / slower
    caught = silent * watch.caught * work_s * slower
    exponent = (work_s * slower + checkpoint_s) / mtbf_s
    exponent += caught * -math.expm1(-watch.replay_s / mtbf_s)
    # (1 - p) / p with p = exp(-exponent); a share of 0 where nothing ever gets through.
    lost = exponent + restart_s / mtbf_s > 700
    useful = 0.0 if lost else work_s / (
        mtbf_s * math.exp(restart_s / mtbf_s) * math.expm1(exponent)
    )  # fmt: skip
    return Outcome(
        useful=useful,
        interval_s=work_s,
        mtbf_s=mtbf_s,
        failures_per_day=DAY_S / mtbf_s,
        caught_per_day=silent * watch.caught * DAY_S,
        uncaught_per_day=silent * (1 - watch.caught) * DAY_S,
    )
