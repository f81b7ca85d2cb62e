"""Triggers: what makes a window worth a look, as one score each, and how good each one is.

A score only ranks: it is turned into the share of windows that have less of it, so that metres and
seconds can stand side by side. A window that a trigger knows nothing about ranks last.

    scores = trigger_scores(columns, ["error", "disagreement", "query: night and turn > 5 deg/s"])
    told = quality(scores["error"], truth, share=0.1)      # precision, recall
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.flywheel.query import Query

__all__ = ["TRIGGERS", "Quality", "best_reasons", "quality", "ranks", "trigger_scores"]

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]

TRIGGERS: dict[str, tuple[str, float]] = {
    "braking": ("decel_mps2", 1.0),
    "collision": ("ttc_s", -1.0),
    "dark": ("luma", -1.0),
    "disagreement": ("disagreement_m", 1.0),
    "error": ("error_m", 1.0),
    "jerk": ("jerk_mps3", 1.0),
    "novelty": ("novelty", 1.0),
}
"""Every trigger by name: the column it reads, and whether much (1) or little (-1) of it counts."""


def trigger_scores(columns: Columns, triggers: Sequence[str]) -> dict[str, Floats]:
    """Scores float64 [n] in 0..1 of each trigger that has its column; the largest is the rarest.

    A trigger is a name of `TRIGGERS`, or `query: ` and an expression; where a query is fulfilled
    the score is 1, else 0. Raises `ValueError` for a name that is none and for a wrong query.
    """
    out: dict[str, Floats] = {}
    for trigger in triggers:
        if trigger.startswith("query:"):
            out[trigger] = Query(trigger.removeprefix("query:")).of(columns).astype(np.float64)
            continue
        if trigger not in TRIGGERS:
            raise ValueError(
                f"there is no trigger {trigger!r}: {', '.join(TRIGGERS)}, or `query: ...`"
            )
        name, sign = TRIGGERS[trigger]
        if name in columns and not np.isnan(columns[name]).all():
            out[trigger] = ranks(sign * np.asarray(columns[name], np.float64))
    return out


def ranks(values: Floats) -> Floats:
    """For each of `values` [n] the share of the others that is smaller; 0 where it is NaN.

    Equal values have equal ranks, the mean of their places.
    """
    known = ~np.isnan(values)
    out = np.zeros(len(values))
    some = values[known]
    if len(some) < 2:
        out[known] = 1.0
        return out
    ordered = np.sort(some)
    low = np.searchsorted(ordered, some, "left")
    high = np.searchsorted(ordered, some, "right") - 1
    out[known] = 0.5 * (low + high) / (len(some) - 1)
    return out


def best_reasons(scores: Mapping[str, Floats]) -> tuple[Floats, list[str]]:
    """The highest score [n] over all triggers, and the trigger that gave it for each window."""
    names = list(scores)
    if not names:
        raise ValueError("no trigger has anything to say: the windows have neither log nor network")
    table = np.stack([scores[name] for name in names])
    best = table.argmax(0)
    return table.max(0), [names[i] for i in best.tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A trigger held against the known truth, at one budget."""

    share: float
    """Share of the windows that are taken."""
    taken: int
    events: int
    """Distinct events there are."""
    precision: float
    """Share of the taken windows that show an event."""
    recall: float
    """Share of the events of which a taken window shows some part."""

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


def quality(scores: Floats, event: npt.NDArray[np.int64], share: float = 0.1) -> Quality:
    """Precision and recall of the windows with the highest scores.

    `event` int64 [n] numbers the event that a window shows, -1 where none. An event is found when
    one of its windows is taken: a fleet wants the clip, not each of its instants. Ties go to the
    window that comes first.
    """
    taken = max(1, round(share * len(scores)))
    top = np.argsort(-scores, kind="stable")[:taken]
    found = event[top][event[top] >= 0]
    events = len(np.unique(event[event >= 0]))
    return Quality(
        share=share,
        taken=taken,
        events=events,
        precision=len(found) / taken,
        recall=len(np.unique(found)) / events if events else float("nan"),
    )
