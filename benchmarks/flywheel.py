"""The flywheel: what mining is worth against chance, and what each of its parts costs and finds.

    ./dojo python benchmarks/flywheel.py --save          all of it: some hours on two cores
    ./dojo python benchmarks/flywheel.py --smoke         tiny, no bar judged
    ./dojo python benchmarks/flywheel.py --only twins,motion

With --work FOLDER what was trained stays there, and the same call goes on where it was left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.document import Section, document, save
from flywheel_parts import kills, look, motion, twins, worth
from flywheel_parts.bench import Bench

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "twins": twins.run,
    "motion": motion.run,
    "look": look.run,
    "worth": worth.run,
    "triggers": worth.triggers,
    "keeps": worth.keeps,
    "kills": kills.run,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections asked for; 1 where a bar was missed."""
    chosen = _parse(arguments)
    names = chosen.only.split(",") if chosen.only else list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        raise SystemExit(f"no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    sections: list[Section] = []
    with contextlib.ExitStack() as stack:
        work = chosen.work or stack.enter_context(tempfile.TemporaryDirectory(prefix="flywheel-"))
        for name in names:
            print(f"... {name}", file=sys.stderr, flush=True)
            folder = Path(work) / ("runs" if name in ("worth", "triggers", "keeps") else name)
            folder.mkdir(parents=True, exist_ok=True)
            bench = Bench(
                smoke=chosen.smoke, repeats=chosen.repeats, seeds=chosen.seeds, folder=folder
            )
            sections.append(SECTIONS[name](bench))
            print(sections[-1].text(), flush=True)
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    told = document("flywheel", f"./dojo python benchmarks/flywheel.py {words}".strip(), sections)
    if chosen.save:
        print(f"kept as {save(told)}")
    print(json.dumps(told))
    return int(any(bar["ok"] is False for bar in told["bars"].values()))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no bar judged")
    parser.add_argument("--only", help=f"sections, by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each that count")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of mined against random")
    parser.add_argument("--work", help="folder that stays (default: one that goes)")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
