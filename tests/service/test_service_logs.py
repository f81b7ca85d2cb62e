"""Logs are JSON lines that name caller, request and fault, and hold no secret."""

from __future__ import annotations

import io
import json
import logging

import pytest
from service_help import add_tenant


@pytest.fixture
def lines():
    """What the service logs, as it is written."""
    from opendojo.service.logs import install

    names = ("opendojo.service", "uvicorn")
    before = [(logging.getLogger(n), logging.getLogger(n).level, logging.getLogger(n).propagate)
              for n in names]  # fmt: skip
    stream = io.StringIO()
    handler = install(stream)

    def read():
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield read
    for logger, level, propagate in before:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def test_requests_and_moves_are_told_without_secrets(api, database, lines):
    tenant, secret = add_tenant(database, "a")
    head = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "key-word"}
    body = {"command": ["demo", "--word", "body\nword"[:4]]}
    made = api.post("/v1/jobs?dry_run=false", json=body, headers=head)
    job = made.json()["id"]
    api.get(f"/v1/jobs/{job}?x=query-word", headers=head)
    api.get("/v1/jobs", headers={"Authorization": "Bearer odj_wrong-word"})
    api.get("/nowhere%0afake-line")
    api.post("/login", data={"token": secret})
    api.get("/")
    told = lines()
    requests = [one for one in told if one["event"] == "request"]
    assert [(one["verb"], one["route"], one["status"]) for one in requests[:3]] == [
        ("POST", "/v1/jobs", 201),
        ("GET", "/v1/jobs/{name}", 200),
        ("GET", "/v1/jobs", 401),
    ]
    assert requests[0]["request"] == made.headers["x-request-id"]
    assert requests[0]["organisation"] == tenant and requests[0]["token"].startswith("tok_")
    assert requests[1]["names"] == {"name": job} and requests[2]["organisation"] is None
    assert (requests[3]["status"], requests[3]["route"]) == (404, None)
    assert requests[-1]["route"] == "/" and requests[-1]["organisation"] == tenant
    moves = [(one["job"], one["old"], one["new"]) for one in told if one["event"] == "move"]
    assert moves == [(job, "submitted", "queued")]
    text = json.dumps(told)
    assert not [word for word in (secret, "wrong-word", "query-word", "key-word", "fake-line")
                if word in text]  # fmt: skip


def test_a_fault_is_named_to_the_caller_and_told_in_the_log_only(api, database, lines):
    from sqlalchemy import text

    _, secret = add_tenant(database, "a")
    with database.writing() as session:
        session.execute(text("DROP TABLE audit"))
    reply = api.get("/v1/audit", headers={"Authorization": f"Bearer {secret}"})
    assert reply.status_code == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert "audit" not in reply.text and "Traceback" not in reply.text
    faults = [one for one in lines() if one["event"] == "fault"]
    assert [one["request"] for one in faults] == [reply.json()["request"]]
    assert "Traceback" in faults[0]["error"] and "audit" in faults[0]["error"]
    assert faults[0]["level"] == "error"
