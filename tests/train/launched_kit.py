"""What the launcher starts in its tests: `python -m launched_kit RUN PARALLEL HOW`.

HOW is `well`; `die-RANK-STEP` (that rank kills itself at that step, once); `bad` (every rank finds
that a restart would not help); `hang` (rank 1 stops for good at its first attempt); `late` (rank 1
fails after the run is done).
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ranks_kit import CONFIG, Numbers, Small

from opendojo.train import train
from opendojo.train.launch import stop_all


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
        train(run_dir, Small, source, config, on_step=on_step)
    except ValueError as error:
        stop_all(run_dir, 2, str(error))
        return 2
    return 1 if how == "late" and rank == 1 else 0


if __name__ == "__main__":
    run_dir, parallel, how = sys.argv[1:]
    raise SystemExit(main(Path(run_dir), parallel, how))
