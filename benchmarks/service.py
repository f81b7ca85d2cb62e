"""The service's scheduler over 100,000 invented jobs: shares, waits, reasons.

    ./dojo python benchmarks/service.py             all of it
    ./dojo python benchmarks/service.py --smoke     tiny, no bar judged

Times are simulated; the decisions are those of the service.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.document import Section, document, save
from opendojo.service import Policy, Request, Share, Work, simulate

HOUR, DAY = 3600.0, 86400.0


def share() -> float:
    """The late tenant's part of the machine after two half-lives, both saturating."""
    policy = Policy(preempt=False, half_life_s=2 * DAY)
    works = [_work("old", i, 0.0, 2 * HOUR) for i in range(4000)]
    works += [_work("new", i, 7 * DAY, 2 * HOUR) for i in range(2600)]
    out = simulate(works, {"old": Share(), "new": Share()}, 16, policy)
    return out.share("new", 11 * DAY, 13 * DAY)


def _work(tenant: str, number: int, at_s: float, run_s: float, chips: int = 1) -> Work:
    ask = Request(id=f"{tenant}-{number:06d}", tenant=tenant, chips=chips, limit_s=run_s,
                  submitted_s=at_s)  # fmt: skip
    return Work(request=ask, run_s=run_s)


def crowd(jobs: int) -> tuple[float, int, int]:
    """Longest wait in hours; waits explained; waits in all; of `jobs` by 20 tenants on 64 chips."""
    rng, told, waited = random.Random(1), 0, 0
    works, chips = [], 64
    mean_chip_s = 0.75 * 2.4 * HOUR * 2.3  # of a job below, about
    span_s = jobs * mean_chip_s / chips / 0.9
    for number in range(jobs):
        run_s = rng.choice([0.5, 1, 2, 4, 4.5]) * HOUR
        size = rng.choice([1, 1, 1, 2, 2, 4, 4, 4, 1, 3])
        one = _work(f"t{rng.randrange(20)}", number, rng.random() * span_s, run_s, size)
        works.append(Work(request=one.request, run_s=run_s * rng.uniform(0.5, 1)))

    def watch(decision, queues):
        nonlocal told, waited
        started = {job.id for job in decision.starts}
        for queue in queues.values():
            for job in queue:
                if job.id not in started:
                    waited += 1
                    told += bool(decision.why(job).text)

    shares = {f"t{i}": Share(weight=1 + i % 3, rank=int(i == 0)) for i in range(20)}
    out = simulate(works, shares, chips, Policy(preempt=False), watch)
    waits = [wait for tenant in out.waits_s.values() for wait in tenant]
    assert len(waits) == jobs, "a job was never started"
    return max(waits) / HOUR, told, waited


def main() -> int:
    """Run; 1 where a bar was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="tiny, no bar judged")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    chosen = parser.parse_args()
    section = Section("service", "the scheduler, simulated", not chosen.smoke)
    late = share()
    longest_h, told, waited = crowd(2000 if chosen.smoke else 100_000)
    section.say(f"late tenant's share {late:.4f}; longest wait {longest_h:.1f} h (simulated)")
    section.say(f"{told:,} of {waited:,} waits have a reason")
    told_document = document(
        "service", f"./dojo python benchmarks/service.py {' '.join(sys.argv[1:])}", [section]
    )
    told_document["bars"] = {
        "share off the half": {"value": abs(late - 0.5), "bar": 0.05, "unit": "",
                               "ok": abs(late - 0.5) <= 0.05},
        "waits with a reason": {"value": told / max(waited, 1), "bar": 1.0, "unit": "",
                                "ok": told == waited},
    }  # fmt: skip
    print(section.text())
    if chosen.save:
        print(f"kept as {save(told_document)}")
    print(json.dumps(told_document))
    return int(not all(bar["ok"] for bar in told_document["bars"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
