"""Logging in by an identity provider (OpenID Connect): its ID token for one of ours.

Signatures are checked by joserfc against the provider's published keys; nothing about passwords
or keys is made here. Who may come in is a member with the `subject` "ISSUER|SUB".
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI, HTTPException, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select

from opendojo.service.database import now_ms
from opendojo.service.gate import Managed
from opendojo.service.models import Audit, Tenant, User
from opendojo.service.tenants import ROLES, make_token
from opendojo.service.wire import LoginAsked

__all__ = ["Provider", "add_login"]

_SIGNED = ("RS256", "PS256", "ES256", "EdDSA")
"""Never `none`, nor HS256, whose secret the public key could be taken for."""
_LEEWAY_S, _KEEP_S, _AGAIN_S = 60, 3600, 30
_LIFETIME_S = 8 * 3600


@dataclass(slots=True)
class Provider:
    """An identity provider, and as which audience (client id) it knows this service.

    Raises ValueError for an issuer without TLS beyond loopback.
    """

    issuer: str
    audience: str
    _keys: KeySet | None = None
    _at_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if not self.audience:
            raise ValueError("an identity provider needs the audience (client id) of this service")
        _safe(self.issuer)

    def subject(self, id_token: str) -> str:
        """Whose token that is, as "ISSUER|SUB".

        Raises PermissionError for a token that is not valid here and now, OSError where the
        provider does not answer.
        """
        claims = self._claims(id_token)
        now_s, sub = time.time(), claims.get("sub")
        audiences = claims.get("aud")
        audiences = audiences if isinstance(audiences, list) else [audiences]
        if claims.get("iss") != self.issuer or self.audience not in audiences:
            raise PermissionError("the ID token is of another issuer or for another audience")
        if len(audiences) > 1 and claims.get("azp") != self.audience:
            raise PermissionError("the ID token was given to another party")
        times = [claims.get(name) for name in ("exp", "iat", "nbf")]
        if not all(isinstance(one, int | float) for one in times[:2]):
            raise PermissionError("the ID token does not say from when and until when it is valid")
        expires_s, issued_s, begins_s = (float(one or 0) for one in times)
        if expires_s <= now_s or max(issued_s, begins_s) > now_s + _LEEWAY_S:
            raise PermissionError("the ID token has expired or is not valid yet")
        if not isinstance(sub, str) or not sub:
            raise PermissionError("the ID token names nobody")
        return f"{self.issuer}|{sub}"

    def _claims(self, id_token: str) -> dict[str, Any]:
        for again in (False, True):  # the provider may have changed its keys
            try:
                return jwt.decode(id_token, self._known(again), list(_SIGNED)).claims
            except (JoseError, ValueError, TypeError, KeyError):
                continue
        raise PermissionError("the ID token is not signed by the identity provider")

    def _known(self, again: bool) -> KeySet:
        with self._lock:
            age_s = time.monotonic() - self._at_s
            if self._keys is None or age_s > (_AGAIN_S if again else _KEEP_S):
                told = _json(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
                if told.get("issuer") != self.issuer:
                    raise OSError(f"{self.issuer} says that it is {told.get('issuer')}")
                address = str(told.get("jwks_uri"))
                _safe(address)
                self._keys = KeySet.import_key_set(_json(address))  # type: ignore[arg-type]
                self._at_s = time.monotonic()
            return self._keys


def _safe(address: str) -> None:
    where = urlsplit(address)
    if where.scheme != "https" and where.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"{address}: an identity provider needs https")


def _json(address: str) -> dict[str, Any]:
    try:
        found = httpx.get(address, timeout=10).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise OSError(f"the identity provider does not answer: {error}") from None
    if not isinstance(found, dict):
        raise OSError(f"{address}: not an object")
    return found


def add_login(app: FastAPI, provider: Provider) -> None:
    """Add `POST /v1/login`."""

    @app.post("/v1/login", status_code=201)
    def login(asked: LoginAsked, request: Request, manager: Managed) -> dict[str, Any]:
        """An ID token of the identity provider for a token of eight hours with the role's scopes.

        Who is a member of several organisations names one.
        """
        host = request.client.host if request.client else ""
        if not request.app.state.bucket.take(f"login {host}"):
            raise HTTPException(429, "too many requests: wait a second")
        try:
            subject = provider.subject(asked.id_token)
        except PermissionError as error:
            raise HTTPException(401, str(error)) from None
        except (OSError, ValueError) as error:
            raise HTTPException(503, str(error)) from None
        query = select(User, Tenant).join(Tenant, Tenant.id == User.tenant_id)
        query = query.where(User.subject == subject, User.removed_ms.is_(None),
                            Tenant.removed_ms.is_(None))  # fmt: skip
        if asked.organisation:
            query = query.where(Tenant.name == asked.organisation)
        with manager.database.writing() as session:
            rows = session.execute(query.order_by(Tenant.name)).all()
            if not rows:
                raise HTTPException(403, f"{subject} is no member here: an admin can invite")
            if len(rows) > 1:
                names = ", ".join(tenant.name for _, tenant in rows)
                raise HTTPException(409, f"name one organisation of: {names}")
            user, tenant = rows[0]
            at_ms = now_ms()
            secret, token = make_token(session, user, ROLES[user.role], at_ms, _LIFETIME_S)
            session.add(Audit(tenant_id=tenant.id, user_id=user.id, at_ms=at_ms,
                              action="login", subject=token.id))  # fmt: skip
            return {"id": token.id, "token": secret, "expires_ms": token.expires_ms,
                    "organisation": tenant.name}  # fmt: skip
