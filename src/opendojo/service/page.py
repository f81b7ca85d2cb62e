"""The page: drawn by the server, no script, nothing from elsewhere; keyboard and phone do."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader
from pydantic import ValidationError
from sqlalchemy import select

from opendojo.service.database import now_ms
from opendojo.service.gate import Id
from opendojo.service.ledger import month_begin_ms, totals
from opendojo.service.manager import Manager, move
from opendojo.service.models import Event, Job, Tenant
from opendojo.service.states import State
from opendojo.service.tenants import Caller, audit, find_caller
from opendojo.service.wire import JobAsked

__all__ = ["add_page"]

_FOLDER = Path(__file__).with_name("pages")
_PAGES = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True)
_CSP = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"  # noqa: E501
_COOKIE, _SHOWN, _LOG_BYTES = "opendojo_token", 100, 32_768


def _html(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_PAGES.get_template(name).render(**values), status)


def _visitor(request: Request) -> Caller | None:
    with request.app.state.manager.database.reading() as session:
        caller = find_caller(session, request.cookies.get(_COOKIE, ""), now_ms())
    request.state.caller = caller
    if caller is not None and not request.app.state.bucket.take(caller.token):
        raise HTTPException(429, "too many requests: wait a second")
    return caller if caller is not None and "read" in caller.scopes else None


async def _form(request: Request) -> dict[str, str]:
    """Fields of a form that this page itself sent; others may not act for a visitor."""
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host')}"
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin" or (
        origin is not None and origin not in (own, own.replace("http:", "https:"))
    ):
        raise HTTPException(403, "the form comes from another site")
    body = await request.body()
    if len(body) > 65_536:
        raise HTTPException(413, "the form is too long")
    return {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}


Visitor = Annotated[Caller | None, Depends(_visitor)]
Form = Annotated[dict[str, str], Depends(_form)]


def add_page(app: FastAPI, manager: Manager) -> None:
    """Add the page's routes and the headers of every answer."""

    @app.middleware("http")
    async def headers(request: Request, go: Any) -> Response:
        reply = await go(request)
        reply.headers["Content-Security-Policy"] = _CSP
        reply.headers["X-Content-Type-Options"] = "nosniff"
        reply.headers["Referrer-Policy"] = "same-origin"
        if not request.url.path.endswith("style.css"):
            reply.headers["Cache-Control"] = "no-store"
        return reply

    _sessions(app)
    _queue(app, manager)
    _one_job(app, manager)


def _sessions(app: FastAPI) -> None:
    @app.get("/style.css", include_in_schema=False)
    def style() -> Response:
        return Response((_FOLDER / "style.css").read_text(), media_type="text/css")

    @app.post("/login", include_in_schema=False)
    def login(request: Request, form: Form) -> Response:
        secret = form.get("token", "").strip()
        with request.app.state.manager.database.reading() as session:
            found = find_caller(session, secret, now_ms())
        if found is None:
            return _html(
                "login.html", 401, title="Log in", error="The token is unknown or expired."
            )
        reply = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        reply.set_cookie(_COOKIE, secret, httponly=True, samesite="strict", secure=secure)
        return reply

    @app.post("/logout", include_in_schema=False)
    def logout(form: Form) -> Response:
        reply = RedirectResponse("/", 303)
        reply.delete_cookie(_COOKIE)
        return reply


def _queue(app: FastAPI, manager: Manager) -> None:
    @app.get("/", include_in_schema=False)
    def queue(
        caller: Visitor, before: Annotated[str, Query(pattern=r"^([a-z]{3}_[0-9a-f]{8,16})?$")] = ""
    ) -> Response:
        if caller is None:
            return _html("login.html", title="Log in")
        return _queue_page(manager, caller, before)

    @app.post("/submit", include_in_schema=False)
    def submit(caller: Visitor, form: Form) -> Response:
        from opendojo.service.app import plan, submit_once

        if caller is None or "submit" not in caller.scopes:
            return _html("login.html", 403, title="Log in", error="The token may not submit.")
        typed = {"command": form.get("command", ""), "chips": form.get("chips", "1"),
                 "limit_s": form.get("limit_s", "3600"), "key": form.get("key", "")}  # fmt: skip
        try:
            asked = JobAsked(command=typed["command"].split(), chips=int(typed["chips"]),
                             limit_s=int(typed["limit_s"]))  # fmt: skip
        except ValidationError as error:
            told = "; ".join(one["msg"] for one in error.errors())
            return _queue_page(manager, caller, asked=typed, error=told)
        except ValueError:
            return _queue_page(manager, caller, asked=typed, error="Chips and limit are numbers.")
        if form.get("do") != "submit":
            made = plan(manager, caller, asked)
            return _queue_page(manager, caller, asked=typed, plan=made)
        job, _ = submit_once(manager, caller, asked, f"page-{typed['key'][:64]}")
        return RedirectResponse(f"/jobs/{job.id}", 303)


def _queue_page(manager: Manager, caller: Caller, before: str = "", **more: Any) -> HTMLResponse:
    with manager.database.reading() as session:
        query = select(Job).where(Job.tenant_id == caller.tenant)
        last = session.scalars(query.where(Job.id == before)).one_or_none() if before else None
        if last is not None:
            query = query.where(
                (Job.submitted_ms < last.submitted_ms)
                | ((Job.submitted_ms == last.submitted_ms) & (Job.id < last.id))
            )
        query = query.order_by(Job.submitted_ms.desc(), Job.id.desc()).limit(_SHOWN)
        jobs = session.scalars(query).all()
        tenant = session.get_one(Tenant, caller.tenant)
        used = totals(session, caller.tenant, month_begin_ms(now_ms()), 2**63 - 1)[0]
    values = {
        "asked": {"command": "demo", "chips": "1", "limit_s": "3600"},
        "key": secrets.token_hex(16),
        "more": jobs[-1].id if len(jobs) == _SHOWN else "",
    }
    return _html("queue.html", title=tenant.name, caller=caller, jobs=jobs, used=used,
                 tenant=tenant, **(values | more))  # fmt: skip


def _one_job(app: FastAPI, manager: Manager) -> None:
    @app.get("/jobs/{name}", include_in_schema=False)
    def show(name: Id, caller: Visitor) -> Response:
        from opendojo.service.app import own_job, waiting

        if caller is None:
            return _html("login.html", title="Log in")
        with manager.database.reading() as session:
            job = own_job(session, caller, name)
            query = select(Event).where(Event.job_id == name).order_by(Event.id)
            events = session.scalars(query).all()
        ended = State(job.state).finished
        wait = waiting(manager, caller, name).text if job.state == State.QUEUED else ""
        path = manager.folder(job.id) / f"attempt-{job.attempts}" / "log"
        return _html("job.html", title=job.id, caller=caller, job=job, events=events, wait=wait,
                     ended=ended, log=_tail(path), again_s=0 if ended else 3)  # fmt: skip

    @app.post("/jobs/{name}/cancel", include_in_schema=False)
    def cancel(name: Id, caller: Visitor, form: Form) -> Response:
        from opendojo.service.app import own_job

        if caller is None or "submit" not in caller.scopes:
            return _html("login.html", 403, title="Log in", error="The token may not cancel.")
        with manager.database.writing() as session:
            job, at_ms = own_job(session, caller, name), now_ms()
            state = State(job.state)
            if state == State.QUEUED:
                move(session, job, State.CANCELLED, at_ms)
            elif not state.finished and state != State.CANCELLING:
                move(session, job, State.CANCELLING, at_ms)
            audit(session, caller, at_ms, "cancel", name)
        return RedirectResponse(f"/jobs/{name}", 303)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
