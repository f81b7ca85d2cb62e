"""A network on the machine at hand: one layout, priced by kernels that were measured on it."""

from __future__ import annotations

from dataclasses import replace

from opendojo.machine.chips import Chip
from opendojo.machine.here import step_here
from opendojo.machine.layouts import LAYOUT
from opendojo.machine.plan import Plan, Terms, finish
from opendojo.machine.pods import Pod
from opendojo.machine.shapes import Shape

__all__ = ["place_here"]

_STATE_BYTES = 16.0
"""Of a parameter in fp32: itself, its gradient, AdamW's two averages."""


def place_here(
    shape: Shape, pod: Pod, chip: Chip, *, chips: int, batch: float, terms: Terms
) -> list[Plan]:
    """The one plan. Modelled from measured kernels; the interval is that of `step_here`.

    Raises `ValueError` for more than one chip, a network that was not traced, and one whose
    samples do not fit, with the batch that would.
    """
    if chips != 1:
        raise ValueError(f"{chip.name} is one machine and knows no links to others: give --chips 1")
    if shape.workload is None:
        raise ValueError(
            f"{shape.name} is a shape by name, and {chip.name} prices operators that were traced: "
            "give a size (nano to large), the folder of a run or package.module:factory"
        )
    work = shape.workload
    backward = any(o.phase == "backward" for o in work.operators)
    memory = {
        "weights and optimizer": (_STATE_BYTES if backward else 4.0) * work.parameters,
        "activations": batch * (work.activation_bytes if backward else 0.0),
        "largest": 2.0 * batch * work.largest_activation_bytes,
    }
    room = sum(one.capacity_bytes.value for one in chip.memories)
    fixed = memory["weights and optimizer"]
    if (needed := sum(memory.values())) > room:
        most = (room - fixed) * batch / max(needed - fixed, 1.0)
        least = fixed + (needed - fixed) / batch
        raise ValueError(
            f"{shape.name} does not fit: {batch:g} samples need {needed / 1e9:.3g} GB and "
            f"{chip.name} has {room / 1e9:.3g}: "
            + (f"give --batch {most:.0f}" if most >= 1 else f"it takes {least / 1e9:.3g} GB")
        )
    found = step_here(work, chip, batch=batch)
    parts = dict(found.parts)
    if decode_s := terms.decode_core_s or 0.0:
        parts["decode"] = batch * shape.units * decode_s / chip.cores.value
    form = "fp32" if shape.precision not in chip.rates else shape.precision
    plan = finish(
        replace(shape, formats=(form,)), chip, pod,
        replace(terms, decode_core_s=0.0, unit_bytes=terms.unit_bytes or 0.0,
                host_cores=chip.cores.value),
        chips=1, batch=batch, tried=1, layout={**dict.fromkeys(LAYOUT, 1), "mb": round(batch),
                                               "shard": 0, "recompute": 0, "offload": 0},
        parts=parts, memory=memory, spread=found.half_width,
    )  # fmt: skip
    notes = [n for n in plan.assumed if not n.startswith(("software as", "shape of"))]
    note = (
        f"{len(chip.kernels)} kernels measured here ({chip.notes}); operators that were not "
        "measured go by the ones most like them"
    )
    data = () if decode_s else ("decode and storage are not counted: --decode-core-s adds decode",)
    return [replace(plan, assumed=(note, *data, *notes))]
