"""Logs for programs: a JSON object a line, one for every request and every move of a job.

A line has `at`, `level`, `event` and fields by name; never a token, a query or a body.
"""

from __future__ import annotations

import datetime
import json
import logging
import secrets
import sys
import time
from typing import Any, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Access", "JsonLines", "install", "tell", "tell_fault"]

_log = logging.getLogger("opendojo.service")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def tell(event: str, **fields: Any) -> None:
    """Log an event with its fields."""
    _log.info(event, extra={"fields": fields})


def tell_fault(error: Exception, **fields: Any) -> None:
    """Log an error that is ours, with its traceback and fields."""
    _log.error("fault", exc_info=error, extra={"fields": fields})


def install(stream: TextIO | None = None, *, level: int = logging.INFO) -> logging.Handler:
    """Send the service's lines and uvicorn's to a stream, stderr by default; gives the handler."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name, least in (("opendojo.service", level), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(least)
        logger.addHandler(handler)
        logger.propagate = False
    return handler


class Access:
    """Names every request in `X-Request-Id` and tells of it when its answer has been sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name, begun_s, status = secrets.token_hex(8), time.monotonic(), 0
        state = scope.setdefault("state", {})
        state["request"] = name

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, receive, named)
        finally:
            caller, route = state.get("caller"), scope.get("route")
            tell(
                "request", request=name, verb=scope["method"], status=status or None,
                route=getattr(route, "path", None), names=scope.get("path_params") or None,
                ms=round(1000 * (time.monotonic() - begun_s), 3),
                organisation=caller and caller.tenant, user=caller and caller.user,
                token=caller and caller.token,
            )  # fmt: skip
