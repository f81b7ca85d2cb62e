"""An upgrade keeps the rows of the previous schema and ends tokens that nothing could end."""

from __future__ import annotations


def fill_first_schema(address):
    """Rows as the first schema had them, written without today's models."""
    import sqlalchemy as sa

    engine = sa.create_engine(address)
    rows = {
        "tenant": {"id": "ten_00000001", "name": "first", "weight": 2, "rank": 1, "cap_chips": 4,
                   "budget_micro": 5, "budget_chip_ms": None, "budget_mj": None, "price_micro": 7},
        "project": {"id": "prj_00000001", "tenant_id": "ten_00000001", "name": "default"},
        "user_account": {"id": "usr_00000001", "tenant_id": "ten_00000001", "name": "admin",
                         "role": "admin"},
        "job": {"id": "job_00000001", "tenant_id": "ten_00000001", "project_id": "prj_00000001",
                "user_id": "usr_00000001", "key": "k", "digest": _DIGEST,
                "command": ["demo"], "chips": 1, "limit_s": 3600, "priority": 0, "retries": 2,
                "preemptible": True, "state": "running", "submitted_ms": 1, "changed_ms": 2,
                "attempts": 1, "failures": 0},
        "attempt": {"id": "att_00000001", "job_id": "job_00000001", "tenant_id": "ten_00000001",
                    "number": 1, "made_ms": 2},
        "ledger": {"tenant_id": "ten_00000001", "project_id": "prj_00000001",
                   "job_id": "job_00000001", "attempt_id": "att_00000001", "number": 1,
                   "start_ms": 2, "end_ms": 3, "chip_ms": 11, "cpu_ms": 5, "energy_mj": None,
                   "energy_method": "none", "frames": 0, "bytes": 0, "money_micro": 13,
                   "price_micro": 7, "corrects": None, "reason": ""},
        "audit": {"tenant_id": "ten_00000001", "user_id": "usr_00000001", "at_ms": 1,
                  "action": "new token", "subject": "tok_00000002"},
    }  # fmt: skip
    meta = sa.MetaData()
    meta.reflect(engine)
    with engine.begin() as link:
        for table, row in rows.items():
            link.execute(meta.tables[table].insert().values(**row))
        for number in (1, 2):
            link.execute(meta.tables["token"].insert().values(
                id=f"tok_0000000{number}", tenant_id="ten_00000001", user_id="usr_00000001",
                digest=_sha(f"odj_{number}"), scopes=["read", "submit", "admin"],
                expires_ms=2**52))  # fmt: skip
    engine.dispose()


def _sha(text):
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


_DIGEST = _sha('{"command":["demo"],"chips":1,"limit_s":3600,"priority":0,"retries":2,'
               '"preemptible":true,"project":"default"}')  # fmt: skip


def test_rows_of_the_previous_schema_are_kept(bare_address, tmp_path):
    from opendojo.service import Database, FakeLauncher, Manager, migrate
    from opendojo.service.jobs import submitted
    from opendojo.service.ledger import totals
    from opendojo.service.models import Job, User
    from opendojo.service.tenants import find_caller
    from opendojo.service.wire import JobAsked

    migrate(bare_address, "0001")
    fill_first_schema(bare_address)
    migrate(bare_address)
    database = Database(bare_address)
    with database.reading() as session:
        job = session.get_one(Job, "job_00000001")
        assert (job.workers, job.inputs, job.state, job.attempts) == (1, {}, "running", 1)
        assert session.get_one(User, "usr_00000001").role == "operator"
        assert totals(session, "ten_00000001", 0, 2**60)[0]["money_micro"] == 13
        caller = find_caller(session, "odj_1", 1000)
        assert caller is not None and caller.scopes == {"read", "submit", "admin"}
        assert find_caller(session, "odj_2", 1000) is None
    with database.writing() as session:  # a repeat of a request from before is still a repeat
        again, new = submitted(session, caller, JobAsked(command=["demo"]), "k")
        assert (again.id, new) == ("job_00000001", False)
    Manager(database, FakeLauncher(), tmp_path, 2).tick()
    database.close()


def test_the_newest_schema_is_that_of_the_models(bare_address):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    from opendojo.service import migrate
    from opendojo.service.models import Base

    migrate(bare_address)
    engine = create_engine(bare_address)
    with engine.connect() as link:
        found = compare_metadata(MigrationContext.configure(link), Base.metadata)
    engine.dispose()
    assert found == []


def test_a_downgrade_leads_back(bare_address):
    import sqlalchemy as sa
    from alembic import command

    from opendojo.service.database import alembic_config, migrate

    migrate(bare_address, "0001")
    fill_first_schema(bare_address)
    migrate(bare_address)
    command.downgrade(alembic_config(bare_address), "0001")
    engine = sa.create_engine(bare_address)
    with engine.connect() as link:
        names = {column["name"] for column in sa.inspect(link).get_columns("job")}
        assert "workers" not in names and "retries" in names
        assert link.execute(sa.text("SELECT money_micro FROM ledger")).scalar() == 13
    engine.dispose()


def test_subjects_of_the_second_schema_are_kept_and_are_an_organisations_own(bare_address):
    import pytest
    import sqlalchemy as sa
    from sqlalchemy.exc import IntegrityError

    from opendojo.service import Database, migrate
    from opendojo.service.models import User
    from opendojo.service.tenants import make_tenant, make_user

    migrate(bare_address, "0001")
    fill_first_schema(bare_address)
    migrate(bare_address, "0002")
    engine = sa.create_engine(bare_address)
    with engine.begin() as link:
        link.execute(sa.text("UPDATE user_account SET subject = 'id|ann'"))
    engine.dispose()
    migrate(bare_address)
    database = Database(bare_address)
    with database.reading() as session:
        assert session.get_one(User, "usr_00000001").subject == "id|ann"
    with database.writing() as session:
        other = make_tenant(session, "other").id
        make_user(session, other, "ann", "viewer").subject = "id|ann"
    with pytest.raises(IntegrityError), database.writing() as session:
        make_user(session, other, "bob", "viewer").subject = "id|ann"
    database.close()
