"""What a layout comes to over a day: time, useful share, watts, joules, cost, what binds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opendojo.machine.chips import Chip
from opendojo.machine.faults import Guard, outcome
from opendojo.machine.figure import Figure
from opendojo.machine.pods import Pod
from opendojo.machine.power import chip_w, energy_usd, facility_w
from opendojo.machine.shapes import Shape

__all__ = ["BUSY_SHARE", "Plan", "Terms", "finish", "node_w"]

DAY_S = 86_400.0
BUSY_SHARE = 0.82
"""Of the rated power that a chip busy with training draws: nodes of eight H100 and B200 under
MLPerf Training, less what the rest of the node takes."""
_GUARD = Guard(overhead=0.02, caught=0.9, replay_s=30.0)
_BINDS = {
    "products": "arithmetic", "attention": "arithmetic of attention", "traffic": "memory bandwidth",
    "launches": "launches of kernels",
    "tensor": "links of the tensor axis",
    "expert": "exchange between experts", "ring": "links of the sequence axis",
    "bubble": "bubble of the pipeline", "exchange": "exchange of gradients",
    "optimizer": "memory bandwidth of the optimizer", "fixed": "overhead of a step",
    "fresh": "first touch of fresh memory",
    "offload": "link to the host", "decode": "decode on the hosts", "storage": "storage",
    "network": "network to the storage",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is taken for granted around the machine."""

    storage_bytes_per_s: float = 5e9
    """Of a node, to read data and to write checkpoints."""
    host_cores: float = 64.0
    """Of a node, where the pod's file does not say."""
    restart_s: float = 600.0
    years: float = 4.0
    usd_per_kwh: float = 0.08
    host_price_share: float = 0.35
    """Price of everything that is no chip, over the price of the chips."""
    guard: Guard = _GUARD
    decode_core_s: float | None = None
    """Of a host's core for one unit; the network's own where None."""
    unit_bytes: float | None = None

    def sentences(self) -> tuple[str, ...]:
        """The terms, to be listed."""
        return (
            f"storage of {self.storage_bytes_per_s / 1e9:g} GB/s a node; restart "
            f"{self.restart_s:g} s; guard costs {100 * self.guard.overhead:g} % and catches "
            f"{100 * self.guard.caught:g} % of recognised silent corruption",
            f"chips last {self.years:g} years, hosts and switches cost "
            f"{100 * self.host_price_share:g} % of them, {self.usd_per_kwh:g} USD/kWh",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One layout. Modelled; low and high hold 80 %."""

    network: str
    chip: str
    pod: str
    chips: int
    batch: float
    layout: dict[str, int]
    step_s: float
    low_s: float
    high_s: float
    unit: str
    units_per_day: float
    """Useful ones, after faults, guard and checkpoints."""
    units_per_day_low: float
    units_per_day_high: float
    memory: dict[str, float]
    memory_bytes: float
    parts: dict[str, float]
    """Seconds; those of the data path only where they exceed the rest."""
    binds: str
    mfu: float
    """First-time arithmetic over the rated."""
    useful: float
    failures_per_day: float
    corruptions_per_day: float
    """Silent and not caught."""
    checkpoint_every_s: float
    kw: float
    joules_per_unit: float
    usd_per_billion_units: float | None
    """None where the chip has no price."""
    layouts_tried: int
    assumed: tuple[str, ...]


def node_w(chip: Chip, pod: Pod, utilisation: float) -> float:
    """Watts of a node: its chips at a utilisation from 0 to 1, and the rest of it."""
    idle, busy = chip.idle_w.value, chip.tdp_w.value * BUSY_SHARE
    chips = pod.chips_per_node.value * chip_w(min(idle, busy), busy, min(utilisation, 1.0))
    return chips + pod.overhead_w_per_node.value


def finish(
    shape: Shape, chip: Chip, pod: Pod, terms: Terms, *, chips: int, batch: float, tried: int,
    layout: dict[str, int], parts: dict[str, float], memory: dict[str, float], spread: float,
) -> Plan:  # fmt: skip
    """A day of one layout."""
    nodes = math.ceil(chips / pod.chips_per_node.value)
    work_s, data = sum(parts.values()), _data_s(shape, chip, pod, terms, batch, chips, nodes)
    stage = max(data, key=lambda name: data[name])
    if data[stage] > work_s:
        parts = {**parts, stage: data[stage] - work_s}
        binds = _BINDS[stage]
    else:
        binds = _BINDS[max(parts, key=lambda name: parts[name])]
    step_s = max(work_s, data[stage])
    width = math.hypot(spread, _hardware_spread(chip, parts, step_s))
    state_bytes = 14 * shape.values["parameters"] if shape.training else 1e6
    write_s = 1.0 + state_bytes / (nodes * terms.storage_bytes_per_s)
    fate = outcome(chips, checkpoint_s=write_s, restart_s=terms.restart_s, guard=terms.guard)
    per_day = batch * shape.units / step_s * DAY_S * fate.useful
    busy = sum(parts.get(k, 0.0) for k in ("products", "attention", "traffic", "optimizer"))
    watts = facility_w(nodes * node_w(chip, pod, busy / step_s), pue=pod.pue.value)
    joules = watts * DAY_S / per_day
    rate = next(chip.rates[f] for f in shape.formats if f in chip.rates).value
    return Plan(
        network=shape.name, chip=chip.name, pod=pod.name, chips=chips, batch=batch, layout=layout,
        step_s=step_s, low_s=step_s * math.exp(-width), high_s=step_s * math.exp(width),
        unit=shape.unit, units_per_day=per_day, units_per_day_low=per_day * math.exp(-width),
        units_per_day_high=per_day * math.exp(width), memory=memory,
        memory_bytes=sum(memory.values()), parts=parts, binds=binds,
        mfu=shape.flops() * batch / step_s / chips / rate, useful=fate.useful,
        failures_per_day=fate.failures_per_day, corruptions_per_day=fate.uncaught_per_day,
        checkpoint_every_s=fate.interval_s, kw=watts / 1e3, joules_per_unit=joules,
        usd_per_billion_units=_usd(chip, terms, chips, per_day, joules),
        layouts_tried=tried, assumed=_assumed(shape, chip, pod, terms, batch),
    )  # fmt: skip


def _usd(chip: Chip, terms: Terms, chips: int, units_per_day: float, joules: float) -> float | None:
    if chip.price_usd is None:
        return None
    price = chips * chip.price_usd.value * (1 + terms.host_price_share)
    per_unit = price / (terms.years * 365.25 * units_per_day)
    return 1e9 * (per_unit + energy_usd(joules, terms.usd_per_kwh))


def _data_s(
    shape: Shape, chip: Chip, pod: Pod, terms: Terms, batch: float, chips: int, nodes: int
) -> dict[str, float]:
    """Seconds of each stage of the data path for a step; all run beside the work."""
    units = batch * shape.units
    size = shape.unit_bytes if terms.unit_bytes is None else terms.unit_bytes
    decode = shape.decode_core_s if terms.decode_core_s is None else terms.decode_core_s
    cores = pod.host_cores_per_node.value if pod.host_cores_per_node else terms.host_cores
    return {
        "decode": units * decode / (nodes * cores),
        "storage": units * size / (nodes * terms.storage_bytes_per_s),
        "network": units * size / max(chips * chip.nic_bytes_per_s.value, 1.0),
    }


def _hardware_spread(chip: Chip, parts: dict[str, float], step_s: float) -> float:
    """Half width in logarithm of what the chip's own ranges leave open, by each part's share."""
    memory = chip.memories[0].bandwidth_bytes_per_s if chip.memories else chip.sram_bytes_per_s
    rate = chip.rates.get("bf16", next(iter(chip.rates.values())))
    of = {
        rate: ("products", "attention", "bubble"), memory: ("traffic", "optimizer"),
        chip.link_bytes_per_s: ("tensor", "expert", "ring"), chip.nic_bytes_per_s: ("exchange",),
    }  # fmt: skip
    total = 0.0
    for figure, names in of.items():
        share = sum(parts.get(name, 0.0) for name in names) / step_s
        total += (share * _half(figure)) ** 2
    return math.sqrt(total)


def _half(figure: Figure | None) -> float:
    if figure is None or figure.low <= 0 or figure.high <= figure.low:
        return 0.0
    return 0.5 * math.log(figure.high / figure.low)


def _assumed(shape: Shape, chip: Chip, pod: Pod, terms: Terms, batch: float) -> tuple[str, ...]:
    weak = [
        f"{name} {figure.value:.3g} {figure.unit} ({figure.low:.3g} to {figure.high:.3g})"
        for name, figure in chip.figures().items()
        if figure.grade == "unknown"
        and name.split()[-1] in ("bf16", "bandwidth_bytes_per_s", "capacity_bytes", "tdp_w",
                                 "link_bytes_per_s", "nic_bytes_per_s", "price_usd")
    ]  # fmt: skip
    notes = [*shape.assumed, f"{batch:g} samples a step"]
    if weak:
        notes.append(f"nobody has said of {chip.name}: {'; '.join(weak)}")
    if pod.host_cores_per_node is None:
        notes.append(f"{terms.host_cores:g} processor cores a node; {pod.name} does not say")
    notes.append(f"PUE {pod.pue.value:g}; a busy chip draws {BUSY_SHARE:.0%} of its rating")
    notes.append("software as calibrated on published runs, of GPUs and TPUs")
    return (*notes, *terms.sentences())
