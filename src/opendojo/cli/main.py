"""Finds the command, runs it, and turns what went wrong into a sentence and an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]

COMMANDS = {
    "demo": "clips in, a judged driving network out, and a report with pictures",
    "doctor": "is this machine fit: processors, memory, disk, codecs, versions",
    "world": "draw a fleet and write it as ordinary recordings, or look at one world",
    "ingest": "bring recordings into a store",
    "store": "look after a store: verify, stats, view, tensors, export",
    "train": "train a driving network from a recipe",
    "evaluate": "drive a network and its floors on roads it never saw",
    "drive": "watch a driver on one road, as a film",
    "export": "a trained network as one ONNX file, checked, with its model card",
    "guard": "test this machine for silent corruption; inject faults below the guard",
    "machine": "joules per frame under power caps or counts of threads",
    "flywheel": "run, show, find, watch: a network keeps learning from the clips that matter",
    "numerics": "number formats: range and gaps, and what a network loses in them",
    "serve": "let other teams run jobs on this machine: API, queue, ledger",
    "service": "look after a service: backup, restore, a new token for an operator",
    "login": "keep the address and the token of a service",
    "submit": "submit an `opendojo` command as a job, or plan it",
    "jobs": "list jobs, show or cancel one",
    "logs": "the log of a job",
    "why": "why a job waits",
    "usage": "what was used, in chip-hours, joules and money",
    "quota": "the month's budgets and what is left of them",
    "bench": "frames/s of a store on this machine, and the cores a fleet's day would need",
}
"""Every command with one line of help; the module `opendojo.cli.<command>_command` runs it."""

EXIT_USAGE, EXIT_DATA, EXIT_RESOURCES, EXIT_INTERRUPTED = 2, 3, 4, 130


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (that of the process by default); return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version"):
        return _version()
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean `{near[0]}`?" if near else "`opendojo --help` lists them"
        return _fail(EXIT_USAGE, f"there is no command `{name}`: {hint}")
    signal.signal(signal.SIGTERM, _terminate)
    return _guarded(name, rest)


def _guarded(name: str, rest: list[str]) -> int:
    debug = "--debug" in rest
    rest = [word for word in rest if word != "--debug"]
    try:
        module = importlib.import_module(f"opendojo.cli.{name}_command")
        return module.run(rest)
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "interrupted; the same command goes on from here")
    except BrokenPipeError:
        # whoever read our output left: not our failure, but do not write to it at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    from opendojo.clip import BadClip
    from opendojo.store import BadStore

    maps = sys.modules.get("opendojo.world.maps")
    if maps is not None and isinstance(error, maps.BadMap):
        return _fail(EXIT_DATA, str(error))
    guard = sys.modules.get("opendojo.guard")
    if guard is not None and isinstance(error, guard.Suspected):
        return _fail(EXIT_RESOURCES, f"{error} (the same command goes on from a checkpoint)")
    if isinstance(error, ValueError) and not isinstance(error, BadStore):
        return _fail(EXIT_USAGE, str(error))
    if isinstance(error, BadClip | BadStore):
        return _fail(EXIT_DATA, str(error))
    if isinstance(error, OSError):
        return _fail(EXIT_RESOURCES, f"{error}: is there space, and may it be read and written?")
    if isinstance(error, MemoryError):
        return _fail(EXIT_RESOURCES, "out of memory: try a smaller batch or fewer workers")
    log = Path(tempfile.gettempdir()) / f"opendojo-{os.getuid()}-error.log"
    log.write_text("".join(traceback.format_exception(error)))
    what = f"{type(error).__name__}: {error}"
    return _fail(1, f"{what}; a fault of OpenDojo, the log is {log} (--debug prints it)")


def _fail(code: int, sentence: str) -> int:
    sys.stdout.flush()
    print(f"opendojo: {sentence}", file=sys.stderr)
    return code


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: opendojo COMMAND [OPTIONS]",
            "",
            "Camera clips of a fleet go in, a driving network comes out.",
            "",
            *lines,
            "",
            "opendojo COMMAND --help tells more. Everywhere: --json prints one JSON document,",
            "--debug a traceback. Exit codes: 0 done, 2 usage, 3 bad data, 4 no resources,",
            "130 interrupted (the same command goes on).",
        ]
    )


def _version() -> int:
    from opendojo import __version__

    print(f"opendojo {__version__}")
    return 0
