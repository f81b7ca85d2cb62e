"""What a job would take: time, money and energy as ranges, each with how it was got.

The time is that of the organisation's own earlier jobs of the same words; else modelled by
`opendojo.machine` where the machine's chips are known and the job trains a known network; else
anything up to the limit. Energy is that time at the watts of the chips.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from opendojo.machine.chips import Chip, find_chip
from opendojo.machine.driving import driving_shape, driving_sizes
from opendojo.machine.meter_model import find_cpu, modelled
from opendojo.machine.placement import place
from opendojo.machine.plan import node_w
from opendojo.machine.pods import Pod, find_pod
from opendojo.machine.power import facility_w
from opendojo.service.models import Interval, Job
from opendojo.service.states import State
from opendojo.service.wire import JobAsked, Range

__all__ = ["Machine", "Training", "cost_range", "energy_range", "time_range", "training"]

_LEAST, _NEWEST = 3, 500
"""Earlier jobs that make a range, and among how many they are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the service's chips are."""

    pod: Pod | None = None
    """None: this machine's processors, a chip a thread."""
    chip: Chip | None = None

    @classmethod
    def named(cls, name: str) -> Machine:
        """A pod, or a chip that stands in one; this machine's processors where nothing is named.

        Raises ValueError for a name that is not known.
        """
        if not name:
            return cls()
        try:
            pod = find_pod(name)
            return cls(pod=pod, chip=find_chip(pod.chip))
        except ValueError:
            chip = find_chip(name)
        if not chip.pod:
            raise ValueError(f"{chip.name} stands in no pod: name a pod")
        return cls(pod=find_pod(chip.pod), chip=chip)

    def chip_w(self) -> tuple[float, float, str] | None:
        """Watts of one chip with its share of all around it, idle and busy, and how they were got.

        None where this machine's processor is not known.
        """
        if self.pod is not None and self.chip is not None:
            count, pue = self.pod.chips_per_node.value, self.pod.pue
            low = facility_w(node_w(self.chip, self.pod, 0.0), pue=pue.low) / count
            high = facility_w(node_w(self.chip, self.pod, 1.0), pue=pue.high) / count
            return low, high, f"modelled: {self.chip.name} in {self.pod.name}, idle to busy"
        cpu = find_cpu(Path("/proc/cpuinfo"))
        if cpu is None:
            return None
        found = modelled(cpu, 1.0)
        how = f"estimated: a thread of {cpu['name']}, its share of {cpu['tdp_w']} W, never idle"
        return found.low, found.high, how


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a command trains."""

    size: str
    steps: int
    batch: int
    """Windows of a step over all chips."""
    around: str
    drives: bool = False
    """Much of its time is not training."""


@functools.cache
def _recipes() -> dict[str, dict[str, str | int]]:
    return tomllib.loads(Path(__file__).with_name("recipes.toml").read_text())


def training(command: list[str]) -> Training | None:
    """What `train RECIPE ...` trains, None for all else, and where a network of one's own does."""
    if len(command) < 2 or command[0] != "train" or command[1] not in _recipes():
        return None
    if any(word.split("=")[0] == "--network" for word in command):
        return None
    told = dict(_recipes()[command[1]])
    for option, name in (("--train.steps", "steps"), ("--loader.batch", "batch"),
                         ("--net.size", "size")):  # fmt: skip
        value = _option(command, option)
        if value is not None:
            told[name] = value
    try:
        steps, batch, size = int(told["steps"]), int(told["batch"]), str(told["size"])
    except ValueError:
        return None
    if not (0 < steps <= 10**9 and 0 < batch <= 10**6 and size in driving_sizes()):
        return None
    return Training(size=size, steps=steps, batch=batch, around=str(told["around"]),
                    drives=bool(told.get("drives")))  # fmt: skip


def _option(command: list[str], name: str) -> str | None:
    """The last value of `--name value` or `--name=value`; - and _ are one in options."""
    value = None
    for word, after in zip(command, [*command[1:], ""], strict=True):
        key, equals, text = word.partition("=")
        if key.replace("_", "-") == name:
            value = text if equals else after
    return value


@functools.lru_cache(256)
def _step_s(pod: str, chip: str, size: str, chips: int, batch: int) -> tuple[float, float]:
    """Seconds of a step, 80 %. Raises ValueError where no layout fits."""
    plan = place(driving_shape(size), find_pod(pod), chips=chips, batch=float(batch),
                 chip=find_chip(chip), best=1)[0]  # fmt: skip
    return plan.low_s, plan.high_s


def time_range(
    session: Session, tenant: str, asked: JobAsked, machine: Machine, chips: int
) -> Range:
    """Seconds from first start to end, on a service of so many chips."""
    if (walls := _earlier_s(session, tenant, asked)) is not None:
        count, low, high = walls
        how = f"measured: {count} earlier jobs of yours with these words and chips"
        return Range(low=low, high=min(high, asked.limit_s), unit="s", how=how)
    work = training(asked.command)
    if machine.pod is None or machine.chip is None or work is None:
        why = "it trains no network that is known" if work is None else "no chips were named"
        how = f"from nothing to the time limit: not modelled, for {why}"
        return Range(low=0, high=asked.limit_s, unit="s", how=how)
    try:
        if asked.chips > chips:
            raise ValueError(f"there are only {chips} chips")
        names = machine.pod.name, machine.chip.name
        step_s = _step_s(*names, work.size, asked.chips, work.batch)
        low, high = (work.steps * one for one in step_s)
    except ValueError as error:
        how = f"from nothing to the time limit: {error}"
        return Range(low=0, high=asked.limit_s, unit="s", how=how)
    how = (f"modelled, 80 %: {work.steps:,} steps of {work.batch} windows, network {work.size}, on "
           f"{asked.chips} x {machine.chip.name}; without {work.around}")  # fmt: skip
    if low > asked.limit_s:
        how += f"; the limit of {asked.limit_s} s ends it before"
    high = asked.limit_s if work.drives else min(high, asked.limit_s)
    return Range(low=min(low, asked.limit_s), high=high, unit="s", how=how)


def _earlier_s(session: Session, tenant: str, asked: JobAsked) -> tuple[int, float, float] | None:
    """How many, least and most seconds of the organisation's jobs like this one that succeeded."""
    query = select(Job.id, Job.command).where(
        Job.tenant_id == tenant, Job.state == State.SUCCEEDED, Job.chips == asked.chips,
        Job.workers == asked.workers,
    )  # fmt: skip
    newest = session.execute(query.order_by(Job.submitted_ms.desc()).limit(_NEWEST)).all()
    like = [name for name, command in newest if command == asked.command]
    if len(like) < _LEAST:
        return None
    sums = session.execute(
        select(func.sum(Interval.chip_ms))
        .where(Interval.job_id.in_(like))
        .group_by(Interval.job_id)
    ).all()
    walls = [int(row[0]) / 1000 / asked.chips for row in sums]
    return (len(walls), min(walls), max(walls)) if len(walls) >= _LEAST else None


def cost_range(time: Range, chips: int, price_micro: int) -> Range:
    """Money for that time, at the organisation's price of a chip-hour."""
    each = chips * price_micro / 3600 / 1e6
    how = f"{chips} chips at {price_micro / 1e6:g} an hour each; the time {time.how}"
    return Range(low=time.low * each, high=time.high * each, unit="currency", how=how)


def energy_range(time: Range, chips: int, machine: Machine) -> Range | None:
    """Joules of the chips for that time; None where their watts are not known."""
    if (watts := machine.chip_w()) is None:
        return None
    low, high, how = watts
    return Range(low=time.low * chips * low, high=time.high * chips * high, unit="J",
                 how=f"{how}; the time {time.how}")  # fmt: skip
