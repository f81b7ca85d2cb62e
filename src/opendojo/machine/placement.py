"""A network on a pod: every layout's memory and step, and a day of the best. Modelled.

    plans = place(named_shape("gpt-175b"), find_pod("dgx-h100"), chips=1024)
    plans[0].step_s, plans[0].low_s, plans[0].high_s, plans[0].binds, plans[0].assumed

The step is that of `opendojo.machine.cost` with the stored calibration. Layouts that do not fit are
dropped before they are priced, so a search costs a few numpy operations on the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from opendojo.machine.calibration import spreads, stored
from opendojo.machine.chips import Chip, find_chip
from opendojo.machine.cost import Jobs, generation_of, launch_s, step_parts_s
from opendojo.machine.layouts import LAYOUT, layouts_of
from opendojo.machine.memory import host_bytes, rank_bytes
from opendojo.machine.place_here import place_here
from opendojo.machine.plan import Plan, Terms, finish
from opendojo.machine.pods import Pod
from opendojo.machine.shapes import Shape

__all__ = ["chips_for", "default_batch", "place", "rank_values"]

Array = np.ndarray
_HOST_LINK_BYTES_PER_S = 2.5e10
"""PCIe of a chip to its host, one direction: an assumption, generation 4 with 16 lanes."""
_TOKENS_OF_A_STEP = 4 * 2**20


def default_batch(shape: Shape, chips: int) -> float:
    """Samples of a step where nobody says: 4 Mi tokens, or the usual batch of each chip."""
    if shape.kind == "vision":
        return shape.batch * chips
    return max(1.0, _TOKENS_OF_A_STEP / shape.values["seq"])


def place(
    shape: Shape, pod: Pod, *, chips: int | None = None, batch: float | None = None,
    chip: Chip | None = None, best: int = 5, terms: Terms | None = None,
) -> list[Plan]:  # fmt: skip
    """The quickest layouts of `shape` on `chips` of the pod (all of them by default).

    Raises `ValueError` where no layout exists or none fits; the sentence names the smallest change
    that would make it possible.
    """
    count = chips or pod.chips()
    card = chip or find_chip(pod.chip)
    terms = terms or Terms()
    samples = batch or default_batch(shape, count)
    if count < 1 or samples < 1:
        raise ValueError("chips and the batch must be at least 1")
    if card.kernels:
        return place_here(shape, pod, card, chips=count, batch=samples, terms=terms)
    node = min(pod.scale_up_chips.value, count)
    layouts = layouts_of(shape, count, samples, node)
    if not len(layouts["tp"]):
        raise ValueError(
            f"{shape.name}: {count} chips cannot be divided over {samples:g} samples and "
            f"{shape.layers():.0f} layers: give --batch {count} or more, or fewer chips"
        )
    tried = len(layouts["tp"])
    values = rank_values(shape, card, pod, layouts, count, samples)
    needed, keep, hosted = _fitting(shape, card, pod, values)
    if not keep.any():
        total = np.asarray(sum(needed.values(), np.zeros_like(values["tp"])))
        least = float((total[hosted] if hosted.any() else total).min())
        raise _too_large(shape, card, pod, count, samples, least)
    values = {k: v[keep] if np.ndim(v) else v for k, v in values.items()}
    layouts = {name: v[keep] for name, v in layouts.items()}
    needed = {name: v[keep] for name, v in needed.items()}
    _fast_memory(card, values, sum(needed.values(), np.zeros_like(values["tp"])))
    parts = _parts(shape, card, values)
    step_s = np.asarray(sum(parts.values()))
    # Equal steps: less memory first, then the plainer layout.
    order = np.lexsort((sum(needed.values(), np.zeros_like(step_s)), np.round(np.log(step_s), 4)))
    found: list[Plan] = []
    for i in order[:best]:
        found.append(
            finish(
                shape, card, pod, terms, chips=count, batch=samples, tried=tried,
                layout={name: int(layouts[name][i]) for name in LAYOUT},
                parts={k: float(v[i]) for k, v in parts.items()},
                memory={k: float(v[i]) for k, v in needed.items()},
                spread=spreads().get(shape.kind, 0.35),
            )
        )  # fmt: skip
    return found


def rank_values(
    shape: Shape, chip: Chip, pod: Pod, layouts: Mapping[str, Array], chips: int, batch: float
) -> dict[str, Array]:
    """The cost model's numbers for each layout; what all share is a scalar."""
    v: dict[str, Array] = {name: np.asarray(value) for name, value in shape.values.items()}
    v.update(dict(layouts.items()))
    form = next((f for f in shape.formats if f in chip.rates), "")
    if not form:
        raise ValueError(
            f"{chip.name} has no rate for {' or '.join(shape.formats)}, only "
            f"{', '.join(sorted(chip.rates))}: name one of them in the chip's file"
        )
    peak = chip.rates[form].value
    memory = chip.memories[0].bandwidth_bytes_per_s if chip.memories else chip.sram_bytes_per_s
    if memory is None:
        raise ValueError(f"{chip.name} has neither a memory nor sram_bytes_per_s: give one of them")
    share = batch / layouts["dp"]
    v.update(
        accumulate=np.maximum(1.0, np.ceil(share / layouts["mb"])),
        full=(layouts["recompute"] == 2).astype(float),
        selective=(layouts["recompute"] == 1).astype(float),
        fsdp=(layouts["shard"] == 2).astype(float),
    )
    scalars = {
        "peak": peak, "peak16": peak, "memory_rate": memory.value,
        "link_rate": max(chip.link_bytes_per_s.value, chip.nic_bytes_per_s.value, 1.0),
        "nic_rate": max(chip.nic_bytes_per_s.value, 1.0), "launch_s": launch_s(chip),
        "node": pod.scale_up_chips.value, "count": float(chips),
        "bytes": 4.0 if form == "fp32" else 2.0,
        "narrow": 0.0, "graphs": 0.0, "attention_early": 0.0, "attention_new": 1.0,
        "attention_blackwell": float(generation_of(chip) == "blackwell"),
    }  # fmt: skip
    return {**v, **{name: np.asarray(value) for name, value in scalars.items()}}


def _parts(shape: Shape, chip: Chip, v: Mapping[str, Array]) -> dict[str, Array]:
    family = "vision" if shape.kind == "vision" else "language"
    name = f"{generation_of(chip)} bf16 {family}"
    jobs = Jobs(v, {name: np.asarray(1.0), f"chip {chip.name}": np.asarray(1.0)})
    like = np.zeros_like(v["tp"])
    parts = {key: np.asarray(part) + like for key, part in step_parts_s(jobs, stored()).items()}
    if not shape.training:
        parts["optimizer"], parts["exchange"] = like, like
    # Weights and averages to the host and back, past what the work hides.
    away = host_bytes(v) * 4 / 3 / _HOST_LINK_BYTES_PER_S
    parts["offload"] = np.maximum(away - 0.5 * sum(parts.values(), like), 0.1 * away)
    return parts


def _fitting(
    shape: Shape, chip: Chip, pod: Pod, v: Mapping[str, Array]
) -> tuple[dict[str, Array], Array, Array]:
    """Bytes of each rank, which layouts fit, and which the hosts hold."""
    room = _room_bytes(chip)
    needed = rank_bytes(
        v, kept_bytes=shape.kept_bytes, largest_bytes=shape.largest_bytes,
        training=shape.training, overhead_bytes=min(2e9, 0.03 * room),
    )  # fmt: skip
    total = np.asarray(sum(needed.values(), np.zeros_like(v["tp"])))
    host = pod.host_memory_bytes_per_node
    hosted = host_bytes(v) <= (host.value / pod.chips_per_node.value if host else 0.0)
    return needed, (total <= room) & hosted, hosted


def _too_large(
    shape: Shape, chip: Chip, pod: Pod, chips: int, batch: float, least_bytes: float
) -> ValueError:
    """One sentence with the smallest memory or count of chips that would do."""
    room, enough = _room_bytes(chip), "a smaller sample"
    for count in (chips * 2**i for i in range(1, 10)):
        node = min(pod.scale_up_chips.value, count)
        layouts = layouts_of(shape, count, max(batch, count), node)
        if count > 65_536 or not len(layouts["tp"]):
            break
        values = rank_values(shape, chip, pod, layouts, count, max(batch, count))
        if _fitting(shape, chip, pod, values)[1].any():
            enough = f"{count} chips"
            break
    return ValueError(
        f"{shape.name} does not fit on {chips} x {chip.name}: the leanest layout needs "
        f"{least_bytes / 1e9:.3g} GB on a chip that has {room / 1e9:.3g}: it takes a memory of "
        f"{least_bytes / 1e9:.3g} GB or {enough}"
    )


def _room_bytes(chip: Chip) -> float:
    """Memories of a chip; a scratchpad of a quarter of them or more counts too."""
    outside = sum(memory.capacity_bytes.value for memory in chip.memories)
    inside = chip.sram_bytes.value if chip.sram_bytes else 0.0
    return outside + (inside if inside >= 0.05 * outside else 0.0)


def _fast_memory(chip: Chip, v: dict[str, Array], needed: Array) -> None:
    """What of a rank's bytes lies in SRAM moves at its rate, the rest at the memory's.

    The rate of both in turn: 1 / (share / SRAM + (1 - share) / memory).
    """
    if chip.sram_bytes is None or chip.sram_bytes_per_s is None or not chip.memories:
        return
    share = np.minimum(1.0, chip.sram_bytes.value / np.maximum(needed, 1.0))
    slow = chip.memories[0].bandwidth_bytes_per_s.value
    v["memory_rate"] = 1 / (share / chip.sram_bytes_per_s.value + (1 - share) / slow)


def chips_for(
    shape: Shape, pod: Pod, units_per_day: float, *, batch: float | None = None,
    chip: Chip | None = None, best: int = 5, terms: Terms | None = None, pods: int = 256,
) -> list[Plan]:  # fmt: skip
    """The quickest layouts on the fewest nodes that give `units_per_day` of useful work.

    Raises `ValueError` where `pods` pods are not enough.
    """
    if units_per_day <= 0:
        raise ValueError(f"a rate must be above 0, not {units_per_day:g}")
    node = max(1, round(pod.chips_per_node.value))

    def best_of(nodes: int) -> Plan | None:
        try:
            return place(shape, pod, chips=nodes * node, batch=batch, chip=chip, best=1,
                         terms=terms)[0]  # fmt: skip
        except ValueError:
            return None

    most, high, reason = max(1, pods * round(pod.nodes.value)), 1, None
    while (reason := best_of(high)) is None or reason.units_per_day < units_per_day:
        if high >= most:
            break
        high = min(most, high * 2)
    if reason is None:
        return place(shape, pod, chips=high * node, batch=batch, chip=chip, best=1, terms=terms)
    if reason.units_per_day < units_per_day:
        raise ValueError(
            f"{shape.name}: {high * node} x {reason.chip} give {reason.units_per_day:.3g} "
            f"{shape.unit}s a day, {units_per_day:.3g} are wanted ({reason.binds} binds): ask for "
            f"--frames-per-day {reason.units_per_day:.2g}"
            + ("" if batch is None else " or a larger --batch")
        )
    low = high // 2
    while high - low > max(1, high // 64):
        middle = (low + high) // 2
        plan = best_of(middle)
        low, high = (
            (low, middle) if plan and plan.units_per_day >= units_per_day else (middle, high)
        )
    plans = place(shape, pod, chips=high * node, batch=batch, chip=chip, best=best, terms=terms)
    note = f"the fewest nodes of {node} chips within 2 %"
    return [replace(plan, assumed=(*plan.assumed, note)) for plan in plans]
