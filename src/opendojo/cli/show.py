"""What every command shares: arguments, one JSON document or a table, progress on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Common", "Progress", "parse", "print_document"]

SCHEMA = 1
"""Version of the JSON documents; a key is added freely, renamed or removed only with a new one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Options of every command."""

    json: bool = False
    """Print one JSON document instead of text."""


def parse(kind: type[T], command: str, arguments: list[str], description: str) -> T:
    """Fill a dataclass from the command line; wrong usage ends the process with code 2."""
    import tyro

    return tyro.cli(
        kind,
        prog=f"opendojo {command}",
        description=description,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.CascadeSubcommandArgs),
    )


def print_document(document: dict[str, Any]) -> None:
    """One JSON document on stdout; what is not a number in JSON is null."""
    print(json.dumps(_plain({"schema": SCHEMA, **document}), indent=1))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


class Progress:
    """Progress on stderr: a live line on a terminal, a plain line now and then elsewhere."""

    def __init__(self, every_s: float = 5.0) -> None:
        self._live = sys.stderr.isatty()
        self._every_s = 0.1 if self._live else every_s
        self._stage = ""
        self._last_s = -math.inf
        self._began_s = time.monotonic()
        self._stage_began_s = self._began_s

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Say how far a stage is: `done` of `total`, with a note such as a loss or a rate."""
        now_s = time.monotonic()
        new = stage != self._stage
        if new:
            self._end_line()
            self._stage, self._stage_began_s = stage, now_s
        if not new and done < total and now_s - self._last_s < self._every_s:
            return
        self._last_s = now_s
        print(self._line(done, total, note, now_s), end="" if self._live else "\n",
              file=sys.stderr, flush=True)  # fmt: skip

    def _line(self, done: int, total: int, note: str, now_s: float) -> str:
        spent_s = now_s - self._stage_began_s
        left = ""
        if 0 < done < total:
            left = f"  {spent_s * (total - done) / done:.0f} s left"
        share = f"{done}/{total}" if total else f"{done}"
        text = f"{now_s - self._began_s:6.1f} s  {self._stage:<22} {share:>12}  {note}{left}"
        return f"\r\x1b[K{text[:118]}" if self._live else text

    def _end_line(self) -> None:
        if self._live and self._stage:
            print(file=sys.stderr)

    def close(self) -> None:
        """Leave the live line."""
        self._end_line()
        self._stage = ""
