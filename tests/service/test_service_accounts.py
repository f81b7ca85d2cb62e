"""Tokens end with their makers; organisations, members, projects and budgets over the API."""

from __future__ import annotations

import pytest
from service_help import add_job, add_tenant


def _head(secret):
    return {"Authorization": f"Bearer {secret}"}


def _status(api, secret):
    return api.get("/v1/quota", headers=_head(secret)).status_code


def _new(api, secret, scopes=("read",), **more):
    asked = {"scopes": list(scopes)} | more
    return api.post("/v1/tokens", json=asked, headers=_head(secret))


@pytest.fixture
def operator(database):
    from opendojo.service.serve import first_token

    return first_token(database)


def test_a_token_never_outlives_the_one_that_made_it(api, database):
    from opendojo.service.models import Token

    _, secret = add_tenant(database, "a")
    made = _new(api, secret, ("read", "submit"), lifetime_s=366 * 86400).json()
    with database.reading() as session:
        parent = session.query(Token).filter(Token.parent_id.is_(None)).one()
        assert made["expires_ms"] == parent.expires_ms
    grand = _new(api, made["token"]).json()
    assert _new(api, made["token"], ["admin"]).status_code == 403
    assert _status(api, grand["token"]) == 200
    with database.writing() as session:
        session.get_one(Token, parent.id).expires_ms = 1
    assert [_status(api, one) for one in (secret, made["token"], grand["token"])] == [401] * 3
    with database.writing() as session:
        session.get_one(Token, parent.id).expires_ms = parent.expires_ms
    assert _status(api, grand["token"]) == 200
    with database.writing() as session:  # marked by hand: no walk over children helps here
        session.get_one(Token, made["id"]).revoked_ms = 1
    assert [_status(api, one) for one in (secret, made["token"], grand["token"])] == [200, 401, 401]


def test_revoking_ends_children_and_those_made_for_others(api, database):
    _, secret = add_tenant(database, "a")
    user = api.post("/v1/users", json={"name": "bob", "role": "admin"}, headers=_head(secret))
    lead = _new(api, secret, ("read", "admin")).json()
    bob = _new(api, lead["token"], ("read", "admin"), user=user.json()["id"]).json()
    deeper = _new(api, bob["token"]).json()
    kept = api.delete(f"/v1/tokens/{lead['id']}?keep_issued=true", headers=_head(secret))
    assert kept.status_code == 204
    assert [_status(api, one["token"]) for one in (lead, bob, deeper)] == [401, 200, 200]
    assert api.delete(f"/v1/tokens/{lead['id']}", headers=_head(secret)).status_code == 204
    assert [_status(api, one["token"]) for one in (lead, bob, deeper)] == [401, 401, 401]
    assert _status(api, secret) == 200


def test_a_weak_token_revokes_only_itself_and_its_children(api, database):
    _, secret = add_tenant(database, "a")
    reader, sister = _new(api, secret, ("read", "submit")).json(), _new(api, secret).json()
    child = _new(api, reader["token"]).json()
    assert _new(api, child["token"]).status_code == 403, "a reader makes no tokens"
    for name in (sister["id"], "tok_0000000000000000"):
        assert api.delete(f"/v1/tokens/{name}", headers=_head(reader["token"])).status_code == 404
    gone = api.delete(f"/v1/tokens/{child['id']}", headers=_head(reader["token"]))
    assert gone.status_code == 204 and _status(api, child["token"]) == 401
    listed = api.get("/v1/tokens", headers=_head(secret))
    assert len(listed.json()) == 4 and "odj_" not in listed.text and "digest" not in listed.text


def test_tokens_are_not_made_without_end(api, database):
    _, secret = add_tenant(database, "a")
    for _ in range(7):
        secret = _new(api, secret, ("read", "submit")).json()["token"]
    assert _new(api, secret).status_code == 409


def test_a_token_for_another_ends_no_later_than_its_maker(api, database, operator):
    _, secret = add_tenant(database, "a")
    bob = api.post("/v1/users", json={"name": "bob", "role": "admin"}, headers=_head(secret))
    brief = _new(api, secret, ("read", "admin"), lifetime_s=60).json()
    for asked in (("read",), ("read", "admin")):
        made = _new(api, brief["token"], asked, user=bob.json()["id"], lifetime_s=86400).json()
        assert made["expires_ms"] == brief["expires_ms"]
    short = _new(api, operator, ("read", "operator", "admin"), lifetime_s=60).json()
    assert _new(api, operator, ("operator",)).status_code == 201
    org = api.post("/v1/organisations", headers=_head(short["token"]), json={"name": "lidar"})
    assert org.status_code == 403, "a maker without submit gives none"
    boss = _new(api, operator, ("read", "submit", "operator", "admin"), lifetime_s=60).json()
    org = api.post("/v1/organisations", headers=_head(boss["token"]), json={"name": "lidar"}).json()
    assert _status(api, org["token"]) == 200
    assert api.delete(f"/v1/tokens/{boss['id']}", headers=_head(operator)).status_code == 204
    assert _status(api, org["token"]) == 401


def test_an_operator_makes_and_changes_organisations(api, database, operator):
    made = api.post("/v1/organisations", headers=_head(operator),
                    json={"name": "lidar", "weight": 3, "budget_chip_ms": 3_600_000})  # fmt: skip
    assert made.status_code == 201
    org, admin = made.json()["id"], made.json()["token"]
    again = api.post("/v1/organisations", headers=_head(operator), json={"name": "lidar"})
    assert again.status_code == 409
    quota = api.get("/v1/quota", headers=_head(admin)).json()
    assert (quota["weight"], quota["budget_chip_ms"], quota["budget_micro"]) == (3, 3_600_000, None)
    changed = api.patch(f"/v1/organisations/{org}", headers=_head(operator),
                        json={"budget_chip_ms": None, "budget_mj": 7})  # fmt: skip
    assert (changed.json()["budget_chip_ms"], changed.json()["weight"]) == (None, 3)
    for secret, status in ((admin, 403), (add_tenant(database, "b")[1], 404)):
        reply = api.patch(f"/v1/organisations/{org}", json={"weight": 9}, headers=_head(secret))
        assert reply.status_code == status
        assert api.delete(f"/v1/organisations/{org}", headers=_head(secret)).status_code == status
    assert len(api.get("/v1/organisations", headers=_head(operator)).json()) == 3
    assert [one["id"] for one in api.get("/v1/organisations", headers=_head(admin)).json()] == [org]
    job = {"command": ["demo"]}
    head = _head(admin) | {"Idempotency-Key": "k"}
    name = api.post("/v1/jobs", json=job, headers=head).json()["id"]
    assert api.delete(f"/v1/organisations/{org}", headers=_head(operator)).status_code == 409
    api.post(f"/v1/jobs/{name}/cancel", headers=_head(admin))
    assert api.delete(f"/v1/organisations/{org}", headers=_head(operator)).status_code == 204
    assert _status(api, admin) == 401
    log = api.get("/v1/audit", headers=_head(operator)).json()
    assert [one["action"].split(":")[0] for one in log] == [
        "remove organisation", "change organisation", "new organisation"]  # fmt: skip


def test_members_roles_and_projects(api, database, operator):
    _, admin = add_tenant(database, "a")
    _, other = add_tenant(database, "b")
    refused = api.post("/v1/users", json={"name": "x", "role": "operator"}, headers=_head(admin))
    assert refused.status_code == 403
    bob = api.post("/v1/users", json={"name": "bob", "role": "submitter"}, headers=_head(admin))
    name = bob.json()["id"]
    token = _new(api, admin, ("read", "submit"), user=name).json()["token"]
    assert _new(api, admin, ("admin",), user=name).status_code == 409
    assert _new(api, other, ("read",), user=name).status_code == 404
    made = api.post("/v1/projects", json={"name": "night"}, headers=_head(admin)).json()
    for path, body in (
        (f"users/{name}", {"role": "admin"}),
        (f"projects/{made['id']}", {"name": "z"}),
    ):
        assert api.patch(f"/v1/{path}", json=body, headers=_head(other)).status_code == 404
        assert api.delete(f"/v1/{path}", headers=_head(other)).status_code == 404
        assert api.patch(f"/v1/{path}", json=body, headers=_head(token)).status_code == 403
    head = _head(token) | {"Idempotency-Key": "k"}
    job = {"command": ["demo"], "project": "night"}
    assert api.post("/v1/jobs", json=job, headers=head).status_code == 201
    assert api.delete(f"/v1/projects/{made['id']}", headers=_head(admin)).status_code == 409
    down = api.patch(f"/v1/users/{name}", json={"role": "viewer"}, headers=_head(admin))
    assert down.json()["role"] == "viewer"
    head["Idempotency-Key"] = "k2"
    assert api.post("/v1/jobs", json=job, headers=head).status_code == 403
    assert api.delete(f"/v1/users/{name}", headers=_head(admin)).status_code == 204
    assert _status(api, token) == 401
    me = next(u for u in api.get("/v1/users", headers=_head(admin)).json() if u["name"] == "ann")
    assert api.delete(f"/v1/users/{me['id']}", headers=_head(admin)).status_code == 409
    actions = [one["action"] for one in api.get("/v1/audit", headers=_head(admin)).json()]
    assert actions == ["remove user", "role viewer", "submit", "new project", "new token",
                       "new submitter"]  # fmt: skip


def test_an_operator_is_not_ruled_by_an_admin_beside_it(api, database, operator):
    from opendojo.service.models import User

    with database.reading() as session:
        boss = session.query(User).one().id
    role = {"name": "eve", "role": "admin"}
    eve = api.post("/v1/users", json=role, headers=_head(operator)).json()["id"]
    admin = _new(api, operator, ("read", "admin"), user=eve).json()["token"]
    assert api.delete(f"/v1/users/{boss}", headers=_head(admin)).status_code == 403
    assert _new(api, admin, ("read", "operator"), user=boss).status_code == 403


def test_a_stream_ends_with_its_token(api, database):
    import asyncio

    from opendojo.service.database import now_ms
    from opendojo.service.models import Token
    from opendojo.service.streams import Seen, events, live, log
    from opendojo.service.tenants import find_caller, revoke_token

    tenant, secret = add_tenant(database, "a")
    job = add_job(database, tenant)
    with database.reading() as session:
        caller = find_caller(session, secret, now_ms())
    assert caller is not None
    path = api.manager.folder(job) / "attempt-0" / "log"
    path.parent.mkdir(parents=True)
    path.write_text("a line")

    async def listen():
        streams = [events(api.manager, caller, job, 0, True), log(api.manager, caller, job, True),
                   live(api.manager, caller, job, Seen())]  # fmt: skip
        first = [await anext(one) for one in streams]
        with database.writing() as session:
            revoke_token(session, session.query(Token).one(), now_ms())
        path.write_text("a line, and a secret")
        return first, [[more async for more in one] for one in streams]

    first, later = asyncio.run(listen())
    assert first[:2] == [": alive\n\n", b"a line"] and "a line" in first[2]
    assert "secret" not in str(later)
