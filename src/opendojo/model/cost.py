"""What a network costs: parameters, arithmetic per frame, memory, counted on the real operators.

Nothing is computed for it: the network is built on torch's meta device, which knows shapes alone.

    python -c "from opendojo.model import networks_table; print(networks_table(), end='')"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from opendojo.model.motion import Motion
from opendojo.model.network import DrivingNet
from opendojo.model.sizes import MEMORY_STEPS, SIZES, NetConfig

__all__ = ["Cost", "cost", "flops_per_frame", "networks_table", "parameters"]

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
    """To drive: encode, recall and plan, forward, per frame of one camera."""
    beside_flops_per_frame: float
    """The bird's-eye grid and the forecast, forward, per frame."""
    state_bytes: int
    """Weights, gradients and AdamW's averages in fp32."""
    activation_bytes_per_frame: float
    """What a training step keeps for the way back, per frame, all heads, in fp32."""


def parameters(config: NetConfig) -> int:
    """Number of learnt values."""
    with torch.device("meta"):
        return _count(DrivingNet(config))


def flops_per_frame(config: NetConfig) -> float:
    """Floating point operations of encode, recall and plan per frame of one camera.

    A multiply and an add are two. Matrix products, convolutions and attention are counted, the rest
    (a few hundredths) is not, nor are sub-scores before they are trained (as little). Over a window
    of eight steps with every camera there; backward takes about twice as many.
    """
    return cost(config).flops_per_frame


def cost(config: NetConfig) -> Cost:
    """All of it."""
    with torch.device("meta"):
        network = DrivingNet(config)
        frames = MEMORY_STEPS * len(config.cameras)
        driving = _flops(lambda: _run(network, whole=False)) / frames
        kept: dict[int, tuple[int, Tensor]] = {}  # tensors are kept, or places would come twice

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = (storage.nbytes(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            every = _flops(lambda: _run(network, whole=True)) / frames
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    activations = sum(size for place, (size, _) in kept.items() if place not in weights)
    count = _count(network)
    return Cost(
        parameters=count,
        encoder_parameters=0 if network.eyes is None else _count(network.eyes.trunk),
        flops_per_frame=driving,
        beside_flops_per_frame=every - driving,
        state_bytes=_STATE_BYTES * count,
        activation_bytes_per_frame=activations / frames,
    )


def _run(network: DrivingNet, whole: bool) -> None:
    config, t = network.config, MEMORY_STEPS
    c = len(config.cameras)
    shape = (1, t, c, 6, config.height_px // 2, config.width_px // 2)
    frames, there = torch.zeros(shape, dtype=torch.uint8), torch.ones(1, c, dtype=torch.bool)
    motion, until = Motion.of(torch.zeros(1, t)), None if whole else 0
    network(frames, there, torch.zeros(1, c, 16), motion, forecast_until=until, ground=whole)


def _flops(run: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


_COLUMNS = (
    "size", "encoder", "parameters, M", "of the encoder, M", "MFLOP to drive", "MFLOP beside",
    "scene", "candidates", "weights, MiB", "state, MiB", "kept per frame, MiB",
)  # fmt: skip


def networks_table() -> str:
    """The table of `docs/networks.md`, all sizes with both encoders."""
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}\n"
    configs = (NetConfig(size=s, encoder=e) for s in SIZES for e in ("resnet", "regnet"))
    return head + "".join(_row(config) for config in configs)


def _row(config: NetConfig) -> str:
    found = cost(config)
    with torch.device("meta"):
        candidates = len(DrivingNet(replace(config, blind=True)).plan_head.vocabulary)
    columns = (
        config.size,
        config.encoder,
        f"{found.parameters / 1e6:,.2f}",
        f"{found.encoder_parameters / 1e6:,.2f}",
        f"{found.flops_per_frame / 1e6:,.1f}",
        f"{found.beside_flops_per_frame / 1e6:,.1f}",
        f"{config.tokens} x {config.widths.token}",
        f"{candidates}",
        f"{4 * found.parameters / 2**20:,.1f}",
        f"{found.state_bytes / 2**20:,.0f}",
        f"{found.activation_bytes_per_frame / 2**20:,.2f}",
    )
    return f"| {' | '.join(columns)} |\n"
