"""One training step as a plain function: the same arguments give the same bits, run again too.

Random choices come from (seed, step) alone, never from global state, so that a step can be
replayed from a checkpoint and compared. The optimizer moves only when no check was suspicious.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from opendojo.guard import Finding, finite
from opendojo.loader.batch import Batch
from opendojo.model import DrivingNet, DrivingTrainee, LossConfig
from opendojo.model.trainee import Shown
from opendojo.train.config import OptimConfig, TrainConfig

__all__ = ["Progress", "StepResult", "SuspectStep", "make_optimizer", "step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come; with the weights and the optimizer it is the whole state."""

    step: int = 0
    """Steps done: the number of the next one."""
    epoch: int = 0
    """Epoch of the next batch."""
    batch: int = 0
    """Number of the next batch in its epoch."""
    frames: int = 0
    """Pictures trained on; those of absent cameras do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step did."""

    losses: dict[str, float]
    """`total` and its terms."""
    lr: float
    """Learning rate used."""
    grad_norm: float
    """Norm of the gradients before clipping."""
    frames: int
    """Pictures in the batch."""


class SuspectStep(ArithmeticError):
    """A step whose loss or gradients are not finite; the weights are as they were before it."""

    def __init__(self, number: int, finding: Finding, window_ids: list[int]) -> None:
        super().__init__(
            f"step {number}: loss {finding.loss}, gradient norm {finding.norm}; the weights were "
            f"not changed (look at the batch's windows, or lower optim.lr)"
        )
        self.number = number
        self.finding = finding
        self.window_ids = window_ids
        """The batch's windows, for a replay."""

    def as_dict(self) -> dict[str, Any]:
        """For the record beside the run."""
        return {"step": self.number, "window_ids": self.window_ids, **asdict(self.finding)}


def make_optimizer(network: DrivingNet, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the network's parameters; only matrices and filters decay."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def step(
    network: DrivingNet,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    state: Progress,
    config: TrainConfig,
) -> StepResult:
    """Forward, backward, check, update: moves `network` and `optimizer` by one step.

    Raises `SuspectStep` before the update where the loss or a gradient is not finite.
    """
    lr = config.optim.lr_at(state.step, config.steps)
    terms = _losses(network, batch, state, config)
    total = torch.stack(list(terms.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    finding = finite(total, gradients)
    if finding.suspicious:
        raise SuspectStep(state.step, finding, batch.window_id.tolist())
    torch.nn.utils.clip_grads_with_norm_(
        network.parameters(), config.optim.clip_norm, torch.tensor(finding.norm)
    )
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return StepResult(
        losses={"total": finding.loss, **{name: term.item() for name, term in terms.items()}},
        lr=lr,
        grad_norm=finding.norm,
        frames=batch.frame_count,
    )


def _losses(
    network: DrivingNet, batch: Batch, state: Progress, config: TrainConfig
) -> dict[str, Tensor]:
    trainee = DrivingTrainee.around(network, LossConfig(forecast=config.forecast_weight))
    return trainee(Shown(batch=batch, speed_shown=_speed_shown(len(batch.speed_mps), state, config)))


def _speed_shown(windows: int, state: Progress, config: TrainConfig) -> Tensor:
    """bool [windows, 1]: False for the windows whose speed this step hides throughout."""
    mixed = (config.seed * 0x9E3779B97F4A7C15 + state.step) % 2**63
    generator = torch.Generator().manual_seed(mixed)
    return torch.rand(windows, 1, generator=generator) >= config.speed_drop
