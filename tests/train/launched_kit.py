"""What the launcher starts in its tests: `python -m launched_kit RUN PARALLEL HOW`.

HOW is `well`; `die-RANK-STEP` (that rank kills itself at that step, once); `bad` (every rank finds
that a restart would not help); `hang` (rank 1 stops for good at its first attempt); `late` (rank 1
fails after the run is done); `guard`, `broken-PLACE` (the guard watches; products are wrong at that
place).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from ranks_kit import CONFIG, Numbers, Small
from torch.utils._python_dispatch import TorchDispatchMode

from opendojo.guard import PermanentFault
from opendojo.train import train
from opendojo.train.launch import stop_all
from opendojo.train.parallel import place_of


class Broken(TorchDispatchMode):
    """A device that multiplies wrongly, always in the same way."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.addmm.default:
            out.data.view(-1)[0] += 100.0
        return out


def main(run_dir: Path, parallel: str, how: str) -> int:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    fired = run_dir.with_name("fired")

    def on_step(row: dict[str, Any]) -> None:
        kind, *more = how.split("-")
        if fired.exists():
            return
        if kind == "die" and [rank, row["step"]] == [int(each) for each in more]:
            fired.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang" and rank == 1 and row["step"] == 6:
            fired.touch()
            time.sleep(10_000)

    config = dataclasses.replace(CONFIG, parallel=parallel)
    source = Numbers(rank, ranks, run_dir.with_name(f"ids-{rank}.jsonl"))
    try:
        if how == "bad":
            run_dir.mkdir(exist_ok=True)
            raise ValueError("this will never do")
        if how.startswith(("guard", "broken")):
            config = dataclasses.replace(config, guard="full")
        with Broken() if how == f"broken-{place_of()[0]}" else contextlib.nullcontext():
            train(run_dir, Small, source, config, on_step=on_step)
    except PermanentFault as error:
        stop_all(run_dir, 3, str(error), sorted({event.rank for event in error.events}))
        return 3
    except ValueError as error:
        stop_all(run_dir, 2, str(error))
        return 2
    return 1 if how == "late" and rank == 1 else 0


if __name__ == "__main__":
    run_dir, parallel, how = sys.argv[1:]
    raise SystemExit(main(Path(run_dir), parallel, how))
