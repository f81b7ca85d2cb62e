"""The pictures of all cameras of all worlds: ground, sky, cars, the sensor's noise.

The column caster: with level cameras a pixel column is one vertical plane, so a box is met once a
column and not once a pixel; the ground is looked up per pixel in the road's own coordinates, the
same in which driving is judged (`Roads.locate`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from opendojo.world.bodies import CarPainter
from opendojo.world.config import WorldConfig
from opendojo.world.exact import hashed
from opendojo.world.ground import Ground
from opendojo.world.lens import make_lens
from opendojo.world.look import Look
from opendojo.world.roads import Roads
from opendojo.world.sky import Sky
from opendojo.world.state import State

__all__ = ["Renderer"]

_PIXELS_IN_CACHE = 200_000
"""Pictures are painted so many pixels at a time, so that a core's cache holds what they need."""
_NOISE_LENGTH = 1 << 18
_NOISE_LEVELS = 1.6
"""Standard deviation of the noise in luma levels at `WorldConfig.noise` 1."""


class Renderer:
    """Draws a batch of worlds; keeps what does not change between frames."""

    def __init__(
        self,
        config: WorldConfig,
        roads: Roads,
        looks: Look,
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        self._config, self._roads, self._looks, self._device = config, roads, looks, device
        self._lens = make_lens(config.cameras, device)
        self._ground = Ground(self._lens, device)
        self._sky = Sky(self._lens, device)
        self._car_painter = CarPainter(self._lens, device)
        self._seeds = torch.tensor(seeds, dtype=torch.int64, device=device)
        self._cameras = torch.arange(len(config.cameras), device=device)
        noise = np.random.Generator(np.random.Philox(key=2)).normal(size=_NOISE_LENGTH)
        self._noise = torch.tensor(noise * 256, device=device).round().to(torch.float32)
        self._noise.mul_(_NOISE_LEVELS * config.noise / 256)

    def render(self, state: State) -> Tensor:
        """Pictures of one instant: uint8 [n, c, 6, height / 2, width / 2]."""
        n, c = len(self._seeds), len(self._cameras)
        shape = n, c, 6, self._config.height_px // 2, self._config.width_px // 2
        planes = torch.empty(shape, device=self._device)
        self._paint_scenery(state, planes)
        if self._config.other_cars:
            self._car_painter.paint(state.ego, state.cars, self._looks, planes)
        if self._config.noise:
            self._add_noise(planes[:, :, :4], state.step)
        planes.add_(0.5)
        planes[:, :, :4].clamp_(16.0, 235.0)
        planes[:, :, 4:].clamp_(16.0, 240.0)
        return planes.to(torch.uint8)

    def _paint_scenery(self, state: State, planes: Tensor) -> None:
        ego, horizon = state.ego, self._lens.horizon
        seen = self._roads.frames.seen_from(ego.x_m, ego.y_m, ego.yaw_rad)
        n = chunk = len(planes)
        if self._device.type == "cpu":
            chunk = max(1, _PIXELS_IN_CACHE // planes[0, :, :4].numel())
        for first in range(0, n, chunk):
            last = min(first + chunk, n)
            some, look = ego.rows(first, last), self._looks.rows(first, last)
            above, below = planes[first:last].split([horizon, planes.shape[3] - horizon], dim=3)
            self._sky.paint(some, look, above[:, :, :4], above[:, :, 4:])
            roads = self._roads.stations_of(first, last)
            self._ground.paint(some, roads, seen, look, below[:, :, :4], below[:, :, 4:])

    def _add_noise(self, luma: Tensor, step: int) -> None:
        """A stretch of one long list of draws, where it begins hashed from seed, step, camera."""
        size = luma[0, 0].numel()
        assert size < _NOISE_LENGTH
        seeds = self._seeds[:, None]
        key = hashed(seeds & 0xFFFFFFFF, seeds >> 32, self._cameras, torch.full_like(seeds, step))
        stretches = self._noise.unfold(0, size, 1)
        luma.add_(stretches[key % (_NOISE_LENGTH - size)].view(luma.shape))
