"""Lights: phases in turn by the clock, and what a signal shows."""

from __future__ import annotations

from collections.abc import Sequence

from opendojo.world.town.graph import Signal

__all__ = ["CLEARANCE_S", "YELLOW_S", "Head", "cycle", "shown"]

YELLOW_S = 3.0
CLEARANCE_S = 2.0
"""All is red between a phase's yellow and the next one's green."""

Head = tuple[float, float, float]
"""x, y and the direction in which it shows its light."""


def cycle(greens_s: Sequence[float], heads: Sequence[tuple[Head, ...]]) -> list[Signal]:
    """Signals of one junction, a phase each: green, yellow, all red, then the next phase."""
    pause = YELLOW_S + CLEARANCE_S
    period = sum(greens_s) + pause * len(greens_s)
    signals, start = [], 0.0
    for green, own in zip(greens_s, heads, strict=True):
        signals.append(
            Signal(
                period_s=period,
                green_from_s=start,
                green_to_s=start + green,
                yellow_s=YELLOW_S,
                heads=own,
            )
        )
        start += green + pause
    return signals


def shown(signal: Signal, time_s: float) -> int:
    """0 red, 1 yellow, 2 green."""
    time = time_s % signal.period_s
    if signal.green_from_s <= time < signal.green_to_s:
        return 2
    return int(signal.green_to_s <= time < signal.green_to_s + signal.yellow_s)
