"""Computing for others: tenants submit commands, wait fairly, and pay for what they used.

The room launches commands as processes and never imports what they do. `admission.decide` says who
starts and why the rest waits; `manager.Manager` makes it so and survives being killed;
`ledger` holds what was used, in integers, for ever.

    from opendojo.service import Database, LocalLauncher, Manager, migrate
    migrate(address := "sqlite:////srv/dojo/service.db")
    Manager(Database(address), LocalLauncher(), Path("/srv/dojo"), 8).tick()
"""

from opendojo.service.admission import Decision, Policy, Request, Share, Wait, decide
from opendojo.service.database import Database, migrate
from opendojo.service.launcher import FakeLauncher, Launcher, Status, Task
from opendojo.service.local import LocalLauncher
from opendojo.service.manager import Manager
from opendojo.service.simulate import Simulated, Work, simulate
from opendojo.service.states import LEGAL, IllegalMove, State

__all__ = [
    "LEGAL",
    "Database",
    "Decision",
    "FakeLauncher",
    "IllegalMove",
    "Launcher",
    "LocalLauncher",
    "Manager",
    "Policy",
    "Request",
    "Share",
    "Simulated",
    "State",
    "Status",
    "Task",
    "Wait",
    "Work",
    "decide",
    "migrate",
    "simulate",
]
