"""GPU boards, by NVML: its counter of millijoules, else power samples put together.

The counter is a number since the driver was loaded; it grows about every tenth of a second, so that
short stretches are coarse. Boards older than Volta have none, and a virtual GPU's may stand still:
power is then sampled ten times a second and integrated by trapezia. On A100 and H100 the sensor
itself looks only a quarter of the time (Yang, Adamek and Armour, "Part-time Power Measurements",
2023), so neither is better than some 5 to 10 %: the range says 10 %.
"""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path
from typing import Any

from opendojo.machine.meter_source import STILL_S, Reading

__all__ = ["Boards", "find_boards", "load_nvml", "visible_handles"]

_SPREAD = 0.1
_UPDATE_S = 0.1
"""How often counter and power sensor take a new value."""
_GAP_S = 1.0
"""A longer hole between power samples is a guess."""


class Boards:
    """Several boards as one source."""

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        boards = [_Board(nvml, handle) for handle in handles]
        self._boards = [board for board in boards if board.usable]
        self.dumb = [board.name for board in boards if not board.usable]
        """Boards that tell neither energy nor power."""

    def __len__(self) -> int:
        return len(self._boards)

    @property
    def period_s(self) -> float:
        """A tenth of a second where power is sampled, else seconds."""
        return _UPDATE_S if any(not board.counts for board in self._boards) else 10.0

    def begin(self, now_s: float) -> None:
        """Begin a stretch."""
        for board in self._boards:
            board.begin(now_s)

    def sample(self, now_s: float) -> None:
        """Read every board."""
        for board in self._boards:
            board.sample(now_s)

    def end(self, now_s: float) -> Reading | None:
        """Joules of all boards since `begin`; a board that is gone counts as a guess."""
        ends = [board.end(now_s) for board in self._boards]
        if not ends:
            return None
        low, joules, high = (sum(column) for column in list(zip(*ends, strict=True))[:3])
        counts = [board.counts for board in self._boards]
        return Reading(
            joules=joules,
            low=low,
            high=high,
            method="nvml" if all(counts) else "nvml_power",
            measured=all(measured for *_, measured in ends),
            scope=f"{len(ends)} GPU board{'s' * (len(ends) > 1)}, whoever used them",
            excludes=("fans and power supply of the machine", *self.dumb),
            inputs={
                "boards": [board.name for board in self._boards],
                "missing_samples": sum(board.missing for board in self._boards),
                "lost": [board.name for board in self._boards if board.lost],
                "range": "10 % assumed, and a tenth of a second at either end",
            },
        )


class _Board:
    """One GPU board over one stretch."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        name = _try(nvml, nvml.nvmlDeviceGetName, handle)
        self.name = name.decode() if isinstance(name, bytes) else str(name or "GPU")
        self.counts = self._counter_j() is not None
        self.usable = self.counts or self._watts() is not None
        limit_mw = _try(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        self._limit_w = limit_mw / 1e3 if limit_mw else None
        self.begin(0.0)

    def begin(self, now_s: float) -> None:
        self._began_s = self._at_s = now_s
        self.joules = self.guessed_j = 0.0
        self.missing = 0
        self._total_j = self._counter_j() if self.counts else None
        self._first_w = self._last_w = self._watts()

    @property
    def lost(self) -> bool:
        """Whether the last reading failed."""
        return self._silent

    def sample(self, now_s: float) -> None:
        done = self._by_counter() if self.counts else self._by_power(now_s)
        self._silent = not done
        if done:
            self._at_s = now_s
        else:
            self.missing += 1

    def end(self, now_s: float) -> tuple[float, float, float, bool]:
        """Low, joules, high, and whether all of it was measured."""
        self.sample(now_s)
        wall_s = now_s - self._began_s
        if self.counts and wall_s >= STILL_S and not self.joules and not self._silent:
            return self._still(wall_s)
        tail_s = now_s - self._at_s
        seen_s = self._at_s - self._began_s
        mean_w = self.joules / seen_s if seen_s > 0 else self._first_w or 0.0
        most_w = self._limit_w or 2 * mean_w
        coarse_j = _UPDATE_S * mean_w
        tail_j = mean_w * tail_s
        low = max(0.0, (1 - _SPREAD) * self.joules - self.guessed_j - coarse_j)
        high = (1 + _SPREAD) * self.joules + self.guessed_j + coarse_j + most_w * tail_s
        if not self.joules and self._last_w:  # too short for the counter to have moved
            high = max(high, self._last_w * max(wall_s, _UPDATE_S))
        measured = tail_s <= _GAP_S and self.guessed_j <= 0.2 * self.joules
        return low, self.joules + tail_j, max(high, self.joules + tail_j), measured

    def _still(self, wall_s: float) -> tuple[float, float, float, bool]:
        """The counter is dead: go by the power at both ends, from now on by samples."""
        last_w = self._watts()
        known = [watts for watts in (self._first_w, last_w) if watts is not None]
        if not known:
            return 0.0, 0.0, (self._limit_w or 0.0) * wall_s, False
        self.counts = False
        self._last_w = last_w
        self.joules = self.guessed_j = sum(known) / len(known) * wall_s
        return 0.0, self.joules, max((self._limit_w or 0.0) * wall_s, self.joules), False

    def _by_counter(self) -> bool:
        total_j = self._counter_j()
        if total_j is None:
            return False  # the counter catches up by itself at the next sample
        if self._total_j is not None and total_j >= self._total_j:
            self.joules += total_j - self._total_j
        else:  # the driver was loaded anew: it began at 0, what was before that is not known
            self.joules += total_j
            self.guessed_j += self.joules
        self._total_j = total_j
        return True

    def _by_power(self, now_s: float) -> bool:
        watts = self._watts()
        if watts is None:
            return False
        before_w = watts if self._last_w is None else self._last_w
        step_s = now_s - self._at_s
        drawn_j = 0.5 * (watts + before_w) * step_s
        self.joules += drawn_j
        if step_s > _GAP_S:
            self.guessed_j += drawn_j
        self._last_w = watts
        return True

    def _counter_j(self) -> float | None:
        total_mj = _try(self._nvml, self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._handle)
        return None if total_mj is None else total_mj / 1e3

    def _watts(self) -> float | None:
        milliwatts = _try(self._nvml, self._nvml.nvmlDeviceGetPowerUsage, self._handle)
        return None if milliwatts is None else milliwatts / 1e3

    _silent = False


def find_boards(
    nvml: Any = None,
    visible: str | None = None,
    devices: Path = Path("/dev"),
) -> tuple[Boards | None, list[str]]:
    """The boards that this process may use, and notes on what keeps others from being read.

    `nvml` is the module `pynvml` or its like, loaded where not given; `visible` is taken from
    CUDA_VISIBLE_DEVICES where not given.
    """
    if nvml is None:
        nvml, why = load_nvml()
        if nvml is None:
            here = any(devices.glob("nvidia[0-9]*"))
            return None, [f"GPUs are not metered: {why}"] if here else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    handles, notes = visible_handles(nvml, visible)
    boards = Boards(nvml, handles)
    notes += [f"{name} tells neither energy nor power" for name in boards.dumb]
    return (boards if len(boards) else None), notes


@functools.cache
def load_nvml() -> tuple[Any, str]:
    """The module `pynvml`, begun; or None and why not."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None, "pip install 'opendojo[energy]'"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return None, f"NVML does not start ({error}): is the driver loaded?"
    return nvml, ""


def visible_handles(nvml: Any, visible: str | None) -> tuple[list[Any], list[str]]:
    """Handles of the boards that CUDA_VISIBLE_DEVICES names, all where it is not set.

    Its numbers are taken in the order of the bus, which is CUDA's own where all boards are alike.
    An instance of a divided board (MIG) stands for the whole board.
    """
    count = _try(nvml, nvml.nvmlDeviceGetCount) or 0
    if visible is None:
        words = [str(number) for number in range(count)]
    else:
        words = [word.strip() for word in visible.split(",") if word.strip()]
    handles: list[Any] = []
    notes: list[str] = []
    for word in words:
        if word.lstrip("-").isdigit():
            if int(word) < 0:
                break  # CUDA too stops here
            handle = _try(nvml, nvml.nvmlDeviceGetHandleByIndex, int(word))
        else:
            handle = _try(nvml, nvml.nvmlDeviceGetHandleByUUID, word)
            if handle is not None and word.startswith("MIG-"):
                whole = _try(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle)
                handle = whole if whole is not None else handle
                notes.append(f"{word} is counted as the whole board it is a part of")
        if handle is None:
            notes.append(f"GPU {word} cannot be opened")
        elif handle not in handles:
            handles.append(handle)
    return handles, notes


def _try(nvml: Any, call: Any, *arguments: Any) -> Any:
    """What NVML answers, or None where it has no answer now."""
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None
