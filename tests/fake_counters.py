"""Counters of energy that a test moves by hand: a file tree of RAPL, and a module like pynvml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def make_rapl(home: Path, counters_uj: dict[str, int], *, limit_uj: int = 262_143_328_850) -> Path:
    """Zones `intel-rapl:<key>`; key 0 is a package, 0:0 its cores, and so on as Linux has them."""
    for key, uj in counters_uj.items():
        zone = home / f"intel-rapl:{key}"
        zone.mkdir(parents=True)
        (zone / "energy_uj").write_text(f"{uj}\n")
        (zone / "max_energy_range_uj").write_text(f"{limit_uj}\n")
    return home


def set_uj(home: Path, key: str, uj: int) -> None:
    """In one stroke, as the kernel does: a meter's thread may be reading."""
    counter = home / f"intel-rapl:{key}" / "energy_uj"
    (counter.parent / "next").write_text(f"{uj}\n")
    (counter.parent / "next").replace(counter)


def name_zone(home: Path, key: str, name: str) -> None:
    (home / f"intel-rapl:{key}" / "name").write_text(f"{name}\n")


def cpuinfo(path: Path, vendor: str, family: int, model: int) -> Path:
    file = path / "cpuinfo"
    file.write_text(f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n\nx: y\n")
    return file


@dataclass(eq=False)
class FakeBoard:
    """A board: None is an answer it does not have; `lost` answers nothing at all."""

    name: str = "Fake H1"
    uuid: str = "GPU-0"
    total_mj: int | None = 1_000_000
    power_mw: int | None = 300_000
    limit_mw: int = 700_000
    lowest_mw: int = 200_000
    highest_mw: int = 700_000
    lost: bool = False
    may_set: bool = True
    caps_set_mw: list[int] = field(default_factory=list)


class FakeNvml:
    """As much of pynvml as the meters and the caps call."""

    class NVMLError(Exception):
        pass

    class NVMLError_NoPermission(NVMLError):
        pass

    def __init__(self, *boards: FakeBoard) -> None:
        self.boards = boards
        self.calls = 0

    def _answer(self, board: FakeBoard, value: Any) -> Any:
        self.calls += 1
        if board.lost or value is None:
            raise self.NVMLError("GPU is lost" if board.lost else "Not Supported")
        return value

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeBoard:
        if index >= len(self.boards):
            raise self.NVMLError("Invalid Argument")
        return self.boards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeBoard:
        found = [board for board in self.boards if board.uuid == uuid]
        if uuid.startswith("MIG-"):
            found = list(self.boards[:1])
        if not found:
            raise self.NVMLError("Not Found")
        return found[0]

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: FakeBoard) -> FakeBoard:
        return handle

    def nvmlDeviceGetName(self, board: FakeBoard) -> str:
        return board.name

    def nvmlDeviceGetUUID(self, board: FakeBoard) -> str:
        return board.uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, board: FakeBoard) -> int:
        return self._answer(board, board.total_mj)

    def nvmlDeviceGetPowerUsage(self, board: FakeBoard) -> int:
        return self._answer(board, board.power_mw)

    def nvmlDeviceGetEnforcedPowerLimit(self, board: FakeBoard) -> int:
        return self._answer(board, board.limit_mw)

    def nvmlDeviceGetPowerManagementLimit(self, board: FakeBoard) -> int:
        return self._answer(board, board.limit_mw)

    def nvmlDeviceGetPowerManagementLimitConstraints(self, board: FakeBoard) -> list[int]:
        return self._answer(board, [board.lowest_mw, board.highest_mw])

    def nvmlDeviceSetPowerManagementLimit(self, board: FakeBoard, milliwatts: int) -> None:
        if not board.may_set:
            raise self.NVMLError_NoPermission("Insufficient Permissions")
        self._answer(board, milliwatts)
        board.limit_mw = milliwatts
        board.caps_set_mw.append(milliwatts)
