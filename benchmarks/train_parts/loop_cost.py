"""What the loop itself costs: microseconds a step on a network that costs next to nothing."""

from __future__ import annotations

import statistics

from common.document import Section
from train_parts.contest import PEERS, Bench, contest, told_of_cores

__all__ = ["run"]

LIMIT_US = 200.0


def run(bench: Bench) -> Section:
    """A linear layer of 8 on a batch of 32, one thread."""
    section = Section("loop", "cost of the loop per step", not bench.smoke)
    told_of_cores(section)
    steps = 50 if bench.smoke else 4000
    section.say(
        f"Linear(8, 8), batch 32, one thread, {steps} steps a turn, AdamW fused in one group; "
        "`plain` clips as the others do, `bare` does not; ours logs every step with losses, rates "
        "and energy, and writes a checkpoint every 1,000 steps beside the loop"
    )
    ways = ["bare", "plain", "ours", *(PEERS if bench.peers else ())]
    found = contest(bench, "costless", ways, {"steps": steps})
    for way in ways:
        section.add(f"{way}_us", way, [1e6 / rate for rate in found.rates[way]], "us/step")
    section.bar("ours", statistics.median(1e6 / rate for rate in found.rates["ours"]), LIMIT_US,
                "us/step", at_most=True)  # fmt: skip
    for way in ("accelerate", "lightning") if bench.peers else ():
        ratio = section.add(f"over_{way}", f"ours / {way}", found.over("ours", way), "")
        section.bar(f"over_{way}", ratio.median, 1.0, "")
    return section
