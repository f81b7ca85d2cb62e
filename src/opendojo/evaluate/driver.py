"""Who holds the wheel: the driver seam and the network.

driver = NetworkDriver(network)
driver.reset(n)                              # before each drive of n vehicles
control, path_m = driver.act(observation)    # once every step
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from opendojo.evaluate.follow import FollowConfig, follow
from opendojo.loader.lens import lens_rows
from opendojo.model import MEMORY_STEPS, DrivingNet, Motion
from opendojo.world import World

__all__ = [
    "BRAKE_MPS2",
    "Driver",
    "NetworkDriver",
    "Observation",
    "path_times",
]

BRAKE_MPS2 = 4.0
"""How hard the stop floor brakes: just inside NAVSIM's comfort limit of 4.05 m/s2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a driver is shown at one step, for n vehicles at once."""

    frames: Tensor | None
    """uint8 [n, camera, 6, h / 2, w / 2]; None unless the driver asks for pixels."""
    speed_mps: Tensor
    """float32 [n]."""
    world: World
    """The truth. Only a privileged driver may look at it."""


class Driver(Protocol):
    """Drives n vehicles at once. Anything with these two methods can be scored."""

    @property
    def name(self) -> str:
        """One word for tables."""
        ...

    @property
    def needs_pixels(self) -> bool:
        """Whether the cameras must be drawn for it."""
        ...

    def reset(self, n: int) -> None:
        """Forget everything; the next observation is the first of n new drives."""
        ...

    def act(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """The control float32 [n, 2] (steer rad, accel m/s2), and the plan behind it.

        The plan is [n, p, 2] in metres in each vehicle's axes, its points evenly spread over the
        next 4 s; None where there is none.
        """
        ...


class NetworkDriver:
    """A driving network with its memory of the last steps, its plan followed by the tracker.

    Also the blind floor: the same class around a network whose `config.blind` is true, which
    then asks for no pixels and plans from its own speed.
    """

    def __init__(self, network: DrivingNet, follower: FollowConfig | None = None) -> None:
        self.network = network.eval()
        self.follower = follower or FollowConfig()
        self.name = "blind" if network.config.blind else "network"
        self.needs_pixels = not network.config.blind
        self._scenes: deque[Tensor] = deque(maxlen=MEMORY_STEPS)
        self._speeds_mps: deque[Tensor] = deque(maxlen=MEMORY_STEPS)
        self._commands: deque[Tensor] = deque(maxlen=MEMORY_STEPS)

    def reset(self, n: int) -> None:
        """Empty the memory."""
        for memory in (self._scenes, self._speeds_mps, self._commands):
            memory.clear()

    @torch.inference_mode()
    def act(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Look, remember, plan, follow."""
        speed_mps = observation.speed_mps
        self._scenes.append(self._encode(observation))
        device = self._scenes[-1].device
        self._speeds_mps.append(speed_mps.to(device))
        # the world counts its commands from 0, the network keeps 0 for an unknown one
        self._commands.append((observation.world.command + 1).to(device))
        motion = self._motion(observation.world.config.step_s)
        memory = self.network.recall(torch.stack(list(self._scenes), 1), motion)
        plan = self.network.plan(memory[:, -1:], motion.last())
        path_m = plan.path_m[:, 0].float().to(speed_mps.device)
        times_s = path_times(self.network).to(path_m)
        return follow(path_m, times_s, speed_mps, self.follower), path_m

    def _motion(self, step_s: float) -> Motion:
        speeds_mps = torch.stack(list(self._speeds_mps), 1)
        steps = torch.arange(speeds_mps.shape[1], device=speeds_mps.device, dtype=torch.float64)
        commands = torch.stack(list(self._commands), 1)
        time_s = (steps * step_s).expand(speeds_mps.shape)
        return Motion.of(speeds_mps, time_s=time_s, command=commands)

    def _encode(self, observation: Observation) -> Tensor:
        """Scene tokens of the world's rig, whatever rig the network was trained with."""
        device = next(self.network.parameters()).device
        rig, n = observation.world.config.cameras, len(observation.speed_mps)
        rows = torch.from_numpy(lens_rows(rig, [camera.name for camera in rig]))
        lens = rows.to(device).expand(n, -1, -1)
        present = torch.ones(lens.shape[:2], dtype=torch.bool, device=device)
        if observation.frames is None:
            assert self.network.config.blind, "a network that sees needs pixels"
            nothing = torch.zeros(n, len(rig), 6, 0, 0, dtype=torch.uint8, device=device)
            return self.network.encode(nothing, present, lens)
        return self.network.encode(observation.frames.to(device), present, lens)


def path_times(network: DrivingNet) -> Tensor:
    """The times [p] in seconds at which the network's plan has its points."""
    points = network.config.path_points
    return torch.arange(1, points + 1) * (network.config.path_horizon_s / points)
