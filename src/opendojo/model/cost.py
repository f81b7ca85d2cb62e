"""What a network costs: parameters, arithmetic per frame, memory, counted on the real operators.

Nothing is computed for it: the network is built on torch's meta device, which knows shapes alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from opendojo.model.motion import Motion
from opendojo.model.network import DrivingNet
from opendojo.model.sizes import MEMORY_STEPS, SIZES, NetConfig

__all__ = ["Cost", "cost", "flops_per_frame", "networks_page", "parameters"]

_STATE_BYTES = 16
"""Of a parameter in training, fp32: itself, its gradient and AdamW's two averages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a network costs."""

    parameters: int
    """Learnt values."""
    encoder_parameters: int
    """Those of them that look at single pictures."""
    flops_per_frame: float
    """Of a forward pass, per frame of one camera."""
    state_bytes: int
    """Weights, gradients and AdamW's averages in fp32."""
    activation_bytes_per_frame: float
    """What a training step keeps for the way back, per frame, in fp32; no recomputation."""


def parameters(config: NetConfig) -> int:
    """Number of learnt values."""
    with torch.device("meta"):
        return _count(DrivingNet(config))


def flops_per_frame(config: NetConfig) -> float:
    """Floating point operations of a forward pass per frame of one camera.

    A multiply and an add are two. Matrix products, convolutions and attention are counted, the rest
    (a few hundredths) is not. The memory, the plan, the grid and the forecast are included, over a
    window of eight steps with every camera there; a training step takes about three times as many.
    """
    return cost(config).flops_per_frame


def cost(config: NetConfig) -> Cost:
    """All of it."""
    with torch.device("meta"):
        network = DrivingNet(config)
    t, c = MEMORY_STEPS, len(config.cameras)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    alive: list[Tensor] = []  # so that no address is given twice
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks, torch.device("meta"):
        shape = (1, t, c, 6, config.height_px // 2, config.width_px // 2)
        frames, there = torch.zeros(shape, dtype=torch.uint8), torch.ones(1, c, dtype=torch.bool)
        motion = Motion.of(torch.zeros(1, t))
        network(frames, there, torch.zeros(1, c, 16), motion, ground=not config.blind)
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    activations = sum(size for place, size in kept.items() if place not in weights)
    count = _count(network)
    return Cost(
        parameters=count,
        encoder_parameters=0 if network.eyes is None else _count(network.eyes.trunk),
        flops_per_frame=counter.get_total_flops() / (t * c),
        state_bytes=_STATE_BYTES * count,
        activation_bytes_per_frame=activations / (t * c),
    )


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def networks_page() -> str:
    """The page `docs/networks.md`; a test holds it against what is counted."""
    rows = []
    for encoder in ("resnet", "regnet"):
        for size in SIZES:
            config = NetConfig(size=size, encoder=encoder)
            found = cost(config)
            from_vocabulary = DrivingNetVocabulary(config)
            rows.append(
                f"| {size} | {encoder} | {found.parameters / 1e6:,.2f} | "
                f"{found.encoder_parameters / 1e6:,.2f} | {found.flops_per_frame / 1e6:,.1f} | "
                f"{config.tokens} x {config.widths.token} | {from_vocabulary} | "
                f"{4 * found.parameters / 2**20:,.1f} | {found.state_bytes / 2**20:,.0f} | "
                f"{found.activation_bytes_per_frame / 2**20:,.2f} |"
            )
    return "\n".join(rows)


def DrivingNetVocabulary(config: NetConfig) -> int:
    return 0
