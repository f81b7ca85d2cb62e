"""Shares, bounded waits and truthful reasons, simulated."""

from __future__ import annotations

import random
from dataclasses import replace

HOUR = 3600.0


def _works(tenant, times, run_s, chips=1):
    from opendojo.service import Request, Work

    return [
        Work(request=Request(id=f"{tenant}-{i:06d}", tenant=tenant, chips=chips, limit_s=run_s,
                             submitted_s=time), run_s=run_s)
        for i, time in enumerate(times)
    ]  # fmt: skip


def test_share_after_a_week_of_saturation():
    from opendojo.service import Policy, Share, simulate

    day, run_s, chips = 24 * HOUR, 2 * HOUR, 16
    policy = Policy(preempt=False, half_life_s=2 * day)
    works = _works("old", [0.0] * 4000, run_s) + _works("new", [7 * day] * 2600, run_s)
    out = simulate(works, {"old": Share(), "new": Share()}, chips, policy)
    begin = 7 * day + 2 * policy.half_life_s
    assert out.share("old", 0, 7 * day) == 1
    assert out.share("new", 7 * day, begin) > 0.55
    late = out.share("new", begin, begin + 2 * day)
    assert abs(late - 0.5) <= 0.05, late


def test_a_gang_is_not_starved_by_small_jobs():
    from opendojo.service import Policy, Share, simulate

    small = _works("small", [i * 60.0 for i in range(5000)], HOUR)
    gang = _works("gang", [5 * HOUR], HOUR, chips=16)
    out = simulate(small + gang, {"small": Share(), "gang": Share()}, 16, Policy(preempt=False))
    assert max(out.waits_s["gang"]) <= HOUR


def test_lowest_rank_is_served_in_bounded_time():
    from opendojo.service import Policy, Share, simulate

    policy = Policy(preempt=False, patience_s=6 * HOUR)
    works = _works("king", [0.0] * 1000, HOUR) + _works("poor", [0.0] * 5, HOUR)
    out = simulate(works, {"king": Share(rank=9), "poor": Share()}, 4, policy)
    assert max(out.waits_s["poor"]) <= 5 * (policy.patience_s + 2 * HOUR)


def test_every_wait_has_a_true_reason():
    from opendojo.service import Policy, Request, Share, Work, decide, simulate

    rng = random.Random(5)
    names = [f"t{i}" for i in range(6)]
    works = []
    for i in range(600):
        limit = rng.choice([0.5, 1, 4]) * HOUR
        ask = Request(id=f"j{i:04d}", tenant=rng.choice(names), chips=rng.choice([1, 1, 2, 8, 99]),
                      limit_s=limit, priority=rng.randrange(5),
                      submitted_s=rng.random() * 40 * HOUR)  # fmt: skip
        if ask.chips < 99:
            works.append(Work(request=ask, run_s=limit * rng.uniform(0.2, 1)))
    shares = {name: Share(cap_chips=4 if name == "t0" else None) for name in names}
    works = [w for w in works if w.request.tenant != "t0" or w.request.chips <= 4]
    policy, seen, told = Policy(preempt=False, backfill_depth=4), 0, set()

    def watch(decision, queues):
        nonlocal seen
        started = {job.id for job in decision.starts}
        for queue in queues.values():
            for job in queue:
                if job.id in started:
                    continue
                wait = decision.why(job)
                seen, _ = seen + 1, told.add(wait.kind)
                assert wait.text
                if wait.kind == "cap":
                    assert job.tenant == "t0"
                if wait.kind == "own":
                    assert queue.index(job) > [q.id for q in queue].index(wait.before[0])

    simulate(works, shares, 8, policy, watch)
    assert seen > 1000 and {"cap", "room", "kept", "own"} <= told
    # the reason is the cause: without it the job starts
    ask = works[0].request
    ask = replace(ask, chips=2, tenant="x")
    capped = decide({"x": [ask]}, [], {"x": Share(cap_chips=1)}, 8, 0.0, policy)
    free = decide({"x": [ask]}, [], {"x": Share()}, 8, 0.0, policy)
    assert capped.why(ask).kind == "cap" and free.starts == [ask]
