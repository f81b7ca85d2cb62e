"""Fast against exact, and what draws do in the mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from common.document import Section
from opendojo.formats import Format, element, names
from opendojo.numerics import decode_exact, encode, encode_exact, quantise

__all__ = ["Bench", "run"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every section is told."""

    smoke: bool
    peers: bool
    repeats: int
    seconds: float
    threads: int
    work: Path | None = None
    """Where trained networks are kept: a call that was stopped goes on with them."""


def run(bench: Bench) -> Section:
    """Every code, tie and neighbour of short formats at every bias; ten million draws."""
    section = Section("exact", "fast kernels against rational arithmetic", not bench.smoke)
    checked, wrong = 0, 0
    for chosen in _all(bench.smoke):
        x = hard(chosen)
        wanted = torch.tensor([encode_exact(float(v), chosen) for v in x])
        found = encode(torch.from_numpy(x), chosen).to(torch.int64)
        checked, wrong = checked + len(x), wrong + int((found != wanted).sum())
    section.add("checked", "numbers encoded both ways", float(checked), "")
    section.add("wrong", "codes that differ", float(wrong), "")
    section.bar("wrong", wrong, 0, "codes", at_most=True)
    worst = max(_standard_errors(element(name), bench.smoke) for name in ("cfloat8_1_4_3", "bf16"))
    section.add("mean", "largest error of a mean of draws", worst, "standard errors")
    section.bar("mean", worst, 4.0, "standard errors", at_most=True)
    return section


def hard(chosen: Format) -> np.ndarray:
    """Numbers of a format, ties between neighbours, and the floats just beside both; both signs."""
    table = [float(decode_exact(code, chosen)) for code in range(chosen.largest_code + 1)]
    numbers = np.array(table)
    with np.errstate(over="ignore"):
        x = np.concatenate([numbers, (numbers[1:] + numbers[:-1]) / 2]).astype(np.float32)
        x = np.append(x, np.float32(chosen.largest * 1.06))
    x = np.concatenate([x, np.nextafter(x, np.float32(0)), np.nextafter(x, np.float32(np.inf))])
    return np.concatenate([x, -x])


def _all(smoke: bool) -> list[Format]:
    short = [element(name) for name in names() if element(name).bits <= (6 if smoke else 8)]
    every = [f.with_bias(b) for f in short for b in range(f.biases[0], f.biases[1] + 1)]
    return every if smoke else [*every, element("bf16"), element("cfloat16_shp")]


def _standard_errors(chosen: Format, smoke: bool) -> float:
    count = 100_000 if smoke else 10_000_000
    value = 1.0 + 0.3 * 2.0**-chosen.mantissa_bits
    x = torch.full((count,), value)
    value = float(x[0])
    q = quantise(x, chosen, rounding="stochastic", seed=1).double()
    low, high = q.min().item(), q.max().item()
    share = (value - low) / (high - low)
    error = (high - low) * math.sqrt(share * (1 - share) / count)
    return abs(q.mean().item() - value) / error
