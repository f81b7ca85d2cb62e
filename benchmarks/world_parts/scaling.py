"""From one thread to two: one process with both, and two processes with one each."""

from __future__ import annotations

from common.document import Section
from common.line import Together
from common.turns import Runner, by_turns, ratios
from world_parts.own import Bench, plan_told

__all__ = ["run"]


def run(bench: Bench) -> Section:
    """One thread, two threads, and two processes of one thread, by turns."""
    section = Section("scaling", "from one thread to two, compiled", not bench.smoke)
    section.say(plan_told(bench))
    if len(bench.cores) < 2:
        section.say("there is only one core here")
        return section
    with bench.own(threads=1) as one, bench.own(threads=1) as other:
        runners: dict[str, Runner] = {
            "one": one,
            "two": bench.kept(),
            "pair": Together([one.line, other.line]),
        }
        rates = by_turns(runners, bench.repeats, bench.seconds)
    words = {"one": "1 thread", "two": "2 threads", "pair": "2 processes of 1 thread each"}
    for name, values in rates.items():
        section.add(name, words[name], values, "frames/s")
    for name in ("two", "pair"):
        over = ratios(rates[name], rates["one"])
        section.add(f"{name}_over_one", f"{words[name]} over 1 thread", over, "times")
    return section
