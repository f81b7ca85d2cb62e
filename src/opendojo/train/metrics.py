"""metrics.jsonl: one JSON object per logged step, no step twice, whatever interrupted the run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Metrics", "read_metrics"]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a metrics file; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


class Metrics:
    """Appends to a metrics file, after taking back what a resumed run will do again."""

    def __init__(self, path: Path, steps_done: int) -> None:
        before = read_metrics(path)
        kept = [row for row in before if row["step"] <= steps_done]
        self.spent: dict[str, float] = {
            name: before[-1][name] if before else 0.0 for name in ("seconds", "cpu_seconds")
        }
        """Time all attempts before this one took, the work that is done again included."""
        rewritten = path.with_name(f".{path.name}")
        with rewritten.open("w") as file:
            file.writelines(_line(row) for row in kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(rewritten, path)  # noqa: PTH105 - the kill tests count these calls
        self._file = path.open("a")

    def write(self, row: dict[str, Any]) -> None:
        """Append one row, at once visible to whoever follows the file."""
        self._file.write(_line(row))
        self._file.flush()

    def sync(self) -> None:
        """Push the rows to the disk: before a checkpoint, so that they never lag behind it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Push the rows and close the file."""
        self.sync()
        self._file.close()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
