"""What the API and the page do with jobs: submit, plan, list, cancel, say why one waits."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, String, cast, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from opendojo.service.database import now_ms
from opendojo.service.forecast import cost_range, energy_range, time_range
from opendojo.service.gate import own_job
from opendojo.service.manager import Manager, move
from opendojo.service.models import Job, Project, Tenant
from opendojo.service.states import State
from opendojo.service.tenants import Caller, audit
from opendojo.service.wire import JobAsked, Plan, Waiting

__all__ = [
    "Chosen",
    "cancelled",
    "counts",
    "jobs_of",
    "plan",
    "submit_once",
    "submitted",
    "waiting",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which of an organisation's jobs are listed; empty fields choose all."""

    state: State | None = None
    text: str = ""
    """Words of the command as they follow one another, or the beginning of a job's id."""
    before: str = ""
    """A job's id: only what was submitted before it."""
    after: str = ""
    """A job's id: only what was submitted after it."""


def jobs_of(session: Session, caller: Caller, chosen: Chosen, limit: int) -> list[Job]:
    """The newest jobs that are chosen, newest first; 404 for another's `before` or `after`."""
    query = _narrowed(select(Job).where(Job.tenant_id == caller.tenant), chosen)
    if chosen.before:
        last = own_job(session, caller, chosen.before)
        query = query.where(
            (Job.submitted_ms < last.submitted_ms)
            | ((Job.submitted_ms == last.submitted_ms) & (Job.id < last.id))
        )
    if not chosen.after:
        query = query.order_by(Job.submitted_ms.desc(), Job.id.desc()).limit(limit)
        return list(session.scalars(query))
    first = own_job(session, caller, chosen.after)
    query = query.where(
        (Job.submitted_ms > first.submitted_ms)
        | ((Job.submitted_ms == first.submitted_ms) & (Job.id > first.id))
    )
    found = session.scalars(query.order_by(Job.submitted_ms, Job.id).limit(limit)).all()
    return list(reversed(found))


def _narrowed(query: Select[Any], chosen: Chosen) -> Select[Any]:
    if chosen.state is not None:
        query = query.where(Job.state == chosen.state)
    if chosen.text.strip().startswith("job_"):
        return query.where(Job.id.startswith(chosen.text.strip(), autoescape=True))
    if words := json.dumps(chosen.text.split())[2:-2]:
        query = query.where(cast(Job.command, String).icontains(words, autoescape=True))
    return query


def counts(session: Session, caller: Caller) -> dict[State, int]:
    """How many jobs of the organisation are in each state."""
    query = select(Job.state, func.count()).where(Job.tenant_id == caller.tenant)
    rows = session.execute(query.group_by(Job.state)).all()
    found = {State(state): count for state, count in rows}
    return {state: found[state] for state in State if state in found}


def submit_once(manager: Manager, caller: Caller, asked: JobAsked, key: str) -> tuple[Job, bool]:
    """`submitted` in a transaction of its own, whoever else sends the same key just now."""
    try:
        with manager.database.writing() as session:
            return submitted(session, caller, asked, key)
    except IntegrityError:  # another request with this key was first
        with manager.database.writing() as session:
            return submitted(session, caller, asked, key)


def submitted(session: Session, caller: Caller, asked: JobAsked, key: str) -> tuple[Job, bool]:
    """The job of that key, new or old (True where new); 409 where the key means another job."""
    digest = asked.digest()
    query = select(Job).where(Job.tenant_id == caller.tenant, Job.key == key)
    old = session.scalars(query).one_or_none()
    if old is not None:
        if old.digest != digest:
            raise HTTPException(409, "this Idempotency-Key was used for another job")
        return old, False
    _check_inputs(session, caller, asked)
    at_ms = now_ms()
    fields = asked.model_dump(exclude={"project"})
    job = Job(
        id=f"job_{secrets.token_hex(8)}", tenant_id=caller.tenant, user_id=caller.user,
        project_id=_project(session, caller, asked.project), key=key, digest=digest,
        state=State.SUBMITTED, submitted_ms=at_ms, changed_ms=at_ms, attempts=0, failures=0,
        **fields,
    )  # fmt: skip
    session.add(job)
    session.flush()
    move(session, job, State.QUEUED, at_ms)
    audit(session, caller, at_ms, "submit", job.id)
    return job, True


def _check_inputs(session: Session, caller: Caller, asked: JobAsked) -> None:
    """404 for a job of another organisation, 409 for one that may still write."""
    for source in asked.inputs.values():
        job = own_job(session, caller, source.partition("/")[0])
        if not State(job.state).finished:
            raise HTTPException(409, f"{job.id} has not ended: its files are not inputs yet")


def _project(session: Session, caller: Caller, name: str) -> str:
    query = select(Project.id).where(Project.tenant_id == caller.tenant, Project.name == name)
    query = query.where(Project.removed_ms.is_(None))
    found = session.scalars(query).one_or_none()
    if found is None:
        raise HTTPException(404, "there is no such project")
    return found


def plan(manager: Manager, caller: Caller, asked: JobAsked) -> Plan:
    """What a job would take; nothing is written."""
    with manager.database.reading() as session:
        _project(session, caller, asked.project)
        _check_inputs(session, caller, asked)
        tenant = session.get_one(Tenant, caller.tenant)
        at_ms = manager.clock()
        job = Job(id="job_plan", tenant_id=caller.tenant, state=State.QUEUED, submitted_ms=at_ms,
                  **asked.model_dump(exclude={"project"}))  # fmt: skip
        decision = manager.decision(session, job)
        starts = any(one.id == "job_plan" for one in decision.starts)
        wait = "" if starts else decision.why(manager.request(job)).text
        time = time_range(session, caller.tenant, asked, manager.machine, manager.chips)
    return Plan(
        time=time,
        cost=cost_range(time, asked.chips, tenant.price_micro),
        energy=energy_range(time, asked.chips, manager.machine),
        starts_now=starts,
        wait=wait,
    )


def cancelled(manager: Manager, caller: Caller, name: str) -> Job:
    """Cancel a job; one that has ended stays as it is. 404 for a job of another."""
    with manager.database.writing() as session:
        job, at_ms = own_job(session, caller, name), now_ms()
        state = State(job.state)
        if state == State.QUEUED:
            move(session, job, State.CANCELLED, at_ms)
        elif not state.finished and state != State.CANCELLING:
            move(session, job, State.CANCELLING, at_ms)
        audit(session, caller, at_ms, "cancel", job.id)
        return job


def waiting(manager: Manager, caller: Caller, name: str) -> Waiting:
    """Why a job waits, with other organisations' jobs unnamed; 404 for a job of another."""
    with manager.database.reading() as session:
        job = own_job(session, caller, name)
        if job.state != State.QUEUED:
            return Waiting(state=job.state, kind="none", text="it does not wait", before=[],
                           earliest_ms=None, sure="certain")  # fmt: skip
        decision = manager.decision(session)
        if any(one.id == name for one in decision.starts):
            return Waiting(state=job.state, kind="next", text="starts with the next decision",
                           before=[], earliest_ms=now_ms(), sure="certain")  # fmt: skip
        wait = decision.why(manager.request(job))
        query = select(Job.id).where(Job.id.in_(wait.before), Job.tenant_id == caller.tenant)
        own = set(session.scalars(query))
    text = wait.text
    for other in set(wait.before) - own:
        text = text.replace(other, "a job of another organisation")
    before = [one if one in own else "other" for one in wait.before]
    earliest = None if wait.earliest_s is None else int(wait.earliest_s * 1000)
    sure = "if running jobs use their whole limit and nothing of higher standing arrives"
    return Waiting(state=job.state, kind=wait.kind, text=text, before=before,
                   earliest_ms=earliest, sure=sure if earliest else "unknown")  # fmt: skip
