"""The placement search: layouts tried per second on one core, and a full search for 10,000 chips.

    ./dojo python benchmarks/machine_placement.py

Every layout that is timed is first checked to use all chips. The last line is one JSON document
with the bars; the exit code is 1 where one was missed.
"""

from __future__ import annotations

import json
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from opendojo.machine.layouts import layouts_of
from opendojo.machine.placement import default_batch, place
from opendojo.machine.pods import find_pod
from opendojo.machine.shapes import named_shape

__all__ = ["main"]

_CASES = (
    ("gpt-175b", "dgx-h100", 10_000),
    ("moe-37b-of-671b", "gb200-nvl72", 10_000),
    ("resnet50", "dojo2-exapod", 10_000),
)
_TURNS = 5
_LAYOUTS_PER_S, _SEARCH_S = 5_000.0, 10.0


def main() -> int:
    """Check, time, print; 1 where a bar was missed."""
    rows = []
    for name, pod_name, chips in _CASES:
        shape, pod = named_shape(name), find_pod(pod_name)
        batch = default_batch(shape, chips)
        layouts = layouts_of(shape, chips, batch, min(pod.scale_up_chips.value, chips))
        used = layouts["tp"] * layouts["cp"] * layouts["pp"] * layouts["dp"]
        if not (used == chips).all():
            raise SystemExit(f"{name}: a layout does not use {chips} chips")
        place(shape, pod, chips=chips)
        seconds = []
        for _ in range(_TURNS):
            began_s = time.perf_counter()
            plan = place(shape, pod, chips=chips)[0]
            seconds.append(time.perf_counter() - began_s)
        middle = statistics.median(seconds)
        rows.append({"network": name, "pod": pod_name, "chips": chips, "search_s": middle,
                     "layouts": plan.layouts_tried, "layouts_per_s": plan.layouts_tried / middle,
                     "layout": plan.layout})  # fmt: skip
        print(f"{name:<18}{pod_name:<15}{chips:>7} chips {plan.layouts_tried:>8,} layouts "
              f"{middle:6.3f} s {plan.layouts_tried / middle:>12,.0f} layouts/s")  # fmt: skip
    bars = {
        "layouts_per_s": min(row["layouts_per_s"] for row in rows) >= _LAYOUTS_PER_S,
        "search_s": max(row["search_s"] for row in rows) < _SEARCH_S,
    }
    print(json.dumps({"rows": rows, "bars": bars}))
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
