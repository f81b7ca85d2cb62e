"""What strangers send and get, checked by pydantic."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

__all__ = ["COMMANDS", "JobAsked", "JobShown", "Plan", "Range", "TokenAsked", "Waiting", "shown"]

COMMANDS = frozenset(
    {"bench", "demo", "drive", "evaluate", "export", "ingest", "machine", "store", "train", "world"}
)
"""The `opendojo` commands that a job may be."""

_Word = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
_MOST = 2**31 - 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class JobAsked(_Strict):
    """A job: an `opendojo` command with what it needs."""

    command: list[_Word] = Field(min_length=1, max_length=200)
    """The words after `opendojo`; paths are relative to the job's own folder."""
    chips: int = Field(default=1, ge=1, le=1_000_000)
    limit_s: int = Field(default=3600, ge=1, le=31 * 86400)
    priority: int = Field(default=0, ge=0, le=100)
    retries: int = Field(default=2, ge=0, le=10)
    preemptible: bool = True
    project: _Word = Field(default="default", max_length=100)

    @field_validator("command")
    @classmethod
    def _command(cls, words: list[str]) -> list[str]:
        if words[0] not in COMMANDS:
            raise ValueError(f"a job is one of {', '.join(sorted(COMMANDS))}")
        for word in words:
            for part in (word, *re.split("[=,:]", word)):
                if part.startswith(("/", "~")) or ".." in part.split("/"):
                    raise ValueError(f"{word!r} leaves the job's own folder")
            if re.match(r"(--?[\w.-]+=)?(file|local):", word):
                raise ValueError(f"{word!r} leaves the job's own folder")
        return words


class JobShown(BaseModel):
    """A job as the API tells it."""

    id: str
    command: list[str]
    chips: int
    limit_s: int
    priority: int
    retries: int
    preemptible: bool
    project: str
    state: str
    attempts: int
    submitted_ms: int
    changed_ms: int


def shown(job: Any) -> JobShown:
    """A row as the API tells it."""
    names = [name for name in JobShown.model_fields if name != "project"]
    return JobShown(project=job.project_id, **{name: getattr(job, name) for name in names})


class Range(BaseModel):
    """A modelled figure."""

    low: float
    high: float
    unit: str
    how: str


class Plan(BaseModel):
    """What a job would take; nothing was submitted."""

    dry_run: bool = True
    time: Range
    cost: Range
    energy: Range | None
    starts_now: bool
    wait: str


class Waiting(BaseModel):
    """Why a job waits."""

    state: str
    kind: str
    text: str
    before: list[str]
    earliest_ms: int | None
    sure: str


class TokenAsked(_Strict):
    """A token for oneself."""

    scopes: list[_Word] = Field(min_length=1, max_length=5)
    lifetime_s: int = Field(default=30 * 86400, ge=1, le=366 * 86400)
