"""Machines as data: the meter of this one, and what a fleet's job would need of it.

Every figure says how it was got. A measured energy comes from a counter, an estimated one from
core-seconds and a range of watts; a count of cores is modelled from rates measured here.

    with Meter() as meter:
        work()
    print(meter.energy.joules, meter.energy.low, meter.energy.high, meter.energy.method)
"""

from opendojo.machine.meter import Energy, Meter
from opendojo.machine.scale import FLEET_FRAMES_PER_DAY, cores_for, machine_facts

__all__ = ["FLEET_FRAMES_PER_DAY", "Energy", "Meter", "cores_for", "machine_facts"]
