"""Weights of a run's linear and convolution layers, and the size of their gradients."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from opendojo.train.checkpoint import DamagedCheckpoint, newest_whole
from opendojo.train.loop import load_network, load_trainee
from opendojo.train.record import read_net
from opendojo.train.state import load_tensors

__all__ = ["layer_tensors"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def layer_tensors(run_dir: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights by layer, and the roots of AdamW's second moments of their gradients.

    The latter are empty where the run's optimizer kept none. Raises `ValueError` where the folder
    holds no run, or one with no checkpoint.
    """
    driving = "cameras" in read_net(run_dir)
    network = load_network(run_dir) if driving else load_trainee(run_dir)
    prefix = "network." if driving else ""
    place = newest_whole(run_dir / "checkpoints")
    assert place is not None, "the network was just loaded from there"
    weights = {
        name: module.weight.detach()
        for name, module in network.named_modules()
        if isinstance(module, _LAYERS)
    }
    kept = {
        f"optimizer/{prefix}{name}.weight/exp_avg_sq": torch.empty_like(weight)
        for name, weight in weights.items()
    }
    try:
        load_tensors(kept, place)
    except DamagedCheckpoint:
        return weights, {}
    return weights, dict(zip(weights, (t.sqrt() for t in kept.values()), strict=True))
