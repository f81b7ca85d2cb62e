"""Work as a machine sees it: the operators of one training step, whoever wrote the network.

A workload comes from a trace of a real network (`opendojo.model.trace`) or is built by name
(`opendojo.machine.named`). Shapes are those of one sample of one micro-batch unless `batched` says
that they do not grow with the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Operator", "Phase", "Workload"]

Phase = Literal["forward", "backward", "optimizer"]
Kind = Literal[
    "attention", "conv", "elementwise", "embedding", "gather", "matmul", "norm", "reduce", "copy"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator, done `times` in a step's micro-batch."""

    name: str
    """Where it stands in the network: `layers.3.mlp.up`."""
    kind: Kind
    phase: Phase
    m: int = 0
    """Rows of the product for one sample: matmul and conv (as an implicit product) only."""
    n: int = 0
    k: int = 0
    grows: Literal["m", "k", "products"] = "m"
    """Which of them the batch multiplies: k in a product that makes the gradient of a weight."""
    products: int = 1
    """Independent products of this shape (heads of an attention, groups of a convolution)."""
    flops: float = 0.0
    """Of one sample; a multiply-add is two."""
    read_bytes: float = 0.0
    """Activations read, of one sample, in elements of `format`."""
    written_bytes: float = 0.0
    weight_bytes: float = 0.0
    """Parameters read, and gradients of parameters written, whatever the batch."""
    format: str = "bf16"
    """Name of `opendojo.formats`."""
    batched: bool = True
    """False where flops and bytes do not grow with the batch: the optimizer's."""
    shards: tuple[str, ...] = ()
    """Axes that may divide it: "tensor", "sequence", "expert"; data and pipeline always may."""
    times: int = 1
    op: str = ""
    """The framework's own name of it, where it comes from a trace: `aten.convolution`."""
    layout: str = ""
    """`channels_last`, or `strided` where elements are gathered from afar; known from a trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A network's step."""

    name: str
    operators: tuple[Operator, ...]
    parameters: int
    active_parameters: int
    """Touched by one sample: fewer than all in a mixture of experts."""
    activation_bytes: float
    """Kept for the backward pass, of one sample, without recompute."""
    largest_activation_bytes: float
    """Of one tensor of one sample."""
    layers: int = 1
    """Equal blocks a pipeline may be cut into."""
    sample: str = "sample"
    """What one sample is: "token sequence", "frame", "clip"."""
    samples_unit: float = 1.0
    """Units of work (tokens, frames) in one sample."""
    kept_by_module: tuple[tuple[str, float], ...] = ()
    """`activation_bytes` by the module that keeps them, where it comes from a trace."""
    facts: tuple[tuple[str, float], ...] = ()
    """Dimensions by name (hidden, heads, sequence, experts ...), for reports."""

    def flops(self, phase: Phase | None = None) -> float:
        """FLOPs of one sample in one phase, or in forward and backward."""
        phases = ("forward", "backward") if phase is None else (phase,)
        return sum(o.flops * o.times for o in self.operators if o.phase in phases)
