"""On a GPU, where there is one: frames a second, shares of its limits, and how many make 1e9."""

from __future__ import annotations

import torch

from common.document import Section, shown
from common.turns import median
from world_parts.billion import devices_for
from world_parts.check import SAME, alike, differing, pictures_of
from world_parts.limits import add_shares
from world_parts.own import BILLION, GPU_CANDIDATES, SIZE, Bench, Own

__all__ = ["run"]

RATE = 1e6


def run(bench: Bench) -> Section:
    """The fastest of some batches, checked against a CPU first."""
    section = Section("gpu", f"the finished world on a GPU, {SIZE}", not bench.smoke)
    if not torch.cuda.is_available():
        section.say("left out: torch finds no CUDA device on this machine")
        return section
    name = torch.cuda.get_device_name(0)
    section.say(f"one {name}; compiled; otherwise as on the cores, pictures stay on the GPU")
    _check(bench, section)
    best: list[float] = []
    told: dict[str, float] = {}
    for worlds in (5,) if bench.smoke else GPU_CANDIDATES:
        with bench.own(device="cuda", worlds=worlds) as own:
            own.turn(bench.seconds)
            rates = [own.turn(bench.seconds) for _ in range(bench.repeats)]
            section.add(f"batch_{worlds}", f"{worlds} worlds", rates, "frames/s")
            shares = own.step_shares[-len(rates) :]
            section.add(f"step_share_{worlds}", f"{worlds}: time in stepping", shares, "of all")
            if not best or median(rates) > median(best):
                best = rates
                told = _limits(bench, section, own, rates)
    needed = BILLION / median(best)
    section.say(
        f"1e9 frames/s of {SIZE} pixels would take {shown(needed)} {name} (its measured rate, "
        f"linear); modelled by its kin's limits, {shown(devices_for(BILLION, **told))} H100s"
    )
    section.add("needed", f"such GPUs for 1e9 frames/s of {SIZE}", needed, "GPUs")
    section.bar("rate", median(best), RATE, "frames/s")
    return section


def _limits(bench: Bench, section: Section, own: Own, rates: list[float]) -> dict[str, float]:
    part = Section("gpu", "", section.judged)
    with bench.own(compiled=False, threads=1, worlds=5) as counted:
        told = add_shares(part, own, rates, counted.line.ask("count"))
    for what, figure in part.figures.items():
        section.figures[what] = figure
    section.rows += part.rows
    section.conditions += [line for line in part.conditions if line not in section.conditions]
    return told


def _check(bench: Bench, section: Section) -> None:
    """Pictures and states of the GPU against those of the processor."""
    with bench.own(device="cuda", worlds=5) as own:
        pictures, told = pictures_of(own, bench.folder, "gpu")
        _, again = pictures_of(own, bench.folder, "again")
    with bench.own(compiled=False, worlds=5) as plain:
        expected, plain_told = pictures_of(plain, bench.folder, "cpu")
    same = alike(pictures, expected)
    section.add("same", "bytes within one level of the processor's", same, "of all")
    section.bar("same", same, SAME, "of all")
    section.bar("repeats", float(told == again), 1.0, "pairs of runs")
    section.bar("differing", min(map(differing, pictures)), 1.0, "of all pairs")
    section.add(
        "states", "states as on the processor, to the bit",
        float(told["states"] == plain_told["states"]), "of 1",
    )  # fmt: skip
