"""`opendojo usage [--by project|job]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opendojo.cli.service_work import connected, show
from opendojo.cli.show import Common, parse

if TYPE_CHECKING:
    from opendojo.service.client import Client

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Common):
    """What was used: sums of the ledger."""

    by: Literal["", "project", "job"] = ""
    """Sums by project or job; one sum by default."""


def run(arguments: list[str]) -> int:
    """Print the sums."""
    chosen = parse(Usage, "usage", arguments, "What was used: sums of the ledger.")

    def work(client: Client) -> int:
        rows = client.usage(chosen.by)
        lines = []
        for row in rows:
            joules = f"{row['energy_mj'] / 1000:,.1f} J"
            if row["unmetered_rows"]:
                joules = "joules not metered" if not row["energy_mj"] else f"at least {joules}"
            name = f"{row[chosen.by]}  " if chosen.by else ""
            lines.append(
                f"{name}{row['chip_ms'] / 3.6e6:,.4f} chip-hours, {row['cpu_ms'] / 1000:,.1f} CPU "
                f"seconds, {joules}, {row['money_micro'] / 1e6:,.4f} currency"
            )
        return show(chosen.json, {"usage": rows}, "\n".join(lines) or "nothing was used")

    return connected(work)
