"""Power caps of GPU boards and processor packages: found, set, and put back whatever happens.

    caps, notes = find_caps()
    with kept(caps):
        set_all(caps, 300.0)
        work()

The former caps are put back at the end of the block, after an error, after Ctrl-C and after
SIGTERM or SIGHUP. A small process of its own waits beside it and puts them back where this one is
killed outright.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

from opendojo.machine.meter_gpu import load_nvml, visible_handles

__all__ = ["Cap", "NoRights", "NvmlCap", "RaplCap", "find_caps", "kept", "set_all"]

_POWERCAP = Path("/sys/class/powercap")
_AUTO: Any = object()
_DONE = b"."


class NoRights(PermissionError):
    """The cap is there, and this user may not set it."""


class Cap(Protocol):
    """One cap that can be read and set."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def bounds_w(self) -> tuple[float, float]:
        """Lowest and highest value it takes."""
        ...

    def read_w(self) -> float:
        """The cap now."""
        ...

    def write_w(self, watts: float) -> None:
        """Set it; raises `NoRights` where this user may not."""
        ...

    def record(self) -> dict[str, str]:
        """What another process needs to find it again."""
        ...


class NvmlCap:
    """The cap of a GPU board."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        name, uuid = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle)
        self.name = name.decode() if isinstance(name, bytes) else str(name)
        self._uuid = uuid.decode() if isinstance(uuid, bytes) else str(uuid)

    def bounds_w(self) -> tuple[float, float]:
        """Lowest and highest value the board takes."""
        low_mw, high_mw = self._nvml.nvmlDeviceGetPowerManagementLimitConstraints(self._handle)
        return low_mw / 1e3, high_mw / 1e3

    def read_w(self) -> float:
        """The cap now."""
        return self._nvml.nvmlDeviceGetPowerManagementLimit(self._handle) / 1e3

    def write_w(self, watts: float) -> None:
        """Set it."""
        try:
            self._nvml.nvmlDeviceSetPowerManagementLimit(self._handle, round(watts * 1e3))
        except self._nvml.NVMLError as error:
            raise NoRights(f"{self.name}: {error}") from error

    def record(self) -> dict[str, str]:
        """The board's own number."""
        return {"kind": "nvml", "uuid": self._uuid}


class RaplCap:
    """The long-term cap of a processor package."""

    def __init__(self, zone: Path) -> None:
        self._zone = zone
        self._file = zone / "constraint_0_power_limit_uw"
        self.name = f"processor package {zone.name.rpartition(':')[2]}"

    def bounds_w(self) -> tuple[float, float]:
        """From a third of the highest on, which the kernel tells; else of the cap now."""
        try:
            high_w = int((self._zone / "constraint_0_max_power_uw").read_text()) / 1e6
        except (OSError, ValueError):
            high_w = 0.0
        high_w = high_w or self.read_w()
        return high_w / 3, high_w

    def read_w(self) -> float:
        """The cap now."""
        return int(self._file.read_text()) / 1e6

    def write_w(self, watts: float) -> None:
        """Set it."""
        try:
            self._file.write_text(f"{round(watts * 1e6)}\n")
        except OSError as error:
            raise NoRights(f"{self._file}: {error.strerror}") from error

    def record(self) -> dict[str, str]:
        """The zone's folder."""
        return {"kind": "rapl", "zone": str(self._zone)}


def find_caps(
    *, nvml: Any = _AUTO, powercap: Path = _POWERCAP, visible: str | None = None
) -> list[Cap]:
    """Caps of the boards this process may use; of the processor packages where it has no board."""
    module = load_nvml()[0] if nvml is _AUTO else nvml
    if module is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        boards = [NvmlCap(module, handle) for handle in visible_handles(module, visible)[0]]
        caps: list[Cap] = [board for board in boards if _answers(board, module.NVMLError)]
        if caps:
            return caps
    zones = sorted(powercap.glob("intel-rapl:[0-9]*")) if powercap.is_dir() else []
    files = (OSError, ValueError)
    packages = [RaplCap(zone) for zone in zones if zone.name.count(":") == 1]
    return [package for package in packages if _answers(package, files)]


def set_all(caps: Sequence[Cap], watts: float) -> None:
    """Give every cap one value, each within its bounds: one slow rank slows all."""
    for cap in caps:
        low_w, high_w = cap.bounds_w()
        cap.write_w(min(max(watts, low_w), high_w))


@contextlib.contextmanager
def kept(caps: Sequence[Cap]) -> Generator[None]:
    """Put the caps back at the end of the block, whatever ends it.

    Raises `NoRights` before the block where a cap may not be set: each is set to what it is.
    """
    former = [(cap, cap.read_w()) for cap in caps]
    for cap, watts in former:
        cap.write_w(watts)
    with _guarded(former):
        try:
            with _signals_raised():
                yield
        finally:
            _put_back(former)


def _put_back(former: Sequence[tuple[Cap, float]]) -> None:
    """Write every former cap, though one fails; signals wait meanwhile."""
    waiting = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    failed: list[str] = []
    try:
        for cap, watts in former:
            try:
                cap.write_w(watts)
            except Exception as error:  # the other caps come first
                failed.append(f"{cap.name} ({watts:.0f} W): {error}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if failed:
        raise OSError(f"power caps could not be put back, do it by hand: {'; '.join(failed)}")


@contextlib.contextmanager
def _signals_raised() -> Generator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, where nobody else handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _guarded(former: Sequence[tuple[Cap, float]]) -> Generator[None]:
    """A process in a session of its own that puts the caps back when this one dies."""
    told = json.dumps([{**cap.record(), "watts": watts} for cap, watts in former])
    command = [sys.executable, "-m", "opendojo.machine.caps", told]
    home = str(Path(__file__).parents[2])
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    guard = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert guard.stdin is not None
    try:
        yield
    except BaseException:
        guard.stdin.close()  # once more, by the guard: signals may have torn the first time
        guard.wait()
        raise
    guard.stdin.write(_DONE)
    guard.stdin.close()
    guard.wait()


def _guard(told: str) -> None:
    """Wait for the end of the process that started this one; put back what it left behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == _DONE:
        return
    for row in json.loads(told):
        if row["kind"] == "rapl":
            cap: Cap = RaplCap(Path(row["zone"]))
        else:
            nvml: Any = importlib.import_module("pynvml")
            nvml.nvmlInit()
            cap = NvmlCap(nvml, nvml.nvmlDeviceGetHandleByUUID(row["uuid"]))
        with contextlib.suppress(Exception):  # the next one's turn
            cap.write_w(row["watts"])


def _answers(cap: Cap, refused: Any) -> bool:
    try:
        return cap.bounds_w()[1] > 0 and cap.read_w() > 0
    except refused:
        return False


if __name__ == "__main__":
    _guard(sys.argv[1])
