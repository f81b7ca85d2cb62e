"""From findings to a choice: twins out, every trigger asked, a diverse few within the budget.

choice = choose(findings, MineConfig(budget=96))
choice.rows, choice.reasons
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from opendojo.flywheel.dedupe import Dedupe, DedupeConfig
from opendojo.flywheel.findings import Findings
from opendojo.flywheel.select import random_choice, select_windows
from opendojo.flywheel.triggers import best_reasons, trigger_scores

__all__ = ["Choice", "MineConfig", "choose", "novelty"]

_POWER = 4
"""Ranks to this power: only the rarest of each trigger count for much."""
_SAMPLE, _NEIGHBOURS = 2048, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MineConfig:
    """What is looked for, and how much of it may be labelled."""

    budget: int = 96
    """Windows that are labelled in a round."""
    triggers: tuple[str, ...] = ("braking", "collision", "dark", "disagreement", "error", "jerk")
    """Names of `triggers.TRIGGERS`, or `query: ...`."""
    how: Literal["mined", "random"] = "mined"
    """`random` is the floor: any windows, as many."""
    apart_s: float = 1.0
    """Windows of one clip are chosen at least so far apart."""
    twins: float | None = 0.995
    """Cosine of embeddings from which a window is a twin of one before it and passed over; None
    keeps all."""
    seed: int = 0
    """Decides what `random` takes."""

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"mine.budget {self.budget}: must be at least 1")
        if self.how not in ("mined", "random"):
            raise ValueError(f"mine.how {self.how!r}: mined or random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Windows that were chosen."""

    rows: npt.NDArray[np.int64]
    """Rows of the findings, in the order of their choice."""
    scores: npt.NDArray[np.float64]
    """Highest rank over all triggers, 0 to 1."""
    reasons: tuple[str, ...]
    """The trigger that gave it."""
    twins: int
    """Windows passed over as twins."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = asdict(self)
        return {**told, "rows": self.rows.tolist(), "scores": self.scores.tolist()}


def choose(findings: Findings, config: MineConfig) -> Choice:
    """Choose windows. Equal findings and settings give equal choices."""
    columns = findings.searchable()
    if "novelty" in config.triggers:
        columns["novelty"] = novelty(findings.embedding)
    best, reasons = best_reasons(trigger_scores(columns, config.triggers))
    twin = np.zeros(len(findings), bool)
    if config.how == "random":
        rows = random_choice(
            len(findings), budget=config.budget, seed=config.seed, clip=findings.clip,
            time_s=findings.time_s, apart_s=config.apart_s,
        )  # fmt: skip
    else:
        twin = _twins(findings, config, best)
        rows = select_windows(
            np.where(twin, 0.0, best**_POWER), findings.embedding, budget=config.budget,
            clip=findings.clip, time_s=findings.time_s, apart_s=config.apart_s,
        )  # fmt: skip
    return Choice(
        rows=rows,
        scores=best[rows],
        reasons=tuple("random" if config.how == "random" else reasons[row] for row in rows),
        twins=int(twin.sum()),
    )


def _twins(
    findings: Findings, config: MineConfig, best: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Which windows are twins of one with a higher score."""
    twin = np.zeros(len(findings), bool)
    if config.twins is None or len(findings) == 0:
        return twin
    dims = findings.embedding.shape[1]
    dedupe = Dedupe(DedupeConfig(dims=dims, capacity=len(findings), cosine=config.twins))
    order = np.argsort(-best, kind="stable")
    twin[order] = dedupe.add(_centred(findings.embedding)[order]) >= 0
    return twin


def _centred(embedding: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Embeddings of unit length about their mean: what all windows share tells none apart."""
    points = embedding.astype(np.float32)
    points = points - points.mean(0)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6)


def novelty(embedding: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Mean distance [n] of each embedding to its five nearest among a fixed sample of 2,048."""
    points = _centred(embedding)
    rng = np.random.Generator(np.random.Philox(key=[len(points), 8]))
    sample = points[rng.permutation(len(points))[:_SAMPLE]]
    count = min(_NEIGHBOURS + 1, len(sample))
    out = np.empty(len(points))
    for at in range(0, len(points), 1024):
        square = 2.0 - 2.0 * points[at : at + 1024] @ sample.T
        near = np.sort(np.partition(square, count - 1, 1)[:, :count], 1)
        out[at : at + 1024] = np.sqrt(np.maximum(near[:, -_NEIGHBOURS:], 0.0)).mean(1)
    return out
