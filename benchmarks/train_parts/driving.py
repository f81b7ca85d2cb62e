"""The driving network on a store: against a loop written by hand, and against other trainers."""

from __future__ import annotations

from common.document import Section
from common.stores import make_store
from common.turns import cores
from opendojo.store import StoreSpec
from train_parts.contest import PEERS, Bench, contest, told_of_cores

__all__ = ["run"]

BY_HAND, WAIT_SHARE = 0.97, 0.03
CLIPS = 4


def run(bench: Bench) -> Section:
    """The nano network on windows of one camera, every window decoded in every epoch."""
    section = Section("driving", "the nano network on a store", not bench.smoke)
    told_of_cores(section)
    count = 1 if bench.smoke else CLIPS
    store = make_store(
        bench.folder / "store", StoreSpec(), count, frames=48 if bench.smoke else 400
    )
    plan = {
        "store": str(store.store.path),
        "batch": 2 if bench.smoke else 32,
        "steps": 4 if bench.smoke else 30,
        "threads": len(cores()),
        "workers": len(cores()),
    }
    section.say(store.line())
    section.say(
        f"batches of {plan['batch']} windows of 8, {plan['steps']} steps a turn after 8 that warm "
        f"up, {plan['threads']} threads and as many workers; nothing is kept decoded"
    )
    ways = ["plain", "ours", *(PEERS if bench.peers else ())]
    found = contest(bench, "driving", ways, plan)
    for way in ways:
        section.add(f"{way}_frames_per_s", way, found.rates[way], "frames/s")
    by_hand = section.add("over_plain", "ours / by hand", found.over("ours", "plain"), "")
    section.bar("over_plain", by_hand.median, BY_HAND, "")
    waits = [told["wait_share"] for told in found.told["ours"]]
    wait = section.add("wait_share", "share of step time spent waiting for data", waits, "")
    section.bar("wait_share", wait.median, WAIT_SHARE, "", at_most=True)
    for way in ("accelerate", "lightning") if bench.peers else ():
        ratio = section.add(f"over_{way}", f"ours / {way}", found.over("ours", way), "")
        section.bar(f"over_{way}", ratio.median, 1.0, "")
    return section
