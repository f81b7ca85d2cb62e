"""`opendojo submit [OPTIONS] -- train tiny ...`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opendojo.cli.service_work import connected, show
from opendojo.cli.show import Common, parse

if TYPE_CHECKING:
    from opendojo.service.client import Client

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit(Common):
    """Submit an `opendojo` command as a job: its words come after `--`."""

    chips: int = 1
    """Chips it needs, all at once."""
    limit_s: int = 3600
    """Seconds after which an attempt is stopped; short limits start earlier."""
    priority: int = 0
    """0 to 100, among the jobs of your organisation."""
    retries: int = 2
    """How often a failed attempt is tried again from its checkpoint."""
    workers: int = 1
    """Processes that run the command together, or not at all; they share the chips evenly."""
    input: tuple[str, ...] = ()
    """What earlier jobs of your organisation wrote, such as trained=job_0123456789abcdef/run:
    copied into the job's folder under that name."""
    project: str = "default"
    """Project of your organisation."""
    key: str = ""
    """Idempotency key: the same key and job again submit nothing new."""
    dry_run: bool = False
    """Plan only: time, cost, energy, and whether it would wait."""


def run(arguments: list[str]) -> int:
    """Submit, print the job."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    chosen = parse(Submit, "submit", arguments[:at], "Submit a job: opendojo submit -- train tiny")
    words = arguments[at + 1 :]
    if not words:
        raise ValueError("name the job after --, such as: opendojo submit --chips 2 -- train tiny")

    pairs = [one.partition("=") for one in chosen.input]
    if not all(name and source for name, _, source in pairs):
        raise ValueError("an input is NAME=JOB/PATH, such as trained=job_0123456789abcdef/run")
    inputs = {name: source for name, _, source in pairs}

    def work(client: Client) -> int:
        told = client.submit(
            words, key=chosen.key or None, dry_run=chosen.dry_run, chips=chosen.chips,
            limit_s=chosen.limit_s, priority=chosen.priority, retries=chosen.retries,
            project=chosen.project, workers=chosen.workers, inputs=inputs,
        )  # fmt: skip
        if not chosen.dry_run:
            return show(chosen.json, {"job": told}, f"{told['id']} {told['state']}")
        lines = [
            f"{name:<7} {told[name]['low']:g} to {told[name]['high']:g} {told[name]['unit']}"
            if told[name] else f"{name:<7} not known"
            for name in ("time", "cost", "energy")
        ]  # fmt: skip
        lines.append("starts at once" if told["starts_now"] else f"waits: {told['wait']}")
        return show(chosen.json, {"plan": told}, "\n".join(lines))

    return connected(work)
