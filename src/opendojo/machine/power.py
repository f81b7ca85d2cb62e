"""Watts, joules per frame and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUE_DEFAULT", "Capped", "capped", "chip_w", "energy_usd", "facility_w", "joules_per"]

PUE_DEFAULT = 1.10
"""Hyperscale fleets publish 1.09 to 1.16; the mean of the industry is near 1.58 (Uptime 2024)."""


def chip_w(idle_w: float, busy_w: float, utilisation: float, *, exponent: float = 1.4) -> float:
    """Power at a utilisation from 0 to 1: idle + (busy - idle) (2 u - u^exponent).

    Fan, Weber and Barroso (ISCA 2007), fitted on servers; exponent 1 makes it linear. `busy_w` is
    what the busiest job draws, which for training is mostly below the rated power.
    """
    if not 0 <= utilisation <= 1:
        raise ValueError(f"a utilisation must be 0 to 1, not {utilisation:g}")
    if not 0 <= idle_w <= busy_w or exponent < 1:
        raise ValueError("the idle power must be 0 to the busy power, the exponent at least 1")
    return idle_w + (busy_w - idle_w) * (2 * utilisation - utilisation**exponent)


def facility_w(chips_w: float, overhead_w: float = 0.0, pue: float = PUE_DEFAULT) -> float:
    """At the meter of the building: chips, the rest of the nodes, then cooling and conversion."""
    if pue < 1:
        raise ValueError(f"a PUE must be at least 1, not {pue:g}")
    if min(chips_w, overhead_w) < 0:
        raise ValueError("powers must be at least 0")
    return (chips_w + overhead_w) * pue


@dataclass(frozen=True, slots=True)
class Capped:
    """Under a power cap."""

    clock: float
    """Share of the nominal clock."""
    slowdown: float
    """Time of the work over its time without a cap."""
    power_w: float


def capped(cap_w: float, idle_w: float, busy_w: float, compute_share: float) -> Capped:
    """What a cap costs: power above idle goes with the clock's cube, and only compute slows.

    `compute_share` is the part of the time that the clock binds; memory and links keep their rate.
    Raises `ValueError` where the cap is not above the idle power.
    """
    if not 0 <= compute_share <= 1 or not 0 <= idle_w < busy_w:
        raise ValueError("the compute share must be 0 to 1, the idle power below the busy power")
    if cap_w <= idle_w:
        raise ValueError(f"a cap of {cap_w:g} W is not above the idle power of {idle_w:g} W")
    clock = min(((cap_w - idle_w) / (busy_w - idle_w)) ** (1 / 3), 1.0)
    slowdown = compute_share / clock + 1 - compute_share
    return Capped(clock, slowdown, min(cap_w, busy_w))


def joules_per(power_w: float, per_s: float) -> float:
    """Joules for one frame, or whatever there are `per_s` of."""
    if power_w < 0 or per_s <= 0:
        raise ValueError("the power must be at least 0 and the rate above 0")
    return power_w / per_s


def energy_usd(joules: float, usd_per_kwh: float = 0.08) -> float:
    """Price of energy; 0.08 USD/kWh is an assumption of the order of industrial contracts."""
    if min(joules, usd_per_kwh) < 0:
        raise ValueError("energy and its price must be at least 0")
    return joules / 3.6e6 * usd_per_kwh
