"""`opendojo jobs [JOB] [--cancel]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from opendojo.cli.service_work import connected, show
from opendojo.cli.show import Common, parse

if TYPE_CHECKING:
    from opendojo.service.client import Client

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs(Common):
    """List jobs, show one, or cancel it."""

    job: Annotated[str, tyro.conf.Positional] = ""
    """A job's id; all jobs by default."""
    cancel: bool = False
    """Cancel it."""
    state: str = ""
    """Only jobs in this state."""
    limit: int = 100
    """How many at most, newest first."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(Jobs, "jobs", arguments, "List jobs, show one, or cancel it.")
    if chosen.cancel and not chosen.job:
        raise ValueError("name the job to cancel")

    def work(client: Client) -> int:
        if chosen.cancel:
            found = [client.cancel(chosen.job)]
        elif chosen.job:
            found = [client.job(chosen.job)]
        else:
            found = client.jobs(chosen.state, chosen.limit)
        lines = [
            f"{job['id']}  {job['state']:<10} {job['chips']:>4} chips  attempt {job['attempts']}  "
            f"{' '.join(job['command'])[:60]}"
            for job in found
        ]
        return show(chosen.json, {"jobs": found}, "\n".join(lines) or "no jobs")

    return connected(work)
