"""Checks that the arithmetic was right: suspicion before the weights change, equality by bits.

with guard.watch(model, optimizer) as watch:
    for batch in data:
        loss = watch.step(lambda: loss_of(model, batch))
print(watch.ledger.text())

Usable around any PyTorch loop; nothing else of OpenDojo is needed. `digest` names a whole state,
`fingerprint` is its fast 64-bit kin, `finite` is the least of checks.
"""

from opendojo.guard.check import Finding as Finding
from opendojo.guard.check import finite as finite
from opendojo.guard.digest import digest as digest
from opendojo.guard.fingerprint import fingerprint as fingerprint
from opendojo.guard.ledger import Event as Event
from opendojo.guard.ledger import Ledger as Ledger
from opendojo.guard.mode import Rates as Rates
from opendojo.guard.moment import Ring as Ring
from opendojo.guard.regions import seen_regions as seen_regions
from opendojo.guard.team import Team as Team
from opendojo.guard.team import Wire as Wire
from opendojo.guard.watch import FULL as FULL
from opendojo.guard.watch import SAMPLED as SAMPLED
from opendojo.guard.watch import CorruptState as CorruptState
from opendojo.guard.watch import PermanentFault as PermanentFault
from opendojo.guard.watch import Suspected as Suspected
from opendojo.guard.watch import Watch as Watch
from opendojo.guard.watch import watch as watch

__all__ = [
    "FULL",
    "SAMPLED",
    "CorruptState",
    "Event",
    "Finding",
    "Ledger",
    "PermanentFault",
    "Rates",
    "Ring",
    "Suspected",
    "Team",
    "Watch",
    "Wire",
    "digest",
    "fingerprint",
    "finite",
    "seen_regions",
    "watch",
]
