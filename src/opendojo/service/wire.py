"""What strangers send and get, checked by pydantic."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

__all__ = [
    "COMMANDS",
    "PROBLEM",
    "JobAsked",
    "JobShown",
    "LoginAsked",
    "OrganisationAsked",
    "OrganisationChange",
    "Plan",
    "ProjectAsked",
    "Range",
    "TokenAsked",
    "UserAsked",
    "UserChange",
    "Waiting",
    "shown",
]

COMMANDS = frozenset(
    {"bench", "demo", "drive", "evaluate", "export", "ingest", "machine", "store", "train", "world"}
)
"""The `opendojo` commands that a job may be."""

_Word = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
_SOURCE = re.compile(r"^job_[0-9a-f]{8,16}(/[^/]+)*/?$")


PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
"""An error as the API's document describes it (RFC 9457)."""


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [values]})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class JobAsked(_Strict):
    """A job: an `opendojo` command with what it needs."""

    model_config = _example(command=["demo"], chips=2, limit_s=3600)

    command: list[_Word] = Field(min_length=1, max_length=200)
    """The words after `opendojo`; paths are relative to the job's own folder."""
    chips: int = Field(default=1, ge=1, le=1_000_000)
    limit_s: int = Field(default=3600, ge=1, le=31 * 86400)
    priority: int = Field(default=0, ge=0, le=100)
    retries: int = Field(default=2, ge=0, le=10)
    preemptible: bool = True
    project: _Word = Field(default="default", max_length=100)
    workers: int = Field(default=1, ge=1, le=10_000)
    """Processes that run the command together, each with chips/workers of the chips."""
    inputs: dict[_Word, _Word] = Field(default_factory=dict, max_length=50)
    """Name in its own folder to `JOB/path` of what an earlier job of the organisation wrote."""

    @field_validator("command")
    @classmethod
    def _command(cls, words: list[str]) -> list[str]:
        if words[0] not in COMMANDS:
            raise ValueError(f"a job is one of {', '.join(sorted(COMMANDS))}")
        for word in words:
            _inside(word)
        return words

    @field_validator("inputs")
    @classmethod
    def _inputs(cls, inputs: dict[str, str]) -> dict[str, str]:
        for name, source in inputs.items():
            _inside(name)
            _inside(source)
            parts = name.split("/")
            if "" in parts or "." in parts or not _SOURCE.match(source):
                raise ValueError("an input is NAME=JOB/PATH, such as run=job_0123456789abcdef/runs")
            if any("/".join(parts[:at]) in inputs for at in range(1, len(parts))):
                raise ValueError(f"{name!r} lies in another input")
        return inputs

    @model_validator(mode="after")
    def _gang(self) -> JobAsked:
        if self.chips % self.workers:
            raise ValueError(f"{self.chips} chips cannot be shared evenly by {self.workers}")
        return self

    def digest(self) -> str:
        """SHA-256 of the request; fields that came later count only where they are used."""
        late = {"workers": self.workers == 1, "inputs": not self.inputs}
        text = self.model_dump_json(exclude={name for name, unused in late.items() if unused})
        return hashlib.sha256(text.encode()).hexdigest()


def _inside(word: str) -> None:
    """Raise ValueError for a word that could name a file outside of the job's folder."""
    for part in (word, *re.split("[=,:]", word)):
        if part.startswith(("/", "~")) or ".." in part.split("/"):
            raise ValueError(f"{word!r} leaves the job's own folder")
    if re.match(r"(--?[\w.-]+=)?(file|local):", word):
        raise ValueError(f"{word!r} leaves the job's own folder")


class JobShown(BaseModel):
    """A job as the API tells it."""

    id: str
    command: list[str]
    chips: int
    limit_s: int
    priority: int
    retries: int
    preemptible: bool
    workers: int
    inputs: dict[str, str]
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
    """A token for oneself, or for the user of that id."""

    model_config = _example(scopes=["read"], lifetime_s=86400)

    scopes: list[_Word] = Field(min_length=1, max_length=5)
    lifetime_s: int = Field(default=30 * 86400, ge=1, le=366 * 86400)
    user: str = Field(default="", pattern=r"^(usr_[0-9a-f]{8,16})?$")


_Name = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]
_Amount = Annotated[int | None, Field(ge=0, le=2**53)]


class OrganisationChange(_Strict):
    """Settings of an organisation; what is not sent stays, null means no limit."""

    model_config = _example(weight=2, budget_chip_ms=3_600_000_000)

    name: _Name | None = None
    weight: int = Field(default=1, ge=1, le=1_000_000)
    rank: int = Field(default=0, ge=0, le=1000)
    cap_chips: _Amount = None
    budget_micro: _Amount = None
    """Money a month, in millionths of the currency."""
    budget_chip_ms: _Amount = None
    """Chip-milliseconds a month."""
    budget_mj: _Amount = None
    """Millijoules a month."""
    price_micro: int = Field(default=0, ge=0, le=10**9)
    """Of a chip-hour, in millionths; what the largest job can cost still fits 64 bits."""


class OrganisationAsked(OrganisationChange):
    """A new organisation with its first member, an admin."""

    model_config = _example(name="lidar", weight=2)

    name: _Name  # type: ignore[assignment] - a new one needs it
    admin: _Name = "admin"


class LoginAsked(_Strict):
    """An ID token of the identity provider, for a token of the service."""

    model_config = _example(id_token="eyJ...")

    id_token: str = Field(min_length=1, max_length=20_000, pattern=r"^[!-~]+$")
    organisation: str = Field(default="", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")


class UserAsked(_Strict):
    """A new member."""

    model_config = _example(name="ann", role="submitter")

    name: _Name
    role: Literal["viewer", "submitter", "admin", "operator"]
    organisation: str = Field(default="", pattern=r"^(ten_[0-9a-f]{8,16})?$")
    """Of another organisation; for operators."""
    subject: _Name | None = None
    """Who that is for the identity provider: its issuer, "|", its `sub`."""


class UserChange(_Strict):
    """A member's new role."""

    model_config = _example(role="viewer")

    role: Literal["viewer", "submitter", "admin", "operator"]


class ProjectAsked(_Strict):
    """A project's name."""

    model_config = _example(name="night-drives")

    name: _Name
