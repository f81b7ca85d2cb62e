"""The ledger: append-only rows of integers; an invoice is their sum.

A row closes at a heartbeat, never at the time it is read, so a machine that died bills nothing
after its last sign of life. What an attempt used is reported cumulatively and billed as the
difference to the rows already there: a report read twice, or after a crash, adds nothing.
"""

from __future__ import annotations

import csv
import datetime
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from opendojo.service.models import Attempt, Interval, Job, Tenant

__all__ = [
    "Report",
    "bill",
    "correct",
    "month_begin_ms",
    "price_of",
    "rows_csv",
    "totals",
    "write_parquet",
]

HOUR_MS = 3_600_000
_SUMS = ("chip_ms", "cpu_ms", "energy_mj", "frames", "bytes", "money_micro")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an attempt has used since it began, as its wrapper last wrote it."""

    begun_ms: int
    wall_ms: int = 0
    cpu_ms: int = 0
    energy_mj: int | None = None
    """None where nothing measured it."""
    energy_method: str = "none"
    frames: int = 0
    bytes: int = 0


def price_of(chip_ms: int, price_micro: int) -> int:
    """Money in micro-units for a whole attempt, rounded down once, not once a row."""
    return chip_ms * price_micro // HOUR_MS


def bill(session: Session, job: Job, attempt: Attempt, report: Report) -> Interval | None:
    """Append what the report says beyond the rows there; None where that is nothing."""
    rows = session.scalars(
        select(Interval)
        .where(Interval.attempt_id == attempt.id)
        .order_by(Interval.number)
    ).all()  # fmt: skip
    own = [row for row in rows if row.corrects is None]
    done = {name: sum(getattr(row, name) or 0 for row in own) for name in _SUMS}
    chip_ms = job.chips * report.wall_ms
    if chip_ms <= done["chip_ms"] and report.cpu_ms <= done["cpu_ms"]:
        return None
    chip_ms = max(chip_ms, done["chip_ms"])
    if own:
        price = own[0].price_micro
    else:
        price = session.scalars(select(Tenant.price_micro).where(Tenant.id == job.tenant_id)).one()
    energy = None if report.energy_mj is None else max(report.energy_mj - done["energy_mj"], 0)
    row = Interval(
        tenant_id=job.tenant_id,
        project_id=job.project_id,
        job_id=job.id,
        attempt_id=attempt.id,
        number=len(rows) + 1,
        start_ms=own[-1].end_ms if own else report.begun_ms,
        end_ms=report.begun_ms + report.wall_ms,
        chip_ms=chip_ms - done["chip_ms"],
        cpu_ms=max(report.cpu_ms - done["cpu_ms"], 0),
        energy_mj=energy,
        energy_method=report.energy_method,
        frames=max(report.frames - done["frames"], 0),
        bytes=max(report.bytes - done["bytes"], 0),
        money_micro=price_of(chip_ms, price) - done["money_micro"],
        price_micro=price,
        reason="",
    )
    session.add(row)
    return row


def correct(session: Session, row: Interval, reason: str, **change: int) -> Interval:
    """Append a row that changes the sums by `change`, such as money_micro=-500.

    Raises ValueError for a quantity that the ledger does not have.
    """
    if unknown := set(change) - set(_SUMS):
        raise ValueError(f"the ledger has no {', '.join(sorted(unknown))}: {', '.join(_SUMS)}")
    last = session.scalars(
        select(func.max(Interval.number)).where(Interval.attempt_id == row.attempt_id)
    ).one()
    values = {name: change.get(name, 0) for name in _SUMS}
    new = Interval(
        tenant_id=row.tenant_id,
        project_id=row.project_id,
        job_id=row.job_id,
        attempt_id=row.attempt_id,
        number=last + 1,
        start_ms=row.start_ms,
        end_ms=row.end_ms,
        energy_method="correction",
        price_micro=row.price_micro,
        corrects=row.id,
        reason=reason,
        **values,
    )
    session.add(new)
    return new


def totals(
    session: Session, tenant: str, begin_ms: int, end_ms: int, by: str = ""
) -> list[dict[str, Any]]:
    """Sums of a tenant's rows that end in [begin_ms, end_ms), in all or by `project` or `job`.

    `unmetered_rows` counts the rows without energy: where it is not 0, energy_mj is a part only.
    """
    if by not in ("", "project", "job"):
        raise ValueError("usage is grouped by project or job")
    keys = [getattr(Interval, f"{by}_id")] if by else []
    sums: list[Any] = [func.coalesce(func.sum(getattr(Interval, name)), 0) for name in _SUMS]
    missing = func.count() - func.count(Interval.energy_mj)
    query = select(*keys, *sums, missing).where(
        Interval.tenant_id == tenant, Interval.end_ms >= begin_ms, Interval.end_ms < end_ms
    )
    names = [*([by] if by else []), *_SUMS, "unmetered_rows"]
    found = session.execute(query.group_by(*keys).order_by(*keys) if by else query).all()
    return [
        {name: value if name == by else int(value) for name, value in zip(names, row, strict=True)}
        for row in found
    ]


def month_begin_ms(at_ms: int) -> int:
    """The first instant of that month, UTC."""
    day = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    first = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()) * 1000


def _rows(session: Session, tenant: str) -> tuple[list[str], list[list[Any]]]:
    names = [column.name for column in Interval.__table__.columns]
    query = select(Interval).where(Interval.tenant_id == tenant).order_by(Interval.id)
    return names, [[getattr(row, name) for name in names] for row in session.scalars(query)]


def rows_csv(session: Session, tenant: str) -> str:
    """A tenant's ledger as CSV."""
    names, rows = _rows(session, tenant)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def write_parquet(session: Session, tenant: str, path: Path) -> None:
    """A tenant's ledger as a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    names, rows = _rows(session, tenant)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    types = [
        pyarrow.int64() if column.type.python_type is int else pyarrow.string()
        for column in Interval.__table__.columns
    ]
    arrays = [pyarrow.array(list(c), t) for c, t in zip(columns, types, strict=True)]
    pyarrow.parquet.write_table(pyarrow.table(dict(zip(names, arrays, strict=True))), path)
