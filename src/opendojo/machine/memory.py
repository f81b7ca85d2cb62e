"""Bytes that a rank holds at its peak.

Weights 2 bytes, gradients 4, master weights and AdamW's two averages 12 (ZeRO, arXiv 1910.02054,
with gradients summed in fp32). Activations of a transformer's layer: s b h (34 + 5 a s / h) bytes
without flash attention, 34 with it or with selective recompute, 2 s b h with full recompute, and
one layer in full (Korthikanti et al., arXiv 2205.05198, tables 2 and section 5). A pipeline's first
stage keeps pp micro-batches, interleaved 1 + (pp - 1) / (pp vp) times as much (the same, 4.2.3).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["OVERHEAD_BYTES", "host_bytes", "rank_bytes"]

Array = np.ndarray
OVERHEAD_BYTES = 2.0e9
"""Context, libraries' buffers and workspaces: an assumption for a data-centre GPU."""
_FRAGMENTS = 1.05


def rank_bytes(
    v: Mapping[str, Array], *, kept_bytes: float = 0.0, largest_bytes: float = 0.0,
    training: bool = True, overhead_bytes: float = OVERHEAD_BYTES,
) -> dict[str, Array]:  # fmt: skip
    """Bytes by what they hold; the sum is the peak. `v` is as in `opendojo.machine.cost`, with
    `shard`, `recompute`, `offload` and `overlap` of `opendojo.machine.layouts`.

    It may hold `weight_bytes` (2) and `gradient_bytes` (4) of a parameter, `kept_share` (1) of a
    layer's activations that is kept, and `undivided` where tensor ranks each keep whole inputs.
    `kept_bytes` and `largest_bytes` are of one sample of a network that is no transformer.
    """
    held = _held(v)
    ranks = v["dp"] * v["cp"]
    whole, some = v["shard"] >= 2, v["shard"] >= 1
    # With LoRA only a few thousandths are learnt.
    learnt = held * np.where(v.get("lora", 0.0) > 0, 0.003, 1.0)
    weights = v.get("weight_bytes", 2.0) * held / np.where(whole, ranks, 1)
    # Two layers stand gathered while the others are divided.
    weights = weights + np.where(whole, 4 * held / np.maximum(v["layers"] / v["pp"], 1), 0.0)
    if not training:
        moving = v["mb"] * largest_bytes * 2
        return {"weights": weights, "activations": moving, "overhead": moving * 0 + overhead_bytes}
    gradients = v.get("gradient_bytes", 4.0) * learnt / np.where(whole, ranks, 1)
    optimizer = 12 * learnt / np.where(some, ranks, 1) * np.where(v["offload"] > 0, 0.1, 1.0)
    buffers = v["overlap"] * 4 * held / np.maximum(v["layers"] / v["pp"], 1) * (ranks > 1)
    kept = _traced(v, kept_bytes, largest_bytes) if kept_bytes else _transformer(v)
    return {
        "weights": weights, "gradients": gradients, "optimizer": optimizer, "buffers": buffers,
        "activations": kept * _FRAGMENTS, "overhead": np.zeros_like(kept) + overhead_bytes,
    }  # fmt: skip


def _held(v: Mapping[str, Array]) -> Array:
    """Parameters of a rank: experts are divided over their own axis, tables are on one stage."""
    parameters = np.where(
        v["topk"] > 0, np.minimum(v["active"] + v["parameters"] / v["ep"], v["parameters"]),
        v["parameters"],
    )  # fmt: skip
    tables = np.minimum(v["vocab"] * v["hidden"], parameters)
    return ((parameters - tables) / v["pp"] + tables) / v["tp"]


def host_bytes(v: Mapping[str, Array]) -> Array:
    """Bytes of a rank's optimizer on its host where it is offloaded."""
    return v["offload"] * 12 * _held(v) / np.where(v["shard"] >= 1, v["dp"] * v["cp"], 1)


def _flight(v: Mapping[str, Array]) -> Array:
    """Layers' activations kept at once on the first stage, over layers of a stage."""
    steps = np.minimum(v["pp"], np.maximum(v.get("accumulate", v["pp"]), 1))
    more = np.where(v["vp"] > 1, 1 + (v["pp"] - 1) / (v["pp"] * v["vp"]), 1.0)
    return steps * more


def _traced(v: Mapping[str, Array], kept_bytes: float, largest_bytes: float) -> Array:
    blocks = v["layers"] / v["pp"]
    block = v["mb"] * kept_bytes / v["layers"] / v["tp"] / v["cp"]
    border = v["mb"] * np.minimum(largest_bytes / 4, kept_bytes / v["layers"]) / v["tp"] / v["cp"]
    plain = block * blocks * _flight(v)
    return np.where(v["recompute"] >= 2, border * blocks * _flight(v) + block, plain)


def _transformer(v: Mapping[str, Array]) -> Array:
    tokens = v["mb"] * v["seq"] / v["cp"]
    blocks = v["layers"] / v["pp"] * _flight(v)
    scores = 5 * v["width"] / 128 * v["seq"] / np.maximum(v["hidden"], 1)
    scores = np.where((v["flash"] > 0) | (v["recompute"] >= 1), 0.0, scores)
    # Without a divided sequence ten of the 34 bytes are on every tensor rank.
    wide = (v.get("undivided", 0.0) * 10 * (1 - 1 / v["tp"])) + (34 + scores) / v["tp"]
    wide = wide * np.where(v["topk"] > 0, 1 + 0.3 * v["topk"], 1.0) * v.get("kept_share", 1.0)
    layer = tokens * v["hidden"] * wide
    border = tokens * v["hidden"] * 2 / np.where(v.get("undivided", 0.0) > 0, 1.0, v["tp"])
    kept = np.where(v["recompute"] >= 2, border * blocks + layer, layer * blocks)
    logits = tokens * v["vocab"] * 6 / v["tp"] * (v["pp"] == 1)
    return kept + logits
