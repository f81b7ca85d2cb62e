"""The world as a gymnasium environment: for other people's agents, one at a time or in a batch.

    import gymnasium
    import opendojo.world.gym                     # registers the names

    env = gymnasium.make("opendojo/Driving-v0")
    envs = gymnasium.make_vec("opendojo/Driving-v0", num_envs=16)

An observation is a dict of `frames`, uint8 [cameras, 3 height / 2, width] (planar YUV 4:2:0, as
`World.render`), `speed`, float32 [1] in m/s, and `command`, what the route asks for at the next
junction (0 follow, 1 left, 2 straight, 3 right). An action is two numbers from -1 to 1: the
steering angle as a share of the largest, positive to the left; and full brake to full throttle.

The reward is the share of the route newly driven, in percent, less infractions (see `Reward`;
after CaRL, Jaeger et al. 2025, whose other terms are left out). An episode is terminated by a
collision, by leaving the road and at the route's end, and truncated at the time limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.world.body import VEHICLE
from opendojo.world.config import EVALUATION_SEEDS, TRAINING_SEEDS, WorldConfig
from opendojo.world.judge import LINE_PAST_M
from opendojo.world.mosaic import mosaic, rgb_of
from opendojo.world.world import World

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.utils.seeding import np_random
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError as fault:
    raise ImportError(
        "driving through gymnasium needs the `gym` extra: pip install opendojo[gym]"
    ) from fault

__all__ = ["ENV_ID", "DrivingEnv", "DrivingVectorEnv", "Reward"]

ENV_ID = "opendojo/Driving-v0"
"""The registered name."""

Observation = dict[str, Any]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_FASTEST_MPS = 100.0
"""Speeds are shown up to here."""
_COMMANDS = 4
_BESIDE_M = 6.0
"""A stop line reaches so far to either side of the route, as in the judge."""
_LEAP = 1.5
"""Way counts up to so many times what the wheels rolled: a foot that leaps along a route that
meets itself earns nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What driving is worth.

    Each step earns 100 times the share of the route that is driven for the first time in the
    episode: going back and forth, or standing, earns nothing. A whole route earns 100.
    """

    off_lane: float = 0.5
    """Factor on what a step earns while the vehicle's middle is off the route's lanes."""
    red_light: float = 10.0
    """Taken off each time the front bumper passes a stop line while its light is red."""
    collision: float = 50.0
    """Taken off for a collision, which ends the episode."""
    off_road: float = 50.0
    """Taken off for leaving the road, which ends the episode."""


class _Drives:
    """Episodes in a batch of worlds: what both environments share. Arrays are [n]."""

    def __init__(self, world: World, reward: Reward, limit_s: float) -> None:
        self.world = world
        self._reward, self._limit = reward, max(round(limit_s / world.config.step_s), 1)
        n = len(world.seeds)
        self._best = np.zeros(n)
        self._front = self._fronts()
        self.steps = np.zeros(n, np.int64)

    def reset(self, which: Flags | None = None) -> None:
        """Back to the start, everywhere or where `which`."""
        mask = np.ones(len(self.steps), bool) if which is None else which
        self.world.reset(None if which is None else torch.from_numpy(mask))
        self.steps[mask] = 0
        self._best[mask] = 0.0
        self._front = torch.where(
            torch.from_numpy(mask).to(self._front.device), self._fronts(), self._front
        )

    def step(self, actions: npt.NDArray[Any]) -> tuple[Floats, Flags, Flags, dict[str, Any]]:
        """Drive on: rewards, terminated, truncated, terms."""
        world = self.world
        world.step(_control(actions, world.device))
        self.steps += 1
        terms = self._terms()
        failed = terms["collided"] | terms["off_road"]
        ended = failed | terms["completed"]
        price = self._reward
        rewards = terms["progress"] * np.where(terms["off_lane"], price.off_lane, 1.0)
        rewards -= price.red_light * terms["ran_red"]
        rewards -= np.where(terms["collided"], price.collision, price.off_road * terms["off_road"])
        return rewards, ended, (self.steps >= self._limit) & ~ended, terms

    def _terms(self) -> dict[str, Any]:
        """What the reward is made of; `progress` in percent of the route."""
        world = self.world
        way, route = (_array(v).astype(np.float64) for v in (world.progress_m, world.route_m))
        rolled = _array(world.speed_mps) * world.config.step_s * _LEAP + 0.1
        gained = np.clip(np.minimum(way, route) - self._best, 0.0, rolled)
        self._best += gained
        front, course, d_m = self._fronts(), world.course, world.state.d_m
        line = course.stop_m + LINE_PAST_M
        over = (self._front[:, None] < line) & (line <= front[:, None])
        red = world.judge.red(course, world.time_s, 1)[..., 0]
        self._front = front
        return {
            "progress": 100.0 * gained / route,
            "completion": self._best / route,
            "completed": way >= route,
            "collided": _array(world.collided),
            "off_road": _array(world.off_road),
            "off_lane": _array(world.off_lane),
            "ran_red": _array((over & red).any(1) & (d_m.abs() < _BESIDE_M)),
        }

    def _fronts(self) -> Tensor:
        return self.world.state.s_m + VEHICLE.length_m / 2.0

    def observe(self) -> Observation:
        """What agents see, batched."""
        world = self.world
        speed = _array(world.speed_mps)[:, None].clip(0.0, _FASTEST_MPS)
        return {
            "frames": _array(world.render()),
            "speed": speed.astype(np.float32),
            "command": _array(world.command),
        }


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return tensor.cpu().numpy().copy()


def _control(actions: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Shares [n, 2] from -1 to 1 as steering angle and acceleration."""
    shares = torch.as_tensor(np.asarray(actions), dtype=torch.float32, device=device).clamp(-1, 1)
    steer, drive = shares.unbind(1)
    accel = torch.where(
        drive < 0.0, -drive * VEHICLE.min_accel_mps2, drive * VEHICLE.max_accel_mps2
    )
    return torch.stack([steer * VEHICLE.max_steer_rad, accel], 1)


def _spaces(config: WorldConfig) -> tuple[spaces.Dict, Any]:
    rows = config.height_px * 3 // 2
    frames = (len(config.cameras), rows, config.width_px)
    observation = spaces.Dict(
        {
            "frames": spaces.Box(0, 255, frames, np.uint8),
            "speed": spaces.Box(0.0, _FASTEST_MPS, (1,), np.float32),
            "command": spaces.Discrete(_COMMANDS),
        }
    )
    return observation, spaces.Box(-1.0, 1.0, (2,), np.float32)


def _seeds(generator: np.random.Generator, count: int, held_out: bool) -> list[int]:
    among = EVALUATION_SEEDS if held_out else TRAINING_SEEDS
    return generator.integers(among.start, among.stop, count).tolist()


def _check_mode(mode: str | None) -> None:
    if mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode {mode!r}: use 'rgb_array' or None")


class DrivingEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """One vehicle in one world; each `reset` draws another world of the kind.

    Args:
        config: The kind of world.
        reward: What driving is worth.
        limit_s: Episodes are truncated after this time.
        held_out: Draw worlds kept for judging, in place of those to train on.
        render_mode: "rgb_array": `render` gives a mosaic of all cameras and the view from above.
        device: Where the world is stepped and drawn.

    `reset(options={"world": seed})` asks for one world; equal seeds give equal episodes.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        config: WorldConfig | None = None,
        *,
        reward: Reward | None = None,
        limit_s: float = 90.0,
        held_out: bool = False,
        render_mode: str | None = None,
        device: str = "cpu",
    ) -> None:
        _check_mode(render_mode)
        self.config, self.render_mode = config or WorldConfig(), render_mode
        self.observation_space, self.action_space = _spaces(self.config)
        self._reward, self._limit_s = reward or Reward(), limit_s
        self._held_out, self._device = held_out, device
        self._drives: _Drives | None = None
        self._seen: Observation = {}

    @property
    def world(self) -> World:
        """The world of this episode, a batch of one."""
        return self._now.world

    @property
    def _now(self) -> _Drives:
        if self._drives is None:
            raise gymnasium.error.ResetNeeded("call reset() before step() and render()")
        return self._drives

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in another world, or in `options["world"]`."""
        super().reset(seed=seed)
        drawn = _seeds(self.np_random, 1, self._held_out)[0]
        wanted = int((options or {}).get("world", drawn))
        if self._drives is not None and self._drives.world.seeds == (wanted,):
            self._drives.reset()
        else:
            world = World([wanted], self.config, self._device)
            self._drives = _Drives(world, self._reward, self._limit_s)
        return self._observe(), {"world": wanted}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Drive on by one step of `config.step_s`."""
        now = self._now
        rewards, ended, late, terms = now.step(np.asarray(action)[None])
        info = {name: column[0].item() for name, column in terms.items()}
        return self._observe(), float(rewards[0]), bool(ended[0]), bool(late[0]), info

    def _observe(self) -> Observation:
        both = self._now.observe()
        self._seen = both
        alone = {name: column[0] for name, column in both.items()}
        return {**alone, "command": np.int64(alone["command"])}

    def render(self) -> npt.NDArray[np.uint8] | None:  # type: ignore[override]
        """The mosaic of what was last observed, uint8 [height, width, 3]."""
        return _mosaic(self._now.world, self._seen, 0) if self.render_mode else None


def _mosaic(world: World, seen: Observation, index: int) -> npt.NDArray[np.uint8]:
    frames = rgb_of(torch.from_numpy(seen["frames"][index]))
    return np.array(mosaic(world, index, [("picture", frames)]))


class DrivingVectorEnv(VectorEnv[Observation, npt.NDArray[np.float32], npt.NDArray[Any]]):
    """Many vehicles, each in a world of its own, stepped and drawn as one batch.

    Episodes that ended begin anew at the next step, whose action is not looked at there
    (gymnasium's NEXT_STEP). They begin in the same world: building others takes about a second
    each. `reset` draws other worlds; with `renew` it is done of itself.

    Args:
        num_envs: How many.
        config: The kind of worlds.
        reward: What driving is worth.
        limit_s: Episodes are truncated after this time.
        held_out: Draw worlds kept for judging, in place of those to train on.
        renew: After so many steps all running episodes are truncated, and the next step begins
            episodes in other worlds; 0 for never.
        render_mode: "rgb_array": `render` gives a mosaic of each.
        device: Where the worlds are stepped and drawn.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"], "render_fps": 10, "autoreset_mode": AutoresetMode.NEXT_STEP,
    }  # fmt: skip

    def __init__(
        self,
        num_envs: int = 1,
        config: WorldConfig | None = None,
        *,
        reward: Reward | None = None,
        limit_s: float = 90.0,
        held_out: bool = False,
        renew: int = 0,
        render_mode: str | None = None,
        device: str = "cpu",
    ) -> None:
        _check_mode(render_mode)
        self.num_envs, self.config = num_envs, config or WorldConfig()
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = _spaces(self.config)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._reward, self._limit_s = reward or Reward(), limit_s
        self._held_out, self._renew, self._device = held_out, renew, device
        self._drives: _Drives | None = None
        self._seen: Observation = {}
        self._over = np.zeros(num_envs, bool)
        self._age = 0

    @property
    def world(self) -> World:
        """The worlds, one batch."""
        return self._now.world

    @property
    def _now(self) -> _Drives:
        if self._drives is None:
            raise gymnasium.error.ResetNeeded("call reset() before step() and render()")
        return self._drives

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes everywhere in other worlds, or in those of `options["worlds"]`.

        A list of seeds gives each environment the world that `DrivingEnv.reset` gives it with that
        seed. `options["reset_mask"]`, bool [n], restarts some episodes in the worlds they are in.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if mask is not None:
            self._now.reset(np.asarray(mask, bool))
            self._over &= ~np.asarray(mask, bool)
            return self._observe(), self._info()
        if isinstance(seed, Sequence):
            drawn = [self._single(one) for one in seed]
        else:
            super().reset(seed=seed)
            drawn = _seeds(self.np_random, self.num_envs, self._held_out)
        worlds = [int(one) for one in options.get("worlds", drawn)]
        if len(worlds) != self.num_envs:
            raise ValueError(f"{self.num_envs} environments need as many seeds, not {len(worlds)}")
        self._build(worlds)
        return self._observe(), self._info()

    def _single(self, seed: int | None) -> int:
        generator = self.np_random if seed is None else np_random(seed)[0]
        return _seeds(generator, 1, self._held_out)[0]

    def _build(self, worlds: list[int]) -> None:
        if self._drives is not None and self._drives.world.seeds == tuple(worlds):
            self._drives.reset()
        else:
            world = World(worlds, self.config, self._device)
            self._drives = _Drives(world, self._reward, self._limit_s)
        self._over[:], self._age = False, 0

    def step(
        self, actions: npt.NDArray[np.float32]
    ) -> tuple[Observation, Floats, Flags, Flags, dict[str, Any]]:
        """Drive on everywhere; where the last step ended an episode, begin the next one."""
        now, fresh = self._now, self._over.copy()
        if self._renew and self._age >= self._renew:
            self._build(_seeds(self.np_random, self.num_envs, self._held_out))
            nothing, never = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
            return self._observe(), nothing, never, never.copy(), self._info()
        rewards, ended, late, terms = now.step(np.asarray(actions))
        if fresh.any():
            now.reset(fresh)
            rewards[fresh], ended[fresh], late[fresh] = 0.0, False, False
        self._age += 1
        if self._renew and self._age >= self._renew:
            late = ~ended
        self._over = ended | late
        info: dict[str, Any] = {}
        for name, column in terms.items():
            info[name] = np.where(fresh, np.zeros_like(column), column)
            info[f"_{name}"] = ~fresh
        return self._observe(), rewards, ended.copy(), late.copy(), info | self._info(fresh)

    def _info(self, mask: Flags | None = None) -> dict[str, Any]:
        """The worlds' seeds, of episodes that have just begun."""
        mask = np.ones(self.num_envs, bool) if mask is None else mask
        if not mask.any():
            return {}
        return {"world": np.where(mask, self._now.world.seeds, 0), "_world": mask}

    def _observe(self) -> Observation:
        self._seen = self._now.observe()
        return {name: column.copy() for name, column in self._seen.items()}

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:  # type: ignore[override]
        """A mosaic of each world, of what was last observed."""
        if not self.render_mode:
            return None
        world = self._now.world
        return tuple(_mosaic(world, self._seen, i) for i in range(self.num_envs))


if ENV_ID not in gymnasium.registry:
    gymnasium.register(
        ENV_ID,
        entry_point="opendojo.world.gym:DrivingEnv",
        vector_entry_point="opendojo.world.gym:DrivingVectorEnv",
    )
