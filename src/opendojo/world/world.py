"""The batch of worlds that drivers meet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opendojo.world import events
from opendojo.world.bird import BirdEye, draw_bird_eye
from opendojo.world.config import VEHICLE, WorldConfig
from opendojo.world.expert import expert_control
from opendojo.world.look import draw_looks
from opendojo.world.motion import move_cars, move_ego
from opendojo.world.render import Renderer
from opendojo.world.road import BEYOND_M, draw_road
from opendojo.world.roads import Located, Roads
from opendojo.world.state import START_S_M, State, start

__all__ = ["World"]


class World:
    """A batch of worlds, one a seed, stepped and drawn together.

    What a world does and shows depends on its seed, the configuration and the controls it is
    given, to the bit: not on its neighbours in the batch, nor on the number of threads. Worlds go
    on after a collision or off the road; the caller decides what that means. The IDM's cars see
    the ego only as a leader.

    Args:
        seeds: one a world, 0 <= seed < 2^63; train on `TRAINING_SEEDS`, judge on
            `EVALUATION_SEEDS`.
        config: rig, rates and sizes, shared by the batch.
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
        self.config = config or WorldConfig()
        self.device = torch.device(device)
        length_m = START_S_M + VEHICLE.length_m + self.config.route_m + BEYOND_M
        self._drawn = [draw_road(seed, length_m) for seed in self.seeds]
        self.roads = Roads(self._drawn, self.device)
        looks = draw_looks(self.seeds, self.config.other_cars, self.device)
        self._renderer = Renderer(self.config, self.roads, looks, self.seeds, self.device)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Put every world back to its start."""
        self._arrive(start(self.seeds, self._drawn, self.roads, self.config))

    @torch.no_grad()
    def step(self, control: Tensor) -> None:
        """Move every world on by `config.step_s`.

        Args:
            control: float32 [n, 2]: steering angle in rad, positive to the left, and acceleration
                in m/s2; what the vehicle cannot do is cut to what it can.
        """
        if control.shape != (len(self.seeds), 2):
            raise ValueError(f"control must be [{len(self.seeds)}, 2], not {[*control.shape]}")
        control = control.detach().to(device=self.device, dtype=torch.float32)
        state, step_s = self.state, self.config.step_s
        ego = move_ego(state.ego, control, step_s)
        cars = move_cars(state.cars, state.ego, self._centre, self.roads, step_s)
        self._arrive(State(ego=ego, cars=cars, step=state.step + 1))

    def _arrive(self, state: State) -> None:
        self.state = state
        self._body = self.roads.locate(*events.body_points(state.ego))
        first = {name: getattr(self._body, name)[:, :1] for name in ("s_m", "d_m", "cos", "sin")}
        self._centre = Located(**first)

    @torch.no_grad()
    def render(self) -> Tensor:
        """What the cameras see now: uint8 [n, cameras, 6, height / 2, width / 2].

        Planes as `clip.pack_planes` orders them, BT.601 limited range.
        """
        return self._renderer.render(self.state)

    @torch.no_grad()
    def expert(self) -> Tensor:
        """The control, float32 [n, 2], of a driver that sees the world's insides."""
        return expert_control(self.state, self.roads, self._body)

    @property
    def speed_mps(self) -> Tensor:
        """The egos' speeds, float32 [n]."""
        return self.state.ego.speed_mps

    @property
    def progress_m(self) -> Tensor:
        """Way along the road since the start, float32 [n]; it shrinks when driving back."""
        return self._body.s_m[:, 0] - (START_S_M + VEHICLE.centre_m)

    @property
    def route_m(self) -> Tensor:
        """Way along the road that is the whole route, float32 [n]."""
        return torch.full_like(self.speed_mps, self.config.route_m)

    @property
    def off_road(self) -> Tensor:
        """bool [n]: a corner of the ego's body is beyond the paved edge."""
        return events.off_road(self._body.d_m)

    @property
    def off_lane(self) -> Tensor:
        """bool [n]: the centre of the ego's body is outside its own lane."""
        return events.off_lane(self._body.d_m)

    @property
    def collided(self) -> Tensor:
        """bool [n]: the ego's body overlaps another car's."""
        return events.collided(self.state.ego, self.state.cars)

    def bird_eye(
        self,
        index: int,
        width_px: int = 480,
        height_px: int = 480,
        *,
        centre_m: tuple[float, float] | None = None,
        metres_per_px: float = 0.25,
    ) -> BirdEye:
        """A map-like picture of one world from above, for people; see `bird.BirdEye`.

        Args:
            index: which world of the batch.
            width_px: columns.
            height_px: rows.
            centre_m: world point at the picture's middle; the ego where not given.
            metres_per_px: scale.
        """
        return draw_bird_eye(
            self.roads, self.state, index, (width_px, height_px), centre_m, metres_per_px
        )
