"""Jobs through the manager: states, attempts, ledger, on both databases."""

from __future__ import annotations

import itertools

import pytest
from service_help import add_job, add_tenant, state_of
from sqlalchemy import delete, func, select, update


def _manager(database, tmp_path, chips=4, launcher=None, **policy):
    from opendojo.service import FakeLauncher, Manager, Policy

    fake = launcher or FakeLauncher()
    clock = lambda: fake.now_ms  # noqa: E731
    return Manager(database, fake, tmp_path, chips, Policy(**policy), clock), fake


def _attempts(database, job):
    from opendojo.service.models import Attempt

    with database.reading() as session:
        query = select(Attempt).where(Attempt.job_id == job).order_by(Attempt.number)
        return session.scalars(query).all()


def test_a_job_runs_is_billed_and_ends(database, tmp_path):
    from opendojo.service.models import Event, Interval

    tenant, _ = add_tenant(database, "a", price_micro=7_000_003)
    job = add_job(database, tenant, chips=3)
    manager, fake = _manager(database, tmp_path)
    for _ in range(3):
        manager.tick()
    assert state_of(database, job) == "running"
    for _ in range(5):
        fake.advance(1001)
        manager.tick()
        manager.tick()  # the same heartbeat twice bills once
    attempt = _attempts(database, job)[0].id
    fake.end(attempt, 0)
    manager.tick()
    assert state_of(database, job) == "succeeded"
    with database.reading() as session:
        rows = session.scalars(select(Interval)).all()
        states = session.scalars(select(Event.state).order_by(Event.id)).all()
    assert states == ["admitted", "starting", "running", "succeeded"]
    assert sum(row.chip_ms for row in rows) == 3 * 5 * 1001
    assert sum(row.money_micro for row in rows) == 3 * 5005 * 7_000_003 // 3_600_000
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(rows))


def test_failed_and_lost_attempts_are_numbered_and_tried_again(database, tmp_path):
    tenant, _ = add_tenant(database, "a")
    job = add_job(database, tenant, retries=2)
    manager, fake = _manager(database, tmp_path)
    for code in (1, None, 1):
        manager.tick()
        manager.tick()
        fake.end(_attempts(database, job)[-1].id, code)
        manager.tick()
        manager.tick()
    assert state_of(database, job) == "failed"
    assert [(a.number, a.exit_code) for a in _attempts(database, job)] == [
        (1, 1),
        (2, None),
        (3, 1),
    ]
    assert set(fake.runs.values()) == {1}


def test_higher_rank_preempts_and_the_job_comes_back(database, tmp_path):
    low, _ = add_tenant(database, "low")
    high, _ = add_tenant(database, "high", rank=1)
    first = add_job(database, low, chips=4)
    manager, fake = _manager(database, tmp_path)
    for _ in range(3):
        manager.tick()
    second = add_job(database, high, chips=4)
    for _ in range(4):
        manager.tick()
    assert (state_of(database, first), state_of(database, second)) == ("queued", "running")
    fake.end(_attempts(database, second)[0].id, 0)
    for _ in range(3):
        manager.tick()
    assert state_of(database, first) == "running"
    assert [a.number for a in _attempts(database, first)] == [1, 2]


def test_ledger_refuses_change(database, tmp_path):
    from opendojo.service.ledger import correct, totals
    from opendojo.service.models import Interval

    tenant, _ = add_tenant(database, "a", price_micro=3_600_000)
    add_job(database, tenant)
    manager, fake = _manager(database, tmp_path)
    for _ in range(3):
        manager.tick()
        fake.advance(500)
    manager.tick()
    for change in (update(Interval).values(chip_ms=1), delete(Interval)):
        with pytest.raises(Exception, match="append-only"), database.writing() as session:
            session.execute(change)
    with database.writing() as session:
        row = session.scalars(select(Interval)).first()
        before = totals(session, tenant, 0, 10**15)[0]["money_micro"]
        correct(session, row, "machine was at fault", money_micro=-200)
        session.flush()
        assert totals(session, tenant, 0, 10**15)[0]["money_micro"] == before - 200
        assert session.scalar(select(func.count(Interval.id))) >= 2


def test_budget_is_never_exceeded(database, tmp_path):
    tenant, _ = add_tenant(database, "a", budget_chip_ms=100_000)
    jobs = [add_job(database, tenant, limit_s=60) for _ in range(2)]
    manager, _ = _manager(database, tmp_path)
    decision = manager.tick()
    manager.tick()
    assert len(decision.starts) == 1
    assert decision.waits[jobs[1]].kind == "budget"
