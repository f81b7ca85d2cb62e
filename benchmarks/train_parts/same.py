"""Before the clock: every way ends with the same weights after the same batches."""

from __future__ import annotations

from common.document import Section
from common.environments import python_of
from common.line import LineProcess
from train_parts.contest import PEERS, PROCESS, Bench

__all__ = ["run"]

STEPS = 12
TOLERANCE = 1e-5


def run(bench: Bench) -> Section:
    """Sum of the weights after some steps at a constant rate, relative to the hand-written loop."""
    section = Section("same", "every way trains the same network the same way", not bench.smoke)
    path = bench.folder / "same.json"
    path.write_text(f'{{"steps": {STEPS}}}')
    sums: dict[str, float] = {}
    for way in ("plain", "ours", *(PEERS if bench.peers else ())):
        more = {"python": python_of("train")} if way in PEERS else {}
        with LineProcess(PROCESS, way, "costless", str(path), **more) as line:
            sums[way] = line.ask("go", seconds=0.0)["weights"]
    worst = max(abs(total / sums["plain"] - 1.0) for total in sums.values())
    assert worst <= TOLERANCE, f"the ways do not train the same, no clock is started: {sums}"
    section.say(f"{', '.join(sums)}: after {STEPS} steps and the warm-up, relative to plain")
    section.add("worst", "largest relative difference of the weights' sum", worst, "")
    return section
