"""The whole API under generated requests: what its own document allows and does not allow."""

from __future__ import annotations

import warnings

import pytest
from service_help import add_tenant

pytestmark = pytest.mark.slow

CALM = {"after": 0, "follow": False}
"""Queries that would make a stream wait for what never comes."""


def _schema(api):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schemathesis = pytest.importorskip("schemathesis")
        return schemathesis.openapi.from_asgi("/openapi.json", api.app)


def _own_ids(api, secret):
    """An id of the caller's own for each folder of the API, so that routes are gone into."""
    head = {"Authorization": f"Bearer {secret}"}
    job = api.post("/v1/jobs", json={"command": ["demo"]},
                   headers=head | {"Idempotency-Key": "k"}).json()["id"]  # fmt: skip
    for _ in range(3):
        api.manager.tick()
    attempt = next(iter(api.manager.launcher.runs))
    api.manager.launcher.end(attempt, 0)
    api.manager.tick()
    work = api.manager.folder(job) / "work"
    work.mkdir(parents=True)
    (work / "f").write_text("text")
    user = api.post("/v1/users", json={"name": "bob", "role": "viewer"}, headers=head).json()["id"]
    project = api.post("/v1/projects", json={"name": "p"}, headers=head).json()["id"]
    token = api.post("/v1/tokens", json={"scopes": ["read"]}, headers=head).json()["id"]
    return {"jobs": job, "attempts": attempt, "users": user, "projects": project, "tokens": token}


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
@pytest.mark.parametrize("role", ["operator", "admin", "nobody"])
def test_generated_requests_meet_the_document(api, database, role, mode):
    from schemathesis.core.failures import FailureGroup

    from opendojo.service.gate import Bucket
    from opendojo.service.serve import first_token

    api.app.state.bucket = Bucket(1e9, 1e9)
    secret = first_token(database) or ""
    if role != "operator":
        secret = add_tenant(database, "a")[1]
    own = _own_ids(api, secret)
    known, failed, calls = "" if role == "nobody" else secret, [], 0
    for found in _schema(api).get_all_operations():
        operation = found.ok()
        try:
            calls += _storm(operation, known, own, mode, tries=25)
        except FailureGroup as group:
            failed.append(f"{operation.label}: {[str(one) for one in group.exceptions]}")
    assert not failed, "\n".join(failed)
    assert calls > 500
    assert api.get("/healthz").json() == {"status": "ok"}


def _storm(operation, secret, own, mode, tries):
    """Call it with generated requests; every answer must be one that the document has."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS

    names = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
             "response_schema_conformance")  # fmt: skip
    slowness = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
    checks, made = [CHECKS.get_one(name) for name in names], []
    strategy = operation.as_strategy(GenerationMode[mode])
    kind = operation.path.split("/")[2] if operation.path.count("/") > 2 else ""

    @settings(max_examples=tries, deadline=None, derandomize=True, database=None,
              suppress_health_check=slowness)  # fmt: skip
    @given(case=strategy)
    def storm(case):
        if kind in own and mode == "POSITIVE" and len(made) % 2:
            case.path_parameters = {**case.path_parameters, "name": own[kind]}
            if "file" in case.path_parameters:
                case.path_parameters["file"] = "f"
        for key in set(CALM) & set(case.query or {}):
            case.query[key] = CALM[key]
        head = {"Authorization": f"Bearer {secret}"} if secret else {}
        reply = case.call_and_validate(headers=head, checks=checks)
        assert secret or operation.path == "/healthz" or reply.status_code in (400, 401, 422)
        made.append(reply.status_code)

    try:
        storm()
    except Unsatisfiable:  # nothing about it can be wrong
        assert mode == "NEGATIVE"
    return len(made)
