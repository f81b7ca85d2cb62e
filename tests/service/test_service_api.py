"""The API: idempotency, plans, errors, the page."""

from __future__ import annotations

import pytest
from service_help import add_tenant

JOB = {"command": ["demo"], "chips": 1, "limit_s": 60}


def _head(secret, key="k"):
    return {"Authorization": f"Bearer {secret}", "Idempotency-Key": key}


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


def test_one_key_sent_many_times_at_once_is_one_job(api, database):
    from concurrent.futures import ThreadPoolExecutor

    _, secret = add_tenant(database, "a")
    api.post("/login", data={"token": secret})
    form = {"command": "demo", "key": "k", "do": "submit"}
    post = lambda: api.post("/v1/jobs", json=JOB, headers=_head(secret)).json()["id"]  # noqa: E731
    send = lambda: api.post("/submit", data=form, follow_redirects=False)  # noqa: E731
    ways = [post, lambda: send().headers["location"]]
    for way in ways:
        with ThreadPoolExecutor(8) as pool:
            assert len({one.result() for one in [pool.submit(way) for _ in range(24)]}) == 1
    assert len(api.get("/v1/jobs", headers=_head(secret)).json()) == 2


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
