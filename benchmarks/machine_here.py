"""The machine at hand: steps of eight networks, foretold from its calibration and measured.

    ./dojo python benchmarks/machine_here.py --save         calibrate, foretell, measure
    ./dojo python benchmarks/machine_here.py --chip FILE    with a calibration that was kept
    ./dojo python benchmarks/machine_here.py --smoke        tiny, no bar judged

One thread and its processor time (--threads 0: as many as PyTorch takes, and the wall's time). The
calibration has seen none of the networks. Before the clock, the trace's arithmetic is compared with
PyTorch's own count. The machine's pace moves with other work on it: before and after each turn
three reference calls are timed, and each part of the foretold step is taken at its reference's pace
over the pace at calibration. Errors without that are printed beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch

from common.document import Section, document, save
from machine_parts.networks import NETWORKS
from machine_parts.steps import Case, check, clock_here
from opendojo.machine.chips import find_chip
from opendojo.machine.here import prices_of
from opendojo.machine.kernels import Prices
from opendojo.model.measure import Pace

__all__ = ["main"]

_BAR = 0.10


def main(arguments: list[str] | None = None) -> int:
    """Calibrate, foretell, measure; 1 where the bar was missed."""
    chosen = _parse(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.chip or _calibrated(Path(folder) / "here.toml", chosen)
        chip = find_chip(str(path))
    section = Section("step", "measured against foretold training steps", not chosen.smoke)
    section.say(f"{torch.get_num_threads()} thread(s); {chip.notes}")
    section.say("a step: zero_grad, forward, backward, AdamW (fused), fp32")
    section.say("foretold: modelled from measured kernels, none of them of these networks; error: "
                "median over turns of measured / foretold - 1, at the machine's pace of the "
                "turn")  # fmt: skip
    names = list(NETWORKS)[:: 4 if chosen.smoke else 1]
    cases = [Case.of(name, NETWORKS[name], chip) for name in names]
    for case in cases:
        if not 0.99 < (share := check(case)) < 1.01:
            raise SystemExit(f"{case.name}: the trace has {share:.3f} of the arithmetic")
    _measure(cases, prices_of(chip), 1 if chosen.smoke else chosen.repeats, chosen.steps)
    _judge(section, cases)
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    told = document("machine_here", f"./dojo python benchmarks/machine_here.py {words}".strip(),
                    [section])  # fmt: skip
    print(section.text(), flush=True)
    if chosen.save:
        print(f"kept as {save(told)}")
    print(json.dumps(told))
    return int(any(bar["ok"] is False for bar in told["bars"].values()))


def _measure(cases: list[Case], prices: Prices, repeats: int, steps: int) -> None:
    """All networks in turn, again and again."""
    once = prices.once
    then = Pace(product=once("pace product"), copy=once("pace copy"), launch=once("pace launch"))
    clock = clock_here()
    for number in range(repeats):
        for case in cases:
            case.turn(then, clock, steps)
            print(f"turn {number + 1} {case.name:<20} {case.seconds[-1]:8.4f} s, "
                  f"{case.ratios[-1]:.3f} of foretold at this pace, {case.plain[-1]:.3f} as it is",
                  file=sys.stderr, flush=True)  # fmt: skip


def _judge(section: Section, cases: list[Case]) -> None:
    errors, plain, inside = list[float](), list[float](), 0
    for case in cases:
        key = case.name.replace(" ", "_")
        section.add(f"{key}.measured", f"{case.name}: measured", case.seconds, "s")
        section.add(f"{key}.foretold", f"{case.name}: foretold", case.foretold.seconds, "s")
        section.add(f"{key}.error", f"{case.name}: error", [100 * (r - 1) for r in case.ratios],
                    "%")  # fmt: skip
        middle = statistics.median(case.ratios)
        errors.append(abs(middle - 1))
        plain.append(abs(statistics.median(case.plain) - 1))
        low, high = (end / case.foretold.seconds for end in
                     (case.foretold.low_s, case.foretold.high_s))  # fmt: skip
        inside += low <= middle <= high
    section.add("error_median", "absolute error, median", 100 * statistics.median(errors), "%")
    section.add("error_most", "absolute error, largest", 100 * max(errors), "%")
    section.add("error_plain_median", "without regard to the pace, median",
                100 * statistics.median(plain), "%")  # fmt: skip
    section.add("inside", "networks within their 80 % interval", inside, f"of {len(cases)}")
    section.bar("error", statistics.median(errors), _BAR, "of the measured step", at_most=True)


def _calibrated(path: Path, chosen: argparse.Namespace) -> Path:
    """A calibration in a process of its own, which tunes its allocator."""
    call = [sys.executable, "-m", "opendojo.cli", "machine", "calibrate", str(path), "--formats",
            "fp32", "--seconds", "1" if chosen.smoke else str(chosen.seconds)]  # fmt: skip
    call += ["--share", "0.15"] if chosen.smoke else []
    env = dict(os.environ)
    if chosen.threads:
        env["OMP_NUM_THREADS"] = str(chosen.threads)
    subprocess.run(call, check=True, stdout=sys.stderr, env=env)
    return path


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="two networks, no bar judged")
    parser.add_argument("--chip", type=Path, help="a file of `opendojo machine calibrate`")
    parser.add_argument("--threads", type=int, default=1, help="0: as PyTorch takes")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each network")
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn; their median counts")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a calibration")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
