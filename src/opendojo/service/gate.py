"""What every route goes through: who calls, how often, what is theirs, how errors look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from opendojo.service.database import now_ms
from opendojo.service.manager import Manager
from opendojo.service.models import Job
from opendojo.service.tenants import Caller, find_caller

__all__ = ["MOST", "Admin", "Bucket", "Id", "Maker", "Managed", "Operator", "Reader", "Submitter",
           "own_job", "problem"]  # fmt: skip

Id = Annotated[str, Path(pattern=r"^[a-z]{3}_[0-9a-f]{8,16}$")]
MOST = 2**63 - 1
_bearer = HTTPBearer(auto_error=False)


@dataclass(slots=True)
class Bucket:
    """Requests a token may make: `per_s` in the long run, `burst` at once."""

    per_s: float
    burst: float
    left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, token: str) -> bool:
        """Is this request within what the token may make."""
        now_s = time.monotonic()
        left, at_s = self.left.get(token, (self.burst, now_s))
        left = min(self.burst, left + (now_s - at_s) * self.per_s)
        self.left[token] = (max(left - 1, 0), now_s)
        return left >= 1


def problem(status: int, detail: str, **more: Any) -> JSONResponse:
    """An error as RFC 9457 has it."""
    import http

    body = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status,
            "detail": detail, **more}  # fmt: skip
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _caller(*scopes: str) -> Callable[..., Caller]:
    def find(
        request: Request,
        found: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Caller:
        if found is None:
            raise HTTPException(401, "send a token: Authorization: Bearer odj_...")
        with request.app.state.manager.database.reading() as session:
            caller = find_caller(session, found.credentials, now_ms())
        if caller is None:
            raise HTTPException(401, "the token is unknown, expired or revoked")
        if not request.app.state.bucket.take(caller.token):
            raise HTTPException(429, "too many requests: wait a second")
        if not caller.scopes.intersection(scopes):
            raise HTTPException(403, f"the token lacks the scope {' or '.join(scopes)}")
        return caller

    return find


Reader = Annotated[Caller, Depends(_caller("read"))]
Submitter = Annotated[Caller, Depends(_caller("submit"))]
Admin = Annotated[Caller, Depends(_caller("admin"))]
Operator = Annotated[Caller, Depends(_caller("operator"))]
Maker = Annotated[Caller, Depends(_caller("submit", "admin"))]


def _manager(request: Request) -> Manager:
    return request.app.state.manager


Managed = Annotated[Manager, Depends(_manager)]


def own_job(session: Session, caller: Caller, name: str) -> Job:
    """A job of the caller's organisation; any other is 404, as if it were not there."""
    query = select(Job).where(Job.id == name, Job.tenant_id == caller.tenant)
    job = session.scalars(query).one_or_none()
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job
