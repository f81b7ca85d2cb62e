"""Every route of the API's own document and of the page, with another organisation's ids."""

from __future__ import annotations

import copy
import itertools
import json
import re

import pytest
from service_help import add_tenant

NOBODY = "0123456789abcdef"
"""The hexadecimal digits of ids that nobody has."""


def _head(secret, key="k"):
    return {
        "Authorization": f"Bearer {secret}",
        "Idempotency-Key": key,
        "Cookie": f"opendojo_token={secret}",
    }


def _operations(api):
    """Verb, path, names of queries, schema of the body."""
    told = api.get("/openapi.json").json()
    for path, verbs in told["paths"].items():
        for verb, one in verbs.items():
            queries = [p["name"] for p in one.get("parameters", ()) if p["in"] == "query"]
            schema = None
            if "requestBody" in one:
                ref = one["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                schema = told["components"]["schemas"][ref.rpartition("/")[2]]
            yield verb, path, queries, schema
    for route in api.app.routes:  # the page
        if not getattr(route, "include_in_schema", True) and hasattr(route, "methods"):
            for verb in sorted(route.methods - {"HEAD"}):
                if route.path not in ("/openapi.json", "/logout"):
                    yield verb.lower(), route.path, ["before"], None


def _bodies(schema, name, count):
    """The document's example, and one body a property that could hold the id."""
    example = copy.deepcopy(schema["examples"][0])
    for key, kind in schema["properties"].items():
        body = example | ({"name": f"name-{next(count)}"} if "name" in example else {})
        kinds = {one.get("type") for one in kind.get("anyOf", [kind])}
        if "string" in kinds:
            yield body | {key: name}
        if "array" in kinds:
            yield body | {key: [name]}
            yield body | {key: [*example.get(key, ()), name]}
        if "object" in kinds:
            yield body | {key: {"x": name}}
            yield body | {key: {"x": f"{name}/f"}}


def _requests(operation, name, count):
    """What can be asked with an id: address, queries, body."""
    verb, path, queries, schema = operation
    url = path.replace("{file}", "f").replace("{file:path}", "f")
    calm = {"follow": "false"} if "follow" in queries else {}
    if "{name}" in path:
        yield verb, url.replace("{name}", name), calm, schema and schema["examples"][0]
        return
    for query in (one for one in queries if one not in calm):
        yield verb, url, {**calm, query: name}, schema and schema["examples"][0]
    if schema is None:
        yield verb, url, calm, None
    else:
        yield from ((verb, url, calm, body) for body in _bodies(schema, name, count))


def _rows(database, tenant=None):
    """All rows, or all of one organisation."""
    from opendojo.service.models import Base

    found = {}
    with database.reading() as session:
        for name, table in Base.metadata.tables.items():
            own = table.c.id if name == "tenant" else table.c.tenant_id
            query = table.select() if tenant is None else table.select().where(own == tenant)
            found[name] = sorted(map(repr, session.execute(query)))
    return found


def _files(folder):
    return sorted((str(one), one.is_file() and one.read_text()) for one in folder.rglob("*"))


@pytest.fixture
def calm(api):
    """The API without its limit of requests a second."""
    from opendojo.service.gate import Bucket

    api.app.state.bucket = Bucket(1e9, 1e9)
    return api


@pytest.fixture
def theirs(calm, database):
    """Another organisation with something in every table: its id, admin's token and all its ids."""
    tenant, secret = add_tenant(database, "SECRET-ORG")
    head = _head(secret)
    member = calm.post("/v1/users", headers=head, json={"name": "SECRET-bob", "role": "admin"})
    calm.post("/v1/projects", json={"name": "SECRET-project"}, headers=head)
    calm.post("/v1/tokens", json={"scopes": ["read"], "user": member.json()["id"]}, headers=head)
    ask = {"command": ["demo", "--secret-word"], "limit_s": 60}
    jobs = [calm.post("/v1/jobs", json=ask, headers=_head(secret, key)).json()["id"]
            for key in ("a", "b", "c")]  # fmt: skip
    for _ in range(3):
        calm.manager.tick()
    launcher = calm.manager.launcher
    launcher.advance(5000)
    calm.manager.tick()
    launcher.end(next(iter(launcher.runs)), 0)
    calm.manager.tick()
    for job in jobs:
        for name in ("work", "attempt-1"):
            (calm.manager.folder(job) / name).mkdir(parents=True, exist_ok=True)
        (calm.manager.folder(job) / "work" / "f").write_text("secret-file")
        (calm.manager.folder(job) / "attempt-1" / "log").write_text("secret-log")
    names = set()
    for name, rows in _rows(database, tenant).items():
        assert rows, f"nothing in {name}: the test would prove nothing about it"
        names |= set(re.findall(r"\b[a-z]{3}_[0-9a-f]{16}\b", " ".join(rows)))
    assert {name[:3] for name in names} == {"ten", "prj", "usr", "tok", "job", "att"}
    states = {calm.get(f"/v1/jobs/{one}", headers=head).json()["state"] for one in jobs}
    assert states > {"running"}
    return tenant, secret, sorted(names)


def _one_of_each(names):
    return [next(group) for _, group in itertools.groupby(names, key=lambda name: name[:3])]


SLOW = [pytest.param(role, marks=pytest.mark.slow) for role in ("viewer", "submitter")]


@pytest.mark.parametrize("role", ["admin", *SLOW])
def test_another_organisations_ids_are_as_if_they_were_not_there(calm, database, theirs, role):
    from opendojo.service.database import now_ms
    from opendojo.service.models import User
    from opendojo.service.tenants import ROLES, make_token

    other, _, names = theirs
    mine, _ = add_tenant(database, "mine")
    with database.writing() as session:
        user = session.query(User).filter_by(tenant_id=mine).one()
        secret, _ = make_token(session, user, ROLES[role], now_ms(), 3600)
    before, files, tried = _rows(database, other), _files(calm.manager.root), 0
    count = itertools.count()
    reads_first = sorted(
        _operations(calm), key=lambda one: (one[0] != "get", one[1].startswith("/v1"))
    )
    for operation in reads_first:
        for name in _one_of_each(names):
            nobody = f"{name[:4]}{NOBODY}"
            pairs = zip(_requests(operation, name, count), _requests(operation, nobody, count),
                        strict=True)  # fmt: skip
            for pair in pairs:
                told, asked = [], ""
                for (verb, url, queries, body), own in zip(pair, (name, nobody), strict=True):
                    reply = calm.request(verb, url, params=queries, json=body,
                                         headers=_head(secret, f"k{next(count)}"))  # fmt: skip
                    tried += 1
                    asked = f"{verb} {url} {queries} {json.dumps(body)}"
                    assert reply.status_code < 500, asked
                    text = reply.text
                    assert "secret-" not in text.lower(), asked
                    seen = [one for one in names if one in text and one not in asked]
                    assert not seen, (asked, seen)
                    told.append((reply.status_code, text.replace(own, "ID")))
                    if own in url:
                        assert reply.status_code in (401, 403, 404, 422), asked
                if told[1][0] >= 400:
                    assert told[0] == told[1], f"{asked}: it can be told that the id exists"
                assert told[0][0] == told[1][0], asked
        assert _rows(database, other) == before, f"{operation[:2]} changed another's rows"
    assert _files(calm.manager.root) == files
    assert tried > 300


def test_their_owner_sees_them(calm, theirs):
    _, secret, names = theirs
    head = _head(secret)
    for kind, path in (("job", "/v1/jobs/{}"), ("att", "/v1/attempts/{}")):
        for name in (one for one in names if one.startswith(kind)):
            assert calm.get(path.format(name), headers=head).status_code == 200
    job = next(one for one in names if one.startswith("job"))
    assert calm.get(f"/v1/jobs/{job}/artefacts/f", headers=head).text == "secret-file"
    listed = calm.get("/v1/users", headers=head).text
    assert (
        "SECRET-bob" in listed and "SECRET-project" in calm.get("/v1/projects", headers=head).text
    )


def test_no_token_and_dead_tokens_do_nothing(calm, database, theirs):
    from opendojo.service.database import now_ms
    from opendojo.service.models import User
    from opendojo.service.tenants import ROLES, make_token, revoke_token

    other, _, names = theirs
    with database.writing() as session:
        user = session.query(User).filter_by(tenant_id=other, name="ann").one()
        old, _ = make_token(session, user, ROLES["admin"], now_ms() - 10_000, 1)
        gone, row = make_token(session, user, ROLES["admin"], now_ms(), 3600)
        bare, _ = make_token(session, user, (), now_ms(), 3600)
        revoke_token(session, row, now_ms())
    before, count = _rows(database), itertools.count()
    job = next(one for one in names if one.startswith("job"))
    for verb, path, queries, schema in _operations(calm):
        page = not path.startswith("/v1") and path != "/metrics"
        for asked in itertools.islice(_requests((verb, path, queries, schema), job, count), 2):
            _, url, params, body = asked
            for secret, status in (
                (None, 401),
                (old, 401),
                (gone, 401),
                ("odj_x", 401),
                (bare, 403),
            ):
                head = _head(secret) if secret else {}
                reply = calm.request(verb, url, params=params, json=body, headers=head)
                assert "secret-" not in reply.text.lower() and reply.status_code < 500
                if not page:
                    assert reply.status_code == status, (verb, url, status)
                    assert reply.headers["content-type"] == "application/problem+json"
    assert _rows(database) == before


def test_a_token_that_may_only_read_changes_nothing(calm, database, theirs):
    _, secret, names = theirs
    made = calm.post("/v1/tokens", json={"scopes": ["read"]}, headers=_head(secret)).json()
    before, count = _rows(database), itertools.count()
    for operation in _operations(calm):
        if operation[0] == "get":
            continue
        for name in _one_of_each(names):
            for verb, url, params, body in _requests(operation, name, count):
                reply = calm.request(verb, url, params=params, json=body,
                                     headers=_head(made["token"]))  # fmt: skip
                assert 300 <= reply.status_code < 500, (verb, url)
    assert _rows(database) == before
