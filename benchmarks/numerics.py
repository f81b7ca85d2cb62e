"""Number formats: fast against exact, and quantising against torch's casts and other emulators.

    ./dojo python benchmarks/numerics.py --peers --save     all of it
    ./dojo python benchmarks/numerics.py --smoke            tiny, no bar judged
    ./dojo python benchmarks/numerics.py --only exact

That the ways leave equal bits is checked before the clock; ratios are medians over neighbouring
turns of one run. Peers are installed into an environment of their own by --peers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.document import Section, document, save
from common.environments import install
from common.line import PeerFailed
from numerics_parts import exact, network, speed
from numerics_parts.exact import Bench

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "exact": exact.run,
    "speed": speed.run,
    "network": network.run,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections asked for; 1 where a bar was missed."""
    chosen = _parse(arguments)
    names = chosen.only.split(",") if chosen.only else list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        raise SystemExit(f"no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    bench = Bench(
        smoke=chosen.smoke,
        peers=chosen.peers and _installed(),
        repeats=1 if chosen.smoke else chosen.repeats,
        seconds=0.05 if chosen.smoke else chosen.seconds,
        threads=chosen.threads,
        work=chosen.work,
    )
    sections: list[Section] = []
    for name in names:
        print(f"... {name}", file=sys.stderr, flush=True)
        section = SECTIONS[name](bench)
        if not bench.peers:
            section.say("peers were not measured: call with --peers")
        sections.append(section)
        print(section.text(), flush=True)
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    told = document("numerics", f"./dojo python benchmarks/numerics.py {words}".strip(), sections)
    if chosen.save:
        print(f"kept as {save(told)}")
    print(json.dumps(told))
    return int(any(bar["ok"] is False for bar in told["bars"].values()))


def _installed() -> bool:
    try:
        install("numerics")
    except PeerFailed as failure:
        print(failure, file=sys.stderr)
        return False
    return True


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no bar judged")
    parser.add_argument("--peers", action="store_true", help="install and measure the peers")
    parser.add_argument("--only", help=f"sections, by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each that count")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn")
    parser.add_argument("--threads", type=int, default=2, help="threads of each way")
    parser.add_argument("--work", type=Path, help="keep networks there, and go on with them")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
