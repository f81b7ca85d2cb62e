"""Organisations, members and their tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from opendojo.service.models import Audit, Project, Tenant, Token, User

__all__ = [
    "ROLES",
    "Caller",
    "audit",
    "find_caller",
    "make_project",
    "make_tenant",
    "make_token",
    "make_user",
    "revoke_token",
    "still_valid",
]

ROLES = {
    "viewer": ("read",),
    "submitter": ("read", "submit"),
    "admin": ("read", "submit", "admin"),
    "operator": ("read", "submit", "admin", "operator"),
}
"""The scopes that a role allows; a token has some of its user's. An operator owns the machine."""

_DEEPEST = 8


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
    make_project(session, tenant.id, "default")
    return tenant


def make_project(session: Session, tenant: str, name: str) -> Project:
    """A new project."""
    project = Project(id=f"prj_{secrets.token_hex(8)}", tenant_id=tenant, name=name)
    session.add(project)
    session.flush()
    return project


def make_user(session: Session, tenant: str, name: str, role: str) -> User:
    """A new member. Raises ValueError for an unknown role."""
    if role not in ROLES:
        raise ValueError(f"there is no role {role}: {', '.join(ROLES)}")
    user = User(id=f"usr_{secrets.token_hex(8)}", tenant_id=tenant, name=name, role=role)
    session.add(user)
    session.flush()
    return user


def make_token(
    session: Session,
    user: User,
    scopes: Sequence[str],
    now_ms: int,
    lifetime_s: int,
    maker: Token | None = None,
) -> tuple[str, Token]:
    """A new token: 256 random bits, to be shown once; only its SHA-256 is kept.

    What a token makes never outlives it. Raises ValueError for a scope that
    the user's role or the maker does not have, and where tokens have made tokens 8 times over.
    """
    allowed = set(ROLES[user.role]) & (set(maker.scopes) if maker else set(ROLES[user.role]))
    if beyond := set(scopes) - allowed:
        raise ValueError(f"a {user.role} has no scope {', '.join(sorted(beyond))} to give here")
    expires_ms = now_ms + lifetime_s * 1000
    if maker is not None:
        expires_ms = min(expires_ms, maker.expires_ms)
    parent = maker if maker is not None and maker.user_id == user.id else None
    if parent is not None and len(_line(session, parent)) >= _DEEPEST:
        raise ValueError("tokens were made by tokens too many times over: use an older one")
    secret = f"odj_{secrets.token_urlsafe(32)}"
    token = Token(
        id=f"tok_{secrets.token_hex(8)}",
        tenant_id=user.tenant_id,
        user_id=user.id,
        digest=_digest(secret),
        scopes=sorted(set(scopes)),
        expires_ms=expires_ms,
        parent_id=parent.id if parent else None,
        issuer_id=maker.id if maker and not parent else None,
    )
    session.add(token)
    session.flush()
    return secret, token


def _line(session: Session, token: Token) -> list[Token]:
    """The token, its parent and so on up."""
    line = [token]
    while (above := line[-1].parent_id) is not None:
        line.append(session.get_one(Token, above))
    return line


def find_caller(session: Session, secret: str, now_ms: int) -> Caller | None:
    """Whose token that is.

    None where the token, one that it was made by, its user or its organisation is no more.
    """
    return _caller(session, Token.digest == _digest(secret), now_ms)


def still_valid(session: Session, caller: Caller, now_ms: int) -> bool:
    """May a caller that was let in go on reading; streams ask again and again."""
    found = _caller(session, Token.id == caller.token, now_ms)
    return found is not None and "read" in found.scopes


def _caller(session: Session, which: ColumnElement[bool], now_ms: int) -> Caller | None:
    row = session.execute(
        select(Token, User)
        .join(User, User.id == Token.user_id)
        .join(Tenant, Tenant.id == Token.tenant_id)
        .where(which, User.removed_ms.is_(None), Tenant.removed_ms.is_(None))
    ).one_or_none()
    if row is None:
        return None
    token, user = row
    scopes = frozenset(ROLES[user.role])
    for one in _line(session, token):
        if one.revoked_ms is not None or one.expires_ms <= now_ms:
            return None
        scopes &= frozenset(one.scopes)
    return Caller(tenant=token.tenant_id, user=user.id, token=token.id, scopes=scopes)


def revoke_token(session: Session, token: Token, at_ms: int, keep_issued: bool = False) -> int:
    """End a token, and with it its children; and what it made for other users, unless kept.

    How many were ended here.
    """
    ended, waiting = 0, [token]
    while waiting:
        one = waiting.pop()
        if one.revoked_ms is None:
            one.revoked_ms = at_ms
            ended += 1
        below = Token.parent_id == one.id
        if not keep_issued:
            below = below | (Token.issuer_id == one.id)
        waiting.extend(session.scalars(select(Token).where(below)))
    session.flush()
    return ended


def audit(
    session: Session, caller: Caller, at_ms: int, action: str, subject: str, tenant: str = ""
) -> None:
    """Write who did what; another organisation that an operator changed reads it as well."""
    for one in {caller.tenant, tenant or caller.tenant}:
        session.add(
            Audit(tenant_id=one, user_id=caller.user, at_ms=at_ms, action=action, subject=subject)
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
