"""The near end of a line to another process: a peer in its environment, or a bare decoder."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from common.turns import children, pin

__all__ = ["LineProcess", "PeerFailed", "Together"]


class PeerFailed(Exception):
    """A peer could not be installed, or broke off; the text says why."""


class LineProcess:
    """A process that answers questions; as a context it is ended with all it started.

    Raises `PeerFailed` with the end of its stderr where it does not answer.
    """

    def __init__(
        self, script: Path, *words: str, python: str = sys.executable, core: int | None = None
    ) -> None:
        self._name = script.stem
        self.busy_rates: list[float] = []
        """Frames per second of processor time, turn by turn, of a process that tells it."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed at exit)
        quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [python, "-u", str(script), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **quiet},
            text=True,
        )
        self.facts = self._answer()
        if core is not None:
            pin(self._process.pid, core)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self.say(do, **arguments)
        return self.hear()

    def say(self, do: str, **arguments: Any) -> None:
        """Ask without waiting."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `hear` says why it is gone
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """The answer to the last question."""
        return self._answer()

    def turn(self, seconds: float) -> float:
        """Frames a second over a turn."""
        told = self.ask("go", seconds=seconds)
        if "busy_s" in told:
            self.busy_rates.append(told["frames"] / told["busy_s"])
        return told["frames"] / told["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = " | ".join(self._errors.read().strip().splitlines()[-3:])
            raise PeerFailed(f"{self._name} broke off: {said}")
        return json.loads(line)

    def __enter__(self) -> LineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        started = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = children(self._process.pid)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._errors.close()


class Together:
    """Several line processes at once, as one runner: the sum of their rates."""

    def __init__(self, lines: list[LineProcess]) -> None:
        self._lines = lines

    def turn(self, seconds: float) -> float:
        """Frames a second of all."""
        for line in self._lines:
            line.say("go", seconds=seconds)
        told = [line.hear() for line in self._lines]
        return sum(one["frames"] / one["seconds"] for one in told)
