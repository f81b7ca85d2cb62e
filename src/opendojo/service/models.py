"""The tables. Times are integer milliseconds since 1970, quantities integers, never floats."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "Attempt",
    "Audit",
    "Base",
    "Event",
    "Interval",
    "Job",
    "Project",
    "Tenant",
    "Token",
    "User",
]

_Serial = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables of the service."""

    type_annotation_map = {int: BigInteger, str: String}  # noqa: RUF012 - SQLAlchemy's name


class Tenant(Base):
    """An organisation; budgets are for a calendar month (UTC), None means no limit."""

    __tablename__ = "tenant"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    weight: Mapped[int] = mapped_column(default=1)
    rank: Mapped[int] = mapped_column(default=0)
    cap_chips: Mapped[int | None]
    budget_micro: Mapped[int | None]
    budget_chip_ms: Mapped[int | None]
    budget_mj: Mapped[int | None]
    price_micro: Mapped[int] = mapped_column(default=0)
    """Price of a chip-hour in millionths of the currency."""
    removed_ms: Mapped[int | None]
    """Since when nobody of it may call; its rows stay, the ledger needs them."""


class Project(Base):
    """Where an organisation's jobs belong."""

    __tablename__ = "project"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"), index=True)
    name: Mapped[str]
    removed_ms: Mapped[int | None]
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)


class User(Base):
    """A member: role viewer, submitter, admin, all within one organisation; or operator."""

    __tablename__ = "user_account"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"), index=True)
    name: Mapped[str]
    role: Mapped[str]
    removed_ms: Mapped[int | None]
    subject: Mapped[str | None]
    """Issuer and subject of a foreign login, where there is one."""
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        Index("user_by_subject", "subject", "tenant_id", unique=True),
    )


class Token(Base):
    """A key to the API; only its SHA-256 is kept."""

    __tablename__ = "token"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"))
    digest: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    expires_ms: Mapped[int]
    revoked_ms: Mapped[int | None]
    parent_id: Mapped[str | None] = mapped_column(index=True)
    """The token of the same user that made it: this one ends with that one."""
    issuer_id: Mapped[str | None] = mapped_column(index=True)
    """The token of another user that made it."""


class Job(Base):
    """What was asked for, and where it stands."""

    __tablename__ = "job"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"))
    key: Mapped[str]
    """The submitter's idempotency key."""
    digest: Mapped[str]
    """SHA-256 of the request, to tell a repeat from another job under the same key."""
    command: Mapped[list[str]] = mapped_column(JSON)
    chips: Mapped[int]
    limit_s: Mapped[int]
    priority: Mapped[int]
    retries: Mapped[int]
    preemptible: Mapped[bool]
    state: Mapped[str]
    submitted_ms: Mapped[int]
    changed_ms: Mapped[int]
    workers: Mapped[int] = mapped_column(default=1)
    """Processes of a gang, which share the chips evenly."""
    inputs: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    """Name in its own folder to "job/path" of an earlier job of the organisation."""
    attempts: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    __table_args__ = (
        UniqueConstraint("tenant_id", "key"),
        Index("job_by_tenant", "tenant_id", "submitted_ms", "id"),
        Index("job_by_state", "state"),
    )


class Attempt(Base):
    """One numbered run of a job; the row is there before anything is launched."""

    __tablename__ = "attempt"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    number: Mapped[int]
    made_ms: Mapped[int]
    ended_ms: Mapped[int | None]
    exit_code: Mapped[int | None]
    __table_args__ = (UniqueConstraint("job_id", "number"),)


class Event(Base):
    """Something that happened to a job."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    at_ms: Mapped[int]
    state: Mapped[str]
    attempt: Mapped[int]
    text: Mapped[str]


class Interval(Base):
    """A row of the ledger: what an attempt used between two heartbeats. Never changed."""

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempt.id"))
    number: Mapped[int]
    """The interval's number within its attempt, from 1; a correction has the next number."""
    start_ms: Mapped[int]
    end_ms: Mapped[int]
    chip_ms: Mapped[int]
    cpu_ms: Mapped[int]
    energy_mj: Mapped[int | None]
    energy_method: Mapped[str]
    frames: Mapped[int]
    bytes: Mapped[int]
    money_micro: Mapped[int]
    price_micro: Mapped[int]
    corrects: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("ledger.id"))
    reason: Mapped[str] = mapped_column(default="")
    __table_args__ = (
        UniqueConstraint("attempt_id", "number"),
        Index("ledger_by_tenant", "tenant_id", "end_ms"),
    )


class Audit(Base):
    """Who did what."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    tenant_id: Mapped[str]
    user_id: Mapped[str]
    at_ms: Mapped[int]
    action: Mapped[str]
    subject: Mapped[str]
    __table_args__ = (Index("audit_by_tenant", "tenant_id", "id"),)
