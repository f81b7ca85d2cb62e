"""What a training run is told, beside the network and the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from opendojo.formats import Precision, precision
from opendojo.model import LossConfig

__all__ = ["OptimConfig", "TrainConfig"]


PrecisionName = Literal[
    "fp32",
    "bf16",
    "tf32",
    "cfloat8",
    "cfloat16",
    "fp8",
    "mxfp8",
    "mxfp6",
    "mxfp4",
    "nvfp4",
]
"""fp32, bf16, and the precisions of formats.toml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW (Loshchilov and Hutter, ICLR 2019) and its schedule: linear warm-up, then cosine."""

    lr: float = 2e-3
    """Learning rate at the end of the warm-up."""
    weight_decay: float = 0.01
    """Decay of matrices and filters; biases and gains are left alone."""
    warmup_steps: int = 20
    """Steps over which the learning rate rises from near 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: down to 0 along half a cosine, or at one rate."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm where theirs is larger."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the averages of the gradient and of its square."""
    ema_decay: float | None = None
    """Decay per step of a moving average of the weights, which is then what is evaluated; None
    keeps none. About 1 - 10 / steps is usual."""

    def __post_init__(self) -> None:
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"optim.ema_decay {self.ema_decay}: must be from 0 to below 1")
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(f"optim.schedule {self.schedule!r}: cosine or constant")
        for name in ("lr", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optim.{name} {getattr(self, name)}: must be above 0")
        if self.weight_decay < 0 or self.warmup_steps < 0:
            raise ValueError("optim.weight_decay and optim.warmup_steps must not be below 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optim.betas {self.betas}: each must be from 0 to below 1")

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (from 0) of `steps`."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "constant":
            return self.lr * warm
        done = max(0, step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        return self.lr * warm * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Length, seed and habits of a training run."""

    steps: int = 400
    """Optimizer steps in all."""
    seed: int = 0
    """Decides the first weights and every random choice of every step."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """The optimizer and its schedule."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What each loss of the driving network counts; other networks weigh their own."""
    accumulate: int = 1
    """Parts into which each batch is cut, one after the other: less memory, the same gradient."""
    precision: PrecisionName = "fp32"
    """bf16 runs the forward pass under autocast. The others quantise weights, activations and
    gradients of linear and convolution layers, as formats.toml has it. Weights and optimizer stay
    float32."""
    sums: Literal["fp32", "bf16"] = "fp32"
    """What products of quantised layers are summed in."""
    scaling: Literal["own", "tensor", "channel", "history"] = "own"
    """What shares a scale in quantised layers: as formats.toml has it; a tensor of this step; each
    output channel of a weight; a tensor of the last 16 steps, known before this one."""
    compile: bool = False
    """Run the trainee's forward pass through `torch.compile`."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`; auto takes the accelerator where there is one."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several ranks do: each keeps the whole network, or each a shard of it (FSDP2)."""
    spike: float | None = 20.0
    """A loss this many robust deviations above the median of recent ones stops the run; None
    looks at infinities alone. `train.step.suspicion` has the rule."""
    spike_window: int = 64
    """How many recent losses the rule looks at; it is silent until half of them are there."""
    guard: Literal["off", "sampled", "full"] = "off"
    """Checks against silent corruption: of every product, or of 1 in 8; a wrong step is done again,
    and no bit of a right one changes. Not with shards (fsdp), for now."""
    tensorboard: bool = False
    """Also write what metrics.jsonl holds for TensorBoard, under `tensorboard/` of the run."""
    checkpoint_every: int = 100
    """Steps between checkpoints; the last step always has one."""
    keep: int = 2
    """Checkpoints kept, at least 2: one to fall back on."""
    log_every: int = 1
    """Steps between lines of metrics.jsonl."""
    threads: int | None = None
    """Threads of each operator; None takes torch's choice and writes it down, because results are
    bit-equal only for equal counts."""

    def __post_init__(self) -> None:
        for name in ("steps", "checkpoint_every", "log_every", "accumulate", "spike_window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        if self.keep < 2:
            raise ValueError(f"keep {self.keep}: at least 2, so that a damaged one can be replaced")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads {self.threads}: must be at least 1")
        if self.precision not in ("fp32", "bf16"):
            assert self.formats is not None  # or it has said which there are
        elif self.scaling != "own":
            raise ValueError(f"scaling {self.scaling}: precision {self.precision} has no scales")
        if self.scaling == "history" and self.compile:
            raise ValueError("scaling history writes on the way back: it cannot be compiled")
        if self.sums not in ("fp32", "bf16") or self.parallel not in ("ddp", "fsdp"):
            raise ValueError("sums is fp32 or bf16, parallel is ddp or fsdp")
        if self.guard not in ("off", "sampled", "full"):
            raise ValueError(f"guard {self.guard!r}: off, sampled or full")
        if self.spike is not None and not self.spike > 0:
            raise ValueError(f"spike {self.spike}: must be above 0, or None")

    @property
    def formats(self) -> Precision | None:
        """Formats of quantised layers; None where no layer is quantised."""
        if self.precision in ("fp32", "bf16"):
            return None
        chosen = precision(self.precision)
        return chosen if self.scaling == "own" else chosen.scaled(self.scaling)

    @property
    def arithmetic(self) -> Literal["fp32", "bf16"]:
        """What matrix products are computed in."""
        if self.precision in ("fp32", "bf16"):
            return "bf16" if self.precision == "bf16" else "fp32"
        return self.sums
