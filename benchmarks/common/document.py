"""Figures with their spread, bars, and the one JSON document that ends a benchmark's output."""

from __future__ import annotations

import datetime
import json
import math
import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opendojo.machine import machine_facts

__all__ = ["Bar", "Figure", "Section", "document", "machine_kind", "save"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median with its spread; `n` repeats in one run."""

    median: float
    low: float
    high: float
    n: int
    unit: str

    @classmethod
    def of(cls, values: Sequence[float], unit: str) -> Figure:
        return cls(
            median=statistics.median(values),
            low=min(values),
            high=max(values),
            n=len(values),
            unit=unit,
        )

    def json(self) -> dict[str, Any]:
        return {
            "median": rounded(self.median),
            "min": rounded(self.low),
            "max": rounded(self.high),
            "n": self.n,
            "unit": self.unit,
        }

    def __str__(self) -> str:
        spread = f" ({shown(self.low)} to {shown(self.high)}, n={self.n})" if self.n > 1 else ""
        return f"{shown(self.median)} {self.unit}{spread}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a figure must reach. `ok` is None where nothing is judged."""

    value: float
    bar: float
    unit: str
    at_most: bool
    judged: bool

    @property
    def ok(self) -> bool | None:
        if not self.judged:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def json(self) -> dict[str, Any]:
        return {
            "value": rounded(self.value),
            "bar": self.bar,
            "unit": self.unit,
            "sense": "at most" if self.at_most else "at least",
            "ok": self.ok,
        }


@dataclass
class Section:
    """One table of a benchmark: what was measured, under which conditions, against which bars."""

    name: str
    title: str
    judged: bool
    """False in a smoke run: the figures are shown, no bar is judged."""
    conditions: list[str] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    bars: dict[str, Bar] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """A condition or caveat, kept with the figures."""
        self.conditions.append(text)

    def add(self, key: str, what: str, values: Sequence[float] | float, unit: str) -> Figure:
        """A row of the table; `values` are the repeats of one run."""
        plain = [values] if isinstance(values, (int, float)) else values
        return self.put(key, what, Figure.of(plain, unit))

    def put(self, key: str, what: str, figure: Figure) -> Figure:
        """A row of the table that was worked out from others."""
        self.figures[f"{self.name}.{key}"] = figure
        self.rows.append((what, str(figure)))
        return figure

    def bar(self, key: str, value: float, bar: float, unit: str, *, at_most: bool = False) -> None:
        """Hold a value against a bar."""
        judged = self.judged
        self.bars[f"{self.name}.{key}"] = Bar(
            value=value, bar=bar, unit=unit, at_most=at_most, judged=judged
        )

    def text(self) -> str:
        """The section as text."""
        width = max((len(what) for what, _ in self.rows), default=0)
        lines = [f"== {self.name}: {self.title}"]
        lines += [f"   {line}" for line in self.conditions]
        lines += [f"   {what:<{width}}  {figure}" for what, figure in self.rows]
        for name, bar in self.bars.items():
            verdict = {None: "not judged", True: "reached", False: "MISSED"}[bar.ok]
            sense = "at most" if bar.at_most else "at least"
            value = shown(bar.value)
            lines.append(f"   bar {name}: {value} {bar.unit}, {sense} {bar.bar:g}: {verdict}")
        return "\n".join(lines)


def document(benchmark: str, command: str, sections: Sequence[Section]) -> dict[str, Any]:
    """The benchmark as one JSON document."""
    figures = {key: f.json() for s in sections for key, f in s.figures.items()}
    bars = {key: b.json() for s in sections for key, b in s.bars.items()}
    return {
        "benchmark": benchmark,
        "command": command,
        "machine": machine_facts(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "figures": figures,
        "bars": bars,
        "conditions": {s.name: s.conditions for s in sections},
    }


def save(document: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Keep a document; one of the same machine kind and day is replaced.

    Sections that were measured apart at one commit are kept together, each as one run gave it.
    """
    name = f"{document['benchmark']}_{machine_kind(document['machine'])}_{document['date']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    before = json.loads(path.read_text()) if path.exists() else {}
    if before.get("commit") == document["commit"]:
        document = dict(document)
        for part in ("figures", "bars", "conditions"):
            document[part] = {**before[part], **document[part]}
        if document["command"] not in before["command"].split("; "):
            document["command"] = f"{before['command']}; {document['command']}"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def machine_kind(facts: dict[str, Any]) -> str:
    """A word for this kind of machine, such as `2core-intel-xeon-processor`."""
    cpu = re.sub(r"\((r|tm)\)", "", facts["cpu"].lower())
    return f"{facts['cores']}core-{re.sub(r'[^a-z0-9]+', '-', cpu).strip('-')}"


def shown(value: float) -> str:
    """A number with three or four digits that count."""
    if not math.isfinite(value):
        return "none"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def rounded(value: float) -> float | None:
    """Six digits; what is not a number is null in JSON."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _commit() -> str:
    call = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    told = subprocess.run(call, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"
