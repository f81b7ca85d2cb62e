"""The drawn world's frames a second, compiled, eager and on a GPU, against other worlds that draw.

    ./dojo python benchmarks/world.py --peers --save     all of it
    ./dojo python benchmarks/world.py --smoke            tiny, no bar judged
    ./dojo python benchmarks/world.py --only check,speed

What is drawn is checked before the clock; ratios are medians over neighbouring turns of one run.
Two cores are used, however many there are. Peers are installed into environments of their own by
--peers ($OPENDOJO_PEERS, or a cache folder); MetaDrive's also needs Xvfb and Mesa's software GL.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.document import Section, document, save
from common.line import PeerFailed
from common.turns import cores
from world_parts import billion, check, gpu, limits, others, scaling, speed
from world_parts.own import Bench

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "check": check.run,
    "speed": speed.run,
    "scaling": scaling.run,
    "limits": limits.run,
    "billion": billion.run,
    "peers": others.run,
    "gpu": gpu.run,
}
CORES = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the sections asked for; 1 where a bar was missed."""
    chosen = _parse(arguments)
    names = chosen.only.split(",") if chosen.only else list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        raise SystemExit(f"no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    sections: list[Section] = []
    every, used = cores(), cores()[:CORES]
    with (
        tempfile.TemporaryDirectory(dir=chosen.work, prefix="world-") as folder,
        Bench(
            smoke=chosen.smoke,
            peers=chosen.peers,
            repeats=1 if chosen.smoke else chosen.repeats,
            seconds=0.1 if chosen.smoke else chosen.seconds,
            fixed=chosen.worlds,
            cores=used,
            folder=Path(folder),
        ) as bench,
    ):
        for name in names:
            os.sched_setaffinity(0, every if name == "gpu" else used)
            section = _section(name, bench, sections)
            sections.append(section)
            print(section.text(), flush=True)
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    told = document("world", f"./dojo python benchmarks/world.py {words}".strip(), sections)
    if chosen.save:
        print(f"kept as {save(told)}")
    print(json.dumps(told))
    return int(any(bar["ok"] is False for bar in told["bars"].values()))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no bar judged")
    parser.add_argument("--peers", action="store_true", help="install and measure the peers")
    parser.add_argument("--only", help=f"sections, by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each that count")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
    parser.add_argument("--worlds", type=int, help="worlds of a batch (default: the best of two)")
    parser.add_argument("--work", help="folder for pictures to compare (default /tmp)")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    return parser.parse_args(arguments)


def _section(name: str, bench: Bench, before: list[Section]) -> Section:
    """One section; where a process broke off, it says so in place of figures."""
    print(f"... {name}", file=sys.stderr, flush=True)
    try:
        if name == "billion":
            return billion.run(bench, next((s for s in before if s.name == "limits"), None))
        return SECTIONS[name](bench)
    except PeerFailed as failure:
        if name not in ("peers", "gpu"):
            raise
        section = Section(name, "left out", not bench.smoke)
        section.say(str(failure))
        return section


if __name__ == "__main__":
    raise SystemExit(main())
