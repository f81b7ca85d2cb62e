"""Machines as data: chips, packages and pods, the meter of this one, what a fleet's job would need.

Every figure says how it was got. A measured energy comes from a counter, an estimated one from
core-seconds and a range of watts; a count of cores is modelled from rates measured here.

    with Meter() as meter:
        work()
    print(meter.energy.joules, meter.energy.low, meter.energy.high, meter.energy.method)
"""

from opendojo.machine.chips import Chip, all_chips, find_chip, load_chips
from opendojo.machine.figure import Figure
from opendojo.machine.meter import Energy, Meter
from opendojo.machine.pods import Package, Pod, all_packages, all_pods, find_package, find_pod
from opendojo.machine.scale import FLEET_FRAMES_PER_DAY, cores_for, machine_facts

__all__ = [
    "FLEET_FRAMES_PER_DAY",
    "Chip",
    "Energy",
    "Figure",
    "Meter",
    "Package",
    "Pod",
    "all_chips",
    "all_packages",
    "all_pods",
    "cores_for",
    "find_chip",
    "find_package",
    "find_pod",
    "load_chips",
    "machine_facts",
]
