"""Routes of tokens: made, listed, revoked."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException
from sqlalchemy import select
from sqlalchemy.orm import Session

from opendojo.service.database import now_ms
from opendojo.service.gate import Id, Maker, Managed, Reader
from opendojo.service.models import Token, User
from opendojo.service.tenants import Caller, audit, make_token, revoke_token, still_valid
from opendojo.service.wire import TokenAsked

__all__ = ["add_tokens", "locked"]


def add_tokens(app: FastAPI) -> None:
    """Add the routes."""

    @app.post("/v1/tokens", status_code=201)
    def new_token(asked: TokenAsked, caller: Maker, manager: Managed) -> dict[str, Any]:
        """A token of one's own, which ends with this one; or, with the scope admin, a member's.

        It has no more scopes than this one, ends with it at the latest and is shown this once.
        A token that may only read makes none.
        """
        if beyond := set(asked.scopes) - caller.scopes:
            raise HTTPException(403, f"this token lacks {', '.join(sorted(beyond))}")
        with manager.database.writing() as session:
            at_ms = now_ms()
            maker = locked(session, caller, at_ms)
            user = _receiver(session, caller, asked.user)
            try:
                secret, token = make_token(
                    session, user, asked.scopes, at_ms, asked.lifetime_s, maker
                )
            except ValueError as error:
                raise HTTPException(409, str(error)) from None
            audit(session, caller, at_ms, "new token", token.id, user.tenant_id)
            return {"id": token.id, "token": secret, "expires_ms": token.expires_ms}

    @app.get("/v1/tokens")
    def tokens(caller: Reader, manager: Managed) -> list[dict[str, Any]]:
        """One's own tokens, or with the scope admin all of the organisation; never a secret."""
        with manager.database.reading() as session:
            query = select(Token).where(Token.tenant_id == caller.tenant).order_by(Token.id)
            if "admin" not in caller.scopes:
                query = query.where(Token.user_id == caller.user)
            names = ("id", "user_id", "scopes", "expires_ms", "revoked_ms", "parent_id")
            return [{name: getattr(one, name) for name in names} for one in session.scalars(query)]

    @app.delete("/v1/tokens/{name}", status_code=204)
    def revoke(name: Id, caller: Reader, manager: Managed, keep_issued: bool = False) -> None:
        """Revoke this token or one made by it, or with the scope admin any of the organisation.

        All that it made end as well; those for other members only unless `keep_issued`.
        """
        with manager.database.writing() as session:
            query = select(Token).where(Token.id == name, Token.tenant_id == caller.tenant)
            token = session.scalars(query.with_for_update()).one_or_none()
            if token is None or not ("admin" in caller.scopes or _made_by(session, token, caller)):
                raise HTTPException(404, "there is no such token")
            at_ms = now_ms()
            revoke_token(session, token, at_ms, keep_issued)
            audit(session, caller, at_ms, "revoke token", name)


def locked(session: Session, caller: Caller, at_ms: int) -> Token:
    """The caller's token, held against a revocation until the transaction has ended."""
    query = select(Token).where(Token.id == caller.token).with_for_update()
    token = session.scalars(query).one()
    if not still_valid(session, caller, at_ms):
        raise HTTPException(401, "the token is unknown, expired or revoked")
    return token


def _receiver(session: Session, caller: Caller, name: str) -> User:
    if name in ("", caller.user):
        return session.get_one(User, caller.user)
    query = select(User).where(User.id == name, User.removed_ms.is_(None))
    if "operator" not in caller.scopes:
        query = query.where(User.tenant_id == caller.tenant)
    user = session.scalars(query).one_or_none()
    if user is None or "admin" not in caller.scopes:
        raise HTTPException(404, "there is no such user")
    return user


def _made_by(session: Session, token: Token, caller: Caller) -> bool:
    above: Token | None = token
    while above is not None:
        if above.id == caller.token:
            return True
        above = session.get(Token, above.parent_id) if above.parent_id else None
    return False
