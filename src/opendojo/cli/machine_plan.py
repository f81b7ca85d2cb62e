"""`opendojo machine plan`: what a network would take on a pod."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from opendojo.cli.machine_network import Where, layout_text, placed
from opendojo.cli.show import parse, print_document

if TYPE_CHECKING:
    from opendojo.machine.plan import Plan

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions(Where):
    """Search all layouts of a network on a pod; print the best few. Modelled, 80 % intervals.

    A network is a name (`gpt-175b`, `moe-37b-of-671b`, `resnet50`, `render`, `ingest`), a size of
    the driving network (`nano` to `large`), the folder of a run, or `package.module:factory`.
    """

    network: Annotated[str, tyro.conf.Positional]
    """The network."""
    frames_per_day: float | None = None
    """Useful frames (or tokens) a day that are wanted; the fewest chips are looked for."""
    best: int = 5
    """How many layouts to print."""


def run(arguments: list[str]) -> int:
    """Print the plans."""
    chosen = parse(PlanOptions, "machine plan", arguments, PlanOptions.__doc__ or "")
    plans = placed(chosen.network, chosen, chosen.frames_per_day, chosen.best)
    if chosen.json:
        print_document({"kind": "modelled", "plans": [dataclasses.asdict(one) for one in plans]})
        return 0
    _show(plans)
    return 0


def _show(plans: list[Plan]) -> None:
    first = plans[0]
    print(f"{first.network} on {first.chips:,} x {first.chip} ({first.pod}), {first.batch:,.0f} "
          f"samples a step; {first.layouts_tried:,} layouts tried; modelled")  # fmt: skip
    print(f"{'step (80 %)':<28}{first.unit + 's/day':>12}{'GB':>7}{'kW':>9}{'J/' + first.unit:>10}"
          f"{'USD/1e9':>9}{'mfu':>7}  layout; what binds")  # fmt: skip
    for plan in plans:
        step = f"{_time(plan.step_s)} ({_time(plan.low_s)} to {_time(plan.high_s)})"
        usd = "-" if plan.usd_per_billion_units is None else f"{plan.usd_per_billion_units:,.3g}"
        print(f"{step:<28}{plan.units_per_day:>12.3g}{plan.memory_bytes / 1e9:>7.1f}"
              f"{plan.kw:>9,.4g}{plan.joules_per_unit:>10.3g}{usd:>9}{100 * plan.mfu:>6.1f}%  "
              f"{layout_text(plan.layout)}; {plan.binds}")  # fmt: skip
    print(f"useful share {100 * first.useful:.1f} %: {first.failures_per_day:.3g} failures and "
          f"{first.corruptions_per_day:.2g} uncaught corruptions a day, a checkpoint every "
          f"{first.checkpoint_every_s / 60:.3g} min")  # fmt: skip
    for note in first.assumed:
        print(f"assumed: {note}")


def _time(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds:.0f} s"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
