"""The page: drawn by the server, readable without its one script, nothing from elsewhere.

Here are logging in and out and what every page has; `page_jobs` and `page_accounts` have the rest.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from opendojo.service.database import now_ms
from opendojo.service.manager import Manager
from opendojo.service.page_accounts import add_account_pages
from opendojo.service.page_frame import COOKIE, FOLDER, Form, html
from opendojo.service.page_jobs import add_job_pages
from opendojo.service.tenants import find_caller

__all__ = ["add_page"]

_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_FIXED = {"style.css": "text/css", "live.js": "text/javascript"}


def add_page(app: FastAPI, manager: Manager) -> None:
    """Add the page's routes and the headers of every answer."""

    @app.middleware("http")
    async def headers(request: Request, go: Any) -> Response:
        reply = await go(request)
        reply.headers["Content-Security-Policy"] = _CSP
        reply.headers["X-Content-Type-Options"] = "nosniff"
        reply.headers["Referrer-Policy"] = "same-origin"
        fixed = request.url.path[1:] in _FIXED
        reply.headers["Cache-Control"] = "max-age=300" if fixed else "no-store"
        return reply

    _sessions(app)
    add_job_pages(app, manager)
    add_account_pages(app, manager)


def _fixed(app: FastAPI, name: str, kind: str) -> None:
    text = (FOLDER / name).read_text()

    @app.get(f"/{name}", include_in_schema=False)
    def fixed() -> Response:
        return Response(text, media_type=kind)


def _sessions(app: FastAPI) -> None:
    for name, kind in _FIXED.items():
        _fixed(app, name, kind)

    @app.post("/login", include_in_schema=False)
    def login(request: Request, form: Form) -> Response:
        secret = form.get("token", "").strip()
        with request.app.state.manager.database.reading() as session:
            found = find_caller(session, secret, now_ms())
        if found is None:
            return html("login.html", 401, title="Log in", error="The token is unknown or expired.")
        reply = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        reply.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=secure)
        return reply

    @app.post("/logout", include_in_schema=False)
    def logout(form: Form) -> Response:
        reply = RedirectResponse("/", 303)
        reply.delete_cookie(COOKIE)
        return reply
