"""The driving network as graphs: one step of a car, and its two halves.

`step` is what a car runs at each instant: pictures and the queue go in, the plan and this instant's
scene come out, which the caller puts at the end of the queue. `encode` and `plan` are the same cut
in two, for who runs them on different chips. The queue always has `MEMORY_STEPS` instants, the
newest last; `filled` says which there are. At the start of a drive the others hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.encoder import Encoder
from opendojo.model.export import Graph, Port
from opendojo.model.heads import SPEED_SCALE_MPS
from opendojo.model.network import DrivingNet
from opendojo.model.sizes import MEMORY_STEPS

__all__ = ["driving_meta", "half_graphs", "step_graph"]

_T = MEMORY_STEPS


def driving_meta(network: DrivingNet) -> dict[str, Any]:
    """What a runtime must know: cameras, picture size, times of the path, length of the queue."""
    config = network.config
    return {
        "kind": "opendojo driving network",
        "config": asdict(config),
        "cameras": list(config.cameras),
        "width_px": config.width_px,
        "height_px": config.height_px,
        "path_times_s": list(config.path_times_s),
        "queue_steps": _T,
        "scene_shape": [config.features],
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def step_graph(network: DrivingNet) -> Graph:
    """Pictures of this instant and the queue of those before it to the plan and the new scene."""
    ports = (
        *_encode_ports(network),
        Port(name="past", dtype=torch.float32, shape=(_T - 1, network.config.features)),
        *_motion_ports(),
    )
    return Graph(
        name="step",
        module=_Step(network).eval(),
        inputs=ports,
        outputs=("path_m", "scene"),
        tidy=_filling,
    )


def half_graphs(network: DrivingNet) -> tuple[Graph, Graph]:
    """`encode`: pictures to a scene; `plan`: a queue of scenes to the plan."""
    scenes = Port(name="queue", dtype=torch.float32, shape=(_T, network.config.features))
    encode = Graph(
        name="encode",
        module=_Encode(network).eval(),
        inputs=_encode_ports(network),
        outputs=("scene",),
    )
    plan = Graph(
        name="plan",
        module=_Plan(network).eval(),
        inputs=(scenes, *_motion_ports()),
        outputs=("path_m",),
        tidy=_filling,
    )
    return encode, plan


def _encode_ports(network: DrivingNet) -> tuple[Port, ...]:
    config = network.config
    if config.blind:
        raise ValueError("a blind network is a floor to compare with: it is not exported")
    c, h, w = len(config.cameras), config.height_px // 2, config.width_px // 2
    return (
        Port(name="frames", dtype=torch.uint8, shape=(c, 6, h, w), low=16, high=235),
        Port(name="camera_mask", dtype=torch.bool, shape=(c,)),
    )


def _motion_ports() -> tuple[Port, ...]:
    return (
        Port(name="speed_mps", dtype=torch.float32, shape=(_T,), high=25.0),
        Port(name="speed_mask", dtype=torch.bool, shape=(_T,)),
        Port(name="filled", dtype=torch.bool, shape=(_T,)),
    )


def _filling(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A queue fills from its end, and its last instant is always there."""
    count = feeds["filled"].sum(1, keepdim=True).clamp(min=1)
    return {**feeds, "filled": torch.arange(_T, 0, -1) <= count}


class _Encode(nn.Module):
    """`network.encode` without the choice of which pictures to look at, so that it is one graph."""

    def __init__(self, network: DrivingNet) -> None:
        super().__init__()
        assert isinstance(network.encoder, Encoder)
        self.encoder = network.encoder

    def forward(self, frames: Tensor, camera_mask: Tensor) -> Tensor:
        """uint8 [n, c, 6, h/2, w/2] and bool [n, c] to [n, d]."""
        n, cameras = frames.shape[:2]
        slot = torch.arange(cameras, device=frames.device).repeat(n)
        cells = self.encoder._cells(frames.flatten(0, 1), slot).view(n, cameras, -1)
        cells = torch.where(camera_mask[..., None], cells, 0.0)
        seen = torch.cat([cells.flatten(1), camera_mask.to(cells.dtype)], 1)
        return F.relu(self.encoder.fuse(seen))


class _Plan(nn.Module):
    """`network.recall` and `network.plan` of the newest instant.

    The recurrent unit is written out (Cho et al., 2014, as PyTorch's `GRU` has it), so that it can
    pass over instants that are not there yet.
    """

    def __init__(self, network: DrivingNet) -> None:
        super().__init__()
        self.memory, self.path_head = network.memory, network.path_head

    def forward(
        self, queue: Tensor, speed_mps: Tensor, speed_mask: Tensor, filled: Tensor
    ) -> Tensor:
        """[n, t, d] and [n, t] to the path [n, p, 2] in metres."""
        weight = self.memory.get_parameter
        state = queue.new_zeros(queue.shape[0], self.memory.hidden_size)
        told = F.linear(queue, weight("weight_ih_l0"), weight("bias_ih_l0"))
        for i in range(_T):
            kept = F.linear(state, weight("weight_hh_l0"), weight("bias_hh_l0"))
            (reset, update, new), (r, z, n) = told[:, i].chunk(3, 1), kept.chunk(3, 1)
            update = torch.sigmoid(update + z)
            new = torch.tanh(new + torch.sigmoid(reset + r) * n)
            state = torch.where(filled[:, i, None], (1 - update) * new + update * state, state)
        known = speed_mask[:, -1].to(queue.dtype)
        speed = torch.where(speed_mask[:, -1], speed_mps[:, -1], 0.0) / SPEED_SCALE_MPS
        own = torch.stack([speed.to(queue.dtype), known], 1)
        return self.path_head(torch.cat([state, queue[:, -1], own], 1))


class _Step(nn.Module):
    """Both halves."""

    def __init__(self, network: DrivingNet) -> None:
        super().__init__()
        self.encode, self.plan = _Encode(network), _Plan(network)

    def forward(
        self,
        frames: Tensor,
        camera_mask: Tensor,
        past: Tensor,
        speed_mps: Tensor,
        speed_mask: Tensor,
        filled: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The path [n, p, 2] in metres, and the scene [n, d] for the queue."""
        scene = self.encode(frames, camera_mask)
        queue = torch.cat([past, scene[:, None]], 1)
        return self.plan(queue, speed_mps, speed_mask, filled), scene
