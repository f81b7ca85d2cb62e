"""Fit of the software's factors to measured steps, and its check on steps it has not seen.

Gauss-Newton on the logarithm of the step time with Huber weights; each factor is held near its
default and each group near 1 by a prior, so a group with few rows hardly moves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources

import numpy as np

from opendojo.machine.cost import FACTORS, Jobs, jobs_of, step_parts_s
from opendojo.machine.runs import Run

__all__ = ["defaults", "fit", "intervals", "out_of_fold", "predict_s", "stored"]

Array = np.ndarray
_GROUP_SPREAD = 0.25
_SHAPE_SPREAD = 0.2
_NOISE = 0.06


def defaults() -> dict[str, float]:
    """Factors before any fit."""
    return {name: start for name, (start, _) in FACTORS.items()}


def predict_s(jobs: Jobs, factors: dict[str, float]) -> Array:
    """Step times in seconds."""
    return np.asarray(sum(step_parts_s(jobs, factors).values()))


def fit(runs: Sequence[Run], *, rounds: int = 12) -> dict[str, float]:
    """Factors that explain the runs' measured steps."""
    jobs = jobs_of(runs)
    measured = np.log([run.measured_s for run in runs])
    names = [*FACTORS, *sorted(jobs.groups)]
    spread = np.array([_spread(n) for n in names])
    x = np.zeros(len(names))
    for _ in range(rounds):
        base = np.log(predict_s(jobs, _factors(names, x)))
        slope = np.empty((len(runs), len(names)))
        for i in range(len(names)):
            if names[i] in jobs.groups:
                slope[:, i] = jobs.groups[names[i]]
                continue
            moved = x.copy()
            moved[i] += 1e-4
            slope[:, i] = (np.log(predict_s(jobs, _factors(names, moved))) - base) / 1e-4
        error = measured - base
        weight = np.minimum(1.0, 1.0 / np.maximum(np.abs(error) / (1.0 * _NOISE), 1e-9)) / _NOISE**2
        left = slope.T @ (weight[:, None] * slope) + np.diag(1 / spread**2)
        step = np.linalg.solve(left, slope.T @ (weight * error) - x / spread**2)
        x = x + np.clip(step, -0.4, 0.4)
    return _factors(names, x)


def _spread(name: str) -> float:
    if name in FACTORS:
        return FACTORS[name][1]
    return _SHAPE_SPREAD if name.startswith("shape ") else _GROUP_SPREAD


def _factors(names: Sequence[str], x: Array) -> dict[str, float]:
    return {
        n: float(FACTORS[n][0] * np.exp(a)) if n in FACTORS else float(a)
        for n, a in zip(names, x, strict=True)
    }


def out_of_fold(runs: Sequence[Run], key: Callable[[Run], str], folds: int) -> Array:
    """Predicted steps, each by a fit that saw no run of the same key; `folds` 0: one key a fold."""
    keys = sorted({key(run) for run in runs})
    order = np.random.default_rng(0).permutation(len(keys))
    fold_of: dict[str, int] = {keys[j]: (i % folds if folds else i) for i, j in enumerate(order)}
    fold = np.array([fold_of[key(run)] for run in runs])
    predicted = np.empty(len(runs))
    for number in range(fold.max() + 1):
        chosen = fold == number
        factors = fit([r for r, c in zip(runs, chosen, strict=True) if not c])
        mine = [r for r, c in zip(runs, chosen, strict=True) if c]
        predicted[chosen] = predict_s(jobs_of(mine), factors)
    return predicted


def intervals(runs: Sequence[Run], error: Array, *, share: float = 0.8) -> Array:
    """Half widths in logarithm of each run's interval, from the other families' errors.

    A run's group is its kind and stack; with fewer than 12 other rows, its kind alone.
    """
    width = np.empty(len(runs))
    family = np.array([run.family for run in runs])
    kind = np.array([run.kind for run in runs])
    group = np.array([f"{run.kind} {run.stack}" for run in runs])
    for i in range(len(runs)):
        others = family != family[i]
        near = others & (group == group[i])
        if near.sum() < 12:
            near = others & (kind == kind[i])
        width[i] = np.quantile(np.abs(error[near if near.any() else others]), share)
    return width


@cache
def stored() -> dict[str, float]:
    """Factors that `benchmarks/machine_calibration.py` fitted to published runs."""
    text = resources.files("opendojo.machine").joinpath("data/calibration.json").read_text("utf-8")
    return json.loads(text)["factors"]
