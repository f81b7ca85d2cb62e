"""What every section is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Bench"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Sizes and the folder to work in."""

    smoke: bool
    repeats: int
    seeds: int
    folder: Path
