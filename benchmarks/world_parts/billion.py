"""What one billion frames a second would take: measured here, modelled elsewhere, with the size."""

from __future__ import annotations

import math

from common.document import Section, shown
from world_parts import limits
from world_parts.own import BILLION, SIZE, Bench

__all__ = ["H100_BYTES_PER_S", "H100_FLOPS", "devices_for", "run", "side_for"]

H100_FLOPS, H100_BYTES_PER_S = 66.9e12, 3.35e12
"""Of an H100 SXM by its maker: float32 without tensor cores, memory."""
OF_FLOPS, OF_BYTES = 0.3, 0.7
"""Shares of those peaks that a good kernel is modelled to reach."""


def devices_for(frames_per_s: float, flops: float, frame_bytes: float) -> float:
    """H100s, modelled, for frames of so much arithmetic and memory: the scarcer one decides."""
    by_flops = frames_per_s * flops / (H100_FLOPS * OF_FLOPS)
    by_bytes = frames_per_s * frame_bytes / (H100_BYTES_PER_S * OF_BYTES)
    return max(by_flops, by_bytes)


def side_for(frames_per_s: float, flops_per_pixel: float, bytes_per_pixel: float) -> int:
    """Side of the square pictures that one H100, modelled, draws at a rate."""
    one = devices_for(frames_per_s, flops_per_pixel, bytes_per_pixel)
    return math.isqrt(int(1.0 / one))


def run(bench: Bench, measured: Section | None = None) -> Section:
    """Take the rate and the counts of the `limits` section of the same run."""
    measured = measured or limits.run(bench)
    section = Section("billion", "one billion frames a second", not bench.smoke)
    rate = measured.figures["limits.rate"]
    flops = measured.figures["limits.flops_per_pixel"].median * limits.PIXELS
    frame_bytes = measured.figures["limits.frame_bytes"].median
    machines = [BILLION / one for one in (rate.median, rate.low, rate.high)]
    gpus = devices_for(BILLION, flops, frame_bytes)
    side = side_for(BILLION, flops / limits.PIXELS, frame_bytes / limits.PIXELS)
    section.say(
        f"1e9 frames/s of {SIZE} pixels would take {shown(machines[0])} machines of "
        f"{len(bench.cores)} cores like this one (its measured rate, linear in machines)"
    )
    section.say(
        f"modelled, not measured: {shown(gpus)} H100s for 1e9 frames/s of {SIZE} pixels, or one "
        f"H100 for 1e9 frames/s of {side}x{side} pixels, at {OF_FLOPS:.0%} of its float32 peak "
        f"({H100_FLOPS / 1e12:g} Tflop/s) and {OF_BYTES:.0%} of its memory "
        f"({H100_BYTES_PER_S / 1e12:g} TB/s), the scarcer of the two, with the arithmetic and the "
        "memory of a frame that section limits estimates"
    )
    section.add("machines", f"machines for 1e9 frames/s of {SIZE}", machines, "machines")
    section.add("h100s", f"modelled: H100s for 1e9 frames/s of {SIZE}", gpus, "H100s")
    section.add("side", "modelled: side of 1e9 frames/s of one H100", float(side), "pixels")
    return section
