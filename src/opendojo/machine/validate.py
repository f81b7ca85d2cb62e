"""How far the model is from published runs, on rows its calibration has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opendojo.machine.calibration import defaults, intervals, out_of_fold, predict_s
from opendojo.machine.cost import jobs_of
from opendojo.machine.runs import Refused, Run, read_runs

__all__ = ["GROUPS", "validate"]

GROUPS: dict[str, Callable[[Run], str]] = {
    "source": lambda run: run.row["source"],
    "accelerator": lambda run: run.chip,
    "domain": lambda run: run.row.get("domain", ""),
    "group": lambda run: run.row["id"].split("-")[0],
}


def validate(
    path: Path, *, by: str = "domain", folds: int = 5, leave_chip_out: bool = False,
    core: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Errors of step time in percent, per bar and per group, and the rows that were refused.

    Raises:
        ValueError: the file lacks a column, or fewer than `folds` families can be modelled.
    """
    runs, refused = read_runs(path, core=core)
    kept: list[Run] = []
    for run in runs:
        try:
            jobs_of([run])
            kept.append(run)
        except (Refused, ValueError) as error:
            refused.append((run.row.get("id", "?"), str(error)))
    families = {run.family for run in kept}
    if len(families) < max(folds, 2):
        raise ValueError(f"{path}: {len(families)} families of rows can be modelled, fewer than "
                         f"{max(folds, 2)} folds: give fewer --folds or more rows")  # fmt: skip
    measured = np.array([run.measured_s for run in kept])
    key: Callable[[Run], str] = (lambda r: r.chip) if leave_chip_out else (lambda r: r.family)
    error = np.log(out_of_fold(kept, key, 0 if leave_chip_out else folds) / measured)
    width = intervals(kept, error)
    plain = np.log(predict_s(jobs_of(kept), defaults()) / measured)
    report: dict[str, Any] = {
        "rows": len(kept) + len(refused), "scored": len(kept),
        "modelled_share": len(kept) / (len(kept) + len(refused)),
        "refused": [{"id": name, "reason": reason} for name, reason in refused],
        "held_out": "chip" if leave_chip_out else f"family, {folds} folds",
        "bars": {}, "groups": {}, "memory": None, "power": None,
    }  # fmt: skip
    for name, chosen in _bars(kept).items():
        report["bars"][name] = _score(error, plain, width, chosen)
    label = np.array([GROUPS[by](run) for run in kept])
    for name in sorted(set(label.tolist())):
        report["groups"][name] = _score(error, plain, width, label == name)
    report["worst"] = _worst(kept, error)
    return report


def _bars(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    narrow = [r.format in ("fp8", "fp4") or r.chip.startswith(("B200", "B300", "GB")) for r in runs]
    full = [
        r.kind == "dense" and bool(r.row["tensor_parallel"]) and bool(r.row["hidden"])
        and bool(r.row["global_batch"]) for r in runs
    ]  # fmt: skip
    small = [r.row.get("domain") in ("vision", "video") and r.count <= 8 for r in runs]
    return {
        "all": np.ones(len(runs), bool),
        "dense language, full layout": np.array(full),
        "vision and video, 1 to 8 chips": np.array(small),
        "B200 and later, FP8 and FP4": np.array(narrow),
        "mixture of experts": np.array([r.kind == "moe" for r in runs]),
    }


def _score(error: np.ndarray, plain: np.ndarray, width: np.ndarray, chosen: np.ndarray) -> Any:
    if not chosen.any():
        return {"rows": 0}

    def percent(values: np.ndarray) -> np.ndarray:
        return 100 * np.expm1(values[chosen])

    absolute, bare = np.abs(percent(error)), np.abs(percent(plain))
    return {
        "rows": int(chosen.sum()),
        "median_percent": float(np.median(absolute)),
        "p90_percent": float(np.quantile(absolute, 0.9)),
        "signed_percent": float(np.median(percent(error))),
        "covered": float(np.mean(np.abs(error[chosen]) <= width[chosen])),
        "uncalibrated_median_percent": float(np.median(bare)),
        "uncalibrated_p90_percent": float(np.quantile(bare, 0.9)),
    }


def _worst(runs: Sequence[Run], error: np.ndarray) -> list[dict[str, Any]]:
    order: list[int] = np.argsort(-np.abs(error))[:40].tolist()
    return [
        {"id": runs[i].row.get("id", "?"), "model": runs[i].row["model"], "chip": runs[i].chip,
         "count": runs[i].count, "measured_s": runs[i].measured_s,
         "error_percent": float(100 * np.expm1(error[i])), "assumed": list(runs[i].assumed)}
        for i in order
    ]  # fmt: skip
