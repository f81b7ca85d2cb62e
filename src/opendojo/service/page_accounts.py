"""Pages of what was used, what is left of the budgets, and the machine."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from opendojo.service.charts import bars
from opendojo.service.database import now_ms
from opendojo.service.ledger import HOUR_MS, month_begin_ms, rows_csv, totals
from opendojo.service.manager import Manager
from opendojo.service.models import Attempt, Interval, Job, Project, Tenant
from opendojo.service.page_frame import Visitor, html
from opendojo.service.states import HOLDING, State
from opendojo.service.tenants import Caller

__all__ = ["add_account_pages"]

_DAY_MS, _MOST_JOBS = 86_400_000, 50


def add_account_pages(app: FastAPI, manager: Manager) -> None:
    """Add their routes."""

    @app.get("/usage", include_in_schema=False)
    def usage(
        caller: Visitor, month: Annotated[str, Query(pattern=r"^([0-9]{4}-[0-9]{2})?$")] = ""
    ) -> Response:
        if caller is None:
            return html("login.html", title="Log in")
        begin_ms, end_ms = _month(month or _name_of(now_ms()))
        with manager.database.reading() as session:
            values = _usage(session, caller, begin_ms, end_ms)
        before, after = _name_of(begin_ms - 1), _name_of(end_ms)
        return html("usage.html", title="Usage and budgets", here="usage", caller=caller,
                    month=_name_of(begin_ms), before=before,
                    after=after if end_ms <= now_ms() else "", **values)  # fmt: skip

    @app.get("/ledger.csv", include_in_schema=False)
    def ledger(caller: Visitor) -> Response:
        if caller is None:
            return html("login.html", 401, title="Log in")
        with manager.database.reading() as session:
            text = rows_csv(session, caller.tenant)
        named = {"Content-Disposition": 'attachment; filename="ledger.csv"'}
        return PlainTextResponse(text, headers=named, media_type="text/csv")

    @app.get("/machines", include_in_schema=False)
    def machines(caller: Visitor) -> Response:
        if caller is None:
            return html("login.html", title="Log in")
        with manager.database.reading() as session:
            values = _holding(session, caller, manager)
        return html("machines.html", title="Machines", here="machines", caller=caller,
                    facts=_facts(manager), again_s=10, **values)  # fmt: skip


def _name_of(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m")


def _month(name: str) -> tuple[int, int]:
    """Its first instant and that of the next, UTC; the present one where there is none such."""
    year, number = int(name[:4]), int(name[5:])
    if not (1971 <= year <= 9000 and 1 <= number <= 12):
        return _month(_name_of(now_ms()))
    first = datetime.datetime(year, number, 1, tzinfo=datetime.UTC)
    begin_ms = int(first.timestamp()) * 1000
    return begin_ms, month_begin_ms(begin_ms + 32 * _DAY_MS)


def _usage(session: Session, caller: Caller, begin_ms: int, end_ms: int) -> dict[str, Any]:
    tenant = session.get_one(Tenant, caller.tenant)
    used = totals(session, caller.tenant, begin_ms, end_ms)[0]
    query = select(Project).where(Project.tenant_id == caller.tenant)
    names = {one.id: one.name for one in session.scalars(query)}
    by_project = totals(session, caller.tenant, begin_ms, end_ms, "project")
    by_job = totals(session, caller.tenant, begin_ms, end_ms, "job")
    by_job.sort(key=lambda row: -row["chip_ms"])
    query = select(Job).where(Job.id.in_([row["job"] for row in by_job[:_MOST_JOBS]]))
    jobs = {job.id: job for job in session.scalars(query)}
    budgets = [
        (what, used[key] / size, None if budget is None else budget / size, unit)
        for what, key, budget, size, unit in (
            ("Money", "money_micro", tenant.budget_micro, 1e6, "currency"),
            ("Chip-hours", "chip_ms", tenant.budget_chip_ms, HOUR_MS, "h"),
            ("Energy", "energy_mj", tenant.budget_mj, 1e3, "J"),
        )
    ]
    return {"tenant": tenant, "used": used, "budgets": budgets, "names": names,
            "by_project": by_project, "by_job": by_job[:_MOST_JOBS], "jobs": jobs,
            "left_out": max(0, len(by_job) - _MOST_JOBS),
            "days": _days(session, caller, begin_ms, end_ms)}  # fmt: skip


def _days(session: Session, caller: Caller, begin_ms: int, end_ms: int) -> str:
    day = (Interval.end_ms - Interval.end_ms % _DAY_MS).label("day")
    query = select(day, func.sum(Interval.chip_ms)).where(
        Interval.tenant_id == caller.tenant, Interval.end_ms >= begin_ms, Interval.end_ms < end_ms
    )
    found = {
        int(at): int(sum_ms) / HOUR_MS for at, sum_ms in session.execute(query.group_by("day"))
    }
    days = range(begin_ms, min(end_ms, now_ms() + 1), _DAY_MS)
    labels = [
        datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).strftime("%d %b") for at in days
    ]
    return bars(labels, [found.get(at, 0.0) for at in days], "chip-hours") if labels else ""


def _holding(session: Session, caller: Caller, manager: Manager) -> dict[str, Any]:
    """Who has the chips: one's own jobs by name, all others as one line."""
    query = (
        select(Job, Attempt)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempts))
        .where(Job.state.in_(list(HOLDING)))
    )
    rows = session.execute(query.order_by(Attempt.made_ms)).all()
    own = [(job, attempt) for job, attempt in rows if job.tenant_id == caller.tenant]
    held = sum(job.chips for job, _ in rows)
    queued = select(func.count(), func.coalesce(func.sum(Job.chips), 0))
    queued = queued.where(Job.state == State.QUEUED)
    waiting, chips = session.execute(queued).one()
    mine = session.scalar(queued.where(Job.tenant_id == caller.tenant))
    return {"chips": manager.chips, "held": held, "free": max(0, manager.chips - held),
            "own": own, "own_chips": sum(job.chips for job, _ in own),
            "others": len(rows) - len(own), "waiting": waiting, "waiting_chips": int(chips),
            "mine": mine}  # fmt: skip


def _facts(manager: Manager) -> list[tuple[str, str]]:
    facts = [("Backend", type(manager.launcher).__name__.removesuffix("Launcher").lower())]
    if manager.machine.pod is not None and manager.machine.chip is not None:
        facts.append(("Chips", f"{manager.machine.chip.name} in {manager.machine.pod.name}"))
    else:
        facts.append(("Chips", "this machine's processors"))
    if (watts := manager.machine.chip_w()) is not None:
        facts.append(("Power of a chip", f"{watts[0]:.3g} to {watts[1]:.3g} W ({watts[2]})"))
    facts.append(("Host", f"{os.cpu_count()} threads, {platform.system()} {platform.release()}"))
    facts.append(("Load, 1 minute", f"{os.getloadavg()[0]:.2f}"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 2**30
    facts.append(("Memory", f"{memory:.1f} GiB, {free:.1f} GiB unused"))
    disk = shutil.disk_usage(manager.root if manager.root.exists() else "/")
    facts.append(("Disk of the jobs", f"{disk.free / 1e9:.0f} of {disk.total / 1e9:.0f} GB free"))
    return facts
