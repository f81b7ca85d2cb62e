"""Who starts next: a pure function of queue, running jobs, tenants and the clock.

Tenants take turns by decayed usage over weight; a tenant's own jobs go by priority with ageing.
What starts, what is stopped for it, and the reason of every wait come from the one decision, so
`why` cannot disagree with the scheduler. When the first job in turn does not fit, chips are kept
for it: others start only if they end before it can (EASY backfill, Lifka 1995, "The ANL/IBM SP
scheduling system"), so a gang is not starved by small jobs; a tenant that was not served for
`patience_s` goes first, so nobody is starved by rank or history.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Decision", "Policy", "Request", "Share", "Wait", "decayed", "decide", "own_order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the machine is shared."""

    half_life_s: float = 7 * 86400.0
    """After so long a tenant's usage counts half."""
    ageing_s: float = 3600.0
    """A job gains one step of priority among its tenant's own jobs in so long."""
    patience_s: float = 86400.0
    """A tenant not served for so long goes before all others."""
    preempt: bool = True
    """A tenant of higher rank may stop preemptible jobs of lower rank."""
    backfill_depth: int = 64
    """How many jobs are tried behind the one that chips are kept for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A job as the scheduler sees it; a gang is one request, it gets all chips or none."""

    id: str
    tenant: str
    chips: int
    limit_s: float
    priority: int = 0
    submitted_s: float = 0.0
    preemptible: bool = True
    started_s: float = 0.0
    """When it was admitted; of running jobs only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A tenant as the scheduler sees it."""

    weight: int = 1
    rank: int = 0
    usage_chip_s: float = 0.0
    """Decayed usage, see `decayed`."""
    served_s: float = 0.0
    """When a job of it was last started."""
    cap_chips: int | None = None
    budget: str = ""
    """The budget that is used up, "" where there is none."""
    left_chip_s: float | None = None
    """What the month's budgets leave beside the time limits of what runs; None for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a job waits."""

    kind: str
    """`budget`, `cap`, `size` (bigger than the machine), `room`, `kept`, `own`, `depth`."""
    text: str
    before: tuple[str, ...] = ()
    """Ids of the jobs that it waits for; only the first ones."""
    earliest_s: float | None = None
    """From when on it could start if all running jobs used their whole time limit."""


@dataclass(slots=True, kw_only=True)
class Decision:
    """What happens now, and why the rest does not."""

    starts: list[Request] = field(default_factory=list)
    preempts: list[Request] = field(default_factory=list)
    waits: dict[str, Wait] = field(default_factory=dict)
    """For the first waiting job of each tenant, and all that were tried."""
    behind: dict[str, str] = field(default_factory=dict)
    """Tenant to the job of its own that the rest of its queue waits behind."""

    def why(self, job: Request) -> Wait:
        """The reason of a waiting job, as the decision was taken."""
        if job.id in self.waits:
            return self.waits[job.id]
        first = self.behind[job.tenant]
        text = f"waits behind {first} of its own organisation: {self.waits[first].text}"
        return Wait(kind="own", text=text, before=(first,), earliest_s=self.waits[first].earliest_s)


def decayed(usage: float, age_s: float, half_life_s: float) -> float:
    """What usage of that age still counts."""
    return usage * 0.5 ** (max(age_s, 0.0) / half_life_s)


def own_order(job: Request, policy: Policy) -> tuple[float, float, str]:
    """Sort key among a tenant's own jobs.

    Priority grows with waiting at one rate for all, so the order of two jobs never changes and
    every priority is overtaken after a bounded time.
    """
    return (job.submitted_s - job.priority * policy.ageing_s, job.submitted_s, job.id)


def decide(
    queues: Mapping[str, Sequence[Request]],
    running: Iterable[Request],
    shares: Mapping[str, Share],
    chips: int,
    now_s: float,
    policy: Policy,
) -> Decision:
    """One decision; `queues` holds each tenant's waiting jobs sorted by `own_order`."""
    return _Round(queues, list(running), shares, chips, now_s, policy).run()


class _Round:
    """The state of one decision while it is taken."""

    def __init__(
        self,
        queues: Mapping[str, Sequence[Request]],
        running: list[Request],
        shares: Mapping[str, Share],
        chips: int,
        now_s: float,
        policy: Policy,
    ) -> None:
        self.queues, self.running, self.shares = queues, running, shares
        self.chips, self.now_s, self.policy = chips, now_s, policy
        self.free = chips - sum(job.chips for job in running)
        self.held: dict[str, int] = {}
        for job in running:
            self.held[job.tenant] = self.held.get(job.tenant, 0) + job.chips
        self.given: dict[str, float] = {}
        self.served: set[str] = set()
        self.kept: Request | None = None
        self.kept_from_s, self.spare, self.tried = 0.0, 0, 0
        self.decision = Decision()

    def run(self) -> Decision:
        at = dict.fromkeys(self.queues, 0)
        heap = [self._key(tenant, 0) for tenant, queue in self.queues.items() if queue]
        heapq.heapify(heap)
        while heap:
            tenant = heapq.heappop(heap)[-1]
            job = self.queues[tenant][at[tenant]]
            wait = self._try(job)
            if wait is not None:
                self.decision.waits[job.id] = wait
                self.decision.behind.setdefault(tenant, job.id)
                if wait.kind not in ("room", "kept", "size"):
                    continue
            at[tenant] += 1
            if at[tenant] < len(self.queues[tenant]):
                heapq.heappush(heap, self._key(tenant, at[tenant]))
        return self.decision

    def _key(self, tenant: str, at: int) -> tuple[int, float, float, float, str]:
        share = self.shares[tenant]
        head = self.queues[tenant][at]
        usage = (share.usage_chip_s + self.given.get(tenant, 0.0)) / share.weight
        since_s = max(share.served_s, head.submitted_s)
        overdue = tenant not in self.served and self.now_s - since_s > self.policy.patience_s
        if overdue:
            return (0, since_s, usage, head.submitted_s, tenant)
        return (1, -share.rank, usage, head.submitted_s, tenant)

    def _try(self, job: Request) -> Wait | None:
        share = self.shares[job.tenant]
        if share.budget:
            return Wait(kind="budget", text=f"the month's budget of {share.budget} is used up")
        asked, left = job.chips * job.limit_s, share.left_chip_s
        if left is not None and self.given.get(job.tenant, 0.0) + asked > left:
            left -= self.given.get(job.tenant, 0.0)
            text = f"may use {asked:.0f} chip-seconds, the month's budget has {left:.0f} left"
            return Wait(kind="budget", text=text)
        if job.chips > self.chips:
            return Wait(kind="size", text=f"asks for {job.chips} chips, there are {self.chips}")
        held = self.held.get(job.tenant, 0)
        if share.cap_chips is not None and held + job.chips > share.cap_chips:
            text = f"holds {held} of {share.cap_chips} chips allowed, this job asks for {job.chips}"
            return Wait(kind="cap", text=text)
        if self.kept is not None:
            return self._backfill(job)
        if job.chips > self.free:
            self._preempt(job)
            return self._keep(job)
        self._start(job)
        return None

    def _start(self, job: Request) -> None:
        self.free -= job.chips
        self.held[job.tenant] = self.held.get(job.tenant, 0) + job.chips
        self.given[job.tenant] = self.given.get(job.tenant, 0.0) + job.chips * job.limit_s
        self.served.add(job.tenant)
        self.decision.starts.append(job)

    def _ends(self) -> list[tuple[float, int]]:
        started = [(self.now_s + job.limit_s, job.chips) for job in self.decision.starts]
        old = [(max(job.started_s + job.limit_s, self.now_s), job.chips) for job in self.running]
        return sorted(old + started)

    def _keep(self, job: Request) -> Wait:
        free, self.kept = self.free, job
        for end_s, chips in self._ends():
            free += chips
            if free >= job.chips:
                self.kept_from_s, self.spare = end_s, free - job.chips
                break
        stopping = sum(one.chips for one in self.decision.preempts)
        more = f", {stopping} more are being freed for it" if stopping else ""
        text = f"first in turn; asks for {job.chips} chips, {self.free} are free{more}"
        holders = tuple(one.id for one in self.running[:8])
        return Wait(kind="room", text=text, before=holders, earliest_s=self.kept_from_s)

    def _backfill(self, job: Request) -> Wait | None:
        kept = self.kept
        assert kept is not None
        self.tried += 1
        if self.tried > self.policy.backfill_depth:
            text = f"comes after {kept.id}, which chips are kept for"
            return Wait(kind="depth", text=text, before=(kept.id,), earliest_s=self.kept_from_s)
        in_time = self.now_s + job.limit_s <= self.kept_from_s
        if job.chips <= self.free and (in_time or job.chips <= self.spare):
            if not in_time:
                self.spare -= job.chips
            self._start(job)
            return None
        if job.chips > self.free:
            text = f"comes after {kept.id}; asks for {job.chips} chips, {self.free} are free"
        else:
            text = f"would delay {kept.id}, which {kept.chips} chips are kept for"
        return Wait(kind="kept", text=text, before=(kept.id,), earliest_s=self.kept_from_s)

    def _preempt(self, job: Request) -> None:
        rank = self.shares[job.tenant].rank
        if not self.policy.preempt:
            return
        lower = [
            one for one in self.running if one.preemptible and self.shares[one.tenant].rank < rank
        ]
        lower.sort(key=lambda one: (self.shares[one.tenant].rank, -one.started_s, one.id))
        need, stops = job.chips - self.free, []
        for one in lower:
            if need <= 0:
                break
            stops.append(one)
            need -= one.chips
        if need <= 0:
            self.decision.preempts.extend(stops)
