"""The API: isolation generated from its own document, idempotency, errors."""

from __future__ import annotations

import pytest
from service_help import add_tenant, state_of

JOB = {"command": ["demo"], "chips": 1, "limit_s": 60}


def _head(secret, key="k"):
    return {"Authorization": f"Bearer {secret}", "Idempotency-Key": key}


def _operations(api):
    for path, verbs in api.get("/openapi.json").json()["paths"].items():
        for verb in verbs:
            yield verb, path


def test_no_endpoint_tells_another_tenant_anything(api, database):
    from opendojo.service.models import Attempt, Project, Token, User

    _, mine = add_tenant(database, "mine")
    other, theirs = add_tenant(database, "SECRET-ORG")
    body = JOB | {"command": ["demo", "--secret-word"]}
    job = api.post("/v1/jobs", json=body, headers=_head(theirs)).json()["id"]
    api.manager.tick()
    api.manager.tick()
    folder = api.manager.folder(job)
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "f").write_text("secret-file")
    (folder / "attempt-1").mkdir()
    (folder / "attempt-1" / "log").write_text("secret-log")
    with database.reading() as session:
        attempt = session.query(Attempt.id).one()[0]
        tokens = [row[0] for row in session.query(Token.id).filter_by(tenant_id=other)]
        rows = [session.query(kind.id).filter_by(tenant_id=other) for kind in (User, Project)]
        accounts = [row[0] for query in rows for row in query]
    names = [job, attempt, other, *tokens, *accounts]
    tried = 0
    for verb, path in _operations(api):
        for name in names if "{" in path else [""]:
            url = path.replace("{name}", name).replace("{file}", "f")
            before = {"before": job} if path == "/v1/jobs" and verb == "get" else {}
            for params in ({"follow": "false"}, {"follow": "false", **before}):
                reply = api.request(verb, url, headers=_head(mine, f"{tried}"), params=params)
                tried += 1
                assert reply.status_code < 500
                text = reply.text.lower()
                assert "secret-" not in text and not (job in text and job not in url)
                if name:
                    assert reply.status_code in (404, 422), (verb, url)
    assert tried > 60
    assert state_of(database, job) == "running"
    own = api.get(f"/v1/jobs/{job}/artefacts/f", headers=_head(theirs))
    assert own.text == "secret-file"


def test_no_token_expired_revoked_and_wrong_scope(api, database):
    from opendojo.service.database import now_ms
    from opendojo.service.models import User
    from opendojo.service.tenants import make_token

    add_tenant(database, "a")
    with database.writing() as session:
        user = session.query(User).one()
        old, _ = make_token(session, user, ["read"], now_ms() - 10_000, 1)
        gone, row = make_token(session, user, ["read"], now_ms(), 60)
        row.revoked_ms = now_ms()
        reader, _ = make_token(session, user, ["read"], now_ms(), 60)
    for verb, path in _operations(api):
        if path in ("/healthz",):
            continue
        url = path.replace("{name}", "job_00000000").replace("{file}", "f")
        assert api.request(verb, url, json={}).status_code == 401, (verb, url)
        for secret in (old, gone, "odj_x"):
            assert api.request(verb, url, json={}, headers=_head(secret)).status_code == 401
    assert api.post("/v1/jobs", json=JOB, headers=_head(reader)).status_code == 403
    assert (
        api.post("/v1/tokens", json={"scopes": ["admin"]}, headers=_head(reader)).status_code == 403
    )
    reply = api.get("/v1/jobs/nonsense", headers=_head(reader))
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")


def test_idempotency_plan_why_and_cancel(api, database):
    _, secret = add_tenant(database, "a", price_micro=2_000_000)
    plan = api.post("/v1/jobs?dry_run=true", json=JOB | {"chips": 3}, headers=_head(secret)).json()
    assert plan["dry_run"] and not plan["starts_now"] and "there are 2" in plan["wait"]
    assert plan["cost"]["high"] == 3 * 2 * 60 / 3600
    assert api.get("/v1/jobs", headers=_head(secret)).json() == []
    first = api.post("/v1/jobs", json=JOB, headers=_head(secret))
    again = api.post("/v1/jobs", json=JOB, headers=_head(secret))
    other = api.post("/v1/jobs", json=JOB | {"chips": 2}, headers=_head(secret))
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["id"] == again.json()["id"]
    api.manager.tick()
    big = api.post("/v1/jobs", json=JOB | {"chips": 2}, headers=_head(secret, "big")).json()["id"]
    why = api.get(f"/v1/jobs/{big}/why", headers=_head(secret)).json()
    assert (why["kind"], why["before"]) == ("room", [first.json()["id"]])
    assert api.post(f"/v1/jobs/{big}/cancel", headers=_head(secret)).json()["state"] == "cancelled"
    events = api.get(f"/v1/jobs/{big}/events", headers=_head(secret)).text
    assert [line for line in events.splitlines() if "data" in line][-1].count("cancelled")
    assert api.get("/v1/quota", headers=_head(secret)).json()["price_micro"] == 2_000_000


@pytest.mark.parametrize("words", [["rm"], ["demo", "/etc/x"], ["train", "-d=../x"],
                                   ["train", "~root"], ["store", "file:///etc"]])  # fmt: skip
def test_commands_stay_in_their_folder(api, database, words):
    _, secret = add_tenant(database, "a")
    reply = api.post("/v1/jobs", json=JOB | {"command": words}, headers=_head(secret))
    assert reply.status_code == 422


def test_page_logs_in_plans_submits_and_cancels(api, database):
    _, secret = add_tenant(database, "<b>org</b>")
    assert "Log in" in api.get("/").text
    assert api.post("/login", data={"token": "odj_no"}).status_code == 401
    page = api.post("/login", data={"token": secret})
    assert (
        "&lt;b&gt;org" in page.text
        and "default-src 'none'" in page.headers["content-security-policy"]
    )
    ask = {"command": "demo", "chips": "1", "limit_s": "60", "key": "1"}
    assert "start at once" in api.post("/submit", data=ask | {"do": "plan"}).text
    shown = api.post("/submit", data=ask | {"do": "submit"})
    assert shown.url.path.startswith("/jobs/job_") and "queued" in shown.text
    evil = api.post(f"{shown.url.path}/cancel", headers={"Origin": "http://evil.example"})
    assert evil.status_code == 403
    assert "cancelled" in api.post(f"{shown.url.path}/cancel", data={"x": "y"}).text
    _, other = add_tenant(database, "other")
    api.post("/login", data={"token": other})
    assert api.get(shown.url.path).status_code == 404
