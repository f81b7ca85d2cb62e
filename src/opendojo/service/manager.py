"""The loop that brings what runs and what is written into line; it may be killed at any instant.

Every step is: read, one small transaction, then an act that is safe to repeat. An attempt's row
is committed before its launch, so a launch is never unknown; launchers run an attempt once at most,
so a launch repeated after a crash is harmless.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from opendojo.service.admission import Decision, Policy, Request, Share, decayed, decide, own_order
from opendojo.service.database import Database, now_ms
from opendojo.service.launcher import Launcher, Status, Task
from opendojo.service.ledger import HOUR_MS, bill, month_begin_ms
from opendojo.service.models import Attempt, Event, Interval, Job, Tenant
from opendojo.service.states import HOLDING, State, check_move

__all__ = ["Manager", "Situation", "move", "situation"]

_log = logging.getLogger("opendojo.service")

_FINAL_CODES = (2, 3)
"""Exit codes of `opendojo` for wrong usage and bad data: the same command fails the same way."""


def move(session: Session, job: Job, new: State, at_ms: int, text: str = "") -> None:
    """Change a job's state, if it is still in the one we know; write the event.

    Raises IllegalMove for what the table does not have, RuntimeError where another was first.
    """
    old = State(job.state)
    check_move(old, new)
    changed = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == old)
        .values(state=new, changed_ms=at_ms)
        .execution_options(synchronize_session=False)
    )
    if changed.rowcount != 1:  # type: ignore[attr-defined]
        raise RuntimeError(f"{job.id} left {old} meanwhile")
    session.refresh(job)
    session.add(
        Event(job_id=job.id, tenant_id=job.tenant_id, at_ms=at_ms, state=new,
              attempt=job.attempts, text=text)
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything a decision is taken on."""

    queues: dict[str, list[Request]]
    running: list[Request]
    shares: dict[str, Share]


def situation(session: Session, policy: Policy, at_ms: int) -> Situation:
    """Read queue, running jobs and tenants' shares from the database."""
    holding = session.execute(
        select(Job, Attempt)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempts))
        .where(Job.state.in_(list(HOLDING)))
    ).all()
    running = [_request(job, attempt.made_ms) for job, attempt in holding]
    queues: dict[str, list[Request]] = {}
    for job in session.scalars(select(Job).where(Job.state == State.QUEUED)):
        queues.setdefault(job.tenant_id, []).append(_request(job))
    for queue in queues.values():
        queue.sort(key=lambda one: own_order(one, policy))
    return Situation(
        queues=queues, running=running, shares=_shares(session, running, policy, at_ms)
    )


def _request(job: Job, started_ms: int = 0) -> Request:
    return Request(
        id=job.id,
        tenant=job.tenant_id,
        chips=job.chips,
        limit_s=job.limit_s,
        priority=job.priority,
        submitted_s=job.submitted_ms / 1000,
        preemptible=job.preemptible and job.state == State.RUNNING,
        started_s=started_ms / 1000,
    )


def _shares(
    session: Session, running: list[Request], policy: Policy, at_ms: int
) -> dict[str, Share]:
    hour = (Interval.end_ms - Interval.end_ms % HOUR_MS).label("hour")
    since = at_ms - int(10 * policy.half_life_s * 1000)
    usage: dict[str, float] = {}
    for tenant, end_ms, chip_ms in session.execute(
        select(Interval.tenant_id, hour, func.sum(Interval.chip_ms))
        .where(Interval.end_ms >= since)
        .group_by(Interval.tenant_id, "hour")
    ):
        age_s = (at_ms - int(end_ms)) / 1000
        counted = decayed(int(chip_ms) / 1000, age_s, policy.half_life_s)
        usage[tenant] = usage.get(tenant, 0.0) + counted
    month = month_begin_ms(at_ms)
    sums = [
        func.sum(Interval.chip_ms),
        func.sum(Interval.money_micro),
        func.sum(Interval.energy_mj),
    ]
    spent = {
        row[0]: [int(value or 0) for value in row[1:]]
        for row in session.execute(
            select(Interval.tenant_id, *sums)
            .where(Interval.end_ms >= month)
            .group_by(Interval.tenant_id)
        )
    }
    served = dict(
        session.execute(
            select(Attempt.tenant_id, func.max(Attempt.made_ms)).group_by(Attempt.tenant_id)
        ).all()  # type: ignore[arg-type]
    )
    committed: dict[str, float] = {}
    for job in running:
        committed[job.tenant] = committed.get(job.tenant, 0.0) + job.chips * job.limit_s
    return {
        one.id: _share(one, usage.get(one.id, 0.0), served.get(one.id, 0) / 1000,
                       spent.get(one.id, [0, 0, 0]), committed.get(one.id, 0.0))
        for one in session.scalars(select(Tenant))
    }  # fmt: skip


def _share(one: Tenant, usage: float, served_s: float, spent: list[int], committed: float) -> Share:
    chip_ms, money, energy = spent
    left: list[float] = []
    if one.budget_chip_ms is not None:
        left.append((one.budget_chip_ms - chip_ms) / 1000)
    if one.budget_micro is not None and one.price_micro:
        left.append((one.budget_micro - money) / one.price_micro * 3600)
    out = one.budget_mj is not None and energy >= one.budget_mj
    return Share(
        weight=one.weight,
        rank=one.rank,
        usage_chip_s=usage,
        served_s=served_s,
        cap_chips=one.cap_chips,
        budget="joules" if out else "",
        left_chip_s=min(left) - committed if left else None,
    )


class Manager:
    """Owns the machine's chips; one of it at a time works on a database."""

    def __init__(
        self,
        database: Database,
        launcher: Launcher,
        root: Path,
        chips: int,
        policy: Policy | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.database, self.launcher, self.root = database, launcher, root
        self.chips, self.policy, self.clock = chips, policy or Policy(), clock

    def tick(self) -> Decision:
        """Look after all attempts, then decide who starts."""
        with self.database.reading() as session:
            holding = session.scalars(select(Job.id).where(Job.state.in_(list(HOLDING)))).all()
        for job in holding:
            try:
                self._attend(job)
            except Exception:
                _log.exception("job %s could not be attended; it is tried again", job)
        return self._schedule()

    def decision(self, session: Session, extra: Job | None = None) -> Decision:
        """What would be decided now, with one job more if given; nothing is changed."""
        at_ms = self.clock()
        now = situation(session, self.policy, at_ms)
        if extra is not None:
            queue = now.queues.setdefault(extra.tenant_id, [])
            queue.append(_request(extra))
            queue.sort(key=lambda one: own_order(one, self.policy))
        return decide(now.queues, now.running, now.shares, self.chips, at_ms / 1000, self.policy)

    def request(self, job: Job) -> Request:
        """A waiting job as the scheduler sees it."""
        return _request(job)

    def folder(self, job: str) -> Path:
        """Where a job's files are."""
        return self.root / "jobs" / job

    def task(self, job: Job, attempt: Attempt) -> Task:
        """An attempt as launchers take it."""
        folder = self.folder(job.id)
        return Task(
            id=attempt.id,
            command=tuple(job.command),
            chips=job.chips,
            limit_s=job.limit_s,
            work=folder / "work",
            folder=folder / f"attempt-{attempt.number}",
            account=job.tenant_id,
            workers=job.workers,
            inputs=tuple(self._input(name, source) for name, source in job.inputs.items()),
        )

    def _input(self, name: str, source: str) -> tuple[str, str, str]:
        job, _, path = source.partition("/")
        return str(self.folder(job) / "work"), path, name

    def _attend(self, name: str) -> None:
        with self.database.reading() as session:
            job, attempt = _current(session, name)
        task = self.task(job, attempt)
        if job.state == State.ADMITTED:
            with self.database.writing() as session:
                job, attempt = _current(session, name)
                if job.state != State.ADMITTED:
                    return
                move(session, job, State.STARTING, self.clock())
        if job.state == State.STARTING:
            self.launcher.ensure(task)
        if job.state in (State.PREEMPTING, State.CANCELLING):
            self.launcher.stop(task)
        status = self.launcher.poll(task)
        if status.phase == "absent":
            return
        with self.database.writing() as session:
            job, attempt = _current(session, name)
            self._settle(session, job, attempt, status)

    def _settle(self, session: Session, job: Job, attempt: Attempt, status: Status) -> None:
        at_ms = self.clock()
        if State(job.state) not in HOLDING or attempt.ended_ms is not None:
            return
        if status.report is not None:
            bill(session, job, attempt, status.report)
        if status.phase == "running":
            if job.state == State.STARTING:
                move(session, job, State.RUNNING, at_ms)
            return
        attempt.ended_ms, attempt.exit_code = at_ms, status.exit_code
        session.flush()
        self._finish(session, job, status, at_ms)

    def _finish(self, session: Session, job: Job, status: Status, at_ms: int) -> None:
        if status.exit_code == 0:
            move(session, job, State.SUCCEEDED, at_ms)
        elif job.state == State.CANCELLING:
            move(session, job, State.CANCELLED, at_ms)
        elif job.state == State.PREEMPTING:
            move(session, job, State.PREEMPTED, at_ms)
            move(session, job, State.QUEUED, at_ms, "goes on from its checkpoint")
        else:
            code = status.exit_code
            text = "was lost" if code is None else f"ended with exit code {code}"
            job.failures += 1
            session.flush()
            if job.failures <= job.retries and code not in _FINAL_CODES:
                move(session, job, State.RETRYING, at_ms, text)
                move(session, job, State.QUEUED, at_ms, "is tried again")
            else:
                move(session, job, State.FAILED, at_ms, text)

    def _schedule(self) -> Decision:
        with self.database.writing() as session:
            decision = self.decision(session)
            at_ms = self.clock()
            for request in decision.starts:
                job = session.get_one(Job, request.id)
                job.attempts += 1
                session.add(
                    Attempt(id=f"att_{secrets.token_hex(8)}", job_id=job.id,
                            tenant_id=job.tenant_id, number=job.attempts, made_ms=at_ms)
                )  # fmt: skip
                session.flush()
                move(session, job, State.ADMITTED, at_ms)
            for request in decision.preempts:
                job = session.get_one(Job, request.id)
                move(session, job, State.PREEMPTING, at_ms, "its chips go to a higher rank")
        return decision


def _current(session: Session, name: str) -> tuple[Job, Attempt]:
    job = session.get_one(Job, name)
    query = select(Attempt).where(Attempt.job_id == name, Attempt.number == job.attempts)
    return job, session.scalars(query).one()
