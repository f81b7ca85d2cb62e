"""Clips whose reading goes wrong in ways that files do not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from opendojo.clip import Camera, Clip, Frame

Kind = Literal["none", "kill", "crash", "fail", "stall", "kill 4 times"]


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Yields frames, unless it kills its process, fails or stalls first."""

    kind: Kind
    mark: str
    files: tuple[str, ...] = ()

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        mark = Path(self.mark)
        with mark.open("a") as file:
            file.write(f"{os.getpid()}\n")
        readings = mark.read_text().count("\n")
        if self.kind == "kill" or (self.kind == "kill 4 times" and readings <= 4):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.kind == "fail":
            raise ZeroDivisionError("a fault in a reader")
        if self.kind == "stall":
            time.sleep(60)
        half = np.full((height_px // 2, width_px // 2), 128, np.uint8)
        for k in range(3):
            y = np.full((height_px, width_px), 40 + k, np.uint8)
            yield (Frame(y=y, u=half, v=half, time_s=k / 10),)


def make_trouble(kind: Kind, mark: Path) -> Clip:
    """A clip of three frames at 10 Hz; each reading of it adds a line to `mark`."""
    return Clip(
        clip_id=mark.name,
        source=mark.name,
        origin="recorded",
        cameras=(Camera.with_fov("front", 64, 32, 60.0),),
        rate_hz=10.0,
        read=Trouble(kind=kind, mark=str(mark)),
    )
