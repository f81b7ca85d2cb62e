"""Which lanes of a junction get in each other's way, and where.

A lane sweeps the strip of `SWEEP_M` around its middle line. Two lanes are in conflict where the
strips overlap; of each, the stretch is given on which its own strip reaches into the other's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from opendojo.world.town.block_curves import Curve, Floats, along

__all__ = ["SWEEP_M", "overlaps"]

SWEEP_M = 2.0
_PITCH_M = 0.5
_PROBES_M = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * (SWEEP_M / 2.0)


def _probes(curve: Curve) -> tuple[Floats, Floats, Floats]:
    """Arc lengths [k], and points across the strip at each, x and y [k, probes]."""
    s = np.linspace(0.0, curve.length_m, max(2, math.ceil(curve.length_m / _PITCH_M) + 1))
    x, y, yaw, _ = along(curve, s)
    across_x = x[:, None] - np.sin(yaw)[:, None] * _PROBES_M
    across_y = y[:, None] + np.cos(yaw)[:, None] * _PROBES_M
    return s, across_x, across_y


def overlaps(
    curves: Sequence[Curve],
) -> dict[tuple[int, int], tuple[float, float]]:
    """For each pair (a, b) whose strips overlap: the stretch of a that lies within b's strip.

    A probe of a is in b's strip where it is near enough to b's middle line; the stretch
    grows by the pitch at either end, so that nothing between two probes is missed.
    """
    probes = [_probes(curve) for curve in curves]
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for b, (_, bx, by) in enumerate(probes):
        middle = len(_PROBES_M) // 2
        mx, my = bx[:, middle], by[:, middle]
        low_x, high_x, low_y, high_y = mx.min() - 2, mx.max() + 2, my.min() - 2, my.max() + 2
        for a, (s, ax, ay) in enumerate(probes):
            if a == b or ax.min() > high_x or ax.max() < low_x:
                continue
            if ay.min() > high_y or ay.max() < low_y:
                continue
            near = (ax.reshape(-1, 1) - mx) ** 2 + (ay.reshape(-1, 1) - my) ** 2
            # a middle line is met at most half a pitch from its nearest probe
            reach = (SWEEP_M / 2.0) ** 2 + (_PITCH_M / 2.0) ** 2
            hit = (near.min(1) < reach).reshape(ax.shape).any(1)
            if hit.any():
                inside = np.flatnonzero(hit)
                first, last = s[inside[0]] - _PITCH_M, s[inside[-1]] + _PITCH_M
                found[a, b] = (max(0.0, float(first)), min(float(s[-1]), float(last)))
    return {pair: span for pair, span in found.items() if pair[::-1] in found}
