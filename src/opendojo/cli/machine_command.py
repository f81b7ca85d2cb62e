"""`opendojo machine tune|work`: what a setting of this machine costs; more is in machine_*.py."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated, Any

import tyro

from opendojo.cli.show import Common, parse, print_document
from opendojo.machine.caps import Cap, NoRights, find_caps
from opendojo.machine.tune import (
    Trial,
    best_trial,
    default_caps_w,
    measure_command,
    sweep_caps,
    sweep_threads,
)

__all__ = ["run"]

_EXIT_RESOURCES = 4
_ELSEWHERE = {
    "calibrate": "opendojo.cli.machine_calibrate",
    "chips": "opendojo.cli.machine_chips",
    "compare": "opendojo.cli.machine_compare",
    "crysis": "opendojo.cli.machine_crysis",
    "explain": "opendojo.cli.machine_explain",
    "package": "opendojo.cli.machine_package",
    "plan": "opendojo.cli.machine_plan",
    "validate": "opendojo.cli.machine_validate",
    "what-if": "opendojo.cli.machine_what_if",
}
"""Subcommands with a file of their own, which has `run(arguments)`."""
_ABOUT = f"Tune this machine. More, each with --help: {', '.join(sorted(_ELSEWHERE))}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune(Common):
    """Try power caps, or counts of threads, and print frames/s, W and J/frame of each.

    A command after `--` is tried: `opendojo machine tune --threads 1 2 -- opendojo train demo ...
    --json`. It says how many frames it did by a JSON document on standard output with `frames` (and
    `seconds`), or --frames says it. Without a command a small driving network trains on made-up
    pictures.

    The power caps that were set before are put back whatever happens. Setting one needs rights.
    """

    caps_w: tuple[float, ...] = ()
    """Power caps in watts; five from the lowest to the highest by default."""
    threads: tuple[int, ...] = ()
    """Try these counts of threads instead of power caps."""
    seconds: float | None = None
    """Length of each trial of the built-in training: 60 for caps, 10 for threads by default."""
    frames: int | None = None
    """Frames of one call of the command, where it does not say."""
    cooldown_s: float = 10.0
    """Pause between caps: a warm board draws more."""
    slowdown: float = 0.03
    """How much slower than the fastest the setting that is recommended may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Common):
    """Train a small driving network on made-up pictures for some seconds; say what it drew.

    This is what `machine tune` measures where it is given no command.
    """

    seconds: float = 10.0
    """Length, after a warm-up."""
    batch: int = 32
    """Instants in a batch."""
    size: str = "nano"
    """Size of the network."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 4 where a power cap may not be set."""
    if arguments and arguments[0] in _ELSEWHERE:
        return importlib.import_module(_ELSEWHERE[arguments[0]]).run(arguments[1:])
    split = arguments.index("--") if "--" in arguments else len(arguments)
    words, command = arguments[:split], arguments[split + 1 :]
    kind = (
        Annotated[Tune, tyro.conf.subcommand("tune", description=cleandoc(Tune.__doc__ or ""))]
        | Annotated[Work, tyro.conf.subcommand("work", description=cleandoc(Work.__doc__ or ""))]
    )
    chosen: Any = parse(kind, "machine", words, _ABOUT)  # type: ignore[arg-type]
    if isinstance(chosen, Work):
        from opendojo.cli.machine_work import work

        print(json.dumps(work(chosen.seconds, chosen.batch, chosen.size)))
        return 0
    try:
        return _tune(chosen, command)
    except NoRights as error:
        print(f"opendojo: this user may not set a power cap ({error}): run as root, as in `sudo "
              "opendojo machine tune`, or try thread counts: `opendojo machine tune --threads "
              "1 2`", file=sys.stderr)  # fmt: skip
        return _EXIT_RESOURCES


def _tune(chosen: Tune, command: list[str]) -> int:
    work = measure_command(command or _built_in(chosen), chosen.frames)
    if not 0 <= chosen.slowdown < 1:
        raise ValueError(f"--slowdown {chosen.slowdown}: give a share from 0 to below 1")
    if chosen.threads:
        if min(chosen.threads) < 1:
            raise ValueError("--threads: each count must be at least 1")
        trials = sweep_threads(chosen.threads, work, on_trial=_teller(chosen))
    else:
        caps = find_caps()
        if not caps:
            print("opendojo: this machine shows no power cap (no GPU with NVML, no RAPL): try "
                  "thread counts instead: `opendojo machine tune --threads 1 2`",
                  file=sys.stderr)  # fmt: skip
            return _EXIT_RESOURCES
        watts = _watts(chosen.caps_w, caps)
        trials = sweep_caps(
            caps, watts, work, cooldown_s=chosen.cooldown_s, on_trial=_teller(chosen)
        )
    _show(chosen, trials)
    return 0


def _watts(wanted: Sequence[float], caps: Sequence[Cap]) -> Sequence[float]:
    for cap in caps:
        low_w, high_w = cap.bounds_w()
        wrong = [watts for watts in wanted if not low_w <= watts <= high_w]
        if wrong:
            raise ValueError(
                f"--caps-w {wrong[0]:g}: {cap.name} takes {low_w:.0f} to {high_w:.0f} W"
            )
    return wanted or default_caps_w(caps)


def _built_in(chosen: Tune) -> list[str]:
    seconds = chosen.seconds or (10.0 if chosen.threads else 60.0)
    return [sys.executable, "-m", "opendojo.cli", "machine", "work", "--seconds", str(seconds)]


def _teller(chosen: Tune) -> Callable[[Trial], None]:
    """Prints one row as soon as it is known: progress beside a document, else the table itself."""
    file = sys.stderr if chosen.json else sys.stdout
    return lambda trial: print(_row(trial), file=file, flush=True)


def _row(trial: Trial) -> str:
    watts = "      ?" if trial.watts is None else f"{trial.watts:7.1f}"
    cost = trial.energy.per(trial.frames)
    joules = cost["joules_per_frame"]
    shown = "       ?" if joules is None else f"{joules:8.4f}"
    between = "" if joules is None else f" ({cost['low']:.4f} to {cost['high']:.4f})"
    setting = f"{trial.value:6.0f} {'W' if trial.setting == 'cap_w' else 'threads'}"
    return (
        f"{setting:<15} {trial.frames_per_s:12,.1f} frames/s {watts} W {shown} J/frame{between} "
        f"{cost['core_s_per_frame']:.6f} core-s/frame"
    )


def _show(chosen: Tune, trials: list[Trial]) -> None:
    best = best_trial(trials, chosen.slowdown)
    measured = all(trial.energy.measured for trial in trials)
    if chosen.json:
        print_document(
            {
                "trials": [trial.as_dict() for trial in trials],
                "best": best.as_dict() if best else None,
                "slowdown": chosen.slowdown,
                "measured": measured,
                "energy": [dataclasses.asdict(trial.energy) for trial in trials],
            }
        )
        return
    methods = ", ".join(dict.fromkeys(trial.energy.method for trial in trials))
    how = "measured" if measured else "estimated; compare core-seconds, not joules"
    print(f"energy by {methods}, {how}")
    if best is not None:
        print(f"least per frame within {100 * chosen.slowdown:g} % of the fastest: {_row(best)}")
