"""Frames at fleet rate: every bar of the loader, the store and the ingest, against peers.

    ./dojo python benchmarks/frames.py --peers --save     all of it
    ./dojo python benchmarks/frames.py --smoke            tiny, no bar judged
    ./dojo python benchmarks/frames.py --only loader,cores

Answers are checked before the clock; ratios are medians over neighbouring turns of one run. Peers
are installed into environments of their own by --peers ($OPENDOJO_PEERS, or a cache folder).
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
from common.environments import install
from common.footage import source_name
from common.line import PeerFailed
from frames_parts import cores, index, ingest, lerobot, loader, loaders, order, seven, torchcodec
from frames_parts.own import Bench

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "loader": loader.run,
    "cores": cores.run,
    "torchcodec": torchcodec.run,
    "loaders": loaders.run,
    "lerobot": lerobot.run,
    "seven": seven.run,
    "ingest": ingest.run,
    "index": index.run,
    "order": order.run,
}
PEERS = {
    "torchcodec": ("torchcodec",),
    "loaders": ("loaders",),
    "lerobot": ("lerobot",),
    "seven": ("torchcodec", "loaders"),
}
"""Environments that a section needs."""
WITHOUT_PEERS = ("seven",)
"""Sections that have something to measure all the same."""


def main(arguments: list[str] | None = None) -> int:
    """Run the sections asked for; 1 where a bar was missed."""
    chosen = _parse(arguments)
    os.environ["SVT_LOG"] = "1"  # its encoder talks too much
    names = chosen.only.split(",") if chosen.only else list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        raise SystemExit(f"no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    print(f"footage: {source_name()}")
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(dir=chosen.work, prefix="frames-") as folder:
        bench = Bench(
            smoke=chosen.smoke,
            peers=chosen.peers,
            repeats=1 if chosen.smoke else chosen.repeats,
            seconds=0.1 if chosen.smoke else chosen.seconds,
            batch=2 if chosen.smoke else 16,
            folder=Path(folder),
        )
        for name in names:
            section = _section(name, bench, sections)
            sections.append(section)
            print(section.text(), flush=True)
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    told = document("frames", f"./dojo python benchmarks/frames.py {words}".strip(), sections)
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
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn")
    parser.add_argument("--work", help="folder for stores and samples (some GB; default /tmp)")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    return parser.parse_args(arguments)


def _section(name: str, bench: Bench, before: list[Section]) -> Section:
    """One section; where its peers cannot be had, it says so in place of figures."""
    print(f"... {name}", file=sys.stderr, flush=True)
    needed = PEERS.get(name, ())
    if needed and not bench.peers and name not in WITHOUT_PEERS:
        return _left_out(name, bench, "it measures peers: call with --peers")
    try:
        for environment in needed if bench.peers else ():
            install(environment)
        if name == "cores":
            return cores.run(bench, next((s for s in before if s.name == "loader"), None))
        return SECTIONS[name](bench)
    except PeerFailed as failure:
        return _left_out(name, bench, str(failure))


def _left_out(name: str, bench: Bench, why: str) -> Section:
    section = Section(name, "left out", not bench.smoke)
    section.say(why)
    return section


if __name__ == "__main__":
    raise SystemExit(main())
