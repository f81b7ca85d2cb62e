"""One number of a data sheet: its unit, where it stands, how far it can be believed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

__all__ = ["Figure", "Grade", "Other", "as_figure", "as_table", "check_keys", "text_of"]

Grade = Literal["measured", "published", "claimed", "inferred", "unknown"]
"""Measured: on this very machine. Published: in a data sheet or a measurement. Claimed: said in
public without one. Inferred: follows from others, or from the press. Unknown: nothing was said, the
range is an assumption."""

_SPREAD: dict[str, float] = {"measured": 0.0, "published": 0.0, "claimed": 0.1, "inferred": 0.25}
_KEYS = ("grade", "high", "low", "note", "others", "source", "unit", "value")


@dataclass(frozen=True, slots=True)
class Other:
    """A value that contradicts the one in use, and why it was not taken."""

    value: float
    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value with its unit, grade, source and range.

    Where a file gives no range it is the value itself if measured or published, 10 % to each side
    if claimed and 25 % if inferred; an unknown figure must bring its own.
    """

    value: float
    unit: str
    grade: Grade
    source: str
    low: float
    high: float
    others: tuple[Other, ...] = ()
    note: str = ""


def check_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raises `ValueError` for the first key that nobody knows; it names the nearest one."""
    for key in table:
        if key in known:
            continue
        near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.0)
        meant = f", did you mean {near[0]!r}" if near else ""
        raise ValueError(f"{where}: unknown key {key!r}{meant}")


def as_table(raw: Any, where: str) -> Mapping[str, Any]:
    """A TOML table. Raises `ValueError` for anything else."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where}: must be a table, not {raw!r}")
    return cast(Mapping[str, Any], raw)


def text_of(table: Mapping[str, Any], key: str, where: str, *, default: str | None = None) -> str:
    """A string out of a table. Raises `ValueError` where it is missing or not a string."""
    value = table.get(key, default)
    if not isinstance(value, str) or (default is None and not value):
        raise ValueError(f"{where}: {key!r} must be a text, not {value!r}")
    return value


def as_figure(
    raw: Any, unit: str, where: str, *, source: str, grade: str, above_zero: bool = False
) -> Figure:
    """Read a figure: a bare number under the table's own source and grade, or a table.

    Raises `ValueError` for what is not a finite number of at least 0 (above 0 where `above_zero`),
    for another unit than `unit`, an unknown grade, and a range that misses the value.
    """
    table = as_table(raw, where) if isinstance(raw, Mapping) else {"value": raw}
    check_keys(table, _KEYS, where)
    said = table.get("unit", unit)
    if said != unit:
        raise ValueError(f"{where}: the unit is {unit}, not {said}")
    value = _number(table.get("value"), where, above_zero)
    grade = text_of(table, "grade", where, default=grade)
    if grade not in get_args(Grade):
        raise ValueError(f"{where}: grade {grade!r} is none of {', '.join(get_args(Grade))}")
    source = text_of(table, "source", where, default=source)
    if not source:
        raise ValueError(f"{where}: a figure needs a source")
    low, high = _range(table, value, grade, where)
    return Figure(
        value=value,
        unit=unit,
        grade=cast(Grade, grade),
        source=source,
        low=low,
        high=high,
        others=tuple(_other(other, where) for other in table.get("others", ())),
        note=text_of(table, "note", where, default=""),
    )


def _number(raw: Any, where: str, above_zero: bool = False) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not math.isfinite(raw):
        raise ValueError(f"{where}: {raw!r} is not a finite number")
    if raw < 0 or (above_zero and raw == 0):
        raise ValueError(f"{where}: {raw:g} must be {'above 0' if above_zero else 'at least 0'}")
    return float(raw)


def _range(table: Mapping[str, Any], value: float, grade: str, where: str) -> tuple[float, float]:
    if "low" not in table or "high" not in table:
        if "low" in table or "high" in table:
            raise ValueError(f"{where}: a range needs both low and high")
        if grade == "unknown":
            raise ValueError(f"{where}: an unknown figure needs a range, low and high")
        spread = _SPREAD[grade]
        return value * (1 - spread), value * (1 + spread)
    low, high = _number(table["low"], where), _number(table["high"], where)
    if not low <= value <= high:
        raise ValueError(f"{where}: {value:g} is outside its range {low:g} to {high:g}")
    return low, high


def _other(raw: Any, where: str) -> Other:
    raw = as_table(raw, where)
    check_keys(raw, ("reason", "source", "value"), where)
    return Other(
        _number(raw.get("value"), where),
        text_of(raw, "source", where),
        text_of(raw, "reason", where),
    )
