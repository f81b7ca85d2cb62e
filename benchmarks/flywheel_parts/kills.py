"""A flywheel killed at random instants and started again: same registry, same selection."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from common.document import Section
from flywheel_parts.bench import Bench
from opendojo.flywheel.registry import Registry

__all__ = ["run"]

KIT = Path(__file__).resolve().parents[2] / "tests/flywheel/flywheel_kit.py"


def run(bench: Bench) -> Section:
    """Runs of seconds, killed again and again until so many kills are counted."""
    section = Section("kills", "killed at random instants, resumed", not bench.smoke)
    wanted = 3 if bench.smoke else 100
    whole = bench.folder / "undisturbed"
    began_s = time.monotonic()
    assert _start(whole).wait() == 0
    takes_s = time.monotonic() - began_s
    draw, kills, runs, same = random.Random(0), 0, 0, 0
    while kills < wanted:
        folder = bench.folder / f"killed-{runs}"
        while True:
            process = _start(folder)
            until_s = time.monotonic() + draw.uniform(0.02, 0.6) * takes_s
            while process.poll() is None and time.monotonic() < until_s and kills < wanted:
                time.sleep(0.02)
            if process.poll() is None and kills < wanted:
                process.send_signal(signal.SIGKILL)
                kills += 1
            if process.wait() == 0:
                break
        runs, same = runs + 1, same + (_identity(folder) == _identity(whole))
    section.say(f"{kills} kills over {runs} runs; dates and joules are not compared")
    section.add("same", "runs that ended as the undisturbed one", same / runs, "of all")
    section.bar("same", same / runs, 1.0, "of all")
    return section


def _start(folder: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(KIT.parent)])}
    return subprocess.Popen([sys.executable, str(KIT), str(folder)], env=env)


def _identity(folder: Path) -> str:
    choices = [json.loads(p.read_text()) for p in sorted(folder.glob("rounds/*/choice.json"))]
    told = {"registry": Registry(folder / "registry").fingerprint(), "choices": choices}
    return json.dumps(told, sort_keys=True)
