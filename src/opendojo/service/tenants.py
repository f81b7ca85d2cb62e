"""Organisations, members and their tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from opendojo.service.models import Audit, Project, Tenant, Token, User

__all__ = ["ROLES", "Caller", "audit", "find_caller", "make_tenant", "make_token", "make_user"]

ROLES = {"viewer": ("read",), "submitter": ("read", "submit"), "admin": ("read", "submit", "admin")}
"""The scopes that a role allows; a token has some of its user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whom a token belongs to, and what it may do."""

    tenant: str
    user: str
    token: str
    scopes: frozenset[str]


def make_tenant(session: Session, name: str, **settings: int | None) -> Tenant:
    """A new organisation with a project `default`; settings are columns of Tenant."""
    tenant = Tenant(id=f"ten_{secrets.token_hex(8)}", name=name, **settings)
    session.add(tenant)
    session.flush()
    session.add(Project(id=f"prj_{secrets.token_hex(8)}", tenant_id=tenant.id, name="default"))
    session.flush()
    return tenant


def make_user(session: Session, tenant: str, name: str, role: str) -> User:
    """A new member. Raises ValueError for an unknown role."""
    if role not in ROLES:
        raise ValueError(f"there is no role {role}: {', '.join(ROLES)}")
    user = User(id=f"usr_{secrets.token_hex(8)}", tenant_id=tenant, name=name, role=role)
    session.add(user)
    session.flush()
    return user


def make_token(
    session: Session, user: User, scopes: Sequence[str], now_ms: int, lifetime_s: int
) -> tuple[str, Token]:
    """A new token: 256 random bits, to be shown once; only its SHA-256 is kept.

    Raises ValueError for a scope that the user's role does not allow.
    """
    if beyond := set(scopes) - set(ROLES[user.role]):
        raise ValueError(f"a {user.role} has no scope {', '.join(sorted(beyond))}")
    secret = f"odj_{secrets.token_urlsafe(32)}"
    token = Token(
        id=f"tok_{secrets.token_hex(8)}",
        tenant_id=user.tenant_id,
        user_id=user.id,
        digest=_digest(secret),
        scopes=sorted(set(scopes)),
        expires_ms=now_ms + lifetime_s * 1000,
    )
    session.add(token)
    session.flush()
    return secret, token


def find_caller(session: Session, secret: str, now_ms: int) -> Caller | None:
    """Whose token that is; None where it is unknown, expired or revoked."""
    row = session.execute(
        select(Token, User).join(User, User.id == Token.user_id).where(
            Token.digest == _digest(secret), Token.revoked_ms.is_(None), Token.expires_ms > now_ms
        )
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    token, user = row
    scopes = frozenset(token.scopes) & frozenset(ROLES[user.role])
    return Caller(tenant=token.tenant_id, user=user.id, token=token.id, scopes=scopes)


def audit(session: Session, caller: Caller, at_ms: int, action: str, subject: str) -> None:
    """Write who did what."""
    session.add(
        Audit(tenant_id=caller.tenant, user_id=caller.user, at_ms=at_ms, action=action,
              subject=subject)
    )  # fmt: skip


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
