"""ID tokens of a provider of our own: what is not its word about a member does not come in."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import threading
import time
import warnings

import pytest
from service_help import add_tenant

joserfc = pytest.importorskip("joserfc", reason="the extra `service` is not installed")


class _Provider:
    """Answers for its configuration and its keys."""

    def __init__(self):
        from joserfc.jwk import RSAKey

        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.asked = 0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.asked += 1
                told = {"issuer": owner.issuer, "jwks_uri": f"{owner.issuer}/keys"}
                if self.path == "/keys":
                    told = {"keys": [owner.key.as_dict(private=False)]}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, key=None, alg="RS256", **claims):
        from joserfc import jwt

        key = key or self.key
        told = {"iss": self.issuer, "aud": "dojo", "sub": "bob", "iat": int(time.time()),
                "exp": int(time.time()) + 60, **claims}  # fmt: skip
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": key.kid or "one"}, told, key, [alg])


def _text(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def provider():
    made = _Provider()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def login(database, tmp_path, provider):
    """Calls the API of a service that has the provider."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient

    from opendojo.service import FakeLauncher, Manager
    from opendojo.service.app import make_app
    from opendojo.service.oidc import Provider

    manager = Manager(database, FakeLauncher(), tmp_path, 2)
    app = make_app(manager, provider=Provider(provider.issuer, "dojo"))
    with TestClient(app, raise_server_exceptions=False) as client:

        def call(token, organisation=""):
            body = {"id_token": token, "organisation": organisation}
            return client.post("/v1/login", json=body)

        call.api = client  # type: ignore[attr-defined]
        yield call


def _invite(login, secret, subject, role="submitter", name="bob"):
    head = {"Authorization": f"Bearer {secret}"}
    body = {"name": name, "role": role, "subject": subject}
    reply = login.api.post("/v1/users", json=body, headers=head)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def test_a_member_comes_in_with_the_role_and_no_longer_when_removed(login, database, provider):
    from opendojo.service.database import now_ms
    from opendojo.service.tenants import find_caller

    tenant, admin = add_tenant(database, "a")
    assert login(provider.token()).status_code == 403, "nobody becomes a member by logging in"
    user = _invite(login, admin, f"{provider.issuer}|bob")
    reply = login(provider.token(aud=["dojo", "other"], azp="dojo"))
    assert reply.status_code == 201 and reply.json()["organisation"] == "a"
    with database.reading() as session:
        caller = find_caller(session, reply.json()["token"], now_ms())
        assert caller is not None
        assert (caller.tenant, caller.user, caller.scopes) == (tenant, user, {"read", "submit"})
        assert find_caller(session, reply.json()["token"], now_ms() + 8 * 3600 * 1000) is None
    head = {"Authorization": f"Bearer {admin}"}
    assert login.api.get("/v1/audit", headers=head).json()[0]["action"] == "login"
    assert login.api.delete(f"/v1/users/{user}", headers=head).status_code == 204
    assert login(provider.token()).status_code == 403


def test_one_person_in_two_organisations_and_none_sees_the_other(login, database, provider):
    for name in ("a", "b"):
        _, admin = add_tenant(database, name)
        _invite(login, admin, f"{provider.issuer}|bob")
    reply = login(provider.token())
    assert reply.status_code == 409 and "a, b" in reply.json()["detail"]
    assert login(provider.token(), "b").json()["organisation"] == "b"
    assert login(provider.token(), "c").status_code == 403


def test_what_is_not_the_providers_word_is_refused(login, database, provider):
    from joserfc.jwk import RSAKey

    _, admin = add_tenant(database, "a")
    _invite(login, admin, f"{provider.issuer}|bob")
    good, now_s = provider.token(), int(time.time())
    head, body, signature = good.split(".")
    middle = len(signature) // 2
    flip = "A" if signature[middle] != "A" else "B"
    plain = _text(b'{"alg":"none"}')
    weak = _text(b'{"alg":"HS256","kid":"one"}') + f".{body}"
    public = provider.key.as_pem(private=False)
    forged = f"{weak}.{_text(hmac.digest(public, weak.encode(), 'sha256'))}"
    bad = [
        "x", "a.b.c", f"{head}.{body}.", f"{plain}.{body}.", forged,
        f"{head}.{body}.{signature[:middle]}{flip}{signature[middle + 1 :]}",
        provider.token(RSAKey.generate_key(2048, {"kid": "one"})),
        provider.token(iss="http://127.0.0.1:1"), provider.token(iss=f"{provider.issuer}/"),
        provider.token(aud="other"), provider.token(aud=None), provider.token(aud=["dojo", "x"]),
        provider.token(aud=["dojo", "x"], azp="x"), provider.token(exp=now_s - 1),
        provider.token(exp=None), provider.token(iat=None), provider.token(iat=now_s + 600),
        provider.token(nbf=now_s + 600), provider.token(sub=None), provider.token(sub=""),
        provider.token(sub=7), provider.token(exp="soon"),
    ]  # fmt: skip
    for number, token in enumerate(bad):
        assert login(token).status_code == 401, (number, token)
    assert login(provider.token(sub="eve")).status_code == 403
    assert login(good).status_code == 201
    assert provider.asked <= 4, "bad tokens must not make us ask the provider each time"


def test_keys_that_changed_are_fetched_and_a_silent_provider_is_503(
    login, database, provider, monkeypatch
):
    from joserfc.jwk import RSAKey

    from opendojo.service import oidc

    _, admin = add_tenant(database, "a")
    _invite(login, admin, f"{provider.issuer}|bob")
    assert login(provider.token()).status_code == 201
    provider.key = RSAKey.generate_key(2048, {"kid": "two"})
    assert login(provider.token()).status_code == 401, "not asked again so soon"
    monkeypatch.setattr(oidc, "_AGAIN_S", 0)
    assert login(provider.token()).status_code == 201
    provider.server.shutdown()
    provider.server.server_close()
    monkeypatch.setattr(oidc, "_KEEP_S", 0)
    assert login(provider.token()).status_code == 503


def test_providers_need_tls_and_an_audience(api):
    from opendojo.service.oidc import Provider

    for issuer, audience in (("http://id.example.com", "x"), ("https://id.example.com", "")):
        with pytest.raises(ValueError, match=r"needs (https|the audience)"):
            Provider(issuer, audience)
    assert api.post("/v1/login", json={"id_token": "x"}).status_code == 404, "off by default"
