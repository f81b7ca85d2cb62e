"""What the `machine` commands share: networks, pods and chips by name, and how a layout is told."""

from __future__ import annotations

import importlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from opendojo.cli.show import Common

if TYPE_CHECKING:
    from opendojo.machine.chips import Chip
    from opendojo.machine.plan import Plan, Terms
    from opendojo.machine.pods import Pod
    from opendojo.machine.shapes import Shape

__all__ = ["Where", "layout_text", "load_shape", "placed", "precision_of", "standing", "terms_of"]

SIZES = ("nano", "tiny", "small", "base", "large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where(Common):
    """On how many chips, and what lies around them."""

    on: str = "dgx-h100"
    """Pod or chip, by name or alias, or a .toml file of one's own chip."""
    chips: int | None = None
    """Chips; the whole pod, or what --frames-per-day takes."""
    batch: float | None = None
    """Samples of a step over all chips; 4 Mi tokens, or the network's usual batch for each chip."""
    precision: Literal["bf16", "fp16", "fp32", "fp8", "tf32"] | None = None
    """Of a network that is traced; bf16, and fp32 on a machine that was calibrated."""
    decode_core_s: float | None = None
    """Seconds of a host's core to decode one frame; 0.0015 by default."""
    frame_bytes: float | None = None
    """Bytes of a stored frame; 60,000 by default."""
    storage_bytes_per_s: float = 5e9
    """Of a node, to read data and write checkpoints."""


def terms_of(chosen: Where) -> Terms:
    """The machine room's terms. Raises `ValueError` for what is negative."""
    from opendojo.machine.plan import Terms

    if chosen.storage_bytes_per_s <= 0:
        raise ValueError(f"--storage-bytes-per-s {chosen.storage_bytes_per_s:g}: must be above 0")
    for word, value in (("decode-core-s", chosen.decode_core_s),
                        ("frame-bytes", chosen.frame_bytes)):  # fmt: skip
        if value is not None and value < 0:
            raise ValueError(f"--{word} {value:g}: must be at least 0")
    return Terms(
        storage_bytes_per_s=chosen.storage_bytes_per_s, decode_core_s=chosen.decode_core_s,
        unit_bytes=chosen.frame_bytes,
    )  # fmt: skip


def load_shape(name: str, precision: str = "bf16") -> Shape:
    """A network: a name, a size of the driving network, a run's folder, `package.module:factory`.

    Raises `ValueError` in one sentence for anything else.
    """
    from opendojo.machine.shapes import named_shape, shape_of

    traced = name in SIZES or ":" in name or name.endswith(".json") or Path(name).is_dir()
    if not traced:
        return named_shape(name)
    try:
        loader = importlib.import_module("opendojo.model.workloads")
    except ModuleNotFoundError as error:
        if name in SIZES:
            return _driving(name)
        raise ValueError(
            f"{name}: tracing a network needs opendojo.model.workloads, which this version lacks: "
            "give a network by name"
        ) from error
    return shape_of(loader.load_workload(name, precision=precision))


def precision_of(chosen: Where, chip: Chip) -> str:
    """The format that a traced network's products have."""
    return chosen.precision or ("fp32" if chip.kernels else "bf16")


def _driving(size: str) -> Shape:
    """A size of the driving network from its counted arithmetic, without a trace."""
    from opendojo.machine.workload import Operator, Workload
    from opendojo.model import NetConfig, cost

    found = cost(NetConfig(size=size))  # type: ignore[arg-type]
    flops = found.flops_per_frame + found.beside_flops_per_frame
    written = found.activation_bytes_per_frame / 2
    forward = Operator(name=size, kind="conv", phase="forward", flops=flops, written_bytes=written)
    backward = Operator(name=size, kind="conv", phase="backward", flops=2 * flops)
    from opendojo.machine.shapes import shape_of

    return shape_of(
        Workload(
            name=size, operators=(forward, backward), parameters=found.parameters,
            active_parameters=found.parameters, layers=8,
            activation_bytes=found.activation_bytes_per_frame / 2,
            largest_activation_bytes=found.activation_bytes_per_frame / 20, sample="frame",
        )
    )  # fmt: skip


def standing(name: str) -> tuple[Pod, Chip]:
    """A pod and its chip. Raises `ValueError` that names the nearest of both."""
    from opendojo.machine.chips import all_chips, find_chip, nearest
    from opendojo.machine.pods import all_pods, find_pod

    try:
        pod = None if _holds_chips(name) else find_pod(name)
    except ValueError as error:
        if name.endswith(".toml") and "[[pod]]" not in str(error):
            raise
        pod = None
    if pod is not None:
        if pod.name == "this-machine":
            raise ValueError(
                f"{name} was not measured yet: run `opendojo machine calibrate here.toml`, then "
                "give --on here.toml"
            )
        return pod, find_chip(pod.chip)
    try:
        chip = find_chip(name)
    except ValueError as error:
        if name.endswith(".toml"):
            raise
        known = [one.name for one in (*all_pods(), *all_chips())]
        raise ValueError(
            f"unknown pod or chip {name!r}, nearest is {nearest(name, known)!r}"
        ) from error
    if not chip.pod:
        raise ValueError(f"{chip.name} stands in no pod: name one as `pod` in the chip's file")
    return find_pod(chip.pod), chip


def _holds_chips(name: str) -> bool:
    """Whether it is a file that has chips and no pods."""
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        return False
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return "chip" in table and "pod" not in table


def placed(network: str, chosen: Where, frames_per_day: float | None, best: int) -> list[Plan]:
    """The best plans of what a command line asks for."""
    from opendojo.machine.placement import chips_for, place

    if best < 1:
        raise ValueError(f"--best {best}: give at least 1")
    terms = terms_of(chosen)
    pod, chip = standing(chosen.on)
    shape = load_shape(network, precision_of(chosen, chip))
    if chosen.chips is None and frames_per_day is not None:
        return chips_for(
            shape, pod, frames_per_day, batch=chosen.batch, chip=chip, best=best, terms=terms
        )
    plans = place(
        shape, pod, chips=chosen.chips, batch=chosen.batch, chip=chip, best=best, terms=terms
    )
    if frames_per_day is not None and plans[0].units_per_day < frames_per_day:
        enough = chips_for(shape, pod, frames_per_day, batch=chosen.batch, chip=chip, best=1,
                           terms=terms)[0]  # fmt: skip
        raise ValueError(
            f"{plans[0].chips} x {plans[0].chip} give {plans[0].units_per_day:.3g} "
            f"{plans[0].unit}s a day, not {frames_per_day:.3g} ({plans[0].binds} binds): give "
            f"--chips {enough.chips}"
        )
    return plans


def layout_text(layout: dict[str, int]) -> str:
    """A layout in a few words; axes of 1 are left out."""
    axes = [f"{name}{layout[name]}" for name in ("dp", "tp", "cp", "pp", "vp", "ep")
            if layout[name] > 1]  # fmt: skip
    words = [*(axes or ["one chip"]), f"micro {layout['mb']}"]
    words += [("", "optimizer sharded", "fully sharded")[layout["shard"]]]
    words += [("", "attention recomputed", "all recomputed")[layout["recompute"]]]
    words += ["offload" if layout["offload"] else ""]
    words += ["" if layout["overlap"] else "no overlap"]
    return " ".join(word for word in words if word)
