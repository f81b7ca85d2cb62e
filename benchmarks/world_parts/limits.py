"""How near the machine's limits the drawing is: pixels a second, arithmetic, memory."""

from __future__ import annotations

from common.document import Section
from common.turns import median
from world_parts.own import SIZE, Bench, Own, plan_told

__all__ = ["FRAME_BYTES", "PIXELS", "add_shares", "run"]

PIXELS = 128 * 64
FRAME_BYTES = PIXELS * 3 // 2


def run(bench: Bench) -> Section:
    """Shares of the limits at the rate of some more turns."""
    section = Section("limits", f"shares of this machine's limits, {SIZE}", not bench.smoke)
    section.say(plan_told(bench))
    own = bench.kept()
    own.turn(bench.seconds)
    rates = [own.turn(bench.seconds) for _ in range(bench.repeats)]
    section.add("rate", "compiled, stepping included", rates, "frames/s")
    with bench.own(compiled=False, threads=1, worlds=5) as counted:
        count = counted.line.ask("count")
    add_shares(section, own, rates, count)
    return section


def add_shares(
    section: Section, own: Own, rates: list[float], count: dict[str, float]
) -> dict[str, float]:
    """Rows of pixels, arithmetic and memory; what was counted, with the bytes of a frame."""
    section.say(
        "estimated: arithmetic is that of the eager operations, counted by elements (look-ups, "
        "conversions and integers count nothing; the compiler may do some twice); memory is what a "
        "frame must move at least: itself, and the rig's tables once a batch"
    )
    machine = own.line.ask("machine")
    frame_bytes = FRAME_BYTES + count["table_bytes"] / own.line.facts["frames"]
    section.add("pixels", "pixels of luma", [rate * PIXELS for rate in rates], "pixels/s")
    section.add("flops_per_pixel", "arithmetic, estimated", count["flops"] / PIXELS, "flop/pixel")
    section.add("frame_bytes", "memory a frame, at least, estimated", frame_bytes, "bytes")
    section.add(
        "arithmetic", "float32 that a matrix product reaches here",
        machine["flops_per_s"] / 1e9, "Gflop/s",
    )  # fmt: skip
    section.add("bandwidth", "memory that a sum reads here", machine["bytes_per_s"] / 1e9, "GB/s")
    rate = median(rates)
    shares = {
        "arithmetic_share": rate * count["flops"] / machine["flops_per_s"],
        "bandwidth_share": rate * frame_bytes / machine["bytes_per_s"],
    }
    section.add("arithmetic_share", "share of that float32", shares["arithmetic_share"], "of it")
    section.add("bandwidth_share", "share of that memory", shares["bandwidth_share"], "of it")
    return {"flops": count["flops"], "frame_bytes": frame_bytes}
