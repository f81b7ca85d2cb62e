"""Charts as SVG that takes the page's text colour and font, so they read in light and in dark.

Matplotlib is used through its `Figure` class alone: no pyplot, no global backend, and imported
only when a chart is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves_svg", "scores_svg"]

_INK = "#010203"
"""Stands for the page's text colour while a chart is drawn; `_svg` puts `currentColor` there."""
_BLUE, _ORANGE = "#1a86c7", "#e08a1e"
"""Blue and orange of the colour-blind safe palette, at a lightness that shows on both grounds."""


def curves_svg(rows: Sequence[Mapping[str, Any]]) -> str:
    """Training curves from the rows of metrics.jsonl: one panel a loss, over the steps.

    A row has `step` and losses: numbers under `losses`, or under keys that hold the word loss.
    Returns an SVG element; empty where no row has a loss.
    """
    points = [(row["step"], _losses(row)) for row in rows if "step" in row]
    names = sorted({name for _, losses in points for name in losses}, key=_rank)
    if not names:
        return ""
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = _figure(3.4 * len(names), 2.5)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        steps = [step for step, losses in points if name in losses]
        values = [losses[name] for _, losses in points if name in losses]
        _bare(axes)
        axes.plot(steps, values, color=_BLUE, linewidth=0.9, alpha=0.35)
        axes.plot(steps, _smooth(values), color=_BLUE, linewidth=2.0)
        if min(values) > 0 and max(values) > 8 * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=min(0.0, min(values)))
        axes.set_title(f"{name} loss", loc="left", fontsize=10, color=_INK)
        axes.set_xlabel("training step")
    return _svg(figure)


def scores_svg(drivers: Mapping[str, Mapping[str, Any]]) -> str:
    """Driving scores as bars, best on top, with one mark for each set of roads."""
    order = sorted(drivers, key=lambda name: drivers[name]["score"]["mean"])
    figure = _figure(7.4, 0.42 * len(order) + 0.75)
    axes = figure.subplots()
    _bare(axes)
    for row, name in enumerate(order):
        score = drivers[name]["score"]
        fill = _BLUE if name == "network" else "none"
        hatch = "" if name in ("network", "expert") else "////"
        edge = _BLUE if name == "network" else _INK
        axes.barh(
            row, score["mean"], 0.58, facecolor=fill, edgecolor=edge, hatch=hatch, linewidth=1.0,
            alpha=1.0 if name == "network" else 0.55,
        )  # fmt: skip
        for value, marker in zip(score["values"], "o^sDv*", strict=False):
            axes.plot(
                value, row, marker, color=_ORANGE, markeredgecolor=_INK, markersize=6.5,
                markeredgewidth=0.8, clip_on=False, zorder=3,
            )  # fmt: skip
        right = max([score["mean"], *score["values"]]) + 2.2
        weight = "bold" if name == "network" else "normal"
        axes.text(right, row, f"{score['mean']:.1f}", va="center", color=_INK, fontweight=weight)
    axes.set_yticks(range(len(order)), order)
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("driving score (0 to 100); each mark is one set of roads")
    axes.tick_params(axis="y", length=0)
    return _svg(figure)


def _losses(row: Mapping[str, Any]) -> dict[str, float]:
    losses = dict(row["losses"]) if isinstance(row.get("losses"), Mapping) else {}
    for key, value in row.items():
        if "loss" in key and isinstance(value, int | float):
            losses[re.sub("_?loss_?", "", key) or "total"] = value
    return {name: float(value) for name, value in losses.items()}


def _rank(name: str) -> tuple[int, str]:
    return (0 if name == "total" else 1, name)


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean over the steps around each: about a twentieth of the run, less at its ends."""
    half = len(values) // 40
    sides = (min(half, i, len(values) - 1 - i) for i in range(len(values)))
    return [sum(values[i - k : i + k + 1]) / (2 * k + 1) for i, k in enumerate(sides)]


def _figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def _bare(axes: Axes) -> None:
    """Ink in place of black, a light grid, no box."""
    axes.set_facecolor("none")
    axes.grid(True, color=_INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
        spine.set_alpha(0.5)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.label.set_color(_INK)
    axes.xaxis.label.set_fontsize(9)


def _svg(figure: Figure) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    # One point of the chart is one CSS pixel and a third: the labels come out at the text's size.
    width_px = 96 * figure.get_figwidth()
    return re.sub(
        r'<svg ([^>]*?)( (?:width|height)="[^"]*"){2}',
        rf'<svg style="max-width:{width_px:.0f}px" \1',
        svg,
    )
