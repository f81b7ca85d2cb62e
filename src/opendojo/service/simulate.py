"""Runs the scheduler over invented jobs: the same `decide` as the service, a clock of its own."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opendojo.service.admission import (
    Decision,
    Policy,
    Request,
    Share,
    decayed,
    decide,
    own_order,
)

__all__ = ["Simulated", "Work", "simulate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job and how long it really takes, at most its limit."""

    request: Request
    run_s: float


@dataclass(slots=True, kw_only=True)
class Simulated:
    """What happened."""

    waits_s: dict[str, list[float]] = field(default_factory=dict)
    """Waiting time of each started job, by tenant."""
    spans: list[tuple[str, int, float, float]] = field(default_factory=list)
    """Tenant, chips, start and end in seconds, of every run."""
    decisions: int = 0

    def share(self, tenant: str, begin_s: float, end_s: float) -> float:
        """The tenant's part of all chip-seconds used between two instants."""
        total = own = 0.0
        for name, chips, start, end in self.spans:
            used = chips * max(0.0, min(end, end_s) - max(start, begin_s))
            total += used
            own += used if name == tenant else 0.0
        return own / total if total else 0.0


class _Clock:
    def __init__(self, shares: Mapping[str, Share], chips: int, policy: Policy) -> None:
        self.shares, self.chips, self.policy = dict(shares), chips, policy
        self.queues: dict[str, list[Request]] = {}
        self.running: dict[str, Request] = {}
        self.ends: list[tuple[float, str]] = []
        self.charged_s = 0.0
        self.out = Simulated()

    def charge(self, now_s: float) -> None:
        """Decay all usage to now and add what ran since; exact up to the decay within the step."""
        step = now_s - self.charged_s
        held: dict[str, int] = {}
        for job in self.running.values():
            held[job.tenant] = held.get(job.tenant, 0) + job.chips
        for name, share in self.shares.items():
            usage = decayed(share.usage_chip_s, step, self.policy.half_life_s)
            usage += held.get(name, 0) * step
            self.shares[name] = replace(share, usage_chip_s=usage)
        self.charged_s = now_s

    def start(self, job: Request, now_s: float, run_s: float) -> None:
        self.queues[job.tenant].remove(job)
        self.running[job.id] = replace(job, started_s=now_s)
        heapq.heappush(self.ends, (now_s + run_s, job.id))
        self.shares[job.tenant] = replace(self.shares[job.tenant], served_s=now_s)
        self.out.waits_s.setdefault(job.tenant, []).append(now_s - job.submitted_s)
        self.out.spans.append((job.tenant, job.chips, now_s, now_s + run_s))


def simulate(
    works: Sequence[Work],
    shares: Mapping[str, Share],
    chips: int,
    policy: Policy,
    watch: Callable[[Decision, Mapping[str, Sequence[Request]]], None] | None = None,
) -> Simulated:
    """Let all work arrive, wait, run and end. Nothing is preempted: use Policy(preempt=False).

    `watch` sees every decision with the queues that it was taken on.
    """
    assert not policy.preempt
    clock = _Clock(shares, chips, policy)
    arrivals = sorted(works, key=lambda work: work.request.submitted_s)
    run_s = {work.request.id: work.run_s for work in works}
    at = 0
    while at < len(arrivals) or clock.ends:
        times = [clock.ends[0][0]] if clock.ends else []
        if at < len(arrivals):
            times.append(arrivals[at].request.submitted_s)
        now_s = min(times)
        clock.charge(now_s)
        while clock.ends and clock.ends[0][0] <= now_s:
            clock.running.pop(heapq.heappop(clock.ends)[1])
        while at < len(arrivals) and arrivals[at].request.submitted_s <= now_s:
            job = arrivals[at].request
            queue = clock.queues.setdefault(job.tenant, [])
            bisect.insort(queue, job, key=lambda one: own_order(one, policy))
            at += 1
        args = (clock.queues, clock.running.values(), clock.shares, chips, now_s, policy)
        decision = decide(*args)
        clock.out.decisions += 1
        if watch is not None:
            watch(decision, clock.queues)
        for job in decision.starts:
            clock.start(job, now_s, run_s[job.id])
    return clock.out
