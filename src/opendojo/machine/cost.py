"""Step time of a training job from its shape, its layout and its chips, many jobs in one call.

All inputs are arrays of one length (jobs, or layouts of one job), so a search costs a few numpy
operations a layout. The parts of a step: matrix products (rate of the format, tiles of 128),
attention, traffic of activations, launches, tensor-parallel and expert exchange, the pipeline's
bubble [Narayanan 2021, section 2.2], exchange of gradients or of sharded weights, the optimizer.
What hardware alone does not say is in named factors, fitted by `opendojo.machine.calibration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from opendojo.machine.chips import Chip, find_chip
from opendojo.machine.runs import Run

__all__ = ["FACTORS", "Jobs", "jobs_of", "peak_flops_per_s", "step_parts_s"]

Array = np.ndarray
# Chips that one scale-up fabric joins, by the pod's name; else those of a node of eight.
_FABRIC = {"gb200-nvl72": 64, "gb300-nvl72": 64, "pcie-1": 1, "pcie-4": 4, "tpu-v4": 4096,
           "tpu-v5e": 256, "tpu-v5p": 4096, "tpu-v6e": 256, "tpu-7x": 4096}  # fmt: skip
_GENERATION = (
    ("V100", "volta"), ("A100", "ampere"), ("RTX 3090", "ampere"), ("L40S", "ada"),
    ("H100", "hopper"),
    ("H200", "hopper"), ("GB", "blackwell"), ("B200", "blackwell"), ("B300", "blackwell"),
    ("TPU", "tpu"), ("MI3", "cdna"), ("Gaudi", "gaudi"),
)  # fmt: skip
_LAUNCH_S = {"tpu": 2e-6, "volta": 6e-6, "ampere": 5e-6, "cdna": 6e-6, "gaudi": 6e-6}

FACTORS: dict[str, tuple[float, float]] = {
    "matrix": (0.70, 0.3), "attention": (0.40, 0.4),
    "attention_blackwell": (1.2, 0.3), "attention_new": (1.4, 0.3), "attention_early": (0.7, 0.3),
    "latency": (1.0, 0.6), "graphs": (0.4, 0.4), "misaligned": (1.25, 0.3),
    "memory": (0.75, 0.3), "link": (0.7, 0.2),
    "nic": (0.7, 0.2), "elementwise": (1.0, 0.5), "launches": (1.0, 0.7), "unfused": (1.0, 0.6),
    "exposed": (0.4, 0.6), "expert_exchange": (0.2, 0.4), "straggle": (0.012, 0.8),
    "conv_traffic": (1.0, 0.5), "conv_rate": (0.6, 0.3), "fixed_ms": (1.0, 1.0),
    "expert_rate": (0.6, 0.4), "cast": (1.0, 0.7), "lora": (1.0, 0.3), "host": (2.5, 0.5),
}  # fmt: skip
"""Default of each factor of the software, and the spread of its logarithm before any fit."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs as arrays; `values` by name as in `opendojo.machine.runs`, missing ones 0."""

    values: Mapping[str, Array]
    groups: Mapping[str, Array]
    """Rate factors: 1 where the job belongs to the group named."""


@cache
def _chip(name: str) -> Chip:
    return find_chip("Gaudi 2" if name == "Gaudi" else name)


def _generation(chip: Chip) -> str:
    return next((word for start, word in _GENERATION if chip.name.startswith(start)), "other")


def _held_clock(chip: Chip) -> float:
    """Share of the clock that a Hopper holds below its usual 700 W: power goes with its square."""
    return min(1.0, (chip.tdp_w.value / 700) ** 0.5) if _generation(chip) == "hopper" else 1.0


def peak_flops_per_s(chip: str, form: str) -> float:
    """Dense rate of a chip in a format, in flop/s; in the next wider one where it has none."""
    wider = ["fp4", "fp8", "bf16", "tf32", "fp32"]
    rates = _chip(chip).rates
    held = _held_clock(_chip(chip))
    for name in [*wider[wider.index(form) :], "fp16", "bf16"]:
        if name == "bf16" and "bf16" not in rates and "fp16" in rates:
            name = "fp16"
        if name in rates:
            return rates[name].value * held
    raise ValueError(f"{chip}: no rate for {form}")


def jobs_of(runs: Sequence[Run]) -> Jobs:
    """Runs as arrays; the groups are generation with format, stack, kind, and chip."""
    names = sorted({name for run in runs for name in run.values})
    values = {n: np.array([run.values.get(n, 0.0) for run in runs]) for n in names}
    for name in ("macs", "elements", "kernels", "hidden", "seq", "width", "layers", "active",
                 "topk", "vocab", "lora", "causal", "tables", "headed"):  # fmt: skip
        values.setdefault(name, np.zeros(len(runs)))
    chips = [_chip(run.chip) for run in runs]
    ages = [_generation(chip) for chip in chips]
    values["peak"] = np.array([peak_flops_per_s(run.chip, run.format) for run in runs])
    values["peak16"] = np.array([peak_flops_per_s(run.chip, _half(run.format)) for run in runs])
    values["memory_rate"] = np.array([c.memories[0].bandwidth_bytes_per_s.value for c in chips])
    values["link_rate"] = np.array([c.link_bytes_per_s.value for c in chips])
    values["nic_rate"] = np.array([c.nic_bytes_per_s.value for c in chips])
    values["nic_rate"] = np.where(values["nic"] > 0, values["nic"], values["nic_rate"])
    values["node"] = np.array([float(_FABRIC.get(c.pod, 8)) for c in chips])
    values["launch_s"] = np.array([_LAUNCH_S.get(word, 4e-6) for word in ages])
    values["count"] = np.array([float(run.count) for run in runs])
    values["bytes"] = np.array([4.0 if r.format in ("fp32", "tf32") else 2.0 for r in runs])
    values["narrow"] = np.array([float(r.format in ("fp8", "fp4")) for r in runs])
    new = [r.year >= 2024 and r.stack in ("nemo", "tuned", "xla") for r in runs]
    values["attention_new"] = np.array(new, float)
    early = [word == "hopper" and r.year <= 2024 for r, word in zip(runs, ages, strict=True)]
    values["attention_early"] = np.array(early, float) * (1 - values["attention_new"])
    values["graphs"] = np.array([float(r.stack == "tuned") for r in runs])
    values["attention_blackwell"] = np.array([float(word == "blackwell") for word in ages])
    groups: dict[str, Array] = {}
    for run_i, (run, age) in enumerate(zip(runs, ages, strict=True)):
        for key in _groups(run, age):
            groups.setdefault(key, np.zeros(len(runs)))[run_i] = 1.0
    return Jobs(values, groups)


def _half(form: str) -> str:
    return "bf16" if form in ("fp8", "fp4") else form


def _groups(run: Run, generation: str) -> list[str]:
    family = "vision" if run.kind == "vision" else "language"
    groups = [
        f"{generation} {run.format} {family}",
        f"{run.stack} {family}",
        f"{run.stack} {run.kind} {run.format}",
        f"chip {run.chip}",
        f"{run.stack} {run.year}",
    ]
    # A shape that is recalled by name may be off by a constant: learned over all chips it ran on.
    if run.network:
        groups.append(f"shape {run.network}")
    return groups


def step_parts_s(jobs: Jobs, factor: Mapping[str, float]) -> dict[str, Array]:
    """Seconds of each part of a step; their sum is the step.

    `factor` holds the factors of FACTORS and any "group" ones: a group's logarithm slows the whole.
    """
    v = jobs.values
    vision = v["macs"] > 0
    parts = _language(v, factor)
    for name, seconds in _vision(v, factor).items():
        parts[name] = np.where(vision, seconds, parts.get(name, 0.0))
    for name in parts.keys() - {"products", "traffic", "launches"}:
        parts[name] = np.where(vision, 0.0, parts[name])
    parts["exchange"] = _exchange_s(v, factor, sum(parts.values(), np.zeros_like(v["tp"])))
    shard = v["tp"] * v["pp"] * np.where((v["fsdp"] > 0) | vision, v["dp"], np.minimum(v["dp"], 8))
    parts["optimizer"] = (
        v["parameters"] * np.where(v["lora"] > 0, 0.01, 1.0) * 20
        / np.maximum(shard, 1) / (v["memory_rate"] * factor["memory"])
    )  # fmt: skip
    parts["fixed"] = np.full_like(v["tp"], 1e-3 * factor["fixed_ms"])
    slow = 1 + factor["straggle"] * np.log2(np.maximum(v["count"], 1))
    log_group = sum((f * factor.get(g, 0.0) for g, f in jobs.groups.items()), np.zeros_like(slow))
    scale = slow * np.exp(log_group) * np.where(v["videoraw"] > 0, factor["host"], 1.0)
    return {name: seconds * scale for name, seconds in parts.items()}


def _language(v: Mapping[str, Array], f: Mapping[str, float]) -> dict[str, Array]:
    moe = v["topk"] > 0
    tokens = v["mb"] * v["seq"] / v["cp"]
    passes = np.where(v["lora"] > 0, 2.0 * f["lora"], 3.0) + v["full"]
    split = v["tp"] * v["pp"]
    head = 2 * v["vocab"] * v["hidden"]
    body = 2 * v["active"] - v["tables"] * head
    rate = v["peak"] * f["matrix"] * np.where(moe, f["expert_rate"], 1.0)
    tile = _tile(v["hidden"] / v["tp"]) * _tile(v["hidden"])
    tile = tile * np.where(np.mod(v["hidden"] / v["tp"], 64) > 0, f["misaligned"], 1.0)
    products = tokens * passes * body / split / rate * tile
    products += tokens * 3 * head * v["headed"] / v["tp"] / v["pp"] / (v["peak16"] * f["matrix"])
    attended = (
        4 * v["layers"] * v["width"] * v["seq"] * np.where(v["causal"] * v["flash"], 0.5, 1.0)
    )
    redone = v["selective"] + v["full"]
    attention = tokens * attended * (3.5 + redone) / split / (v["peak16"] * f["attention"])
    attention /= np.where(v["attention_new"] > 0, f["attention_new"], 1.0)
    attention /= np.where(v["attention_blackwell"] > 0, f["attention_blackwell"], 1.0)
    attention /= np.where(v["attention_early"] > 0, f["attention_early"], 1.0)
    heads = np.maximum(v["width"] / 128, 1)
    unfused = np.where(v["flash"] > 0, 0, 1) * tokens * v["seq"] * heads * v["layers"]
    wide = 34 + 10 * v["narrow"] * f["cast"] + 12 * np.sqrt(v["topk"])
    traffic = tokens * v["hidden"] * v["layers"] * wide * passes * f["elementwise"]
    traffic = traffic + unfused * 10 * (3 + redone) * f["unfused"]
    weights = v["parameters"] * v["bytes"] * 4 / np.maximum(v["ep"], 1)
    traffic = (traffic + weights) / split / (v["memory_rate"] * f["memory"])
    kernels = (
        v["layers"] * np.where(moe, 40, 20) * passes / v["pp"] * np.where(v["flash"] > 0, 0.6, 1)
    )
    launches = kernels * v["launch_s"] * f["launches"]
    wire = np.where(v["tp"] > v["node"], v["nic_rate"] * f["nic"], v["link_rate"] * f["link"])
    moved = tokens * v["hidden"] * 2 * v["layers"] / v["pp"]
    hops = v["layers"] / v["pp"] * 2 * (2 + v["full"]) * (v["tp"] > 1)
    late = hops * 2e-5 * f["latency"] * (1 + (v["tp"] > v["node"]))
    tensor = late + _all_reduce(v, f, moved * 2 * (2 + v["full"]))
    spread = np.where(v["ep"] > v["node"], v["nic_rate"] * f["nic"], v["link_rate"] * f["link"])
    expert = moved / v["tp"] * np.minimum(v["topk"], v["ep"]) * 4 * f["expert_exchange"]
    expert = np.where(moe & (v["ep"] > 1), expert / spread, 0.0)
    ring = np.where(v["cp"] > 1, 0.3 * moved / v["tp"] * 2 / wire, 0.0)
    busy = products + attention + traffic
    launches = np.cbrt(busy**3 + launches**3) - busy
    one = {"products": products, "attention": attention, "traffic": traffic, "launches": launches,
           "tensor": tensor, "expert": expert, "ring": ring}  # fmt: skip
    bubble = (v["pp"] - 1) / v["vp"]
    whole = sum(one.values())
    parts = {name: seconds * v["accumulate"] for name, seconds in one.items()}
    parts["bubble"] = bubble * whole
    return parts


def _all_reduce(v: Mapping[str, Array], f: Mapping[str, float], size: Array) -> Array:
    """Seconds of an all-reduce over the tensor axis: in the node, then between nodes."""
    inside = np.minimum(v["tp"], v["node"])
    nodes = np.maximum(v["tp"] / v["node"], 1)
    seconds = 2 * (inside - 1) / inside * size / (v["link_rate"] * f["link"])
    return seconds + 2 * (nodes - 1) / nodes * size / inside / (v["nic_rate"] * f["nic"])


def _tile(size: Array) -> Array:
    """Work done over work asked for: whole tiles of 128; far worse where 8 does not divide."""
    size = np.maximum(size, 1.0)
    return np.ceil(size / 128) * 128 / size


def _vision(v: Mapping[str, Array], f: Mapping[str, float]) -> dict[str, Array]:
    rate = v["peak"] * f["conv_rate"]
    traffic = v["elements"] * v["bytes"] * 14 * f["conv_traffic"] / (v["memory_rate"] * f["memory"])
    steps = v["accumulate"]
    kernels = v.get("kernels", 0.0) * 3.5 * v["launch_s"] * f["launches"]
    kernels = kernels * np.where(v["graphs"] > 0, f["graphs"], 1.0)
    busy = v["mb"] * (v["macs"] * 6 / rate + traffic)
    return {
        "products": v["mb"] * v["macs"] * 6 / rate * steps,
        "traffic": v["mb"] * traffic * steps,
        "launches": np.cbrt(busy**3 + kernels**3) * steps - busy * steps,
    }


def _exchange_s(v: Mapping[str, Array], f: Mapping[str, float], busy_s: Array) -> Array:
    held = np.where(v["topk"] > 0, v["active"] + v["parameters"] / v["ep"], v["parameters"])
    held = held * np.where(v["lora"] > 0, 0.003, 1.0) / v["tp"] / v["pp"]
    ring = (v["dp"] - 1) / v["dp"]
    # Slices of hundreds of chips shard inside; between them little is left to see.
    nodes = (v["count"] > v["node"]) & (v["node"] < 256)
    wire = np.where(nodes, v["nic_rate"] * f["nic"], v["link_rate"] * f["link"])
    size = np.where(v["fsdp"] > 0, (2 * v["accumulate"] + 1) * 2, 2 * np.maximum(v["bytes"], 2))
    seconds = held * size * ring / wire
    local = np.where(nodes & (v["tp"] < v["node"]), np.minimum(v["node"] / v["tp"], v["dp"]), 1.0)
    seconds = np.where(v["fsdp"] > 0, seconds, seconds / np.minimum(local, 8.0))
    return np.maximum(seconds - 0.6 * busy_s, f["exposed"] * seconds * 0.5)
