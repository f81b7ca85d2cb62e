"""`opendojo demo`: the main job on a fresh machine, with a closing table."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo(Common):
    """Draw a small fleet, ingest it, train a driving network, judge it, write a report.

    Some minutes on two cores. The same call goes on where an earlier one stopped.
    """

    clips: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Your own recordings, ingested as well: a file or a folder. May be given several times."""
    run: Path = Path("runs/demo")
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(Demo, "demo", arguments, Demo.__doc__ or "")
    from opendojo import recipes  # torch takes a second: only once the arguments are right

    progress = Progress()
    try:
        data = recipes.run(recipes.demo(), chosen.run, clips=chosen.clips, on_progress=progress)
    finally:
        progress.close()
    if chosen.json:
        print_document(data)
    else:
        _print_table(data, chosen.run)
    return 0


def _print_table(data: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="OpenDojo demo", title_justify="left")
    for name, justify in (("figure", "left"), ("value", "right"), ("how it was got", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in data["report"]["headline"]:
        table.add_row(row["name"], _value(row), row["how"])
    console = Console(file=sys.stdout)
    console.print(table)
    console.print(_floors(data["evaluate"]["closed_loop"]["drivers"]))
    ingest = data["ingest"]
    if ingest["rejects"] or ingest["damaged_clips"]:
        print(
            f"{ingest['rejects']} rejected, {ingest['damaged_clips']} kept in part: "
            f"see rejects.jsonl in {folder / 'store'}"
        )
    print(f"report: {data['report']['html']}   film: {data['report']['film']}")


def _floors(drivers: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="driving score on unseen roads, 0 to 100", title_justify="left")
    sets = len(next(iter(drivers.values()))["score"]["values"])
    for name in ("driver", "mean", *(f"seed set {i + 1}" for i in range(sets)), "success"):
        table.add_column(name, justify="left" if name == "driver" else "right")
    for name, result in drivers.items():
        score = result["score"]
        values = [f"{value:.1f}" for value in score["values"]]
        success = f"{100 * result['success']['mean']:.0f} %"
        table.add_row(name, f"{score['mean']:.1f}", *values, success)
    return table


def _value(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "not known"
    text = f"{row['value']:,.4g} {row['unit']}"
    if row["low"] is not None:
        text += f"\n{row['low']:,.4g} to {row['high']:,.4g}"
    return text + ("\n(estimated)" if row["estimated"] else "")
