"""Tenants and jobs for tests."""

from __future__ import annotations

import itertools

from sqlalchemy import select

_count = itertools.count()


def add_tenant(database, name, **settings):
    from opendojo.service.database import now_ms
    from opendojo.service.tenants import make_tenant, make_token, make_user

    with database.writing() as session:
        tenant = make_tenant(session, name, **settings)
        user = make_user(session, tenant.id, "ann", "admin")
        secret, _ = make_token(session, user, ("read", "submit", "admin"), now_ms(), 3600)
    return tenant.id, secret


def add_job(database, tenant, command=("demo",), at_ms=1000, **asked):
    from opendojo.service.models import Job, Project, User

    values = {"chips": 1, "limit_s": 60, "priority": 0, "retries": 0, "preemptible": True} | asked
    with database.writing() as session:
        project = session.scalars(select(Project.id).where(Project.tenant_id == tenant)).one()
        user = session.scalars(select(User.id).where(User.tenant_id == tenant)).one()
        number = next(_count)
        job = Job(
            id=f"job_{number:08d}", tenant_id=tenant, project_id=project, user_id=user,
            key=f"key-{number}", digest="", command=list(command), state="queued",
            submitted_ms=at_ms, changed_ms=at_ms, attempts=0, failures=0, **values,
        )  # fmt: skip
        session.add(job)
    return job.id


def state_of(database, job):
    from opendojo.service.models import Job

    with database.reading() as session:
        return session.get_one(Job, job).state
