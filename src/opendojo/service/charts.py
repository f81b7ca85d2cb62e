"""Charts of a run as SVG, drawn by the server: curves of `metrics.jsonl`, bars of use by day.

A run's folder belongs to the tenant that may put anything there: no link is followed, what is read
is bounded, and every word is escaped.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["Curves", "Series", "bars", "find_metrics", "read_rows", "series_of"]

_NAME = "metrics.jsonl"
_DEPTH, _ENTRIES = 3, 2000
_PIECES, _PIECE = 64, 65_536
_POINTS, _SERIES = 240, 24
_FIRST = ("loss", "loss_total", "frames_per_s", "joules_per_frame", "data_wait_share", "score")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 360, 150, 46, 8, 20


@dataclass(frozen=True, slots=True)
class Series:
    """One figure over the steps of a run."""

    name: str
    steps: list[float]
    values: list[float]

    @property
    def logarithmic(self) -> bool:
        """Is it drawn on a logarithmic scale: positive, over more than a factor of 30."""
        return min(self.values) > 0 and max(self.values) > 30 * min(self.values)


@dataclass(slots=True)
class Curves:
    """Draws a run's curves, again only when the file has changed."""

    _stamp: object = field(default=None)

    def drawn(self, work: Path) -> str | None:
        """HTML of the charts; None where nothing changed since the last call."""
        path = find_metrics(work)
        try:
            told = path.stat(follow_symlinks=False) if path else None
        except OSError:
            told = None
        stamp = (path, told.st_mtime_ns, told.st_size) if told else None
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        return "".join(map(_curve, series_of(read_rows(path, work)))) if path else ""


def find_metrics(work: Path) -> Path | None:
    """The metrics file that was written to last, in the folder or at most three deep."""
    found: list[tuple[int, str]] = []
    left = _ENTRIES
    level = [str(work)]
    for _ in range(_DEPTH + 1):
        below: list[str] = []
        for folder in level:
            for entry in _entries(folder, left):
                left -= 1
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.name == _NAME and entry.is_file(follow_symlinks=False):
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path))
        level = below
    return Path(max(found)[1]) if found else None


def _entries(folder: str, most: int) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(most), entries, strict=False):
                yield entry
    except OSError:
        return


def read_rows(path: Path, work: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file; 64 pieces of it, evenly spaced, where it is longer than 4 MiB.

    Nothing where the file turns out to lie outside of `work`, or is no plain file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return []
    with os.fdopen(handle, "rb") as file:
        told = os.fstat(handle)
        real = Path(f"/proc/self/fd/{handle}").resolve()
        if not stat.S_ISREG(told.st_mode) or not real.is_relative_to(work.resolve()):
            return []
        lines: list[bytes] = []
        whole = told.st_size <= _PIECES * _PIECE
        for number in range(1 if whole else _PIECES):
            at = 0 if whole else (told.st_size - _PIECE) * number // (_PIECES - 1)
            file.seek(at)
            piece = file.read(_PIECES * _PIECE if whole else _PIECE).split(b"\n")
            lines += piece[(1 if at else 0) : -1]
    return [row for row in map(_row, lines) if row is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def series_of(rows: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The figures of the rows over `step`, what matters most first; thinned to 240 points."""
    found: dict[str, Series] = {}
    for number, row in enumerate(rows):
        step = row.get("step", number)
        if not _finite(step):
            continue
        for name, value in row.items():
            if name != "step" and _finite(value) and (name in found or len(found) < 200):
                one = found.setdefault(name, Series(name, [], []))
                one.steps.append(float(step))
                one.values.append(float(value))
    kept = [_thin(one) for one in found.values() if len(one.values) > 1]
    return sorted(kept, key=_rank)[:_SERIES]


def _finite(value: object) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) < 1e300 and math.isfinite(value)  # type: ignore[arg-type,operator]


def _thin(one: Series) -> Series:
    if len(one.values) <= _POINTS:
        return one
    at = [number * (len(one.values) - 1) // (_POINTS - 1) for number in range(_POINTS)]
    return Series(one.name, [one.steps[n] for n in at], [one.values[n] for n in at])


def _rank(one: Series) -> tuple[int, str]:
    if one.name in _FIRST:
        return _FIRST.index(one.name), one.name
    return len(_FIRST) + ("loss" not in one.name), one.name


def number(value: float) -> str:
    """A figure in few letters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.3g}"


def _curve(one: Series) -> str:
    scale = math.log10 if one.logarithmic else float
    low, high = scale(min(one.values)), scale(max(one.values))
    if high - low < 1e-12 * max(abs(high), 1e-300):
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    first, last = one.steps[0], max(one.steps[-1], one.steps[0] + 1e-9)
    wide, tall = _WIDTH - _LEFT - 6, _HEIGHT - _TOP - _BOTTOM

    def at(step: float, value: float) -> str:
        x = _LEFT + wide * min(max((step - first) / (last - first), 0.0), 1.0)
        return f"{x:.1f},{_TOP + tall * (1 - (scale(value) - low) / (high - low)):.1f}"

    points = " ".join(at(*pair) for pair in zip(one.steps, one.values, strict=True))
    lines = []
    for part in (0.0, 0.5, 1.0):
        y, told = _TOP + tall * (1 - part), low + part * (high - low)
        label = number(10**told if one.logarithmic else told)
        lines.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - 6}"/>'
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        )
    name, now = escape(one.name.replace("_", " ")), number(one.values[-1])
    scaled = " (logarithmic)" if one.logarithmic else ""
    said = f"{name}{scaled}: {now} at step {number(one.steps[-1])}"
    return (
        f"<figure><figcaption>{name}{scaled} <b>{now}</b></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">{"".join(lines)}'
        f'<polyline class="line" points="{points}"/>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">step {number(first)}</text>'
        f'<text x="{_WIDTH - 6}" y="{_HEIGHT - 4}" text-anchor="end">{number(one.steps[-1])}</text>'
        "</svg></figure>"
    )


def bars(labels: Sequence[str], values: Sequence[float], unit: str) -> str:
    """Bars, the last one today's; each names its label, value and unit."""
    most = max([*values, 0.0])
    if most <= 0:
        return ""
    wide, tall = (720 - 10) / len(values), 110
    drawn = []
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        high = tall * value / most
        drawn.append(
            f'<rect class="bar" x="{5 + place * wide:.1f}" y="{10 + tall - high:.1f}" '
            f'width="{wide * 0.8:.1f}" height="{high:.1f}">'
            f"<title>{escape(label)}: {number(value)} {escape(unit)}</title></rect>"
        )
    said = f"{escape(unit)} by day, at most {number(most)}"
    return (
        f'<svg class="bars" viewBox="0 0 720 140" role="img" aria-label="{said}">{"".join(drawn)}'
        f'<path class="grid" d="M5 {10 + tall}H715"/>'
        f'<text x="5" y="136">{escape(labels[0])}</text>'
        f'<text x="715" y="136" text-anchor="end">{escape(labels[-1])}</text></svg>'
    )
