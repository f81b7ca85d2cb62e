"""The finished world, stepped and drawn: frames a second, compiled and eager."""

from __future__ import annotations

from common.document import Section, shown
from common.turns import by_turns, median
from world_parts.own import SIZE, Bench, plan_told

__all__ = ["run"]

COMPILED, EAGER = 12_000.0, 2_500.0


def run(bench: Bench) -> Section:
    """Compiled and eager by turns on the same cores."""
    count = len(bench.cores)
    section = Section("speed", f"the finished world on {count} cores, {SIZE}", not bench.smoke)
    section.say(plan_told(bench))
    section.say(f"one process of {count} threads")
    for worlds, rates in bench.tried.items():
        section.add(f"batch_{worlds}", f"tried: {worlds} worlds, compiled", rates, "frames/s")
    own = bench.kept()
    with bench.own(compiled=False) as eager:
        rates = by_turns({"compiled": own, "eager": eager}, bench.repeats, bench.seconds)
        shares = {"compiled": own.step_shares, "eager": eager.step_shares}
        for name, values in rates.items():
            section.add(name, f"{name}, stepping included", values, "frames/s")
            last = shares[name][-len(values) :]
            section.add(f"{name}_step_share", f"{name}: time in stepping", last, "of all")
            alone = [rate / (1.0 - part) for rate, part in zip(values, last, strict=True)]
            section.add(f"{name}_drawing", f"{name}: drawing alone", alone, "frames/s")
    _starts(section, own.line.facts, eager.line.facts)
    if not bench.smoke:
        with bench.own(preset="hard") as hard:
            hard.turn(bench.seconds)
            values = [hard.turn(bench.seconds) for _ in range(bench.repeats)]
        section.add("hard", "compiled, preset hard: rain, dirt, night, faults", values, "frames/s")
        with bench.own(compiled=False, rig_error=1.0) as off:
            off.turn(bench.seconds)
            values = [off.turn(bench.seconds) for _ in range(bench.repeats)]
        told = "eager, every world's rig off by up to 2 degrees, 5 cm, 2 %"
        section.add("eager_perturbed", told, values, "frames/s")
    section.bar("compiled", median(rates["compiled"]), COMPILED, "frames/s")
    section.bar("eager", median(rates["eager"]), EAGER, "frames/s")
    return section


def _starts(section: Section, compiled: dict[str, float], eager: dict[str, float]) -> None:
    section.say(
        f"before the clock: making the worlds took {shown(compiled['made_s'])} s; the first "
        f"picture {shown(compiled['first_picture_s'])} s compiled (less where torch still has the "
        f"compiled code on disk), {shown(eager['first_picture_s'])} s eager"
    )
