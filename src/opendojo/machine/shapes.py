"""A network as the step cost sees it, by name or out of a traced workload.

    named_shape("gpt-175b"), named_shape("moe-37b-of-671b"), named_shape("resnet50")
    shape_of(workload)       # of `opendojo.model.trace`, or any `Workload`

`values` are the numbers of `opendojo.machine.cost` that do not depend on the layout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from opendojo.machine.chips import nearest
from opendojo.machine.crysis import GAMES
from opendojo.machine.runs import networks
from opendojo.machine.workload import Workload

__all__ = ["Shape", "named_shape", "shape_of"]

_UHD_PX = 3840 * 2160
_FRAME_BYTES = 60e3
_DECODE_CORE_S = 1.5e-3
_SIZES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_GPT = re.compile(r"gpt-(\d+(?:\.\d+)?)([mbt])")
_MOE = re.compile(r"moe-(\d+(?:\.\d+)?)([mbt])-of-(\d+(?:\.\d+)?)([mbt])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One network's step, for one sample."""

    name: str
    kind: str
    """"dense", "moe" or "vision"."""
    values: dict[str, float]
    unit: str
    """What a sample is made of: "token", "frame"."""
    units: float
    """Units in a sample."""
    batch: float
    """Usual samples of a chip in a step."""
    kept_bytes: float = 0.0
    """Activations kept of one sample; 0 where the language formula gives them."""
    largest_bytes: float = 0.0
    """Of one tensor of one sample."""
    formats: tuple[str, ...] = ("bf16",)
    """The format wanted, and what may stand in for it."""
    training: bool = True
    """False: forward only, nothing is kept."""
    unit_bytes: float = 0.0
    """Of one unit as it is stored."""
    decode_core_s: float = 0.0
    """Of a host's processor, for one unit."""
    assumed: tuple[str, ...] = ()
    workload: Workload | None = None
    """Its operators, where it was traced."""
    precision: str = "bf16"
    """Format of its products, where it was traced."""

    def layers(self) -> float:
        """Blocks that a pipeline may be cut into."""
        return self.values["layers"]

    def flops(self) -> float:
        """Of a step on one sample, without recompute."""
        v, passes = self.values, 3.0 if self.training else 1.0
        if v["macs"]:
            return 2 * passes * v["macs"]
        return passes * v["seq"] * (2 * v["active"] + 2 * v["layers"] * v["width"] * v["seq"])


def named_shape(name: str) -> Shape:
    """A shape by name: of `networks.toml`, `gpt-175b`, `moe-37b-of-671b`, `render`, `ingest`.

    Raises `ValueError` that names the nearest for one that is not known.
    """
    word = name.lower()
    if word == "render":
        return _render()
    if word == "ingest":
        return _vision(name, 1.0, 1.0, 1, 4096, 0.0, ("only the data path has work",), False)
    if found := _GPT.fullmatch(word):
        return _gpt(name, float(found[1]) * _SIZES[found[2]])
    if found := _MOE.fullmatch(word):
        active, total = (float(found[i]) * _SIZES[found[i + 1]] for i in (1, 3))
        if active > total:
            raise ValueError(f"{name}: the part that is active is more than the whole: swap them")
        return _gpt(name, total, active)
    tables = networks()
    if word in tables["vision"]:
        macs, elements, kernels, batch = tables["vision"][word]
        assumed = ("shape of the network by its name; 30e6 parameters",)
        return _vision(name, macs * 1e9, elements * 1e6, kernels, batch, 3e7, assumed)
    if word in tables["language"]:
        total, active, layers, hidden, width, topk, seq = tables["language"][word]
        return _language(name, total, active, layers, hidden, width, topk, seq)
    known = [*tables["vision"], *tables["language"], "gpt-7b", "moe-37b-of-671b", "render",
             "ingest", "nano", "tiny", "small", "base", "large"]  # fmt: skip
    raise ValueError(f"unknown network {name!r}, nearest is {nearest(name, known)!r}")


def _gpt(name: str, total: float, active: float | None = None) -> Shape:
    """12 l h2 parameters with a hidden size of 128 per layer, as GPT-3 and Llama are near to."""
    layers = max(2.0, round(((active or total) / (12 * 128**2)) ** (1 / 3)))
    hidden = max(128.0, 128 * round(((active or total) / (12 * layers)) ** 0.5 / 128))
    topk = 8.0 if active else 0.0
    return _language(name, total, active or total, layers, hidden, hidden, topk, 4096.0)


def _language(
    name: str, total: float, active: float, layers: float, hidden: float, width: float,
    topk: float, seq: float,
) -> Shape:  # fmt: skip
    values = {
        "parameters": total, "active": active, "layers": layers, "hidden": hidden, "width": width,
        "topk": topk, "seq": seq, "vocab": 51200.0, "lora": 0.0, "tables": 1.0, "headed": 1.0,
        "causal": 1.0, "flash": 1.0, "macs": 0.0, "elements": 0.0, "kernels": 0.0,
    }  # fmt: skip
    return Shape(
        name=name, kind="moe" if topk else "dense", values=values, unit="token", units=seq,
        batch=max(1.0, 8192 / seq), formats=("bf16", "fp16"), unit_bytes=4.0,
        decode_core_s=1e-7, assumed=(f"a shape by its name: {layers:.0f} layers of {hidden:.0f}, "
                                     f"sequences of {seq:.0f}",),
    )  # fmt: skip


def _vision(
    name: str, macs: float, elements: float, kernels: float, batch: float, parameters: float,
    assumed: tuple[str, ...], training: bool = True, units: float = 1.0, layers: float = 16.0,
    kept_bytes: float = 0.0, largest_bytes: float = 0.0, unit: str = "frame",
) -> Shape:  # fmt: skip
    values = {
        "parameters": parameters, "active": parameters, "layers": layers, "hidden": 0.0,
        "width": 0.0, "topk": 0.0, "seq": 1.0, "vocab": 0.0, "lora": 0.0, "tables": 0.0,
        "headed": 0.0, "causal": 0.0, "flash": 1.0, "macs": macs, "elements": elements,
        "kernels": kernels, "passes": 3.0 if training else 1.0,
    }  # fmt: skip
    frames = unit == "frame"
    data = (
        f"a stored frame of {_FRAME_BYTES / 1e3:.0f} kB, decoded in {1e3 * _DECODE_CORE_S:.1f} ms "
        "of a processor core",
    )
    return Shape(
        name=name, kind="vision", values=values, unit=unit, units=units, batch=batch,
        kept_bytes=kept_bytes or 4 * elements, largest_bytes=largest_bytes or 0.1 * elements,
        formats=("bf16", "fp16", "fp32"), training=training,
        unit_bytes=_FRAME_BYTES if frames else 0.0,
        decode_core_s=_DECODE_CORE_S if frames else 0.0, assumed=assumed + (data if frames else ()),
    )  # fmt: skip


def _render() -> Shape:
    game = GAMES["2007"]
    flops = game.flops_per_pixel() * _UHD_PX
    assumed = (f"{game.name} in 3840 x 2160 at what {game.card} spends on it ({game.source})",)
    shape = _vision("render", flops / 2, _UHD_PX * 4.0, 400, 1, 0.0, assumed, False, unit="picture")
    return replace(shape, formats=("fp32", "bf16"))


def shape_of(workload: Workload) -> Shape:
    """A traced step: products by their arithmetic, the rest by what it reads and writes.

    The cost model takes 14 bytes of traffic per two-byte element that an operator's forward pass
    writes; kernels are the forward pass's own operators.
    """
    forward = [o for o in workload.operators if o.phase == "forward"]
    flops = workload.flops()
    passes = 3.0 if any(o.phase == "backward" for o in workload.operators) else 1.0
    written = sum(o.written_bytes * o.times for o in forward)
    width = 4.0 if forward and all(o.format in ("fp32", "tf32") for o in forward) else 2.0
    shape = _vision(
        workload.name, flops / 2 / passes, written / width, sum(o.times for o in forward), 8.0,
        float(workload.parameters), (f"traced: {len(workload.operators)} operators",),
        passes == 3.0, workload.samples_unit, float(workload.layers), workload.activation_bytes,
        workload.largest_activation_bytes,
    )  # fmt: skip
    if shape.values["macs"] <= 0:
        raise ValueError(f"{workload.name}: the trace holds no arithmetic, nothing can be placed")
    heavy = max(workload.operators, key=lambda o: o.flops * o.times)
    return replace(shape, workload=workload, precision=heavy.format)
