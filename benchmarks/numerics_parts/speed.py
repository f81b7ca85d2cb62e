"""Quantise and dequantise, float32 in and out, by turns with the other libraries."""

from __future__ import annotations

import contextlib
from pathlib import Path

from common.document import Section
from common.environments import python_of
from common.line import LineProcess
from common.turns import by_turns, ratios
from numerics_parts.exact import Bench

__all__ = ["run"]

PROCESS = Path(__file__).parents[1] / "peers/numerics_peer.py"
PEERS = ("ml_dtypes", "qtorch", "gfloat")
"""Emulators that live in the environment `numerics`."""
SAME = ("ours", "ours_compiled", "native", "ml_dtypes", "gfloat")
"""Ways that must leave equal bits of numbers that do not overflow."""
TIMES_EMULATOR, SHARE_OF_NATIVE = 3.0, 0.5


def run(bench: Bench) -> Section:
    """E4M3 and E5M2, each against its peers; stochastic rounding is shown and not judged."""
    section = Section("speed", "quantise and dequantise, M elements/s", not bench.smoke)
    side = 64 if bench.smoke else 4096
    section.say(
        f"{side} x {side} float32 of randn, {bench.threads} threads; each result is fresh memory; "
        "ours_compiled is the same source through torch.compile; microxcaling is on no registry "
        "and was not measured"
    )
    for name in ("fp8_e4m3", "fp8_e5m2"):
        _contest(bench, section, name, side)
    return section


def _contest(bench: Bench, section: Section, name: str, side: int) -> None:
    ways = ["ours", "native", "ours_stochastic"]
    if not bench.smoke:
        ways.append("ours_compiled")
    if bench.peers:
        ways += [*PEERS, "qtorch_stochastic"]
    with contextlib.ExitStack() as stack:
        lines: dict[str, LineProcess] = {}
        for way in ways:
            words = [way, name, str(side), str(bench.threads)]
            peer = way in PEERS or way == "qtorch_stochastic"
            more = {"python": python_of("numerics")} if peer else {}
            lines[way] = stack.enter_context(LineProcess(PROCESS, *words, **more))
        said = {way: line.facts["sha256"] for way, line in lines.items() if way in SAME}
        section.bar(f"{name}_same", len(set(said.values())), 1, "results", at_most=True)
        rates = by_turns(lines, bench.repeats, bench.seconds)
    for way in ways:
        section.add(f"{name}_{way}", f"{name} {way}", [r / 1e6 for r in rates[way]], "M/s")
    best = max(("ours", "ours_compiled"), key=lambda w: sorted(rates.get(w, [0.0]))[-1])
    section.say(f"{name}: judged is {best}")
    over = section.add(f"{name}_over_native", f"{name} {best} / native",
                       ratios(rates[best], rates["native"]), "")  # fmt: skip
    section.bar(f"{name}_over_native", over.median, SHARE_OF_NATIVE, "")
    for peer in PEERS if bench.peers else ():
        found = section.add(f"{name}_over_{peer}", f"{name} {best} / {peer}",
                            ratios(rates[best], rates[peer]), "")  # fmt: skip
        section.bar(f"{name}_over_{peer}", found.median, TIMES_EMULATOR, "")
