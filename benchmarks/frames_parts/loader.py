"""One worker against bare decoding on the same core, and two workers against one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from common.document import Section
from common.line import LineProcess, Together
from common.stores import Measured
from common.turns import Runner, by_turns, cores, median, ratios
from frames_parts.own import FRAMES, Bench, OwnLoader, check_batches

__all__ = ["run"]

BARE = Path(__file__).with_name("bare_process.py")
SHARE, TWICE = 0.92, 1.85


def run(bench: Bench) -> Section:
    """Measure both codecs; the bars are on H.264."""
    section = Section(
        "loader", "end to end to batch tensors against bare decoding", not bench.smoke
    )
    section.say(bench.h264.line())
    section.say(bench.mpeg2.line())
    section.say(
        f"windows of {FRAMES}, batches of {bench.batch}, page cache warm; one worker is pinned to "
        f"core {bench.core} as bare decoding is, the consumer beside it; two workers are not "
        "pinned; the consumer takes batches and does nothing"
    )
    section.say(
        "bare: ready-made packets in memory through one PyAV decoder, pictures dropped, no drain "
        "or reset between groups; drained: the same with both"
    )
    rates, busy = _rates(bench, bench.h264)
    for name, values in rates.items():
        section.add(f"h264_{name}", f"H.264 {name.replace('_', ' ')}", values, "frames/s")
    share = ratios(rates["one_worker"], rates["bare"])
    section.add("h264_share", "H.264 share of bare decoding", share, "of bare")
    section.bar("share_of_bare", median(share), SHARE, "of bare decode")
    busy_share = ratios(busy["one_worker"], busy["bare"])
    section.add("h264_busy_share", "the same by processor time", busy_share, "of bare")
    drained = ratios(rates["one_worker"], rates["bare_drained"])
    section.add("h264_share_drained", "H.264 share of drained decoding", drained, "of drained")
    if "two_workers" in rates:
        section.add(
            "bare_two_over_one",
            "two bare processes over one (the machine's own)",
            ratios(rates["two_bare"], rates["bare"]),
            "times",
        )
        twice = ratios(rates["two_workers"], rates["one_worker"])
        section.add("two_over_one", "two workers over one", twice, "times")
        section.bar("two_over_one", median(twice), TWICE, "times")
    rates, busy = _rates(bench, bench.mpeg2, codec_only=True)
    for name, values in rates.items():
        section.add(f"mpeg2_{name}", f"MPEG-2 {name.replace('_', ' ')}", values, "frames/s")
    share = ratios(rates["one_worker"], rates["bare"])
    section.add("mpeg2_share", "MPEG-2 share of bare decoding", share, "of bare")
    busy_share = ratios(busy["one_worker"], busy["bare"])
    section.add("mpeg2_busy_share", "the same by processor time", busy_share, "of bare")
    return section


def _rates(
    bench: Bench, measured: Measured, *, codec_only: bool = False
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Rates by the clock, and of one worker and bare decoding by processor time."""
    files, store = sorted(measured.digests), measured.store
    with ExitStack() as stack:

        def bare(mode: str, core: int) -> LineProcess:
            return stack.enter_context(LineProcess(BARE, mode, *files, core=core))

        one = OwnLoader(store, bench, workers=1, core=bench.core)
        check_batches(stack.enter_context(one), measured)
        plain = bare("plain", bench.core)
        runners: dict[str, Runner] = {"bare": plain, "one_worker": one}
        if not codec_only:
            runners["bare_drained"] = bare("drained", bench.core)
            if 2 in bench.workers:
                two = OwnLoader(store, bench, workers=2)
                check_batches(stack.enter_context(two), measured)
                runners["two_workers"] = two
                runners["two_bare"] = Together([bare("plain", c) for c in cores()[-2:]])
        rates = by_turns(runners, bench.repeats, bench.seconds)
        busy = {"bare": plain.busy_rates, "one_worker": one.busy_rates}
        return rates, {name: values[-bench.repeats :] for name, values in busy.items()}
