"""A picture of one world from above, for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from opendojo.world.config import VEHICLE
from opendojo.world.ground import DASH_PERIOD_M, EDGE_LINE_M, LINE_M
from opendojo.world.road import PAVED_M
from opendojo.world.roads import Roads
from opendojo.world.state import State

__all__ = ["BirdEye", "box_corners", "draw_bird_eye"]

_GRASS, _ASPHALT, _PAINT = (126, 158, 98), (84, 88, 94), (240, 240, 236)
_EGO, _CAR, _ONCOMING = (232, 119, 34), (52, 101, 164), (117, 80, 123)
_FINE = 3  # drawn larger by this and reduced, for smooth edges


@dataclass(frozen=True, slots=True, kw_only=True)
class BirdEye:
    """A map-like picture; world x points right, y up."""

    rgb: np.ndarray
    """uint8 [height, width, 3]."""
    centre_m: tuple[float, float]
    """World point at the picture's middle."""
    metres_per_px: float

    def pixels(self, points_m: np.ndarray) -> np.ndarray:
        """World points [..., 2] to picture columns and rows [..., 2]."""
        height, width = self.rgb.shape[:2]
        offset = (np.asarray(points_m, np.float64) - self.centre_m) / self.metres_per_px
        return offset * (1.0, -1.0) + ((width - 1) / 2.0, (height - 1) / 2.0)


def draw_bird_eye(
    roads: Roads,
    state: State,
    index: int,
    size_px: tuple[int, int],
    centre_m: tuple[float, float] | None,
    metres_per_px: float,
) -> BirdEye:
    """Road by the same `Roads.locate` that the cameras see, boxes of the vehicles on top."""
    ego, cars = state.ego, state.cars
    if centre_m is None:
        centre_m = (float(ego.x_m[index]), float(ego.y_m[index]))
    width, height = size_px
    blank = np.zeros((height * _FINE, width * _FINE, 3), np.uint8)
    fine = BirdEye(rgb=blank, centre_m=centre_m, metres_per_px=metres_per_px / _FINE)
    image = Image.fromarray(_ground(roads.stations_of(index, index + 1), fine))
    draw = ImageDraw.Draw(image)
    for a in range(cars.mask.shape[1]):
        if not cars.mask[index, a]:
            continue
        x, y, yaw, length, car_width = (
            float(v[index, a])
            for v in (cars.x_m, cars.y_m, cars.yaw_rad, cars.length_m, cars.width_m)
        )
        corners = fine.pixels(box_corners(x, y, yaw, length, car_width))
        paint = _ONCOMING if cars.oncoming[index, a] else _CAR
        draw.polygon([tuple(p) for p in corners], fill=paint)
    yaw = float(ego.yaw_rad[index])
    x = float(ego.x_m[index]) + VEHICLE.centre_m * np.cos(yaw)
    y = float(ego.y_m[index]) + VEHICLE.centre_m * np.sin(yaw)
    corners = fine.pixels(box_corners(x, y, yaw, VEHICLE.length_m, VEHICLE.width_m))
    draw.polygon([tuple(p) for p in corners], fill=_EGO)
    small = image.resize(size_px, Image.Resampling.BOX)
    return BirdEye(rgb=np.array(small), centre_m=centre_m, metres_per_px=metres_per_px)


def box_corners(
    x_m: float, y_m: float, yaw_rad: float, length_m: float, width_m: float
) -> np.ndarray:
    """The corners [4, 2] of an upright box about its centre, in order around it."""
    signs = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * 0.5
    along = signs[:, :1] * length_m * (np.cos(yaw_rad), np.sin(yaw_rad))
    left = signs[:, 1:] * width_m * (-np.sin(yaw_rad), np.cos(yaw_rad))
    return along + left + (x_m, y_m)


def _ground(road: Roads, view: BirdEye) -> np.ndarray:
    height, width = view.rgb.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    x = view.centre_m[0] + (columns - (width - 1) / 2.0) * view.metres_per_px
    y = view.centre_m[1] - (rows - (height - 1) / 2.0) * view.metres_per_px
    device = road.x_m.device
    flat = (torch.tensor(v.reshape(1, -1), dtype=torch.float32, device=device) for v in (x, y))
    at = road.locate(*flat)
    d, s = at.d_m.cpu().numpy()[0], at.s_m.cpu().numpy()[0]
    # lines no thinner than a few fine pixels, for people's eyes
    half = max(LINE_M / 2, 1.2 * view.metres_per_px)
    phase = np.abs(s / DASH_PERIOD_M - np.round(s / DASH_PERIOD_M)) * DASH_PERIOD_M
    line = (np.abs(np.abs(d) - EDGE_LINE_M) < half) | ((np.abs(d) < half) & (phase < 2.0))
    colours = np.where((np.abs(d) < PAVED_M)[:, None], _ASPHALT, _GRASS)
    return np.where(line[:, None], _PAINT, colours).astype(np.uint8).reshape(height, width, 3)
