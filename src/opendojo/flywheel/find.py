"""Search: windows by tags, queries and likeness, over everything that was looked at.

find(folder, "night merge")                    # all these tags
find(folder, "night and error > 2 m")          # a query
find(folder, "braking", alike=True)            # and what looks like those found
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.flywheel.findings import Findings, tags_of
from opendojo.flywheel.query import Query

__all__ = ["Found", "find", "query_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One window."""

    place: str
    """Folder of the round or turn, which holds its store."""
    clip_id: str
    first: int
    """Its first instant in the clip."""
    time_s: float
    """Time in the clip of its last instant."""
    tags: tuple[str, ...]
    error_m: float
    """Of the plan; not a number where unknown."""
    alike: float | None
    """Cosine to the nearest window that the query found; None where the query found it itself."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def query_of(words: str) -> Query:
    """A query, or tags one after the other, which are joined by `and`.

    Raises `ValueError` where it is neither.
    """
    parts = words.split()
    if parts and all(part.isidentifier() and part not in ("and", "or", "not") for part in parts):
        known = tags_of({})
        if len(parts) > 1 or parts[0] in known:
            return Query(" and ".join(parts))
    return Query(words)


def find(folder: Path, words: str, *, most: int = 20, alike: bool = False) -> list[Found]:
    """Windows that fit, the largest errors first; with `alike` then those nearest to them.

    Likeness is that of embeddings, within one round: networks of different rounds see differently.
    Raises `ValueError` where nothing was looked at yet, and for a wrong query.
    """
    query = query_of(words)
    found: list[Found] = []
    near: list[Found] = []
    looked = False
    for place, findings in _everything(folder):
        looked = True
        fits = query.of(findings.searchable())
        found += _told(place, findings, np.flatnonzero(fits), None)
        if alike and fits.any():
            rows, cosine = _nearest(findings, fits, most)
            near += _told(place, findings, rows, cosine)
    if not looked:
        raise ValueError(f"{folder} has no findings yet: run `opendojo flywheel run` or `watch`")
    found.sort(key=lambda one: (-np.nan_to_num(one.error_m), one.clip_id, one.time_s))
    near.sort(key=lambda one: -(one.alike or 0.0))
    return [*found[:most], *near[: max(0, most - len(found))]]


def _everything(folder: Path) -> Iterator[tuple[Path, Findings]]:
    for path in sorted(
        [*folder.glob("rounds/*/findings.npz"), *folder.glob("turns/*/findings.npz")]
    ):
        yield path.parent, Findings.load(path)


def _told(
    place: Path, findings: Findings, rows: npt.NDArray[Any], cosine: npt.NDArray[Any] | None
) -> list[Found]:
    tags = findings.tags()
    errors = findings.columns.get("error_m", np.full(len(findings), np.nan))
    return [
        Found(
            place=str(place),
            clip_id=findings.clip_id[findings.clip[row]],
            first=int(findings.first[row]),
            time_s=float(findings.time_s[row]),
            tags=tuple(name for name, flags in tags.items() if flags[row]),
            error_m=float(errors[row]),
            alike=None if cosine is None else float(cosine[k]),
        )
        for k, row in enumerate(rows.tolist())
    ]


def _nearest(
    findings: Findings, fits: npt.NDArray[np.bool_], most: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    points = findings.embedding.astype(np.float32)
    others = np.flatnonzero(~fits)
    if not len(others):
        return others, np.zeros(0)
    cosine = (points[others] @ points[np.flatnonzero(fits)[:512]].T).max(1)
    order = np.argsort(-cosine, kind="stable")[:most]
    return others[order], cosine[order]
