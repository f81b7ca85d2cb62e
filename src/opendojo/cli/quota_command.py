"""`opendojo quota`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opendojo.cli.service_work import show, simple

if TYPE_CHECKING:
    from opendojo.service.client import Client

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Print the month's budgets and what is used of them."""

    def work(client: Client, json: bool) -> int:
        told = client.quota()
        used = told["used"]
        lines = [told["organisation"]]
        for name, budget, spent, unit, per in (
            ("chip-hours", told["budget_chip_ms"], used["chip_ms"], "h", 3.6e6),
            ("money", told["budget_micro"], used["money_micro"], "currency", 1e6),
            ("energy", told["budget_mj"], used["energy_mj"], "J", 1e3),
        ):
            limit = "no limit" if budget is None else f"of {budget / per:,.2f}"
            lines.append(f"{name:<11} {spent / per:,.4f} {limit} {unit}")
        cap = told["cap_chips"]
        lines.append(f"at once     {'no limit' if cap is None else f'{cap} chips'}")
        return show(json, {"quota": told}, "\n".join(lines))

    return simple("quota", "The month's budgets and what is used of them.", arguments, work)
