"""What comes off the wafer and whether it can be fed and cooled.

Yield is the negative binomial (Stapper, IBM J. R&D 27-6, 1983; Koren and Koren, Proc. IEEE 86-9,
1998): defects cluster, so a wafer has more dies without any than Poisson says. Areas in mm2,
densities per mm2 (0.09 per cm2 is 0.0009), powers in W.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "Cooling",
    "assembly_yield",
    "bad_core_cost",
    "defect_pmf",
    "die_yield",
    "dies_per_wafer",
    "edge_bytes_per_s",
    "held_clock",
    "supply",
]


def defect_pmf(count: int, mean: float, clustering: float) -> float:
    """Probability of `count` killer defects where `mean` are expected.

    Gamma(c + a) / (c! Gamma(a)) (m/a)^c (1 + m/a)^-(a + c), a the clustering: 0.5 to 2 in a mature
    process, Poisson where infinite.
    """
    if mean < 0 or count < 0 or clustering <= 0:
        raise ValueError("defects must be at least 0 and the clustering above 0")
    if mean == 0:
        return 1.0 if count == 0 else 0.0
    if math.isinf(clustering):
        return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    ratio = mean / clustering
    return math.exp(
        math.lgamma(count + clustering)
        - math.lgamma(count + 1)
        - math.lgamma(clustering)
        + count * math.log(ratio)
        - (clustering + count) * math.log1p(ratio)
    )


def die_yield(
    area_mm2: float,
    defects_per_mm2: float,
    clustering: float,
    *,
    spare_cores: int = 0,
    repairable_share: float = 0.0,
) -> float:
    """Share of dies that can be sold.

    Y = NB(0; A_u D) x P(N <= spares), N of mean A_c D: the part that cannot be repaired must be
    clean, a core takes each defect of the rest. The two parts cluster independently, and each
    defect is taken to cost a core of its own: both are on the safe side.
    """
    if not 0 <= repairable_share <= 1 or spare_cores < 0:
        raise ValueError("the repairable share must be 0 to 1 and the spare cores at least 0")
    mean = area_mm2 * defects_per_mm2
    fixed = defect_pmf(0, mean * (1 - repairable_share), clustering)
    cores = (defect_pmf(n, mean * repairable_share, clustering) for n in range(spare_cores + 1))
    return fixed * min(sum(cores), 1.0)


def dies_per_wafer(area_mm2: float, wafer_mm: float = 300.0) -> int:
    """Whole square dies of a round wafer: pi r2/A - pi d/sqrt(2 A) (de Vries, IEEE TSM 18-1, 2005).

    Scribe lines and the edge's exclusion are not counted.
    """
    if area_mm2 <= 0 or wafer_mm <= 0:
        raise ValueError("areas must be above 0")
    whole = math.pi * (wafer_mm / 2) ** 2 / area_mm2
    return max(math.floor(whole - math.pi * wafer_mm / math.sqrt(2 * area_mm2)), 0)


def assembly_yield(dies: int, needed: int, good_share: float, process_yield: float = 1.0) -> float:
    """Share of tiles of which at least `needed` of `dies` work after assembly.

    `good_share` is the chance that a die that was tested good works on the tile (test escapes and
    bonds); `process_yield` is what may spoil the whole wafer. Nobody has published it for InFO_SoW.
    """
    if not 0 < needed <= dies or not 0 <= good_share <= 1 or not 0 <= process_yield <= 1:
        raise ValueError("need 1 to all dies, and shares from 0 to 1")
    working = (
        math.comb(dies, n) * good_share**n * (1 - good_share) ** (dies - n)
        for n in range(needed, dies + 1)
    )
    return process_yield * min(sum(working), 1.0)


def bad_core_cost(rows: int, columns: int, spare_cores: int, bad_cores: int) -> tuple[float, float]:
    """Least and most share of a mesh's rate that bad cores beyond the spares cost.

    Least: work is dealt out anew and only the cores themselves are missing. Most: each takes its
    row or column with it, whichever is smaller, as a mesh without detours must give up.
    """
    if min(rows, columns) < 1 or min(spare_cores, bad_cores) < 0 or bad_cores > rows * columns:
        raise ValueError("impossible counts of cores")
    missing = max(bad_cores - spare_cores, 0)
    return missing / (rows * columns), min(missing / max(rows, columns), 1.0)


def edge_bytes_per_s(lanes: int, bits_per_s: float, edges: int = 1) -> float:
    """Raw rate per direction of an edge's lanes; coding and protocol are not taken off."""
    return edges * lanes * bits_per_s / 8


def supply(power_w: float, volts: float, resistance_ohm: float) -> tuple[float, float]:
    """Current in A and what the way to the die loses in W, I2 R."""
    if power_w < 0 or volts <= 0 or resistance_ohm < 0:
        raise ValueError("power and resistance must be at least 0, the voltage above 0")
    amperes = power_w / volts
    return amperes, amperes**2 * resistance_ohm


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """A die and what takes its heat away."""

    nominal_w: float
    """Of the die at its nominal clock, at `limit_c`."""
    idle_share: float
    """Part of it that does not depend on the clock, at `limit_c`."""
    kelvin_per_w: float
    """From coolant to junction."""
    coolant_c: float
    limit_c: float
    supply_w: float = math.inf
    """What the supply can give."""
    leakage_doubles_k: float = 30.0
    """Leakage doubles with this rise of temperature (a rule of thumb: 20 to 40 K)."""

    def power_w(self, clock: float, junction_c: float) -> float:
        """At a share of the nominal clock: leakage + dynamic power, which goes with f V2, so f3."""
        leakage = self.idle_share * 2 ** ((junction_c - self.limit_c) / self.leakage_doubles_k)
        return self.nominal_w * (leakage + (1 - self.idle_share) * clock**3)


def held_clock(cooling: Cooling) -> float:
    """Greatest share of the nominal clock, at most 1, that the cooling and the supply hold.

    The junction must stay at its limit or below, so at the limit it must be able to shed what the
    die draws there: R (P(f, T) ) <= T - coolant at T = limit.
    """
    if cooling.limit_c <= cooling.coolant_c or cooling.kelvin_per_w <= 0 or cooling.nominal_w <= 0:
        raise ValueError("the limit must be above the coolant, the resistance and power above 0")
    shed_w = (cooling.limit_c - cooling.coolant_c) / cooling.kelvin_per_w
    allowed_w = min(shed_w, cooling.supply_w)
    return _greatest(lambda clock: cooling.power_w(clock, cooling.limit_c) <= allowed_w)


def _greatest(holds: Callable[[float], bool]) -> float:
    if holds(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
