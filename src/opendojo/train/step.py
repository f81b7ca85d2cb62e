"""One training step as a plain function: the same arguments give the same bits, run again too.

Random choices come from (seed, step, rank) alone, never from what ran before, so that a step can
be replayed from a checkpoint and compared. The optimizer moves only when nothing was suspicious.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from opendojo.guard import Finding, Watch
from opendojo.numerics import convert, converted, reseed
from opendojo.train.config import OptimConfig, TrainConfig
from opendojo.train.parallel import agreed, bare, exchange, rank_of, whole
from opendojo.train.trainee import frames_in, parts_of, window_ids

__all__ = [
    "Progress",
    "StepResult",
    "SuspectStep",
    "in_precision",
    "make_optimizer",
    "step",
    "suspicion",
]

_GOLDEN = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio: multiples of it are spread evenly over 64 bits."""


_NOTHING = contextlib.nullcontext()


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
    """Pictures trained on, by all ranks; those of absent cameras do not count."""
    recent: tuple[float, ...] = ()
    """Losses of the last steps, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step did, over all ranks."""

    losses: dict[str, float]
    """`total` and its terms, means over the ranks."""
    lr: float
    """Learning rate used."""
    grad_norm: float
    """Norm of the gradients before clipping."""
    frames: int
    """Pictures in the batches of all ranks."""


class SuspectStep(ArithmeticError):
    """A step whose loss or gradients cannot be right; the weights are as they were before it."""

    def __init__(self, number: int, finding: Finding, window_ids: list[int], why: str) -> None:
        super().__init__(
            f"step {number}: {why}: loss {finding.loss:g}, gradient norm {finding.norm:g}; the "
            f"weights were not changed (look at the batch's windows, lower optim.lr, or raise "
            f"train.spike)"
        )
        self.number = number
        self.finding = finding
        self.why = why
        self.window_ids = window_ids
        """The batch's windows, for a replay."""

    def as_dict(self) -> dict[str, Any]:
        """For the record beside the run."""
        facts = {"step": self.number, "why": self.why, **asdict(self.finding)}
        return {**facts, "window_ids": self.window_ids}


def make_optimizer(trainee: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trainee's parameters; only matrices and filters decay.

    Where the configuration asks for a moving average of the weights, it is kept beside AdamW's own
    averages, as `ema` of each parameter's state, and follows every step.
    """
    parameters = [p for p in trainee.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.weight_decay == 0:
        groups = [{"params": parameters, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
    decay = config.ema_decay
    if decay is not None:

        def follow(*_: Any) -> None:
            _follow(optimizer, decay)

        optimizer.register_step_post_hook(follow)
    return optimizer


def step(
    trainee: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Any,
    state: Progress,
    config: TrainConfig,
    watch: Watch | None = None,
) -> StepResult:
    """Forward, backward, check, update: moves `trainee` and `optimizer` by one step.

    With `watch` what is computed is checked, done again where it was wrong, and the update too.

    Raises `SuspectStep`, on all ranks, before the update where `suspicion` says so.
    """
    lr = config.optim.lr_at(state.step, config.steps)
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = None
    device = parameters[0].device
    batch = _prepared(bare(trainee), batch, state, config, device)
    losses: dict[str, Tensor] = {}

    def compute() -> Tensor:
        losses.clear()
        losses.update(_backward(trainee, batch, config, device))
        return losses["total"]

    if watch is None:
        compute()
    else:
        watch.settled(compute)
        while not watch.check_rest():
            watch.settled(compute)
    norm = _norm([p.grad for p in parameters if p.grad is not None], device)
    frames = frames_in(bare(trainee), batch)
    *means, norm_value, frames = agreed([*losses.values(), norm], frames)
    finding = Finding(loss=means[0], norm=norm_value)
    why = suspicion(finding, state.recent, config)
    if why is not None:
        raise SuspectStep(state.step, finding, window_ids(batch), why)
    if norm_value + 1e-6 > config.optim.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(parameters, config.optim.clip_norm, norm)
    for group in optimizer.param_groups:
        group["lr"] = lr
    if watch is None:
        optimizer.step()
    else:
        watch.commit()
    named = dict(zip(losses, means, strict=True))
    return StepResult(losses=named, lr=lr, grad_norm=norm_value, frames=int(frames))


def in_precision(trainee: nn.Module, config: TrainConfig) -> nn.Module:
    """The trainee, in place, with the layers that the configuration's precision asks for.

    To be called once it is on its device, before it is compiled or shared.
    """
    if config.formats is not None:
        convert(trainee, config.formats, sums=config.sums)
    elif converted(trainee):
        raise ValueError("this network was made to compute in few bits: make it anew")
    return trainee


def suspicion(finding: Finding, recent: Sequence[float], config: TrainConfig) -> str | None:
    """Why a step must not be taken, in words; None where nothing speaks against it.

    A loss or gradient that is not finite is suspect. So is a loss above all `recent` ones and more
    than `config.spike` robust deviations above their median. A robust deviation is 1.4826 times
    the median distance from the median (Hampel, JASA 1974), at least 5 % of the median or of
    0.001: where losses hardly move, or are all but 0, a small step up is no spike.
    """
    if finding.suspicious:
        return "not finite"
    if config.spike is None or len(recent) < (config.spike_window + 1) // 2:
        return None
    if finding.loss <= max(recent):
        return None
    middle = statistics.median(recent)
    deviation = 1.4826 * statistics.median([abs(loss - middle) for loss in recent])
    limit = middle + config.spike * max(deviation, 0.05 * max(abs(middle), 1e-3))
    return f"a spike over {limit:g}" if finding.loss > limit else None


def _prepared(
    trainee: nn.Module, batch: Any, state: Progress, config: TrainConfig, device: torch.device
) -> Any:
    """The batch after the trainee's random choices; dropout's generator set for this step."""
    mixed = (config.seed * _GOLDEN + state.step + rank_of() * (_GOLDEN >> 7)) % 2**63
    torch.default_generator.manual_seed(mixed ^ _GOLDEN)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed ^ _GOLDEN)
    prepare: Callable[[Any, torch.Generator], Any] | None = getattr(trainee, "prepare", None)
    if prepare is None:
        return batch
    return prepare(batch, torch.Generator().manual_seed(mixed))


def _backward(
    trainee: nn.Module, batch: Any, config: TrainConfig, device: torch.device
) -> dict[str, Tensor]:
    """Gradients of the whole batch, part by part; `total` and the terms, means over its rows."""
    losses: dict[str, Tensor] = {}
    parts = parts_of(batch, config.accumulate)
    for number, (part, share) in enumerate(parts):
        _decide_rounding(trainee, config, number)
        with exchange(trainee, number + 1 == len(parts)), _autocast(device, config):
            terms: dict[str, Tensor] = trainee(part)
            total = functools.reduce(torch.add, terms.values())
            weighted = total if share == 1.0 else total * share
            weighted.backward()
        for name, value in (("total", total), *terms.items()):
            mine = value.detach() if share == 1.0 else value.detach() * share
            losses[name] = losses[name] + mine if name in losses else mine
    return losses


def _decide_rounding(trainee: nn.Module, config: TrainConfig, part: int) -> None:
    """Give quantised layers the draws of this step, rank and part."""
    if config.formats is None:
        return
    if not converted(bare(trainee)):
        raise ValueError(f"precision {config.precision}: `in_precision` comes before the steps")
    reseed(bare(trainee), torch.default_generator.initial_seed() + part)


def _norm(gradients: list[Tensor], device: torch.device) -> Tensor:
    """Norm of all gradients together, whole on every rank; `torch.nn.utils.get_total_norm` does the
    same and takes four times as long to begin."""
    if not gradients:
        return torch.zeros((), device=device)
    with torch.no_grad():
        norm: Any = torch._foreach_norm  # pyright: ignore[reportPrivateImportUsage]
        norms: tuple[Tensor, ...] = norm(gradients)
        return whole(torch.linalg.vector_norm(torch.stack(norms)))


def _autocast(device: torch.device, config: TrainConfig) -> contextlib.AbstractContextManager[Any]:
    if config.precision != "bf16":
        return _NOTHING
    return torch.autocast(device.type, torch.bfloat16)


def _follow(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Move the average of each weight towards the weight; it begins as the weight itself."""
    averages: list[Tensor] = []
    weights: list[Tensor] = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if "ema" not in state:
                state["ema"] = parameter.detach().clone()
            averages.append(state["ema"])
            weights.append(parameter.detach())
    lerp: Any = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
    lerp(averages, weights, 1.0 - decay)
