"""`opendojo why JOB`."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from opendojo.cli.service_work import connected, show
from opendojo.cli.show import Common, parse

if TYPE_CHECKING:
    from opendojo.service.client import Client

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Why(Common):
    """Why a job waits, from the scheduler's own decision."""

    job: Annotated[str, tyro.conf.Positional]
    """The job's id."""


def run(arguments: list[str]) -> int:
    """Print the reason."""
    chosen = parse(Why, "why", arguments, "Why a job waits, from the scheduler's own decision.")

    def work(client: Client) -> int:
        told = client.why(chosen.job)
        lines = [f"{told['state']}: {told['text']}"]
        if told["before"]:
            lines.append(f"waits for {', '.join(told['before'])}")
        if told["earliest_ms"]:
            at = datetime.datetime.fromtimestamp(told["earliest_ms"] / 1000, datetime.UTC)
            lines.append(f"earliest {at:%Y-%m-%d %H:%M:%S} UTC, {told['sure']}")
        return show(chosen.json, {"why": told}, "\n".join(lines))

    return connected(work)
