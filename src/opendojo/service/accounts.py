"""Routes of organisations, members, projects and the audit log.

An organisation's admin rules its members and projects; an operator, who owns the machine, makes
organisations and sets their budgets. Nothing is deleted: who is removed may no longer call, and the
ledger still names them.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from opendojo.service.database import now_ms
from opendojo.service.gate import MOST, Admin, Id, Managed, Operator, Reader
from opendojo.service.models import Audit, Job, Project, Tenant, User
from opendojo.service.states import State
from opendojo.service.tenants import (
    ROLES,
    Caller,
    audit,
    make_project,
    make_tenant,
    make_token,
    make_user,
)
from opendojo.service.token_routes import locked
from opendojo.service.wire import (
    OrganisationAsked,
    OrganisationChange,
    ProjectAsked,
    UserAsked,
    UserChange,
)

__all__ = ["add_accounts"]

_SETTINGS = ("weight", "rank", "cap_chips", "budget_micro", "budget_chip_ms", "budget_mj",
             "price_micro")  # fmt: skip
_ADMIN_LIFETIME_S = 30 * 86400


def add_accounts(app: FastAPI) -> None:
    """Add the routes."""
    _organisations(app)
    _one_organisation(app)
    _users(app)
    _projects(app)
    _audit(app)


def _told(row: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", "name", *names, "removed_ms")}


def _organisations(app: FastAPI) -> None:
    @app.get("/v1/organisations")
    def organisations(caller: Reader, manager: Managed) -> list[dict[str, Any]]:
        """One's own organisation with its budgets; all of them with the scope operator."""
        with manager.database.reading() as session:
            query = select(Tenant).order_by(Tenant.name)
            if "operator" not in caller.scopes:
                query = query.where(Tenant.id == caller.tenant)
            return [_told(one, *_SETTINGS) for one in session.scalars(query)]

    @app.post("/v1/organisations", status_code=201)
    def new_organisation(
        asked: OrganisationAsked, caller: Operator, manager: Managed
    ) -> dict[str, Any]:
        """A new organisation with a project `default` and an admin, whose token is shown once."""
        _may_give(caller, "admin")
        at_ms = now_ms()
        try:
            with manager.database.writing() as session:
                tenant = make_tenant(session, **asked.model_dump(exclude={"admin"}))
                user = make_user(session, tenant.id, asked.admin, "admin")
                maker = locked(session, caller, at_ms)
                secret, _ = make_token(
                    session, user, ROLES["admin"], at_ms, _ADMIN_LIFETIME_S, maker
                )
                audit(session, caller, at_ms, "new organisation", tenant.id, tenant.id)
                return _told(tenant, *_SETTINGS) | {"admin": user.id, "token": secret}
        except IntegrityError:
            raise HTTPException(409, "there is an organisation of that name") from None


def _one_organisation(app: FastAPI) -> None:
    @app.patch("/v1/organisations/{name}")
    def change(
        name: Id, asked: OrganisationChange, caller: Reader, manager: Managed
    ) -> dict[str, Any]:
        """Change name, weight, rank, cap, budgets or price; needs the scope operator."""
        changes = asked.model_dump(exclude_unset=True)
        if changes.get("name", "") is None:
            raise HTTPException(422, "an organisation has a name")
        try:
            with manager.database.writing() as session:
                tenant = _organisation(session, caller, name)
                for key, value in changes.items():
                    setattr(tenant, key, value)
                told = ", ".join(f"{key}={value}" for key, value in changes.items())
                audit(session, caller, now_ms(), f"change organisation: {told}", name, name)
                session.flush()
                return _told(tenant, *_SETTINGS)
        except IntegrityError:
            raise HTTPException(409, "there is an organisation of that name") from None

    @app.delete("/v1/organisations/{name}", status_code=204)
    def remove(name: Id, caller: Reader, manager: Managed) -> None:
        """Close an organisation without unfinished jobs; needs the scope operator."""
        with manager.database.writing() as session:
            tenant = _organisation(session, caller, name)
            if name == caller.tenant:
                raise HTTPException(409, "that is your own organisation")
            _no_jobs(session, Job.tenant_id == name)
            tenant.removed_ms = tenant.removed_ms or now_ms()
            audit(session, caller, now_ms(), "remove organisation", name, name)


def _organisation(session: Session, caller: Caller, name: str) -> Tenant:
    """That organisation, for an operator; 404 for all others but the caller's own, that is 403."""
    if "operator" not in caller.scopes:
        if name == caller.tenant:
            raise HTTPException(403, "the token lacks the scope operator")
        raise HTTPException(404, "there is no such organisation")
    tenant = session.get(Tenant, name)
    if tenant is None:
        raise HTTPException(404, "there is no such organisation")
    return tenant


def _no_jobs(session: Session, which: Any) -> None:
    ended = [state for state in State if state.finished]
    query = select(func.count()).select_from(Job).where(which, Job.state.not_in(ended))
    if count := session.scalars(query).one():
        raise HTTPException(409, f"{count} jobs have not ended: cancel them first")


def _users(app: FastAPI) -> None:
    @app.get("/v1/users")
    def users(caller: Reader, manager: Managed) -> list[dict[str, Any]]:
        """Members of one's organisation."""
        with manager.database.reading() as session:
            query = select(User).where(User.tenant_id == caller.tenant).order_by(User.name)
            return [_told(one, "role", "subject") for one in session.scalars(query)]

    @app.post("/v1/users", status_code=201)
    def new_user(asked: UserAsked, caller: Admin, manager: Managed) -> dict[str, Any]:
        """A new member; a token for them comes from `POST /v1/tokens` with their id."""
        _may_give(caller, asked.role)
        try:
            with manager.database.writing() as session:
                tenant = asked.organisation or caller.tenant
                if tenant != caller.tenant:
                    _organisation(session, caller, tenant)
                user = make_user(session, tenant, asked.name, asked.role)
                user.subject = asked.subject
                audit(session, caller, now_ms(), f"new {asked.role}", user.id, tenant)
                session.flush()
                return _told(user, "role", "subject")
        except IntegrityError:
            raise HTTPException(409, "there is a member of that name or subject") from None

    @app.patch("/v1/users/{name}")
    def change_user(
        name: Id, asked: UserChange, caller: Admin, manager: Managed
    ) -> dict[str, Any]:  # fmt: skip
        """Give a member another role; tokens lose what it does not allow at once."""
        with manager.database.writing() as session:
            user = _member(session, caller, name)
            _may_give(caller, asked.role)
            user.role = asked.role
            audit(session, caller, now_ms(), f"role {asked.role}", name, user.tenant_id)
            return _told(user, "role", "subject")

    @app.delete("/v1/users/{name}", status_code=204)
    def remove_user(name: Id, caller: Admin, manager: Managed) -> None:
        """Remove a member: tokens end at once, jobs run on."""
        with manager.database.writing() as session:
            user = _member(session, caller, name)
            user.removed_ms = user.removed_ms or now_ms()
            audit(session, caller, now_ms(), "remove user", name, user.tenant_id)


def _member(session: Session, caller: Caller, name: str) -> User:
    query = select(User).where(User.id == name)
    if "operator" not in caller.scopes:
        query = query.where(User.tenant_id == caller.tenant)
    user = session.scalars(query).one_or_none()
    if user is None:
        raise HTTPException(404, "there is no such user")
    if user.id == caller.user:
        raise HTTPException(409, "that is yourself: another admin can do it")
    _may_give(caller, user.role)
    return user


def _may_give(caller: Caller, role: str) -> None:
    """Who gives or takes a role has all of it."""
    if beyond := set(ROLES[role]) - caller.scopes:
        raise HTTPException(403, f"this token lacks {', '.join(sorted(beyond))}")


def _projects(app: FastAPI) -> None:
    @app.get("/v1/projects")
    def projects(caller: Reader, manager: Managed) -> list[dict[str, Any]]:
        """Projects of one's organisation."""
        with manager.database.reading() as session:
            query = select(Project).where(Project.tenant_id == caller.tenant)
            return [_told(one) for one in session.scalars(query.order_by(Project.name))]

    @app.post("/v1/projects", status_code=201)
    def new_project(asked: ProjectAsked, caller: Admin, manager: Managed) -> dict[str, Any]:
        """A new project."""
        try:
            with manager.database.writing() as session:
                project = make_project(session, caller.tenant, asked.name)
                audit(session, caller, now_ms(), "new project", project.id)
                return _told(project)
        except IntegrityError:
            raise HTTPException(409, "there is a project of that name") from None

    @app.patch("/v1/projects/{name}")
    def rename_project(
        name: Id, asked: ProjectAsked, caller: Admin, manager: Managed
    ) -> dict[str, Any]:
        """Give a project another name."""
        try:
            with manager.database.writing() as session:
                project = _project(session, caller, name)
                project.name = asked.name
                audit(session, caller, now_ms(), "rename project", name)
                session.flush()
                return _told(project)
        except IntegrityError:
            raise HTTPException(409, "there is a project of that name") from None

    @app.delete("/v1/projects/{name}", status_code=204)
    def remove_project(name: Id, caller: Admin, manager: Managed) -> None:
        """Close a project without unfinished jobs."""
        with manager.database.writing() as session:
            project = _project(session, caller, name)
            _no_jobs(session, Job.project_id == name)
            project.removed_ms = project.removed_ms or now_ms()
            audit(session, caller, now_ms(), "remove project", name)


def _project(session: Session, caller: Caller, name: str) -> Project:
    query = select(Project).where(Project.id == name, Project.tenant_id == caller.tenant)
    project = session.scalars(query).one_or_none()
    if project is None:
        raise HTTPException(404, "there is no such project")
    return project


def _audit(app: FastAPI) -> None:
    @app.get("/v1/audit")
    def log(
        caller: Admin, manager: Managed,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int, Query(ge=0, le=MOST)] = MOST,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Who did what in one's organisation, newest first; `before` a row's id goes on."""
        with manager.database.reading() as session:
            query = select(Audit).where(Audit.tenant_id == caller.tenant, Audit.id < before)
            names = ("id", "at_ms", "user_id", "action", "subject")
            rows = session.scalars(query.order_by(Audit.id.desc()).limit(limit))
            return [{name: getattr(one, name) for name in names} for one in rows]
