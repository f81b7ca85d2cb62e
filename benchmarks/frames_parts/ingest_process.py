"""`ingest` in a process of its own, kept on some cores; a new store for each turn."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from opendojo.ingest import ingest
from opendojo.store import Store, StoreSpec
from peers.protocol import serve


def main() -> None:
    """`ingest_process.py STORE WORKERS CORES FILE ...`."""
    home, workers, on, *files = sys.argv[1:]
    os.sched_setaffinity(0, {int(core) for core in on.split(",")})
    # as it is once installed, with its bytecode kept, whatever the environment says of that
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = home + "-bytecode"
    spec = StoreSpec(width_px=512, height_px=256, crf=23)

    def go(seconds: float) -> dict[str, float]:
        del seconds  # a turn is one whole ingest
        shutil.rmtree(home, ignore_errors=True)
        began = time.perf_counter()
        report = ingest(files, Store.create(home, spec), workers=int(workers))
        spent = time.perf_counter() - began
        assert report.rejects == report.damaged == 0, report
        return {"seconds": spent, "frames": report.frames_new}

    serve({"go": go})


if __name__ == "__main__":  # workers may be spawned, and import this file
    main()
