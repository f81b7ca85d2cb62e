"""`opendojo machine explain`: a picture of where a step's time and a rank's memory go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from opendojo.cli.machine_network import Where, layout_text, placed
from opendojo.cli.show import parse, print_document

if TYPE_CHECKING:
    from opendojo.machine.plan import Plan

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain(Where):
    """Draw the time of a step and the memory of a rank of the best few layouts. Modelled."""

    network: Annotated[str, tyro.conf.Positional]
    """As in `machine plan`."""
    frames_per_day: float | None = None
    """As in `machine plan`."""
    out: Path = Path("machine.png")
    """The picture."""
    best: int = 4
    """How many layouts to draw."""


def run(arguments: list[str]) -> int:
    """Draw, and say where the picture is."""
    chosen = parse(Explain, "machine explain", arguments, Explain.__doc__ or "")
    if not chosen.out.parent.is_dir():
        raise ValueError(f"--out {chosen.out}: there is no folder {chosen.out.parent}")
    plans = placed(chosen.network, chosen, chosen.frames_per_day, chosen.best)
    _draw(plans, chosen.out)
    first = plans[0]
    if chosen.json:
        print_document({"kind": "modelled", "picture": str(chosen.out), "parts_s": first.parts,
                        "memory_bytes": first.memory, "binds": first.binds})  # fmt: skip
        return 0
    for name, seconds in sorted(first.parts.items(), key=lambda item: -item[1]):
        if seconds > 1e-3 * first.step_s:
            print(f"  {name:<12}{100 * seconds / first.step_s:6.1f} %")
    print(f"{first.binds} binds; picture in {chosen.out}")
    return 0


def _draw(plans: list[Plan], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(11, 2.6 + 1.1 * len(plans)), layout="constrained")
    labels = [layout_text(plan.layout) for plan in plans]
    _bars(axes[0], [plan.parts for plan in plans], labels, 1.0, "seconds of a step, modelled")
    for row, plan in enumerate(plans):
        axes[0].plot([plan.low_s, plan.high_s], [row, row], "k|-", lw=1, ms=10)
    _bars(axes[1], [plan.memory for plan in plans], labels, 1e-9, "GB of a rank, modelled")
    first = plans[0]
    figure.suptitle(f"{first.network} on {first.chips:,} x {first.chip}: {first.binds} binds "
                    "(black line: 80 %)")  # fmt: skip
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _bars(
    axis: Any, rows: list[dict[str, float]], labels: list[str], scale: float, title: str
) -> None:
    import matplotlib

    names = list(dict.fromkeys(name for row in rows for name in row))
    whole = max(sum(row.values()) for row in rows)
    names = [n for n in names if max(row.get(n, 0.0) for row in rows) > 0.002 * whole]
    colours = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    at = [0.0] * len(rows)
    for number, name in enumerate(names):
        widths = [row.get(name, 0.0) * scale for row in rows]
        axis.barh(range(len(rows)), widths, left=at, label=name, color=colours[number % 20])
        at = [a + w for a, w in zip(at, widths, strict=True)]
    axis.set_yticks(range(len(rows)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(title)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
