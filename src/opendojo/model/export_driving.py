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
from torch import Tensor, nn

from opendojo.model.export import Graph, Port
from opendojo.model.motion import COMMANDS, Motion
from opendojo.model.network import DrivingNet
from opendojo.model.planner import gaps
from opendojo.model.rays import LENS_COLUMNS
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
        "scene_shape": [config.tokens, config.widths.token],
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def step_graph(network: DrivingNet) -> Graph:
    """Pictures of this instant and the queue of those before it to the plan and the new scene."""
    return Graph(
        name="step",
        module=_Step(network).eval(),
        inputs=(*_encode_ports(network), _scenes(network, "past", _T - 1), *_motion_ports()),
        outputs=("path_m", "scene"),
        tidy=_tidy,
    )


def half_graphs(network: DrivingNet) -> tuple[Graph, Graph]:
    """`encode`: pictures to a scene; `plan`: a queue of scenes to the plan."""
    encode = Graph(
        name="encode",
        module=_Encode(network).eval(),
        inputs=_encode_ports(network),
        outputs=("scene",),
        tidy=_tidy,
    )
    plan = Graph(
        name="plan",
        module=_Plan(network).eval(),
        inputs=(_scenes(network, "queue", _T), *_motion_ports()),
        outputs=("path_m",),
        tidy=_tidy,
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
        Port(name="lens", dtype=torch.float32, shape=(c, len(LENS_COLUMNS)), low=-1.0),
    )


def _scenes(network: DrivingNet, name: str, steps: int) -> Port:
    shape = (steps, network.config.tokens, network.config.widths.token)
    return Port(name=name, dtype=torch.float32, shape=shape, low=-1.0)


def _motion_ports() -> tuple[Port, ...]:
    return (
        Port(name="time_s", dtype=torch.float64, shape=(_T,), low=0.05, high=0.25),
        Port(name="speed_mps", dtype=torch.float32, shape=(_T,), high=25.0),
        Port(name="speed_mask", dtype=torch.bool, shape=(_T,)),
        Port(name="command", dtype=torch.int64, shape=(_T,), high=len(COMMANDS) - 1),
        Port(name="filled", dtype=torch.bool, shape=(_T,)),
    )


def _tidy(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Times rise, a queue fills from its end, and random lenses are lenses of some kind."""
    tidy = dict(feeds)
    if "filled" in feeds:
        count = feeds["filled"].sum(1, keepdim=True).clamp(min=1)
        tidy["filled"] = torch.arange(_T, 0, -1) <= count
        tidy["time_s"] = feeds["time_s"].cumsum(1)
    if "lens" in feeds:
        tidy["lens"] = _lenses(feeds["lens"], feeds["frames"].shape[-1] * 2)
    return tidy


def _lenses(noise: Tensor, width_px: int) -> Tensor:
    """Pinholes and fisheyes, one in four uncalibrated, from noise in -1..1 [n, c, 16]."""
    part = dict(zip(LENS_COLUMNS, noise.unbind(-1), strict=True))
    focal = width_px * (0.8 + 0.3 * part["fx_px"])
    columns = {
        "fx_px": focal,
        "fy_px": focal,
        "cx_px": width_px * (0.5 + 0.02 * part["cx_px"]),
        "cy_px": width_px * (0.25 + 0.02 * part["cy_px"]),
        **{name: 0.02 * part[name] for name in ("k1", "k2", "k3", "k4")},
        "is_fisheye": (part["is_fisheye"] > 0).float(),
        "x_m": 2.0 * part["x_m"],
        "y_m": part["y_m"],
        "z_m": 1.5 + 0.3 * part["z_m"],
        "roll_rad": 0.05 * part["roll_rad"],
        "pitch_rad": 0.1 * part["pitch_rad"],
        "yaw_rad": 3.0 * part["yaw_rad"],
        "calibrated": (part["calibrated"] > -0.5).float(),
    }
    return torch.stack([columns[name] for name in LENS_COLUMNS], -1)


class _Encode(nn.Module):
    """`network.encode`."""

    def __init__(self, network: DrivingNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, camera_mask: Tensor, lens: Tensor) -> Tensor:
        """uint8 [n, c, 6, h/2, w/2], bool [n, c] and [n, c, 16] to scene tokens [n, q, d]."""
        return self.network.encode(frames, camera_mask, lens)


class _Plan(nn.Module):
    """`network.recall` and `network.plan` of the newest instant.

    What is not filled takes the time of the oldest entry and no speed: then it is never newer than
    that entry, and never chosen in its place. Whether the sub-scores speak is settled here, for a
    graph cannot ask.
    """

    def __init__(self, network: DrivingNet) -> None:
        super().__init__()
        self.network = network
        self.judges = network.plan_head.judges

    def forward(
        self,
        queue: Tensor,
        time_s: Tensor,
        speed_mps: Tensor,
        speed_mask: Tensor,
        command: Tensor,
        filled: Tensor,
    ) -> Tensor:
        """[n, t, q, d] and [n, t] to the path [n, p, 2] in metres."""
        oldest_s = torch.where(filled, time_s, torch.inf).amin(1, keepdim=True)
        motion = Motion(
            time_s=torch.where(filled, time_s, oldest_s),
            speed_mps=speed_mps,
            speed_mask=speed_mask & filled,
            command=command,
        )
        queue = torch.where(filled[:, :, None, None], queue, 0.0)
        memory = self.network.recall(queue, motion)[:, -1:]
        return self._path(memory, motion.last())[:, 0]

    def _path(self, memory: Tensor, motion: Motion) -> Tensor:
        """As `network.plan`."""
        network, head = self.network, self.network.plan_head
        seen, moves = network.ego(memory)
        hidden, speed_mps = head.think(seen, moves, motion)
        regressed_m = head.regress(hidden, speed_mps)
        candidates = head.vocabulary(speed_mps)
        known = torch.ones_like(regressed_m[..., 0], dtype=torch.bool)
        gap = gaps(candidates, regressed_m, head.times_s, known)
        scores = None
        if self.judges:
            ground = None if network.ground_head is None else network.ground_head(memory)
            scores = head.judge(hidden, candidates, None if ground is None else ground.field)
        imitation = head.imitate(hidden, gap)
        return head.choose(regressed_m, candidates, gap, imitation, scores).path_m


class _Step(nn.Module):
    """Both halves."""

    def __init__(self, network: DrivingNet) -> None:
        super().__init__()
        self.encode, self.plan = _Encode(network), _Plan(network)

    def forward(
        self,
        frames: Tensor,
        camera_mask: Tensor,
        lens: Tensor,
        past: Tensor,
        time_s: Tensor,
        speed_mps: Tensor,
        speed_mask: Tensor,
        command: Tensor,
        filled: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The path [n, p, 2] in metres, and the scene [n, q, d] for the queue."""
        scene = self.encode(frames, camera_mask, lens)
        queue = torch.cat([past, scene[:, None]], 1)
        return self.plan(queue, time_s, speed_mps, speed_mask, command, filled), scene
