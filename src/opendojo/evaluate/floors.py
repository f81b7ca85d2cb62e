"""Floors and ceilings: drivers that a table shows beside a network, so that its score can be read.

`stop`, `constant-velocity` and `constant-turn-rate` look at nothing; `idm` and `expert` are told
where everything is; `replay` drives an earlier drive again; `shuffled` is a network that is shown
other pictures than its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from opendojo.evaluate.driver import BRAKE_MPS2, Driver, NetworkDriver, Observation
from opendojo.evaluate.follow import FollowConfig, follow
from opendojo.evaluate.score import Trace
from opendojo.model import DrivingNet
from opendojo.world import VEHICLE, Ego, World

__all__ = [
    "FLOORS",
    "ConstantTurnRateDriver",
    "ConstantVelocityDriver",
    "ExpertDriver",
    "IdmDriver",
    "ReplayDriver",
    "ShuffledDriver",
    "StopDriver",
    "in_vehicle_axes",
]

_PLAN_S = 4.0
_POINTS = 16
_TIMES_S = torch.arange(1, _POINTS + 1) * (_PLAN_S / _POINTS)


class StopDriver:
    """The floor that brakes to a halt, wheel straight."""

    name = "stop"
    needs_pixels = False

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Brake."""
        control = observation.speed_mps.new_zeros(len(observation.speed_mps), 2)
        control[:, 1] = -BRAKE_MPS2
        return control, None


class ConstantVelocityDriver:
    """The floor that keeps its first speed, wheel straight."""

    name = "constant-velocity"
    needs_pixels = False

    def __init__(self) -> None:
        self._speed_mps: Tensor | None = None

    def reset(self, n: int) -> None:
        """Forget the first speed."""
        self._speed_mps = None

    def act(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Hold the speed of the first step."""
        if self._speed_mps is None:
            self._speed_mps = observation.speed_mps.clone()
        accel = (self._speed_mps - observation.speed_mps).clamp(-BRAKE_MPS2, 2.4)
        return torch.stack([torch.zeros_like(accel), accel], 1), None


class ConstantTurnRateDriver:
    """The floor that keeps its first speed, and the turn of the road where it began.

    Drives begin with the wheels straight; the first turn rate is that of a car that had been
    following the road up to there.
    """

    name = "constant-turn-rate"
    needs_pixels = False

    def __init__(self) -> None:
        self._straight = ConstantVelocityDriver()
        self._steer_rad: Tensor | None = None

    def reset(self, n: int) -> None:
        """Forget the first speed and turn."""
        self._straight.reset(n)
        self._steer_rad = None

    def act(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Hold the speed and the turn of the first step."""
        control, _ = self._straight.act(observation)
        if self._steer_rad is None:
            world = observation.world
            bend = world.course.at(world.state.s_m[:, None]).curvature[:, 0]
            self._steer_rad = torch.atan(VEHICLE.wheelbase_m * bend)
        control[:, 0] = self._steer_rad.to(control)
        return control, None


class IdmDriver:
    """The floor that follows the middle of its route by the Intelligent Driver Model."""

    name = "idm"
    needs_pixels = False

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Ask the world."""
        return observation.world.idm_on_centreline(), None


class ExpertDriver:
    """The ceiling: the world's own privileged driver, the one training imitates."""

    name = "expert"
    needs_pixels = False

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Ask the world; the plan is the proposal that was taken."""
        choice = observation.world.choice()
        x, y, _ = choice.plan[:, 1:].unbind(-1)
        return choice.control, in_vehicle_axes(observation.world.state.ego, x, y)


class ShuffledDriver(NetworkDriver):
    """The floor that shows a network other worlds' pictures, each with its own speed.

    With one world alone, it is shown its own pictures of five seconds ago. A network that drives as
    well like this does not look.
    """

    def __init__(self, network: DrivingNet, follower: FollowConfig | None = None) -> None:
        super().__init__(network, follower)
        self.name = "shuffled"
        self._past: deque[Tensor] = deque(maxlen=50)

    def reset(self, n: int) -> None:
        """Empty the memory."""
        super().reset(n)
        self._past.clear()

    def act(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Drive by the wrong pictures."""
        frames = observation.frames
        if frames is not None and len(frames) > 1:
            frames = frames.roll(len(frames) // 2, 0)
        elif frames is not None:
            self._past.append(frames.clone())
            frames = self._past[0]
        wrong = Observation(frames=frames, speed_mps=observation.speed_mps, world=observation.world)
        return super().act(wrong)


class ReplayDriver:
    """The floor that drives an earlier drive again, by the clock, without looking.

    The drive is another driver's, the expert's where none is given, in the same world; it is
    recorded at the first step, up to the routes' ends. Places of it at the next 4 s are the plan,
    which is followed as a network's is.
    """

    name = "replay"
    needs_pixels = False

    def __init__(self, source: Driver | None = None, *, limit_s: float = 120.0) -> None:
        if source is not None and source.needs_pixels:
            raise ValueError(f"replay cannot record {source.name}: it needs pixels")
        self._source, self._limit_s = source or ExpertDriver(), limit_s
        self._log: Tensor | None = None
        self._key: object = None
        self._step = 0

    def reset(self, n: int) -> None:
        """Back to the start of the log."""
        self._step = 0

    def adopt(self, world: World, trace: Trace) -> None:
        """Take a drive of the source in this very world, rather than have it driven again."""
        places = np.stack([trace.x_m, trace.y_m], -1).swapaxes(0, 1)
        self._log = torch.from_numpy(places).to(world.speed_mps)
        self._key = (world.seeds, world.config)

    def act(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Follow the log."""
        world = observation.world
        key = (world.seeds, world.config)
        if self._step == 0 and key != self._key:
            self._log, self._key = _recorded(world, self._source, self._limit_s), key
        assert self._log is not None, "the log is recorded at the first step"
        log, step_s = self._log, world.config.step_s
        wanted = self._step + _TIMES_S.to(log.device) / step_s
        low = wanted.floor().clamp(max=log.shape[1] - 2).to(torch.int64)
        points = log[:, low] + (log[:, low + 1] - log[:, low]) * (wanted - low)[None, :, None]
        self._step += 1
        path_m = in_vehicle_axes(world.state.ego, points[..., 0], points[..., 1])
        return follow(path_m, _TIMES_S.to(path_m), observation.speed_mps), path_m


def _recorded(world: World, driver: Driver, limit_s: float) -> Tensor:
    """Rear axles [n, steps, 2] of a driver's drive from here on; the world is put back after it."""
    begin, places = world.state, []
    ended = torch.zeros(len(world.seeds), dtype=torch.bool, device=world.device)
    driver.reset(len(world.seeds))
    for _ in range(round(limit_s / world.config.step_s) + 1):
        places.append(torch.stack([world.state.ego.x_m, world.state.ego.y_m], -1))
        ended = ended | world.off_road | world.collided | (world.progress_m >= world.route_m)
        if bool(ended.all()):
            break
        observation = Observation(frames=None, speed_mps=world.speed_mps.clone(), world=world)
        world.step(driver.act(observation)[0])
    world.state = begin
    if len(places) == 1:
        return torch.stack([places[0], places[0]], 1)
    return torch.stack(places, 1)


def in_vehicle_axes(ego: Ego, x_m: Tensor, y_m: Tensor) -> Tensor:
    """World points [n, p] in their vehicle's axes, x forward and y left of the rear axle."""
    dx, dy = x_m - ego.x_m[:, None], y_m - ego.y_m[:, None]
    cos, sin = ego.yaw_rad.cos()[:, None], ego.yaw_rad.sin()[:, None]
    return torch.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1)


FLOORS: dict[str, Callable[[], Driver]] = {
    "expert": ExpertDriver,
    "replay": ReplayDriver,
    "idm": IdmDriver,
    "constant-turn-rate": ConstantTurnRateDriver,
    "constant-velocity": ConstantVelocityDriver,
    "stop": StopDriver,
}
"""Drivers that need no network, by name."""
