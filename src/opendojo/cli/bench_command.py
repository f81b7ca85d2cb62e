"""`opendojo bench frames`: how fast frames come out of a store, and the machine's limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchArguments(Common):
    """Measure this machine: `bench frames` loads a store and says what a fleet's day would need.

    Without --store it draws frames of 512x256 and ingests them first, which takes some seconds.
    Comparisons with other loaders are in benchmarks/frames.py.
    """

    what: Annotated[Literal["frames"], tyro.conf.Positional] = "frames"
    """What is measured."""
    store: Path | None = None
    """A store to load from; drawn frames where none is given."""
    seconds: float = 5.0
    """Time for each of the things measured."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(BenchArguments, "bench", arguments, BenchArguments.__doc__ or "")
    from opendojo.recipes.bench import bench_frames

    told = bench_frames(chosen.store, seconds=chosen.seconds)
    if chosen.json:
        print_document({"bench": chosen.what, **told})
    else:
        print("\n".join(_lines(told)))
    return 0


def _lines(told: dict[str, Any]) -> list[str]:
    machine, loading, rates = told["machine"], told["loading"], told["rates"]
    name = {
        "memcpy": "one copy of a frame, limit",
        "bare_decode": "bare decoding, one core",
        "one_worker": "loader, one worker",
        "all_workers": f"loader, {machine['cores']} workers",
    }
    lines = [
        f"{told['store']}: {told['frames']:,} frames of {told['width_px']}x{told['height_px']}, "
        f"{told['codec']}; {machine['cpu']}, {machine['cores']} cores"
    ]
    lines += [
        f"  {name[key]:<28} {rate['median']:>10,.0f} frames/s "
        f"({rate['min']:,.0f} to {rate['max']:,.0f})"
        for key, rate in rates.items()
    ]
    lines += [
        f"  one worker: {loading['share_of_bare_decode']:.0%} of bare decoding, "
        f"{loading['share_of_memcpy']:.1%} of the copy limit; all workers: "
        f"{loading['all_over_one']:.2f} times one",
        f"  16e9 frames a day, modelled from these rates: {loading['cores']:,.0f} cores for "
        f"loading, {told['ingest']['cores']:,.0f} for ingest from video of this size",
    ]
    return lines
