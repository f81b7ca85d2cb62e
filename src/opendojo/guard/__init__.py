"""Checks that the arithmetic was right: suspicion before the weights change, equality by bits.

finding = finite(loss, [p.grad for p in network.parameters()])
if not finding.suspicious:
    optimizer.step()
same = digest(network.state_dict()) == digest(other.state_dict())
"""

from opendojo.guard.check import Finding as Finding
from opendojo.guard.check import finite as finite
from opendojo.guard.digest import digest as digest

__all__ = ["Finding", "digest", "finite"]
