"""Memory and power that published rows state, beside what the model says of the same rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from opendojo.machine.chips import find_chip
from opendojo.machine.cost import Jobs, step_parts_s
from opendojo.machine.memory import OVERHEAD_BYTES, rank_bytes
from opendojo.machine.plan import node_w
from opendojo.machine.pods import find_pod
from opendojo.machine.runs import Run

__all__ = ["memory_report", "power_report", "run_bytes", "run_power_w", "stated_bytes"]

Array = np.ndarray
_MEMORY = re.compile(
    r"(?:peak memory(?: per GPU)?|max_memory_usage|train memory) ([\d.]+) (GB|GiB)"
)
_BUSY = ("products", "attention", "traffic", "optimizer")


def stated_bytes(run: Run) -> float | None:
    """Peak memory of a chip that a row's notes give."""
    found = _MEMORY.search(run.row.get("notes", ""))
    return float(found[1]) * (2**30 if found[2] == "GiB" else 1e9) if found else None


def run_bytes(run: Run) -> float:
    """Modelled peak of a chip, from the row's own fields."""
    v = {name: np.asarray(float(value)) for name, value in run.values.items()}
    sharding = run.row.get("zero/fsdp", "").lower()
    shard = 2.0 if v["fsdp"] > 0 else 1.0 if "1" in sharding or "zero" in sharding else 0.0
    if run.stack in ("nemo", "tuned") and not shard:
        shard = 1.0
    names = ("macs", "elements", "topk", "vocab", "hidden", "width", "seq", "active")
    v = {**{name: np.asarray(0.0) for name in names}, **v}
    v.update(
        shard=np.asarray(shard), recompute=np.maximum(2 * v["full"], v["selective"]),
        offload=np.asarray(0.0), overlap=np.asarray(0.0), layers=v.get("layers", np.asarray(16.0)),
    )  # fmt: skip
    v.update(_habits(run))
    width = 4.0 if run.format in ("fp32", "tf32") else 2.0
    kept = float(v["elements"]) * width if run.kind == "vision" else 0.0
    # Detectron2 tells what its tensors take, others what the process does.
    overhead = 0.0 if run.stack == "zoo" else OVERHEAD_BYTES
    held = rank_bytes(v, kept_bytes=kept, largest_bytes=kept / 10, overhead_bytes=overhead)
    return float(sum(held.values()))


def _habits(run: Run) -> dict[str, Array]:
    """How a stack keeps things, as far as its name, year and format tell.

    Megatron divides the sequence over tensor ranks since 2023 (arXiv 2205.05198); MLPerf's language
    models sum gradients in bf16, keep the inputs of 8-bit products in 8 bits (about 20 of 34 bytes
    of a layer) and, with LoRA, frozen weights in 8 bits; torchtitan's selective recompute saves the
    products of every second layer only.
    """
    narrow = run.format in ("fp8", "fp4")
    mlperf = "mlperf" in run.row.get("source", "").lower()
    kept = 0.6 if narrow or (run.stack == "fsdp" and run.values.get("selective", 0.0)) else 1.0
    frozen = narrow and run.values.get("lora", 0.0) > 0
    return {
        "undivided": np.asarray(float(run.stack == "deepspeed" or run.year < 2023)),
        "gradient_bytes": np.asarray(2.0 if mlperf and run.kind != "vision" else 4.0),
        "kept_share": np.asarray(kept),
        "weight_bytes": np.asarray(1.0 if frozen else 2.0),
    }


def run_power_w(run: Run, parts: dict[str, float]) -> float:
    """Modelled power of all nodes of a row, from the parts of its modelled step."""
    chip = find_chip(run.chip)
    pod = find_pod(chip.pod)
    busy = sum(parts[name] for name in _BUSY if name in parts) / sum(parts.values())
    return run.count / pod.chips_per_node.value * node_w(chip, pod, busy)


def memory_report(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Errors of peak memory; each row is scaled by the other families' median of its kind."""
    chosen = [run for run in runs if stated_bytes(run) is not None]
    if not chosen:
        return None
    said = np.array([stated_bytes(run) or 0.0 for run in chosen])
    ratio = np.log(np.array([run_bytes(run) for run in chosen]) / said)
    return _report(chosen, ratio, lambda run: f"{run.kind} {run.stack}")


def power_report(
    runs: Sequence[Run], jobs: Jobs, factors: dict[str, float]
) -> dict[str, Any] | None:
    """Errors of the nodes' power on the rows that carry it; nothing is fitted to the row's kin."""
    parts = step_parts_s(jobs, factors)
    chosen = [i for i, run in enumerate(runs) if _number(run.row.get("power_kW", ""))]
    if not chosen:
        return None
    ratio = [
        run_power_w(runs[i], {name: float(np.ravel(part)[i]) for name, part in parts.items()})
        / 1e3 / _number(runs[i].row["power_kW"])
        for i in chosen
    ]  # fmt: skip
    return _report([runs[i] for i in chosen], np.log(np.array(ratio)), lambda run: "")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _report(runs: Sequence[Run], ratio: Array, key: Callable[[Run], str]) -> dict[str, Any]:
    """`ratio` is the logarithm of modelled over stated."""
    family = np.array([run.family for run in runs])
    group = np.array([key(run) for run in runs])
    error = ratio.copy()
    for i in range(len(runs)):
        others = (family != family[i]) & (group == group[i])
        if others.sum() >= 2:
            error[i] -= np.median(ratio[others])
    percent = 100 * np.expm1(error)
    bare = 100 * np.abs(np.expm1(ratio))
    return {
        "rows": len(runs),
        "median_percent": float(np.median(np.abs(percent))),
        "p90_percent": float(np.quantile(np.abs(percent), 0.9)),
        "signed_percent": float(np.median(percent)),
        "most_under_percent": float(max(0.0, -percent.min())),
        "uncalibrated_median_percent": float(np.median(bare)),
        "uncalibrated_p90_percent": float(np.quantile(bare, 0.9)),
        "by_row": [
            {"id": run.row.get("id", "?"), "error_percent": float(e)}
            for run, e in zip(runs, percent, strict=True)
        ],
    }  # fmt: skip
