"""All ways to lay a network over n chips, as arrays: one entry a layout.

Axes of the mesh: tensor (tp), sequence (cp), pipeline (pp, with vp interleaved blocks a stage),
data (dp = n / tp cp pp) and expert (ep, inside data and sequence). Beside them: what of weights and
optimizer is divided over data (`shard` 0 nothing, 1 the optimizer, 2 all), recompute (0 none,
1 selective, 2 full), offload of the optimizer to the host, overlap of the exchange, micro batch.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from opendojo.machine.shapes import Shape

__all__ = ["LAYOUT", "divisors", "layouts_of"]

Array = np.ndarray
LAYOUT = ("tp", "cp", "pp", "vp", "ep", "dp", "mb", "shard", "recompute", "offload", "overlap")
_CHOICES = np.array(list(product((0, 1, 2), (0, 1, 2), (0, 1), (0, 1))), float)


def divisors(number: int, most: float) -> list[int]:
    """Divisors up to `most`."""
    return [d for d in range(1, min(number, int(most)) + 1) if number % d == 0]


def layouts_of(shape: Shape, chips: int, batch: float, node: float) -> dict[str, Array]:
    """Every layout of `chips` chips for `batch` samples a step; a pass that keeps nothing has one
    choice of shard, recompute and offload only.

    `node` is how many chips one fabric joins. Empty arrays where there is none.
    """
    meshes = np.array(_meshes(shape, chips, batch, node), float).reshape(-1, 7)
    choices = _CHOICES if shape.training else np.array([[0.0, 0.0, 0.0, 1.0]])
    if shape.kind == "vision":
        choices = choices[choices[:, 1] != 1]  # selective recompute is that of attention
    rows = np.repeat(meshes, len(choices), axis=0)
    rest = np.tile(choices, (len(meshes), 1))
    columns = [*rows.T, *rest.T]
    found = dict(zip(LAYOUT, columns, strict=True))
    # Nothing is divided over one rank, and one rank exchanges nothing.
    alone = (found["dp"] * found["cp"] == 1) & ((found["shard"] > 0) | (found["overlap"] == 0))
    return {name: values[~alone] for name, values in found.items()}


def _meshes(shape: Shape, chips: int, batch: float, node: float) -> list[tuple[int, ...]]:
    language = shape.kind != "vision"
    widest = min(node, 64) if language else min(node, 8)
    found: list[tuple[int, ...]] = []
    for tp in divisors(chips, widest):
        if language and shape.values["width"] % (64 * tp):
            continue
        longest = max(1.0, shape.values["seq"] / 2048) if language else 1.0
        for cp in divisors(chips // tp, min(longest, 64)):
            for pp in divisors(chips // tp // cp, shape.layers()):
                dp = chips // (tp * cp * pp)
                if dp <= batch:
                    found += _inside(shape, batch, tp, cp, pp, dp)
    return found


def _inside(
    shape: Shape, batch: float, tp: int, cp: int, pp: int, dp: int
) -> list[tuple[int, ...]]:
    stages = [vp for vp in (1, 2, 4, 8) if (pp > 1 or vp == 1) and pp * vp <= shape.layers()]
    experts = divisors(dp * cp, 64) if shape.kind == "moe" else [1]
    share = batch / dp
    micro = [2**i for i in range(12) if 2**i <= share]
    return [
        (tp, cp, pp, vp, ep, dp, mb) for vp, ep, mb in product(stages, experts, micro)
    ]  # fmt: skip
