"""The gate: a network is promoted only when it drives better, scene by scene, beyond noise.

Both networks drive the same scenes, so differences are paired: what a scene is worth cancels out.
The interval is a bootstrap of the mean difference (Efron 1979), the p-value that of a sign-flip
permutation test (Fisher 1935): how often chance alone, turning each scene's difference about, would
do as well. Both have fixed draws: equal scores, equal verdict.

    verdict = gate({"hard": (before, after), "clean": (old, new)}, GateConfig())
    verdict.promote, verdict.why
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["GateConfig", "Paired", "Verdict", "gate", "paired"]

Floats = npt.NDArray[np.float64]
Scores = Mapping[str, float]
"""Score by scene."""

_RESAMPLES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """What a new network must show."""

    better_on: tuple[str, ...] = ("hard",)
    """Sets of scenes on which it must be better, beyond noise, taken together."""
    keep_on: tuple[str, ...] = ("clean",)
    """Sets on which it must not be worse than `worse_at_most`: what it knew before."""
    worse_at_most: float = 0.01
    """Share of the old mean score that may be lost there."""
    level: float = 0.90
    """Of the interval, which must lie above 0 on `better_on`."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1.0 or not 0.0 <= self.worse_at_most < 1.0:
            raise ValueError("gate.level must be 0.5 to 1, gate.worse_at_most 0 to 1")
        if not self.better_on:
            raise ValueError("gate.better_on: name a set of scenes on which to be better")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A difference of two networks over the same scenes."""

    scenes: int
    before: float
    """Mean score."""
    after: float
    difference: float
    """Mean of after - before."""
    low: float
    high: float
    """Interval of the difference."""
    p: float
    """Chance of a difference as large where neither network is better; one-sided."""

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says."""

    promote: bool
    why: str
    """In a sentence."""
    sets: Mapping[str, Paired]
    """By set of scenes; `better` is all of `better_on` together."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sets = {name: told.as_dict() for name, told in self.sets.items()}
        return {"promote": self.promote, "why": self.why, "sets": sets}


def paired(before: Scores, after: Scores, level: float = 0.90) -> Paired:
    """The difference over scenes that both drove.

    Raises `ValueError` where the scenes are not the same, or there is none.
    """
    if before.keys() != after.keys() or not before:
        odd = sorted(before.keys() ^ after.keys())[:3]
        raise ValueError(f"both networks must drive the same scenes; only one has {odd}")
    names = sorted(before)
    old = np.array([before[name] for name in names])
    new = np.array([after[name] for name in names])
    change = new - old
    rng = np.random.Generator(np.random.Philox(key=[len(names), 5]))
    means = change[rng.integers(0, len(change), (_RESAMPLES, len(change)))].mean(1)
    low, high = np.quantile(means, [0.5 * (1.0 - level), 0.5 * (1.0 + level)])
    return Paired(
        scenes=len(names),
        before=float(old.mean()),
        after=float(new.mean()),
        difference=float(change.mean()),
        low=float(low),
        high=float(high),
        p=_by_chance(change, rng),
    )


def _by_chance(change: Floats, rng: np.random.Generator) -> float:
    """Share of the ways to turn differences about that come to as much; exact up to 13 scenes."""
    count = len(change)
    if count <= 13:
        turns = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
        sums = (1 - 2 * turns) @ change
        return float((sums >= change.sum() - 1e-9).mean())
    turns = rng.integers(0, 2, (_RESAMPLES, count))
    sums = (1 - 2 * turns) @ change
    return float((1 + (sums >= change.sum() - 1e-9).sum()) / (1 + _RESAMPLES))


def gate(scores: Mapping[str, tuple[Scores, Scores]], config: GateConfig | None = None) -> Verdict:
    """Whether a new network takes over, from scores (before, after) by set of scenes.

    Raises `ValueError` where a set is missing or its scenes differ.
    """
    config = config or GateConfig()
    missing = [name for name in (*config.better_on, *config.keep_on) if name not in scores]
    if missing:
        raise ValueError(f"no scores on {missing[0]}: the gate needs them")
    sets = {name: paired(*scores[name], config.level) for name in scores}
    joint = [
        {f"{name} {scene}": score for name in config.better_on for scene, score in
         scores[name][k].items()}
        for k in (0, 1)
    ]  # fmt: skip
    better = paired(joint[0], joint[1], config.level)
    sets["better"] = better
    worse = [
        name for name in config.keep_on
        if sets[name].after < (1.0 - config.worse_at_most) * sets[name].before
    ]  # fmt: skip
    interval = f"{config.level:.0%} of {better.low:+.1f} to {better.high:+.1f}"
    if worse:
        told = sets[worse[0]]
        why = f"it forgot: {told.before:.1f} became {told.after:.1f} on {worse[0]}"
        return Verdict(promote=False, why=why, sets=sets)
    if better.low <= 0.0 or better.p > 1.0 - config.level:
        why = f"not beyond noise: {better.difference:+.1f}, {interval}, p {better.p:.2f}"
        return Verdict(promote=False, why=why, sets=sets)
    why = f"better by {better.difference:+.1f}, {interval}, p {better.p:.3f}"
    return Verdict(promote=True, why=why, sets=sets)
