"""`opendojo machine validate`: how far modelled steps are from published ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate(Common):
    """Recompute the step time of every row of a file of published runs; say how far off.

    Each row is scored by a calibration that saw no row of its family (same network, software and
    chip), or with --leave-chip-out no row of its chip. Modelled figures, measured rows.
    """

    runs: Path
    """CSV with the columns of published runs."""
    by: Literal["source", "accelerator", "domain"] = "domain"
    """What the second table is grouped by."""
    leave_chip_out: bool = False
    """Hold out whole chips instead of families."""
    folds: int = 5
    """Parts the families are divided into."""
    all_rows: bool = False
    """Also rows whose column `core` is not 1."""


def run(arguments: list[str]) -> int:
    """Run the command; 3 where the file is missing.

    Raises:
        ValueError: an option or the file's columns make no sense.
    """
    chosen: Any = parse(Validate, "machine validate", arguments, "Check the model on real runs.")
    from opendojo.machine.validate import validate

    if chosen.folds < 2:
        raise ValueError(f"--folds {chosen.folds}: give at least 2")
    if not chosen.runs.is_file():
        raise FileNotFoundError(f"--runs {chosen.runs}: there is no such file")
    report = validate(
        chosen.runs, by=chosen.by, folds=chosen.folds, leave_chip_out=chosen.leave_chip_out,
        core=not chosen.all_rows,
    )  # fmt: skip
    if chosen.json:
        print_document(report)
    else:
        _show(report)
    return 0


def _show(report: dict[str, Any]) -> None:
    print(f"{report['scored']} of {report['rows']} rows modelled; held out: {report['held_out']}")
    print(f"{'':<44} rows  median     P90  signed  in 80 %   uncalibrated")
    for table in ("bars", "groups"):
        for name, score in report[table].items():
            print(_line(name, score))
        print()
    for row in report["refused"]:
        print(f"not modelled: {row['id']}: {row['reason']}")
    for name in ("memory", "power"):
        if found := report[name]:
            print(f"{name}: {found['rows']} rows, median {found['median_percent']:.1f} %, P90 "
                  f"{found['p90_percent']:.1f} %, signed {found['signed_percent']:+.1f} %, at most "
                  f"{found['most_under_percent']:.0f} % under")  # fmt: skip


def _line(name: str, score: dict[str, Any]) -> str:
    if not score["rows"]:
        return f"{name[:44]:<44}    0"
    return (
        f"{name[:44]:<44} {score['rows']:4d} {score['median_percent']:6.1f} % "
        f"{score['p90_percent']:6.1f} % {score['signed_percent']:+6.1f} % "
        f"{100 * score['covered']:6.0f} % {score['uncalibrated_median_percent']:6.1f} / "
        f"{score['uncalibrated_p90_percent']:.1f} %"
    )
