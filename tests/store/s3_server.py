"""A real S3 server (moto) on a free port of this machine, with faults to order.

It runs as a process of its own, so that its threads and warnings are not those of the test:

    with S3Server() as server:
        server.faults("500", "cut", share=3, depth=2)     # a third of all requests, twice each
        fsspec.filesystem("s3", endpoint_url=server.url)
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["KINDS", "S3Server"]

KINDS = ("500", "503", "cut", "lie", "drop", "slow")
"""`cut`: half of the body, then the line goes dead. `lie`: half of the body, and said to be all.
`drop`: the line goes dead at once. `slow`: the right answer, late."""


class S3Server:
    """The server as its user sees it. `url` is its endpoint."""

    def __enter__(self) -> S3Server:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.kill()
        self._process.communicate()

    def faults(self, *kinds: str, share: int = 1, depth: int = 1, slow_s: float = 0.2) -> None:
        """One in `share` of all requests for bytes fails `depth` times, in turn by `kinds`.

        Which ones is a hash of what is asked, so it does not hang on how requests interleave.
        """
        self._control({"kinds": kinds, "share": share, "depth": depth, "slow_s": slow_s})

    def counts(self) -> dict[str, int]:
        """Requests, bytes and faults since last time."""
        return self._control({})

    def _control(self, order: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/_control", json.dumps(order).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


class _Faulty:
    """WSGI before moto's: counts, and spoils what it is ordered to spoil."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.lock = threading.Lock()
        self.order: dict[str, Any] = {"kinds": [], "share": 1, "depth": 0}
        self.seen: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def __call__(self, environ: Any, start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_control":
            return self.control(environ, start)
        fault = self.fault(environ) if environ["REQUEST_METHOD"] in ("GET", "HEAD") else None
        if fault == "slow":
            time.sleep(self.order["slow_s"])
        if fault in ("500", "503"):
            code = {"500": "InternalError", "503": "SlowDown"}[fault]
            start(f"{fault} {code}", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]
        if fault == "drop":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        return self.answer(environ, start, fault)

    def answer(self, environ: Any, start: Callable[..., Any], fault: str | None) -> Iterable[bytes]:
        said: list[Any] = []
        body = b"".join(self.app(environ, lambda *args: said.extend(args)))
        status = said[0]
        headers = {name: text for name, text in said[1] if name.lower() not in ("server", "date")}
        if environ["REQUEST_METHOD"] == "GET" and fault in ("cut", "lie") and len(body) > 1:
            whole, body = len(body), body[: len(body) // 2]
            headers["Content-Length"] = str(len(body) if fault == "lie" else whole)
        with self.lock:
            self.counts["bytes"] += len(body)
        start(status, list(headers.items()))
        yield body
        if fault == "cut":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    def fault(self, environ: Any) -> str | None:
        """What is to befall this request."""
        asked = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ.get('HTTP_RANGE')}"
        with self.lock:
            self.counts[f"{environ['REQUEST_METHOD'].lower()}s"] += 1
            times = self.seen[asked]
            self.seen[asked] += 1
            number = int.from_bytes(hashlib.sha256(asked.encode()).digest()[:4], "little")
            kinds = self.order["kinds"]
            if not kinds or number % self.order["share"] or times >= self.order["depth"]:
                return None
            self.counts["faults"] += 1
            return kinds[(number // self.order["share"] + times) % len(kinds)]

    def control(self, environ: Any, start: Callable[..., Any]) -> Iterable[bytes]:
        order = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with self.lock:
            if order:
                self.order = order
                self.seen.clear()
            body = json.dumps(self.counts).encode()
            self.counts.clear()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


def main() -> None:
    """Serve until standard input ends, which it does when whoever started us dies."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app = _Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
