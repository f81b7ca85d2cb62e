"""The HTTP application: every route finds its rows through the caller's organisation only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from sqlalchemy import func, select, text
from starlette.exceptions import HTTPException

from opendojo.service.accounts import add_accounts
from opendojo.service.database import now_ms
from opendojo.service.gate import (
    MOST,
    Admin,
    Bucket,
    Id,
    Managed,
    Reader,
    Submitter,
    own_job,
    problem,
)
from opendojo.service.jobs import Chosen, cancelled, jobs_of, plan, submit_once, waiting
from opendojo.service.ledger import month_begin_ms, rows_csv, totals
from opendojo.service.logs import Access, tell_fault
from opendojo.service.manager import Manager
from opendojo.service.models import Attempt, Job, Tenant
from opendojo.service.page import add_page
from opendojo.service.states import State
from opendojo.service.streams import events as events_of
from opendojo.service.streams import log
from opendojo.service.token_routes import add_tokens
from opendojo.service.wire import PROBLEM, JobAsked, JobShown, Plan, Waiting, shown

if TYPE_CHECKING:
    from opendojo.service.oidc import Provider

__all__ = ["make_app"]


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"


_TEXT = {"type": "string"}
_EVENT = {"type": "object", "properties": dict.fromkeys(("id", "event", "data"), _TEXT)}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}}
}


class _Csv(PlainTextResponse):
    media_type = "text/csv"


class _OctetStream(FileResponse):
    media_type = "application/octet-stream"


def make_app(
    manager: Manager,
    *,
    per_s: float = 50.0,
    burst: float = 500.0,
    provider: Provider | None = None,
) -> FastAPI:
    """The API over a manager's database; the caller runs `manager.tick` beside it."""
    app = FastAPI(
        title="OpenDojo", version="1", docs_url=None, redoc_url=None, responses=_problems()
    )
    app.state.manager, app.state.bucket = manager, Bucket(per_s, burst)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(Exception, _fault)
    _jobs(app)
    _of_job(app)
    _files(app)
    _accounts(app)
    _attempts(app)
    add_tokens(app)
    add_accounts(app)
    if provider is not None:
        from opendojo.service.oidc import add_login

        add_login(app, provider)
    _health(app)
    add_page(app, manager)
    app.add_middleware(Access)
    return app


def _problems() -> dict[int | str, dict[str, Any]]:
    """What any route may answer instead, for the API's document."""
    told = {400: "not readable", 401: "no valid token", 403: "the token lacks a scope",
            404: "not there, or not yours",
            409: "it conflicts with what is there", 422: "it is not well formed",
            429: "too many requests", 503: "what it needs does not answer"}  # fmt: skip
    content = {"application/problem+json": {"schema": PROBLEM}}
    return {status: {"description": text, "content": content} for status, text in told.items()}


def _http_error(_: Request, error: Any) -> Response:
    return problem(error.status_code, str(error.detail))


def _fault(request: Request, error: Exception) -> Response:
    """Our own fault: its cause is in the log only, under the request's name."""
    name = request.state.request
    tell_fault(error, request=name)
    return problem(500, f"a fault of the service; its log has it as request {name}", request=name)


def _bad_request(_: Request, error: Any) -> Response:
    found = [
        {"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()
    ]
    return problem(422, "; ".join(f"{f['where']}: {f['what']}" for f in found), errors=found)


def _jobs(app: FastAPI) -> None:
    again: dict[int | str, dict[str, Any]] = {
        200: {"model": JobShown | Plan, "description": "an earlier job, or the plan"}
    }

    @app.post("/v1/jobs", status_code=201, response_model=JobShown | Plan, responses=again)
    def submit(
        asked: JobAsked,
        caller: Submitter,
        manager: Managed,
        response: Response,
        idempotency_key: Annotated[str, Header(pattern=r"^[ -~]{1,200}$")],
        dry_run: bool = False,
    ) -> JobShown | Plan:
        """Submit a job; the same key and request again give the same job."""
        if dry_run:
            response.status_code = 200
            return plan(manager, caller, asked)
        job, new = submit_once(manager, caller, asked, idempotency_key)
        response.status_code = 201 if new else 200
        return shown(job)

    @app.get("/v1/jobs")
    def list_jobs(
        caller: Reader,
        manager: Managed,
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[str, Query(pattern=r"^([a-z]{3}_[0-9a-f]{8,16})?$")] = "",
        text: Annotated[str, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
    ) -> list[JobShown]:
        """Newest first; `before` a job's id gives the next page, `text` is of the command."""
        chosen = Chosen(state=state, text=text, before=before)
        with manager.database.reading() as session:
            return [shown(job) for job in jobs_of(session, caller, chosen, limit)]


def _of_job(app: FastAPI) -> None:
    @app.get("/v1/jobs/{name}")
    def show(name: Id, caller: Reader, manager: Managed) -> JobShown:
        """One job."""
        with manager.database.reading() as session:
            return shown(own_job(session, caller, name))

    @app.post("/v1/jobs/{name}/cancel")
    def cancel(name: Id, caller: Submitter, manager: Managed) -> JobShown:
        """Cancel a job; one that has ended stays as it is."""
        return shown(cancelled(manager, caller, name))

    @app.get("/v1/jobs/{name}/why")
    def why(name: Id, caller: Reader, manager: Managed) -> Waiting:
        """Why it waits, from the scheduler's own decision; others' jobs stay unnamed."""
        return waiting(manager, caller, name)

    @app.get("/v1/jobs/{name}/events", response_class=_EventStream, responses=_EVENTS)
    def events(
        name: Id, caller: Reader, manager: Managed, follow: bool = True,
        after: Annotated[int, Query(ge=0, le=MOST)] = 0,
    ) -> StreamingResponse:  # fmt: skip
        """What happened to it, as server-sent events, until it has ended."""
        with manager.database.reading() as session:
            own_job(session, caller, name)
        return _EventStream(events_of(manager, caller, name, after, follow))


def _files(app: FastAPI) -> None:
    @app.get("/v1/jobs/{name}/logs", response_class=PlainTextResponse)
    def logs(name: Id, caller: Reader, manager: Managed, follow: bool = False) -> StreamingResponse:
        """The log of its newest attempt; `follow` goes on to later ones, until it has ended."""
        with manager.database.reading() as session:
            own_job(session, caller, name)
        return StreamingResponse(log(manager, caller, name, follow), media_type="text/plain")

    @app.get("/v1/jobs/{name}/artefacts")
    def artefacts(name: Id, caller: Reader, manager: Managed) -> list[str]:
        """Names of the files it wrote; the first 10,000."""
        with manager.database.reading() as session:
            own_job(session, caller, name)
        work = manager.folder(name) / "work"
        files = (path for path in work.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(
            str(path.relative_to(work)) for path, _ in zip(files, range(10_000), strict=False)
        )

    @app.get("/v1/jobs/{name}/artefacts/{file:path}", response_class=_OctetStream)
    def artefact(name: Id, file: str, caller: Reader, manager: Managed) -> FileResponse:
        """One of them."""
        with manager.database.reading() as session:
            own_job(session, caller, name)
        work = (manager.folder(name) / "work").resolve()
        try:
            path = (work / file).resolve()
            if not path.is_relative_to(work) or not path.is_file():
                raise HTTPException(404, "there is no such file")
        except (OSError, ValueError):
            raise HTTPException(404, "there is no such file") from None
        return _OctetStream(path, headers={"X-Content-Type-Options": "nosniff"})


def _accounts(app: FastAPI) -> None:
    @app.get("/v1/usage")
    def usage(
        caller: Reader, manager: Managed,
        begin_ms: Annotated[int, Query(ge=0, le=MOST)] = 0,
        end_ms: Annotated[int, Query(ge=0, le=MOST)] = MOST,
        by: Annotated[str, Query(pattern="^(project|job)?$")] = "",
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Sums of the ledger."""
        with manager.database.reading() as session:
            return totals(session, caller.tenant, begin_ms, end_ms, by)

    @app.get("/v1/ledger", response_class=_Csv)
    def ledger(caller: Reader, manager: Managed) -> Response:
        """The ledger's rows as CSV."""
        with manager.database.reading() as session:
            return _Csv(rows_csv(session, caller.tenant))

    @app.get("/v1/quota")
    def quota(caller: Reader, manager: Managed) -> dict[str, Any]:
        """Budgets of the month and what is used of them; null means no limit."""
        with manager.database.reading() as session:
            tenant = session.get_one(Tenant, caller.tenant)
            spent = totals(session, caller.tenant, month_begin_ms(now_ms()), MOST)[0]
            budgets = ("budget_micro", "budget_chip_ms", "budget_mj")
            names = ("weight", "rank", "cap_chips", "price_micro", *budgets)
            return {"organisation": tenant.name, "used": spent,
                    **{name: getattr(tenant, name) for name in names}}  # fmt: skip


def _attempts(app: FastAPI) -> None:
    @app.get("/v1/attempts/{name}")
    def attempt(name: Id, caller: Reader, manager: Managed) -> dict[str, Any]:
        """One attempt."""
        with manager.database.reading() as session:
            query = select(Attempt).where(Attempt.id == name, Attempt.tenant_id == caller.tenant)
            found = session.scalars(query).one_or_none()
            if found is None:
                raise HTTPException(404, "there is no such attempt")
            names = ("id", "job_id", "number", "made_ms", "ended_ms", "exit_code")
            return {name: getattr(found, name) for name in names}


def _health(app: FastAPI) -> None:
    @app.get("/healthz")
    def health(manager: Managed) -> dict[str, str]:
        """Is the database there."""
        with manager.database.reading() as session:
            session.execute(text("SELECT 1"))
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics(_: Admin, manager: Managed) -> str:
        """Counts of the organisation's jobs, for Prometheus; needs the scope admin."""
        with manager.database.reading() as session:
            query = select(Job.state, func.count()).where(Job.tenant_id == _.tenant)
            rows = session.execute(query.group_by(Job.state)).all()
        lines = [f'opendojo_jobs{{state="{state}"}} {count}' for state, count in rows]
        return "\n".join(["# TYPE opendojo_jobs gauge", *lines, ""])
