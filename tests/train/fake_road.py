"""A source of batches that needs no store: drawn lane lines whose bend decides the path.

Flat ground, a pinhole camera 1.4 m above it, two lines 1.75 m to each side of a lane of constant
curvature. The vehicle follows the lane at constant speed, so the path is an arc; it shows in the
pixels and, apart from its length, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from batches import make_batch
from opendojo.loader.batch import Batch

TIMES_S = np.arange(1, 17) * 0.25


@dataclass(frozen=True, kw_only=True)
class FakeRoad:
    """Deterministic batches: their content depends on (seed, epoch, number) alone."""

    count: int = 3
    batch: int = 4
    cameras: int = 2
    width_px: int = 64
    height_px: int = 32
    seed: int = 0

    def __len__(self) -> int:
        return self.count

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        for number in range(start_batch, self.count):
            yield self.draw(np.random.default_rng([self.seed, epoch, number]))

    def draw(self, random: np.random.Generator) -> Batch:
        b, t, c = self.batch, 8, self.cameras
        bend = random.uniform(-0.03, 0.03, b)
        speed = random.uniform(3.0, 12.0, b)
        way = speed[:, None] * TIMES_S
        path = np.stack([way, 0.5 * bend[:, None] * way**2], -1)
        frames = np.zeros((b, t, c, 6, self.height_px // 2, self.width_px // 2), np.uint8)
        for i in range(b):
            for k in range(t):
                frames[i, k, 0] = self._picture(bend[i], 0.1 * k * speed[i])
        mask = torch.zeros(b, c, dtype=torch.bool)
        mask[:, 0] = True
        return make_batch(
            torch.from_numpy(frames),
            camera_mask=mask,
            time_s=torch.arange(t).double().mul(0.1).expand(b, t),
            speed_mps=torch.from_numpy(speed).float()[:, None].expand(b, t),
            speed_mask=torch.ones(b, t, dtype=torch.bool),
            path_m=torch.from_numpy(path).float()[:, None].expand(b, t, 16, 2),
            path_mask=torch.ones(b, t, 16, dtype=torch.bool),
            drawn=torch.ones(b, dtype=torch.bool),
            window_id=torch.from_numpy(random.integers(0, 1_000_000, b)),
        )

    def _picture(self, bend: float, driven_m: float) -> np.ndarray:
        height, width = self.height_px, self.width_px
        luma = np.full((height, width), 90.0)
        focal = 0.7 * width
        rows = np.arange(height // 2 + 1, height)
        ahead = focal * 1.4 / (rows - height / 2.0)
        columns = np.arange(width)[None]
        for side in (-1.75, 1.75):
            left = side + 0.5 * bend * ahead**2
            centre = width / 2.0 - focal * left / ahead
            on = 1.0 if side > 0 else (((ahead + driven_m) % 9.0) < 4.5)
            line = np.exp(-(((columns - centre[:, None]) / 1.0) ** 2))
            luma[rows] += 120.0 * line * np.broadcast_to(on, rows.shape)[:, None]
        planes = np.full((6, height // 2, width // 2), 128, np.uint8)
        for plane, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            planes[plane] = luma[row::2, column::2]
        return planes
