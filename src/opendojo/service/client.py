"""The API from Python."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Client", "Refused", "exchange", "login_path"]


class Refused(ValueError):
    """The service said no; the sentence is its own."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def login_path() -> Path:
    """Where `opendojo login` keeps address and token."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "opendojo" / "login.json"


def exchange(address: str, id_token: str, organisation: str = "") -> str:
    """A token of the service for an ID token of its identity provider. Raises Refused."""
    body = {"id_token": id_token, "organisation": organisation}
    reply = httpx.post(f"{address.rstrip('/')}/v1/login", json=body, timeout=30)
    if reply.is_error:
        _refuse(reply)
    return reply.json()["token"]


class Client:
    """A service's jobs, usage and quota; a repeat after a lost answer submits nothing twice."""

    def __init__(self, address: str, token: str, timeout_s: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout_s)

    @classmethod
    def logged_in(cls) -> Client:
        """With what `opendojo login` kept. Raises ValueError where that was never called."""
        try:
            kept = json.loads(login_path().read_text())
        except FileNotFoundError:
            raise ValueError(
                "not logged in: call `opendojo login ADDRESS --token odj_...`"
            ) from None
        return cls(kept["address"], kept["token"])

    def submit(
        self,
        command: Sequence[str],
        *,
        key: str | None = None,
        dry_run: bool = False,
        tries: int = 5,
        **asked: Any,
    ) -> dict[str, Any]:
        """Submit words after `opendojo`, with chips, limit_s, priority and so on."""
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        body = {"command": list(command), **asked}
        for left in reversed(range(tries)):
            try:
                return self._call("POST", "/v1/jobs", json=body, headers=headers,
                                  params={"dry_run": dry_run})  # fmt: skip
            except httpx.TransportError:
                if not left:
                    raise
                time.sleep(0.2)
        raise AssertionError

    def jobs(self, state: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Newest first."""
        params = {"limit": limit, **({"state": state} if state else {})}
        return self._call("GET", "/v1/jobs", params=params)

    def job(self, name: str) -> dict[str, Any]:
        """One job."""
        return self._call("GET", f"/v1/jobs/{name}")

    def cancel(self, name: str) -> dict[str, Any]:
        """Cancel it."""
        return self._call("POST", f"/v1/jobs/{name}/cancel")

    def why(self, name: str) -> dict[str, Any]:
        """Why it waits."""
        return self._call("GET", f"/v1/jobs/{name}/why")

    def usage(self, by: str = "") -> list[dict[str, Any]]:
        """Sums of the ledger, in all or by project or job."""
        return self._call("GET", "/v1/usage", params={"by": by})

    def quota(self) -> dict[str, Any]:
        """The month's budgets."""
        return self._call("GET", "/v1/quota")

    def artefacts(self, name: str) -> list[str]:
        """Files a job wrote."""
        return self._call("GET", f"/v1/jobs/{name}/artefacts")

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """Pieces of the log, to the job's end where `follow`."""
        with self._http.stream("GET", f"/v1/jobs/{name}/logs", params={"follow": follow},
                               timeout=None) as reply:  # fmt: skip
            if reply.is_error:
                reply.read()
                _refuse(reply)
            yield from reply.iter_text()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _call(self, verb: str, path: str, **more: Any) -> Any:
        reply = self._http.request(verb, path, **more)
        if reply.is_error:
            _refuse(reply)
        return reply.json()


def _refuse(reply: httpx.Response) -> None:
    try:
        detail = reply.json()["detail"]
    except (ValueError, KeyError):
        detail = f"the service answered {reply.status_code}"
    raise Refused(reply.status_code, detail)
