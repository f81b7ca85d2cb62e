"""Checks cheap enough to run before every optimizer step; they raise suspicion, not a verdict.

The least of them: a step whose loss or gradients are not finite must not reach the weights. Norms
of all gradients are taken in one fused pass and reach the host together with the loss, so that an
accelerator is waited for once a step and not once a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Finding", "finite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check saw."""

    loss: float
    """The loss, on the host."""
    norm: float
    """Euclidean norm of all gradients together."""

    @property
    def suspicious(self) -> bool:
        """True where the loss or any gradient is infinite or not a number.

        A norm that overflows float32, above 1.8e19, counts as infinite too.
        """
        return not (math.isfinite(self.loss) and math.isfinite(self.norm))


def finite(loss: Tensor, gradients: Iterable[Tensor]) -> Finding:
    """Look at a step's loss (one element) and gradients (any shapes) before the optimizer does."""
    norm = torch.nn.utils.get_total_norm(list(gradients))
    both = torch.stack([loss.detach().float().reshape(()), norm.float().to(loss.device)])
    loss_value, norm_value = both.tolist()
    return Finding(loss=loss_value, norm=norm_value)
