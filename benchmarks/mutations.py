"""Damaged recordings of every kind: each is read or rejected with a reason, and harms nothing.

    ./dojo python benchmarks/mutations.py --count 2000 --save
    ./dojo python benchmarks/mutations.py --smoke
    ./dojo python benchmarks/mutations.py --seed 3 --only 417      one mutant again

Every mutant is a whole small recording of which one to three files are damaged: bytes flipped, cut,
blanked, doubled, spliced with others; files renamed, mixed up, removed, made into folders, pipes
and links; sizes and lengths that lie; fields of JSON, CSV, Parquet and arrays mangled. Batches of
them are given to the ingest as they are. A mutant passes when it is in the store or named in the
rejects with file, cause and remedy; the ingest must not raise, nor be longer than its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import av.logging
import numpy as np
import psutil
import pyarrow.parquet as pq

from common.document import Section, document, save
from mutations_parts.damage import damage
from mutations_parts.recordings_of_every_kind import KINDS
from opendojo.ingest import IngestOptions, ingest
from opendojo.store import Store, StoreSpec

SPEC = StoreSpec(width_px=64, height_px=48)
OPTIONS = IngestOptions(hang_s=20.0, memory_mb=4096)
BATCH = 100
BATCH_LIMIT_S = 240
MEMORY_BAR_MB = 2048


@dataclass
class Tally:
    """What became of the mutants."""

    read: int = 0
    rejected: int = 0
    kept_in_part: int = 0
    died: list[str] = field(default_factory=list)
    """What was contained, by the death or standstill of a worker, but is worth a look."""
    failures: list[str] = field(default_factory=list)

    def fail(self, how: str) -> None:
        """Note a failure, and tell it at once."""
        self.failures.append(how)
        print(how, file=sys.stderr, flush=True)


class Watch:
    """Samples the resident memory of this process and of those below it."""

    def __init__(self) -> None:
        self.own_mb = self.reader_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.1):
            self.own_mb = max(self.own_mb, me.memory_info().rss / 2**20)
            for child in me.children(recursive=True):
                with contextlib.suppress(psutil.Error):  # it ended meanwhile
                    self.reader_mb = max(self.reader_mb, child.memory_info().rss / 2**20)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class TooLongError(Exception):
    """A batch was not done in its time."""


def main(arguments: list[str] | None = None) -> int:
    """Run it; 1 where a mutant was neither read nor rejected."""
    chosen = _parse(arguments)
    av.logging.set_level(None)
    os.environ["SVT_LOG"] = "0"
    count = min(chosen.count, 2 * len(KINDS)) if chosen.smoke else chosen.count
    section = Section(
        name="mutations", title=f"{count} damaged recordings, seed {chosen.seed}",
        judged=not chosen.smoke,
    )  # fmt: skip
    tally = Tally()
    began_s = time.monotonic()
    with (
        Watch() as watch,
        tempfile.TemporaryDirectory(dir=chosen.work, prefix="mutations-") as folder,
    ):
        wholes = _wholes(Path(folder) / "whole")
        numbers = [chosen.only] if chosen.only is not None else range(count)
        for begin in range(0, len(numbers), BATCH):
            batch = list(numbers[begin : begin + BATCH])
            _batch(Path(folder) / "batch", wholes, chosen.seed, batch, tally)
            done = begin + len(batch)
            line = f"{done} of {len(numbers)}: {tally.read} read, {tally.rejected} rejected"
            print(f"{line}, {len(tally.failures)} failed", file=sys.stderr, flush=True)
    _report(section, tally, watch, len(numbers), time.monotonic() - began_s)
    print(section.text())
    for line in (*tally.died, *tally.failures):
        print(line)
    command = f"benchmarks/mutations.py --count {chosen.count} --seed {chosen.seed}"
    found = document("mutations", command, [section])
    if chosen.save:
        print(f"kept as {save(found)}")
    print(json.dumps(found))
    return 1 if tally.failures else 0


def _parse(arguments: list[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other mutants")
    parser.add_argument("--only", type=int, help="the number of one mutant to look at again")
    parser.add_argument("--smoke", action="store_true", help="two of each kind, no bar judged")
    parser.add_argument("--save", action="store_true", help="keep the result")
    parser.add_argument("--work", help="where temporary files go")
    return parser.parse_args(arguments)


def _wholes(folder: Path) -> dict[str, Path]:
    """A whole recording of every kind, each read without a fault: the answer before the damage."""
    wholes: dict[str, Path] = {}
    for kind, make in KINDS.items():
        wholes[kind] = folder / kind.replace(" ", "-")
        wholes[kind].mkdir(parents=True)
        make(wholes[kind])
    store = Store.create(folder.parent / "sound", SPEC)
    report = ingest([*wholes.values()], store, options=OPTIONS)
    for kind, whole in wholes.items():
        counted = report.sources[str(whole)]
        assert counted.clips_new and not counted.rejects and not counted.damaged, (kind, counted)
    shutil.rmtree(folder.parent / "sound")
    return wholes


def _mutant(folder: Path, wholes: dict[str, Path], seed: int, number: int) -> str:
    """Make mutant `number` in a folder of its own; what was done to it."""
    rng = np.random.default_rng([seed, number])
    kinds = list(wholes)
    kind = kinds[number % len(kinds)]
    shutil.copytree(wholes[kind], folder)
    others = sorted(p for whole in wholes.values() for p in whole.rglob("*") if p.is_file())
    told = f"{kind}: {damage(folder, rng, others)}"
    if not any(path for path in folder.rglob("*")):
        (folder / "nothing").mkdir()
    return told


def _batch(
    folder: Path, wholes: dict[str, Path], seed: int, numbers: list[int], tally: Tally
) -> None:
    """Ingest a batch; what it leaves open is ingested again, one mutant at a time."""
    mutants = {folder / f"{number:05d}": number for number in numbers}
    told = {path: _mutant(path, wholes, seed, number) for path, number in mutants.items()}
    unsettled = dict(mutants)
    if len(mutants) > 1:
        try:
            fate = _ingested([folder], folder.parent / "store", tally)
            unsettled = {p: n for p, n in mutants.items() if not _settled(p, fate, tally)}
        except Exception as fault:  # which of them it was is found out below
            tally.died.append(f"a batch raised {type(fault).__name__}: {fault}")
    for path, number in unsettled.items():
        again = f"mutant {number} of seed {seed} ({told[path]})"
        try:
            if not _settled(path, _ingested([path], folder.parent / "store", tally), tally):
                tally.fail(f"{again}: neither read nor rejected with a reason")
        except Exception as fault:
            tally.fail(f"{again}: the ingest raised {type(fault).__name__}: {fault}")
    shutil.rmtree(folder)


@dataclass
class Fate:
    """What an ingest made of its paths."""

    sources: list[str]
    """Where the clips in the store came from."""
    rejects: list[dict[str, Any]]


def _ingested(paths: list[Path], store_path: Path, tally: Tally) -> Fate:
    """Ingest into a new store. Raises `TooLongError`, and whatever the ingest does."""
    shutil.rmtree(store_path, ignore_errors=True)
    store = Store.create(store_path, SPEC)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(BATCH_LIMIT_S)
    try:
        ingest(paths, store, options=OPTIONS)
    finally:
        signal.alarm(0)
    sources = [
        source
        for table in sorted(store_path.glob("*/meta/episodes/*/*.parquet"))
        for source in pq.read_table(table, columns=["source"]).column("source").to_pylist()
    ]
    lines = store_path / "rejects.jsonl"
    rejects = [json.loads(x) for x in lines.read_text().splitlines()] if lines.exists() else []
    for one in rejects:
        if any(word in one["cause"] for word in ("worker", "progress", "a fault of this")):
            tally.died.append(f"contained: {one['file']}: {one['cause']}")
    return Fate(sources=sources, rejects=rejects)


def _too_long(number: int, frame: object) -> None:
    raise TooLongError(f"not done in {BATCH_LIMIT_S} s")


def _settled(path: Path, fate: Fate, tally: Tally) -> bool:
    """Whether a mutant was read or rejected, and if so count it."""
    mine = f"{path}"
    read = any(_within(source, mine) for source in fate.sources)
    named = [r for r in fate.rejects if _within(r["file"], mine)]
    if any(not (r["file"] and r["cause"] and r["remedy"]) for r in named):
        silent = next(r for r in named if not r["remedy"] or not r["cause"])
        tally.fail(f"{path.name}: a reject without a reason or a remedy: {silent}")
    if read:
        tally.read += 1
        tally.kept_in_part += bool(named)
    elif named:
        tally.rejected += 1
    return read or bool(named)


def _within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(folder + "/")


def _report(section: Section, tally: Tally, watch: Watch, count: int, seconds: float) -> None:
    section.say(f"{len(KINDS)} kinds: {', '.join(KINDS)}")
    section.say(
        f"each reader may take {OPTIONS.memory_mb} MiB and be silent for {OPTIONS.hang_s:g} s"
    )
    settled = tally.read + tally.rejected
    section.add("read", "read, wholly or in part", tally.read, "mutants")
    section.add("in part", "of these told of as damaged", tally.kept_in_part, "mutants")
    section.add("rejected", "rejected with a reason", tally.rejected, "mutants")
    section.add("contained", "rejects by the death of a worker", len(tally.died), "mutants")
    section.add("seconds", "time in all", seconds, "s")
    section.add("peak", "most memory of a reading process", watch.reader_mb, "MiB")
    section.add("own", "most memory of the ingest itself", watch.own_mb, "MiB")
    section.bar("settled", settled - len(tally.failures), count, "mutants")
    section.bar("memory", max(watch.reader_mb, watch.own_mb), MEMORY_BAR_MB, "MiB", at_most=True)


if __name__ == "__main__":
    sys.exit(main())
