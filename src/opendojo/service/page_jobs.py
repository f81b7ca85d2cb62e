"""Pages of jobs: the list, submitting with a plan before, one job as it goes."""

from __future__ import annotations

import secrets
import shlex
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from pydantic import ValidationError
from sqlalchemy import select

from opendojo.service.charts import Curves
from opendojo.service.gate import Id, own_job
from opendojo.service.jobs import Chosen, cancelled, counts, jobs_of, plan, submit_once, waiting
from opendojo.service.manager import Manager
from opendojo.service.models import Attempt, Event, Project, Tenant
from opendojo.service.page_frame import Form, Visitor, html
from opendojo.service.states import State
from opendojo.service.streams import Seen, live, log_path, log_piece
from opendojo.service.tenants import Caller
from opendojo.service.wire import COMMANDS, JobAsked

__all__ = ["add_job_pages"]

_SHOWN, _LOG_BYTES = 100, 65_536
_EMPTY = {"command": "demo", "chips": "1", "workers": "1", "limit_s": "3600", "priority": "0",
          "project": "default", "preemptible": "yes"}  # fmt: skip
_Job = Annotated[str, Query(pattern=r"^([a-z]{3}_[0-9a-f]{8,16})?$")]


def add_job_pages(app: FastAPI, manager: Manager) -> None:
    """Add their routes."""
    _list(app, manager)
    _submit(app, manager)
    _one(app, manager)
    _live(app, manager)


def _login(status: int = 200, error: str = "") -> HTMLResponse:
    return html("login.html", status, title="Log in", error=error)


def _list(app: FastAPI, manager: Manager) -> None:
    @app.get("/", include_in_schema=False)
    def queue(
        caller: Visitor, before: _Job = "", after: _Job = "",
        state: Annotated[str, Query(max_length=20)] = "",
        text: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:  # fmt: skip
        if caller is None:
            return _login()
        only = State(state) if state in list(State) else None
        chosen = Chosen(state=only, text=text, before=before, after=after)
        with manager.database.reading() as session:
            found = jobs_of(session, caller, chosen, _SHOWN + 1)
            by_state = counts(session, caller)
            tenant = session.get_one(Tenant, caller.tenant).name
        more = len(found) > _SHOWN
        jobs = found[-_SHOWN:] if after else found[:_SHOWN]
        older = jobs[-1].id if jobs and (more or after) else ""
        newer = jobs[0].id if jobs and (before or (after and more)) else ""
        narrowed = {"state": only or "", "text": text}
        links: dict[str, Any] = {
            "older": older and "?" + urlencode(narrowed | {"before": older}),
            "newer": newer and "?" + urlencode(narrowed | {"after": newer}),
            "newest": (before or after) and "?" + urlencode(narrowed),
        }
        return html("jobs.html", title=f"Jobs of {tenant}", here="jobs", caller=caller, jobs=jobs,
                    counts=by_state, chosen=narrowed, states=list(State), **links)  # fmt: skip


def _submit(app: FastAPI, manager: Manager) -> None:
    @app.get("/submit", include_in_schema=False)
    def empty(caller: Visitor) -> Response:
        return _login() if caller is None else _form_page(manager, caller, dict(_EMPTY))

    @app.post("/submit", include_in_schema=False)
    def submit(caller: Visitor, form: Form) -> Response:
        if caller is None or "submit" not in caller.scopes:
            return _login(403, "The token may not submit.")
        typed = {name: form.get(name, value) for name, value in _EMPTY.items()}
        typed["preemptible"] = form.get("preemptible", "" if "workers" in form else "yes")
        typed["key"] = form.get("key", "")
        try:
            asked = _asked(typed)
            if form.get("do") != "submit":
                made = plan(manager, caller, asked)
                return _form_page(manager, caller, typed, plan=made)
            job, _ = submit_once(manager, caller, asked, f"page-{typed['key'][:64]}")
        except ValidationError as error:
            told = "; ".join(one["msg"] for one in error.errors())
            return _form_page(manager, caller, typed, error=told)
        except ValueError as error:
            return _form_page(manager, caller, typed, error=str(error))
        except HTTPException as error:
            return _form_page(manager, caller, typed, error=str(error.detail))
        return RedirectResponse(f"/jobs/{job.id}", 303)


def _asked(typed: dict[str, str]) -> JobAsked:
    numbers = {}
    for name in ("chips", "workers", "limit_s", "priority"):
        try:
            numbers[name] = int(typed[name])
        except ValueError:
            raise ValueError(f"{name.removesuffix('_s')} is not a whole number") from None
    return JobAsked(command=shlex.split(typed["command"]), project=typed["project"],
                    preemptible=bool(typed["preemptible"]), **numbers)  # fmt: skip


def _form_page(manager: Manager, caller: Caller, typed: dict[str, str], **more: Any) -> Response:
    with manager.database.reading() as session:
        query = select(Project.name).where(Project.tenant_id == caller.tenant)
        projects = session.scalars(query.where(Project.removed_ms.is_(None))).all()
    typed["key"] = typed.get("key") or secrets.token_hex(16)
    status = 422 if more.get("error") else 200
    return html("submit.html", status, title="Submit a job", here="submit", caller=caller,
                asked=typed, projects=sorted(projects), commands=sorted(COMMANDS),
                most=manager.chips, **more)  # fmt: skip


def _one(app: FastAPI, manager: Manager) -> None:
    @app.get("/jobs/{name}", include_in_schema=False)
    def show(name: Id, caller: Visitor) -> Response:
        if caller is None:
            return _login()
        with manager.database.reading() as session:
            job = own_job(session, caller, name)
            query = select(Event).where(Event.job_id == name).order_by(Event.id)
            events = session.scalars(query).all()
            query = select(Attempt).where(Attempt.job_id == name).order_by(Attempt.number)
            attempts = session.scalars(query).all()
            project = session.get_one(Project, job.project_id).name
        ended = State(job.state).finished
        wait = waiting(manager, caller, name) if job.state == State.QUEUED else None
        path = log_path(manager, name, job.attempts)
        size = path.stat().st_size if path.exists() else 0
        begin = max(0, size - _LOG_BYTES)
        text = log_piece(path, begin, size - begin).decode(errors="replace") if size else ""
        seen = Seen(events[-1].id if events else 0, job.attempts, size)
        return html("job.html", title=" ".join(job.command)[:80], here="jobs", caller=caller,
                    job=job, events=events, attempts=attempts, project=project, wait=wait,
                    ended=ended, log=text, cut=begin, seen=seen,
                    charts=Curves().drawn(manager.folder(name) / "work") or "",
                    again_s=0 if ended else 5)  # fmt: skip

    @app.post("/jobs/{name}/cancel", include_in_schema=False)
    def cancel(name: Id, caller: Visitor, form: Form) -> Response:
        if caller is None or "submit" not in caller.scopes:
            return _login(403, "The token may not cancel.")
        cancelled(manager, caller, name)
        return RedirectResponse(f"/jobs/{name}", 303)


def _live(app: FastAPI, manager: Manager) -> None:
    @app.get("/jobs/{name}/live", include_in_schema=False)
    def stream(
        name: Id, request: Request, caller: Visitor,
        begin: Annotated[str, Query(max_length=80)] = "",
    ) -> Response:  # fmt: skip
        if caller is None:
            raise HTTPException(401, "log in first")
        with manager.database.reading() as session:
            own_job(session, caller, name)
        seen = Seen.read(request.headers.get("last-event-id", begin))
        return StreamingResponse(live(manager, caller, name, seen), media_type="text/event-stream")
