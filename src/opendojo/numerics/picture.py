"""A format's number line as a picture, and its range in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from opendojo.formats import Format
from opendojo.numerics.quantise import decode

__all__ = ["draw_line", "facts_of"]

_BLUE, _ORANGE = "#1a86c7", "#e08a1e"
_MOST = 4096
"""Numbers that are drawn; of more, every so manyth."""


def facts_of(chosen: Format) -> dict[str, Any]:
    """Range and gaps; `gaps` has a row for each binade: where it begins, its gap, its numbers."""
    gaps: list[dict[str, float]] = []
    if chosen.least < chosen.least_normal:
        count = (1 << chosen.mantissa_bits) - 1
        gaps.append({"from": chosen.least, "gap": chosen.least, "numbers": count})
    last = (chosen.largest_code & ((1 << chosen.mantissa_bits) - 1)) + 1
    for exponent in range(chosen.exponent_low, chosen.exponent_high + 1):
        whole = 1 << chosen.mantissa_bits
        numbers = last if exponent == chosen.exponent_high else whole
        gap = 2.0 ** (exponent - chosen.mantissa_bits)
        gaps.append({"from": 2.0**exponent, "gap": gap, "numbers": numbers})
    return {
        "name": chosen.name,
        "bits": chosen.bits,
        "layout": f"{int(chosen.signed)}-{chosen.exponent_bits}-{chosen.mantissa_bits}",
        "bias": chosen.bias,
        "biases": list(chosen.biases),
        "largest": chosen.largest,
        "least_normal": chosen.least_normal,
        "least": chosen.least,
        "epsilon": 2.0**-chosen.mantissa_bits,
        "decades": math.log10(chosen.largest) - math.log10(chosen.least),
        "overflow": chosen.overflow,
        "specials": chosen.specials,
        "subnormals": chosen.subnormals,
        "source": chosen.source,
        "grade": chosen.grade,
        "gaps": gaps,
    }


def draw_line(chosen: Format, path: Path) -> None:
    """Draw the numbers above 0 into a PNG: on a linear line, on a logarithmic one, and the gaps.

    Subnormal numbers are orange.
    """
    from matplotlib.figure import Figure

    step = max(1, chosen.largest_code // _MOST)
    codes = torch.arange(1, chosen.largest_code + 1, step, dtype=torch.int32)
    values = decode(codes, chosen).double()
    small = values < chosen.least_normal
    figure = Figure(figsize=(9.0, 4.6), dpi=120, layout="constrained")
    linear, log, gaps = figure.subplots(3, 1, height_ratios=[1, 1, 2.2])
    for axes in (linear, log):
        axes.vlines(values[~small].tolist(), 0, 1, color=_BLUE, linewidth=0.7)
        axes.vlines(values[small].tolist(), 0, 1, color=_ORANGE, linewidth=0.7)
        axes.set_yticks([])
        axes.set_ylim(0, 1)
    linear.set_title(
        f"{chosen.name}, bias {chosen.bias}: {chosen.least:.4g} to {chosen.largest:.6g}",
        loc="left", fontsize=10,
    )  # fmt: skip
    log.set_xscale("log", base=2)
    between = values.diff() / step / values[1:]
    gaps.plot(values[1:].tolist(), (between * 100).tolist(), color=_BLUE, linewidth=1.2)
    gaps.set_xscale("log", base=2)
    gaps.set_yscale("log")
    gaps.set_xlim(log.get_xlim())
    gaps.set_ylabel("gap, % of the number")
    gaps.set_xlabel("number")
    for axes in (linear, log, gaps):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
