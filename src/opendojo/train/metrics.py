"""metrics.jsonl: one JSON object per logged step, no step twice, whatever interrupted the run."""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

from opendojo.store.atomic import write_json
from opendojo.train.config import TrainConfig
from opendojo.train.gauge import Gauge
from opendojo.train.parallel import rank_of
from opendojo.train.step import StepResult

__all__ = ["Journal", "Metrics", "read_metrics"]


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


class Journal:
    """Turns what a step did into a row; rank 0 writes rows down."""

    def __init__(self, run_dir: Path, steps_done: int, gauge: Gauge, config: TrainConfig) -> None:
        self.flops_per_row: float | None = None
        """Model FLOPs of a training step per row of the batch; None where they are not known."""
        self.counted = False
        """Whether that was looked at."""
        self._config, self._gauge = config, gauge
        self._began_s, self._cpu_began_s = time.perf_counter(), time.process_time()
        writes = rank_of() == 0
        self._board = _tensorboard(run_dir, steps_done) if writes and config.tensorboard else None
        self._metrics = Metrics(run_dir / "metrics.jsonl", steps_done) if writes else None
        self._spent_path = run_dir / "spent.json"
        self._before = self._earlier(self._metrics.spent if self._metrics else {})

    def row(
        self,
        number: int,
        epoch: int,
        result: StepResult,
        rows: int | None,
        wait_s: float,
        began_s: float,
    ) -> dict[str, Any]:
        """What step `number` did since `began_s`, `wait_s` of it waiting for its batch."""
        took_s = time.perf_counter() - began_s
        flops = self.flops_per_row * rows if self.flops_per_row and rows else None
        row = {
            "step": number,
            "frames": result.frames,
            "epoch": epoch,
            **{f"loss_{name}": value for name, value in result.losses.items()},
            "lr": result.lr,
            "grad_norm": result.grad_norm,
            "frames_per_s": result.frames / took_s,
            "data_wait_share": wait_s / took_s,
            **self._gauge.rates(flops, took_s),
            **self._gauge.energy(result.frames),
            **self.spent(),
        }
        if number == self._config.steps or number % self._config.log_every == 0:
            self._write(row)
        return row

    def spent(self) -> dict[str, float]:
        """Seconds of all attempts, by the clock and of this process."""
        return {
            "seconds": self._before["seconds"] + time.perf_counter() - self._began_s,
            "cpu_seconds": self._before["cpu_seconds"] + time.process_time() - self._cpu_began_s,
        }

    def _earlier(self, logged: dict[str, float]) -> dict[str, float]:
        """What earlier attempts took: as their rows say, or their ends, which come after a row."""
        path = self._spent_path
        ended: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        names = ("seconds", "cpu_seconds")
        return {name: max(ended.get(name, 0.0), logged.get(name, 0.0)) for name in names}

    def sync(self) -> None:
        """Push what was written to the disk."""
        if self._metrics is not None:
            self._metrics.sync()

    def close(self) -> None:
        """Push and close."""
        if self._metrics is not None:
            self._metrics.close()
            write_json(self._spent_path, self.spent())
        if self._board is not None:
            self._board.close()

    def _write(self, row: dict[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.write(row)
        if self._board is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and name not in ("step", "energy_measured"):
                    self._board.add_scalar(name, value, row["step"])


def _tensorboard(run_dir: Path, steps_done: int) -> Any:
    """A writer that takes back the steps a resumed run does again."""
    try:
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ValueError(
            "train.tensorboard needs its package: pip install 'opendojo[track]'"
        ) from error
    return writer(str(run_dir / "tensorboard"), purge_step=steps_done + 1)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
