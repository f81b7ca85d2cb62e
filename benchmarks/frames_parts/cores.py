"""Cores that a fleet's 16e9 frames a day would need for loading, from the speed of one here."""

from __future__ import annotations

from common.document import Figure, Section
from frames_parts import loader
from frames_parts.own import Bench
from opendojo.machine import FLEET_FRAMES_PER_DAY, cores_for, machine_facts
from opendojo.recipes.bench import copy_bytes_per_s

__all__ = ["run"]

MOST = {"h264": 24.0, "mpeg2": 17.0}


def run(bench: Bench, measured: Section | None = None) -> Section:
    """Take the rates of the `loader` section of the same run, which is run first if need be."""
    measured = measured or loader.run(bench)
    section = Section("cores", "cores for 16e9 frames a day, loading", not bench.smoke)
    facts = machine_facts()
    section.say(f"machine: {facts['cpu']}, {facts['cores']} cores, {facts['system']}")
    section.say(
        f"modelled: {FLEET_FRAMES_PER_DAY / 86_400:,.0f} frames/s over the measured rate of one "
        "worker on one core, linear in cores"
    )
    frame_bytes = bench.h264.store.spec.frame_bytes
    copied = [copy_bytes_per_s(256 << 20) / frame_bytes for _ in range(bench.repeats)]
    limit = section.add("memcpy_limit", "limit of one copy from memory", copied, "frames/s")
    cached = [copy_bytes_per_s(frame_bytes) / frame_bytes for _ in range(bench.repeats)]
    section.add("cached_copy_limit", "limit of one copy in cache", cached, "frames/s")
    for codec, most in MOST.items():
        rate = measured.figures[f"loader.{codec}_one_worker"]
        bare = measured.figures[f"loader.{codec}_bare"]
        low, middle, high = (cores_for(r)["cores"] for r in (rate.high, rate.median, rate.low))
        figure = Figure(median=middle, low=low, high=high, n=rate.n, unit="cores")
        section.put(f"{codec}_cores", f"{codec}: cores", figure)
        section.bar(f"{codec}_cores", middle, most, "cores", at_most=True)
        section.add(
            f"{codec}_bare_cores",
            f"{codec}: cores for bare decoding alone",
            cores_for(bare.median)["cores"],
            "cores",
        )
        section.add(
            f"{codec}_of_memcpy", f"{codec}: share of the copy limit",
            rate.median / limit.median, "of it",
        )  # fmt: skip
    return section
