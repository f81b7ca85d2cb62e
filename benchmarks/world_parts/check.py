"""Before the clock: is it the world that is drawn, compiled as eager, today as a minute ago?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.document import Section
from world_parts.own import Bench, Own, count_told, plan_told

__all__ = ["alike", "changing", "differing", "pictures_of", "run"]

SAME = 0.999
"""Share of bytes that may not differ by more than one level."""
LEVELS = 2.0
"""By how much two pictures must differ in the mean of some block of 8x8 pixels: noise does not."""

CHANGING = 0.5
"""Share of the worlds that must have moved; some wait at a light."""

Bytes = npt.NDArray[np.uint8]


def run(bench: Bench) -> Section:
    """Compiled against eager, each run twice, and every picture against every other."""
    section = Section("check", "what is drawn, before the clock", not bench.smoke)
    section.say(plan_told(bench))
    section.say(count_told())
    own = bench.kept()
    compiled, told = pictures_of(own, bench.folder, "compiled")
    _, again = pictures_of(own, bench.folder, "again")
    with bench.own(compiled=False) as other:
        eager, eager_told = pictures_of(other, bench.folder, "eager")
        _, eager_again = pictures_of(other, bench.folder, "again")
    same = alike(compiled, eager)
    section.add("same", "bytes within one level, compiled and eager", same, "of all")
    section.bar("same", same, SAME, "of all")
    runs = [told == again, eager_told == eager_again, told["states"] == eager_told["states"]]
    section.add(
        "repeats", "runs that gave the same hash again", float(sum(runs)), f"of {len(runs)}"
    )
    section.bar("repeats", sum(runs), len(runs), "pairs of runs")
    share = min(differing(step) for step in compiled)
    section.add("differing", "pairs of cameras and worlds that differ", share, "of all")
    moving = changing(compiled)
    section.add("changing", "worlds whose pictures change by the last step", moving, "of all")
    section.bar("differing", share, 1.0, "of all pairs")
    section.bar("changing", moving, CHANGING, "of all")
    if bench.smoke:
        assert same >= SAME, f"only {same:.2%} of the bytes are alike"
        assert all(runs), "a second run gave other pictures or states"
        assert moving >= CHANGING, f"only {moving:.0%} of the worlds show anything new"
        assert share == 1.0, f"only {share:.2%} of the pairs of pictures differ"
    return section


def pictures_of(own: Own, folder: Path, name: str) -> tuple[Bytes, dict[str, Any]]:
    """Pictures, uint8 [steps, worlds, cameras, 3 h / 2, w], and hashes of all there are."""
    path = folder / f"{name}.npy"
    told = own.line.ask("check", path=str(path))
    return np.load(path), told


def alike(one: Bytes, other: Bytes) -> float:
    """Share of bytes that differ by no more than one level."""
    off = np.abs(one.astype(np.int16) - other.astype(np.int16))
    return float(np.mean(off <= 1))


def differing(pictures: Bytes) -> float:
    """Share of the pairs of pictures of one instant that differ: what is the same but for noise is
    a camera or a world drawn twice."""
    blocks = _blocks(pictures)
    found = [_apart(blocks[k + 1 :], blocks[k]) for k in range(len(blocks) - 1)]
    return float(np.mean(np.concatenate(found)))


def changing(pictures: Bytes) -> float:
    """Share of the worlds of which some camera shows something else at the last step."""
    first, last = _blocks(pictures[0]), _blocks(pictures[-1])
    return float(np.mean(_apart(first, last).reshape(pictures.shape[1:3]).any(1)))


def _blocks(pictures: Bytes) -> npt.NDArray[np.float32]:
    """Mean luma of blocks of 8x8 pixels, [pictures, blocks]."""
    height, width = pictures.shape[-2] * 2 // 3, pictures.shape[-1]
    luma = pictures[..., :height, :].reshape(-1, height // 8, 8, width // 8, 8)
    return luma.mean((2, 4), dtype=np.float32).reshape(len(luma), -1)


def _apart(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which pictures differ in some block."""
    return np.abs(one - other).max(1) > LEVELS
