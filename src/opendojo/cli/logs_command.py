"""`opendojo logs JOB [--follow]`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from opendojo.cli.service_work import connected, show
from opendojo.cli.show import Common, parse

if TYPE_CHECKING:
    from opendojo.service.client import Client

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs(Common):
    """The log of a job's newest attempt."""

    job: Annotated[str, tyro.conf.Positional]
    """The job's id."""
    follow: bool = False
    """Go on until the job has ended."""


def run(arguments: list[str]) -> int:
    """Print the log as it comes."""
    chosen = parse(Logs, "logs", arguments, "The log of a job's newest attempt.")

    def work(client: Client) -> int:
        if chosen.json:
            text = "".join(client.logs(chosen.job, follow=chosen.follow))
            return show(True, {"job": chosen.job, "log": text}, "")
        for piece in client.logs(chosen.job, follow=chosen.follow):
            sys.stdout.write(piece)
            sys.stdout.flush()
        return 0

    return connected(work)
