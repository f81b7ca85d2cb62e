"""What every page is made with: templates, who visits, forms that were really sent from here."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from opendojo.service.database import now_ms
from opendojo.service.tenants import Caller, find_caller

__all__ = ["COOKIE", "FOLDER", "Form", "Visitor", "html"]

FOLDER = Path(__file__).with_name("pages")
COOKIE = "opendojo_token"


def _moment(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _span(length_s: float) -> str:
    """Seconds as people say them."""
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if length_s >= 2 * unit_s:
            return f"{length_s / unit_s:.3g} {unit}"
    return f"{length_s:.3g} s"


_PAGES = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_PAGES.filters.update(moment=_moment, span=_span)


def html(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page out of its template."""
    return HTMLResponse(_PAGES.get_template(name).render(**values), status)


def _visitor(request: Request) -> Caller | None:
    with request.app.state.manager.database.reading() as session:
        caller = find_caller(session, request.cookies.get(COOKIE, ""), now_ms())
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
