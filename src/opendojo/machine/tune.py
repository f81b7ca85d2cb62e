"""Which power cap, or how many threads, spends the least on a frame: tried, never preached.

No cap is best for every network and board (FAU 2026, arXiv 2603.16164), so each is measured with
the work it is for. The choice is the least joules per frame among the settings that are at most
`slowdown` slower than the fastest one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opendojo.machine.caps import Cap, kept, set_all
from opendojo.machine.meter import Energy, Meter

__all__ = [
    "Trial",
    "best_trial",
    "default_caps_w",
    "measure_command",
    "sweep_caps",
    "sweep_threads",
]

Work = Callable[[Mapping[str, str]], "Trial"]
"""Does the work once with some variables added to its environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the work came to with one setting."""

    setting: str = ""
    """`cap_w` or `threads`."""
    value: float = 0.0
    """Watts, or a count."""
    frames: int
    """Frames that went through."""
    seconds: float
    """Time they took."""
    energy: Energy
    """What was drawn meanwhile."""

    @property
    def frames_per_s(self) -> float:
        """Rate."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def watts(self) -> float | None:
        """Mean power."""
        joules, wall_s = self.energy.joules, self.energy.wall_s
        return joules / wall_s if joules is not None and wall_s else None

    def as_dict(self) -> dict[str, Any]:
        """A row, with joules per frame, their range and method."""
        return {
            "setting": self.setting,
            "value": self.value,
            "frames": self.frames,
            "seconds": self.seconds,
            "frames_per_s": self.frames_per_s,
            "watts": self.watts,
            **self.energy.per(self.frames),
        }


def sweep_caps(
    caps: Sequence[Cap],
    watts: Sequence[float],
    work: Work,
    *,
    cooldown_s: float = 10.0,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> list[Trial]:
    """Do the work under each cap, the highest first, and put the former caps back.

    Raises `NoRights` before anything is changed where a cap may not be set.
    """
    trials: list[Trial] = []
    with kept(caps):
        for number, cap_w in enumerate(sorted(watts, reverse=True)):
            set_all(caps, cap_w)
            if number:
                time.sleep(cooldown_s)
            trials.append(_named(work({}), "cap_w", max(cap.read_w() for cap in caps)))
            on_trial(trials[-1])
    return trials


def sweep_threads(
    counts: Sequence[int], work: Work, *, on_trial: Callable[[Trial], None] = lambda _: None
) -> list[Trial]:
    """Do the work with each count of threads, told by the variables that OpenMP and MKL read."""
    trials: list[Trial] = []
    for count in counts:
        variables = {name: str(count) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        trials.append(_named(work(variables), "threads", count))
        on_trial(trials[-1])
    return trials


def best_trial(trials: Sequence[Trial], slowdown: float = 0.03) -> Trial | None:
    """The least joules per frame among the quick enough; by core-seconds where none are known."""
    quickest = max((trial.frames_per_s for trial in trials), default=0.0)
    able = [t for t in trials if t.frames and t.frames_per_s >= (1 - slowdown) * quickest]
    if not able:
        return None
    known = all(trial.energy.joules is not None for trial in able)

    def cost(trial: Trial) -> float:
        spent = trial.energy.joules if known else trial.energy.core_s
        assert spent is not None
        return spent / trial.frames

    return min(able, key=cost)


def default_caps_w(caps: Sequence[Cap], count: int = 5) -> tuple[float, ...]:
    """Some caps from the lowest that all take to the highest."""
    bounds = [cap.bounds_w() for cap in caps]
    low_w, high_w = max(low for low, _ in bounds), max(high for _, high in bounds)
    return tuple(low_w + (high_w - low_w) * i / (count - 1) for i in range(count))


def measure_command(command: Sequence[str], frames: int | None = None) -> Work:
    """Work that runs a command and counts its frames.

    They are `frames` where given; else the command's standard output, or its last line, is a JSON
    document with `frames` and perhaps `seconds`. Where the document has `energy` (what `Meter`
    gives, as a dict) that is taken: the command knows where its start-up ends. Else all of its run
    is metered. Raises `ValueError` where it fails or tells no frames.
    """

    def work(variables: Mapping[str, str]) -> Trial:
        meter = Meter()
        code, out = _run(command, {**os.environ, **variables})
        energy = meter.stop()
        if code:
            raise ValueError(f"`{' '.join(command)}` ended with code {code}: see what it printed")
        told = _document(out)
        count = told.get("frames") if frames is None else frames
        if not isinstance(count, int) or count <= 0:
            raise ValueError(
                "the command tells no frames: give --frames, or let its last line be JSON with "
                '"frames" (and "seconds", where start-up should not count)'
            )
        if isinstance(told.get("energy"), dict):
            own: dict[str, Any] = dict(told["energy"])
            own["excludes"] = tuple(own.get("excludes", ()))
            energy = Energy(**own)
        seconds = told.get("seconds") or energy.wall_s
        return Trial(frames=count, seconds=float(seconds), energy=energy)

    return work


def _named(trial: Trial, setting: str, value: float) -> Trial:
    told = {name: getattr(trial, name) for name in ("frames", "seconds", "energy")}
    return Trial(setting=setting, value=value, **told)


def _run(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and standard output; the command and its children end with this call."""
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, text=True, env=dict(env), start_new_session=True
    )
    try:
        out, _ = process.communicate()
    except BaseException:
        _end(process)
        raise
    return process.returncode, out


def _end(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10.0)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _document(out: str) -> dict[str, Any]:
    lines = out.strip().splitlines()
    for text in (out, lines[-1] if lines else ""):
        try:
            told = json.loads(text)
        except ValueError:
            continue
        if isinstance(told, dict):
            return dict(told)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return {}
