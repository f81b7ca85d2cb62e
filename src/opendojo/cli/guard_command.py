"""`opendojo guard stress|inject|seal`: is this machine right, and would the guard see it if not?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opendojo.cli.show import Common, Progress, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress(Common):
    """Test every core and device: random payloads, folded results, all must agree.

    Exit code 4 where a core or a device is named. It cannot see faults that all cores share, that
    need other data than were drawn, or that sleep at today's temperature.
    """

    seconds: float = 60.0
    """About how long."""
    share: float = 1.0
    """Share of each core's time that is used; below 1 to run beside other work."""
    seed: int = 0
    """Of the payloads: another one draws others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inject(Common):
    """Inject faults below the guard into small networks; what is found, by site and model.

    Every fault follows from its seed. Other detectors see the same faults in the same table.
    """

    trials: int = 600
    """Faults; 30,000 for figures worth quoting."""
    first: int = 0
    """Seed of the first fault."""
    seeds: Path | None = None
    """A sealed file of seeds instead, made by `opendojo guard seal`."""
    missed: Path | None = None
    """Write the faults that did harm and were not found to this file, with their seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal(Common):
    """Write a sealed file of seeds: a later campaign shows that it did not choose its faults."""

    path: Path
    """The file."""
    first: int
    """First seed."""
    count: int = 30000
    """How many."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    kinds: dict[str, tuple[type[Any], Any]] = {
        "stress": (Stress, _stress),
        "inject": (Inject, _inject),
        "seal": (Seal, _seal),
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: opendojo guard {" + ",".join(kinds) + "} [OPTIONS]\n")
        for name, (kind, _) in kinds.items():
            print(f"  {name:<8} {(kind.__doc__ or '').splitlines()[0]}")
        return 0
    if arguments[0] not in kinds:
        raise ValueError(f"guard {arguments[0]}: choose one of {', '.join(kinds)}")
    kind, work = kinds[arguments[0]]
    chosen = parse(kind, f"guard {arguments[0]}", arguments[1:], kind.__doc__ or "")
    return work(chosen)


def _stress(chosen: Stress) -> int:
    from opendojo.guard.stress import BLINDNESS, stress

    if not 0 < chosen.share <= 1 or chosen.seconds <= 0:
        raise ValueError("share must be above 0 and at most 1, seconds above 0")
    progress = Progress()

    def told(spent_s: float) -> None:
        progress("stress", int(spent_s), int(chosen.seconds), "s")

    report = stress(seconds=chosen.seconds, share=chosen.share, seed=chosen.seed, on_progress=told)
    progress.close()
    if chosen.json:
        print_document(report.document())
        return 0 if report.ok else 4
    for unit in report.units:
        wrong = report.wrong.get(unit)
        print(f"{unit:<10} {'WRONG at ' + ', '.join(wrong[:4]) if wrong else 'agrees'}")
    for key in report.undecided:
        print(f"undecided  {key}: units differ and none has a majority")
    print(f"{report.payloads} payloads in {report.seconds:.0f} s; {BLINDNESS}")
    return 0 if report.ok else 4


def _inject(chosen: Inject) -> int:
    import json

    import torch

    from opendojo.guard.campaign import run_campaign
    from opendojo.guard.faults import read_seeds

    if chosen.trials < 1:
        raise ValueError("trials must be at least 1")
    seeds = range(chosen.first, chosen.first + chosen.trials)
    if chosen.seeds is not None:
        seeds = read_seeds(chosen.seeds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    progress = Progress()
    try:
        campaign = run_campaign(seeds, on_progress=lambda k, n: progress("faults", k, n))
    finally:
        torch.set_num_threads(threads)
    progress.close()
    table = campaign.table()
    if chosen.missed is not None:
        chosen.missed.write_text(json.dumps(table["missed"], indent=1) + "\n")
    if chosen.json:
        print_document(table)
        return 0
    _show(table)
    return 0


def _show(table: dict[str, Any]) -> None:
    print(f"{table['trials']} faults, {table['activated']} activated, {table['harmful']} harmful")
    print(f"{'':<40} found     of  95 % interval")
    rows = {"the guard": table["harmful_detected"], **table["strata"], **table["peers"]}
    for name, row in rows.items():
        share = "-" if row["share"] is None else f"{row['share']:.2%}"
        print(f"{name:<40} {share:>7} {row['of']:>5}  {row['low']:.2%} to {row['high']:.2%}")
    whole = table["recovered_bit_equal"]
    print(f"recovered runs with the undisturbed run's bits: {whole['share']} of {whole['of']}")
    print("injected by software, not real bad chips")


def _seal(chosen: Seal) -> int:
    from opendojo.guard.faults import write_seeds

    sha = write_seeds(chosen.path, chosen.first, chosen.count)
    if chosen.json:
        print_document({"path": str(chosen.path), "sha256": sha})
    else:
        print(f"{chosen.count} seeds sealed in {chosen.path}, SHA-256 {sha}")
    return 0
