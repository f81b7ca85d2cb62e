"""The batch of worlds that drivers meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from opendojo.world import events
from opendojo.world.bank import settle
from opendojo.world.bird import BirdEye, draw_bird_eye
from opendojo.world.body import VEHICLE
from opendojo.world.config import WorldConfig
from opendojo.world.course import Course
from opendojo.world.draw.look import draw_looks
from opendojo.world.draw.renderer import Renderer
from opendojo.world.draw.scene import Labels, Scene
from opendojo.world.draw.sensor import Faults, Sensor
from opendojo.world.exact import sin_cos
from opendojo.world.judge import Judge, Plans
from opendojo.world.judge_terms import Terms
from opendojo.world.map_starts import Starts
from opendojo.world.maps import recorded, starts_of
from opendojo.world.planner import Choice, Planner
from opendojo.world.rig import perturbed
from opendojo.world.route import Routes
from opendojo.world.scenery import Scenery
from opendojo.world.state import Moving, State, digests, merged
from opendojo.world.threads import on_one_thread
from opendojo.world.traffic import Neighbour, Traffic, TrafficConfig
from opendojo.world.traffic.angle import angle
from opendojo.world.traffic.chance import Draw, Seeds, uniform
from opendojo.world.vehicle import Ego, move_ego, still_ego

__all__ = ["World"]

START_S_M = 5.0
"""Where the middle of the ego's body starts along the route."""
_START_SHARE = 0.7
"""Of the pace there, the ego's first speed."""


class World:
    """A batch of worlds, one a seed, stepped and drawn together.

    What a world does and shows depends on its seed, the configuration and the controls it is
    given, to the bit: not on its neighbours in the batch, nor on the number of threads. Worlds go
    on after a collision or off the road; the caller decides what that means.

    Args:
        seeds: one a world, 0 <= seed < 2^63; train on `TRAINING_SEEDS`, judge on
            `EVALUATION_SEEDS`.
        config: rig, rates and kinds, shared by the batch.
        device: where the tensors live and the drawing is done.

    Raises:
        ValueError: no seeds, or one below zero.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        config: WorldConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not seeds or min(seeds) < 0:
            raise ValueError("a world needs at least one seed, none below zero")
        self.seeds = tuple(int(seed) for seed in seeds)
        self.config = config = config or WorldConfig()
        self.device = torch.device(device)
        self.towns, self.town = settle(self.seeds, config, self.device)
        whole = torch.tensor(self.seeds, dtype=torch.int64, device=self.device)
        told = starts_of(self.seeds, config, self.device)
        self._start_m = torch.full((len(seeds),), START_S_M, device=self.device)
        if told is not None:  # routes do not begin before their first lane
            self._start_m = torch.where(
                told.lane >= 0, told.s_m.clamp(0.0, START_S_M), self._start_m
            )
        self.routes = Routes.draw(
            self.towns, self.town, whole, round(config.route_m + START_S_M),
            told and (told.lane, told.s_m - self._start_m),
        )  # fmt: skip
        self.course = Course.of(self.towns, self.routes)
        self.traffic: Moving = recorded(self.seeds, config, self.towns, self.town, told) or Traffic(
            self.towns, self.town, self.seeds, traffic_of(config), config.step_s
        )
        self.planner, self.judge = Planner(self.towns), Judge(self.towns)
        self._prepare_pictures(whole)
        self._start = self._started(told)
        self.reset()

    def _prepare_pictures(self, seeds: Tensor) -> None:
        config = self.config
        self.look = draw_looks(self.seeds, config.preset, self.device)
        rig = config.cameras
        if config.rig_error:
            error = config.rig_error
            rig = perturbed(
                config.cameras, self.seeds, angle_deg=2.0 * error, shift_m=0.05 * error,
                focal=0.02 * error,
            )  # fmt: skip
        self._renderer = Renderer(
            rig, self.towns.atlas, self.look, self.seeds, self.device,
            compiled=config.compiled, noise=config.noise,
        )  # fmt: skip
        self._scenery = Scenery(self.towns, self.town, seeds, self.look)
        faults = dataclasses.replace(getattr(Faults, config.preset)(), dead=config.dead)
        self._sensor = Sensor(
            self.look, self.seeds, cameras=len(config.cameras), width_px=config.width_px,
            height_px=config.height_px, faults=faults,
        )  # fmt: skip

    def _started(self, told: Starts | None) -> State:
        """The state in which worlds of these seeds begin."""
        n = len(self.seeds)
        seeds = Seeds.of(self.seeds, self.device)
        zero = torch.zeros((n, 1), dtype=torch.int64, device=self.device)
        aside = (uniform(seeds, Draw.SIDE, zero + 4000, zero) - 0.5) * 0.5
        skew = (uniform(seeds, Draw.SIDE, zero + 4001, zero) - 0.5) * 0.06
        s = self._start_m[:, None] - VEHICLE.centre_m
        here = self.course.at(s)
        x, y, cos, sin = self.routes.place(s, aside)
        ego = still_ego(
            x[:, 0], y[:, 0], heading(cos, sin, skew)[:, 0], step_s=self.config.step_s,
            latency_s=self.config.latency_s,
        )  # fmt: skip
        speed = here.pace_mps[:, 0] * _START_SHARE
        if told is not None:
            speed = torch.where(told.speed_mps >= 0.0, told.speed_mps, speed)
            ego = told.put(ego)
        ego = dataclasses.replace(ego, speed_mps=speed)
        located = self._along(ego, self._start_m)
        step = torch.zeros(n, dtype=torch.int64, device=self.device)
        traffic = self.traffic.start(self._neighbour(ego, *located))
        return State(ego=ego, traffic=traffic, step=step, s_m=located[0], d_m=located[1])

    @torch.no_grad()
    @on_one_thread
    def reset(self, which: Tensor | None = None) -> None:
        """Put every world, or those where `which` bool [n], back to its start."""
        self._shown: Tensor | None = None
        if which is None:
            self.state = self._start
        else:
            self.state = merged(which.to(self.device), self._start, self.state)

    @torch.no_grad()
    @on_one_thread
    def step(self, control: Tensor) -> None:
        """Move every world on by `config.step_s`.

        Args:
            control: float32 [n, 2]: steering angle in rad, positive to the left, and acceleration
                in m/s2; what the vehicle cannot do is cut to what it can.
        """
        if control.shape != (len(self.seeds), 2):
            raise ValueError(f"control must be [{len(self.seeds)}, 2], not {[*control.shape]}")
        control = control.detach().to(device=self.device, dtype=torch.float32)
        now, step_s = self.state, self.config.step_s
        ego = move_ego(now.ego, control, step_s)
        others = self.traffic.step(
            now.traffic, self._neighbour(now.ego, now.s_m, now.d_m), now.step, step_s
        )
        s, d = self._along(ego, now.s_m + now.ego.speed_mps * step_s)
        self.state = State(ego=ego, traffic=others, step=now.step + 1, s_m=s, d_m=d)

    def _along(self, ego: Ego, guess_m: Tensor) -> tuple[Tensor, Tensor]:
        """s and d of the bodies' middles on their routes, [n]."""
        x, y = ego.middle()
        s, d, _ = self.course.foot(x[:, None], y[:, None], guess_m[:, None])
        return s[:, 0], d[:, 0]

    def _neighbour(self, ego: Ego, s_m: Tensor, d_m: Tensor) -> Neighbour:
        """The egos as traffic sees them: on their route's lane while they are near it, else on
        the lane below them."""
        x, y = ego.middle()
        lane = self.routes.at(self.routes.lane, s_m[:, None])
        width = self.routes.at(self.routes.width_m, s_m[:, None])
        below = self.towns.lane_at(self.town, x[:, None], y[:, None])
        lane = torch.where(d_m[:, None].abs() < 0.55 * width, lane, below)
        s, d = self.towns.project(self.town, lane, x[:, None], y[:, None])
        return Neighbour(
            x_m=x, y_m=y, yaw_rad=ego.yaw_rad, speed_mps=ego.speed_mps,
            length_m=VEHICLE.length_m, width_m=VEHICLE.width_m,
            lane=lane[:, 0], s_m=s[:, 0], d_m=d[:, 0],
        )  # fmt: skip

    @property
    @on_one_thread
    def scene(self) -> Scene:
        """What there is to be seen now, for renderers and labels."""
        return self._scenery.scene(self.state, self.traffic.signals(self.state.step))

    @torch.no_grad()
    def render(self) -> Tensor:
        """What the cameras see now: uint8 [n, cameras, 3 height / 2, width], planar YUV 4:2:0.

        Rows of luma, then the bytes of the two chroma planes, as a store keeps frames; BT.601,
        limited range.
        """
        shown = self._renderer.render(self.scene)
        self._shown = self._sensor.apply(shown, self._shown, self.state.step)
        return self._shown

    @torch.no_grad()
    def labels(self) -> Labels:
        """Class, depth and instance of every pixel now; `draw.labels` derives more."""
        return self._renderer.labels(self.scene)

    @torch.no_grad()
    @on_one_thread
    def choice(self) -> Choice:
        """What a driver that sees the world's insides would do now, and its plan."""
        state = self.state
        rear_m = state.s_m - VEHICLE.centre_m
        return self.planner.plan(self.course, state.ego, state.agents, self.time_s, rear_m)

    @torch.no_grad()
    @on_one_thread
    def terms(self, plans: Plans) -> Terms:
        """Sub-scores [n, p] of any plans [n, p, 41] from here at 10 Hz, in world axes.

        Others do what the expert foresees of them, and lights stay as they are now.
        """
        state = self.state
        rear_m = state.s_m - VEHICLE.centre_m
        return self.planner.terms(self.course, state.ego, state.agents, self.time_s, rear_m, plans)

    def expert(self) -> Tensor:
        """The control of that driver, float32 [n, 2]."""
        return self.choice().control

    @torch.no_grad()
    @on_one_thread
    def idm_on_centreline(self) -> Tensor:
        """The control, float32 [n, 2], of a driver that follows the route's middle by the IDM."""
        state = self.state
        rear_m = state.s_m - VEHICLE.centre_m
        return self.planner.idm_on_centreline(
            self.course, state.ego, state.agents, self.time_s, rear_m
        )

    def digests(self) -> list[str]:
        """A hash of each world's whole state: equal for equal states, bit by bit."""
        return digests(self.state)

    @property
    def time_s(self) -> Tensor:
        """Time since the start, float32 [n]."""
        return self.state.step.to(torch.float32) * self.config.step_s

    @property
    def speed_mps(self) -> Tensor:
        """The egos' speeds, float32 [n]."""
        return self.state.ego.speed_mps

    @property
    def command(self) -> Tensor:
        """What the route asks for at the next junction, int64 [n]: `route.FOLLOW`, ..."""
        return self.routes.at(self.routes.command, self.state.s_m[:, None])[:, 0]

    @property
    def progress_m(self) -> Tensor:
        """Way along the route since the start, float32 [n]; it shrinks when driving back."""
        return self.state.s_m - self._start.s_m

    @property
    def route_m(self) -> Tensor:
        """Way along the route that is the whole of it, float32 [n]."""
        return (self.routes.goal_m - self._start_m).clamp(max=self.config.route_m)

    @property
    def off_road(self) -> Tensor:
        """bool [n]: a corner of the ego's body is beyond the paved edge."""
        x, y = events.body_points(self.state.ego)
        return (self.towns.edge_m(self.town, x[:, 1:], y[:, 1:]) < 0.0).any(1)

    @property
    def off_lane(self) -> Tensor:
        """bool [n]: the middle of the ego's body is on no lane of the route, nor on one beside it
        that runs its way, nor in a junction."""
        x, y = self.state.ego.middle()
        lane = self.towns.lane_at(self.town, x[:, None], y[:, None])
        none = self.course.on_route.shape[1] - 1
        on = self.course.on_route.gather(1, torch.where(lane < 0, none, lane))
        junction = self.towns.junction[self.town[:, None], lane.clamp(min=0)] & (lane >= 0)
        return ~(on | junction)[:, 0]

    @property
    def collided(self) -> Tensor:
        """bool [n]: the ego's body overlaps another road user's."""
        return events.collided(self.state.ego, self.state.agents)

    def bird_eye(
        self,
        index: int,
        width_px: int = 480,
        height_px: int = 480,
        *,
        centre_m: tuple[float, float] | None = None,
        metres_per_px: float = 0.25,
        bare: bool = False,
    ) -> BirdEye:
        """A map-like picture of one world from above, for people; see `bird.BirdEye`.

        Args:
            index: which world of the batch.
            width_px: columns.
            height_px: rows.
            centre_m: world point at the picture's middle; the ego where not given.
            metres_per_px: scale.
            bare: leave the vehicles out.
        """
        return draw_bird_eye(self, index, (width_px, height_px), centre_m, metres_per_px, bare)


def traffic_of(config: WorldConfig) -> TrafficConfig:
    """The traffic of a configuration's preset."""
    make = {
        "clean": TrafficConfig.clean,
        "hard": TrafficConfig.hard,
        "adversarial": TrafficConfig.adversarial,
    }[config.preset]
    return make(config.agents)


def heading(cos: Tensor, sin: Tensor, skew_rad: Tensor) -> Tensor:
    """The angle of directions, turned by a little."""
    turn_sin, turn_cos = sin_cos(skew_rad)
    return angle(cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin)
