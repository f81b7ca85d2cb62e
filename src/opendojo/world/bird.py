"""A picture of one world from above, for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw

from opendojo.world.body import VEHICLE
from opendojo.world.draw.scene import Kind
from opendojo.world.town.atlas import Ground

if TYPE_CHECKING:
    from opendojo.world.world import World

__all__ = ["BirdEye", "box_corners", "draw_bird_eye"]

_GROUND = {
    Ground.GRASS: (126, 158, 98),
    Ground.ROAD: (84, 88, 94),
    Ground.SIDEWALK: (168, 166, 160),
    Ground.CROSSING: (232, 232, 226),
    Ground.STOP: (240, 240, 236),
    Ground.ISLAND: (150, 160, 134),
}
_WHITE, _YELLOW, _EGO = (240, 240, 236), (232, 190, 70), (232, 119, 34)
_BOXES = {
    Kind.BUILDING: (190, 176, 160), Kind.TREE: (72, 118, 66), Kind.POLE: (110, 110, 114),
    Kind.CAR: (52, 101, 164), Kind.TRUCK: (40, 74, 122), Kind.CYCLIST: (150, 60, 140),
    Kind.PEDESTRIAN: (200, 50, 60),
}  # fmt: skip
_LIGHTS = ((210, 40, 40), (235, 190, 40), (40, 160, 70))
_FINE = 2  # drawn larger by this and reduced, for smooth edges


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
    world: World,
    index: int,
    size_px: tuple[int, int],
    centre_m: tuple[float, float] | None,
    metres_per_px: float,
    bare: bool,
) -> BirdEye:
    """Ground of the same atlas that the cameras see, boxes on top."""
    ego = world.state.ego
    if centre_m is None:
        centre_m = (float(ego.x_m[index]), float(ego.y_m[index]))
    width, height = size_px
    blank = np.zeros((height * _FINE, width * _FINE, 3), np.uint8)
    fine = BirdEye(rgb=blank, centre_m=centre_m, metres_per_px=metres_per_px / _FINE)
    image = Image.fromarray(_ground(world, index, fine))
    draw = ImageDraw.Draw(image)
    _draw_standing(draw, world, index, fine)
    if not bare:
        _draw_moving(draw, world, index, fine)
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


def _draw_standing(draw: ImageDraw.ImageDraw, world: World, index: int, fine: BirdEye) -> None:
    towns, town = world.towns, int(world.town[index])
    lights = world.traffic.signals(world.state.step)[index].tolist()
    names = ("kind", "x_m", "y_m", "yaw_rad", "length_m", "width_m", "signal")
    columns = [getattr(towns, f"static_{name}")[town].tolist() for name in names]
    mask = towns.static_mask[town].tolist()
    for there, kind, x, y, yaw, length, width, signal in zip(mask, *columns, strict=True):
        if not there:
            continue
        if kind == Kind.SIGNAL:
            paint, length, width = _LIGHTS[lights[int(signal)]], 1.2, 1.2
        else:
            paint = _BOXES[Kind(int(kind))]
        _fill(draw, fine, (x, y, yaw, length, width), paint)


def _draw_moving(draw: ImageDraw.ImageDraw, world: World, index: int, fine: BirdEye) -> None:
    agents, ego = world.state.agents, world.state.ego
    names = ("kind", "x_m", "y_m", "yaw_rad", "length_m", "width_m")
    columns = [getattr(agents, name)[index].tolist() for name in names]
    for there, kind, *box in zip(agents.mask[index].tolist(), *columns, strict=True):
        if there:
            _fill(draw, fine, tuple(box), _BOXES[Kind(int(kind))])
    x, y = (float(v[index]) for v in ego.middle())
    box = (x, y, float(ego.yaw_rad[index]), VEHICLE.length_m, VEHICLE.width_m)
    _fill(draw, fine, box, _EGO)


def _fill(
    draw: ImageDraw.ImageDraw, fine: BirdEye, box: tuple[float, ...], paint: tuple[int, int, int]
) -> None:
    x, y, yaw, length, width = box
    corners = fine.pixels(box_corners(x, y, yaw, length, width))
    draw.polygon([tuple(p) for p in corners], fill=paint)


def _ground(world: World, index: int, view: BirdEye) -> np.ndarray:
    """The atlas, cell by cell, with lines by their distance."""
    towns, town = world.towns, int(world.town[index])
    atlas = towns.atlas
    height, width = view.rgb.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    x = view.centre_m[0] + (columns - (width - 1) / 2.0) * view.metres_per_px
    y = view.centre_m[1] - (rows - (height - 1) / 2.0) * view.metres_per_px
    from opendojo.world.town.atlas import CELL_M, LINE_STEP_M

    cells_down, cells_across = atlas.ground.shape[1:]
    u = (x - float(atlas.x0_m[town])) / CELL_M
    v = (y - float(atlas.y0_m[town])) / CELL_M
    c = np.clip(np.floor(u), 0, cells_across - 1).astype(int)
    r = np.clip(np.floor(v), 0, cells_down - 1).astype(int)
    flat = torch.from_numpy(r * cells_across + c)
    ground = atlas.ground[town].cpu().view(-1)[flat].numpy()
    packed = atlas.lines[town].cpu().view(-1)[flat].numpy().astype(np.int64)
    corner = [((packed >> shift) & 255).astype(np.float64) for shift in (0, 8, 16, 24)]
    corners = np.stack(corner)
    fu, fv = np.clip(u - c, 0, 1), np.clip(v - r, 0, 1)
    upper = corner[0] + (corner[1] - corner[0]) * fu
    lower = corner[2] + (corner[3] - corner[2]) * fu
    away = np.abs(upper + (lower - upper) * fv - 128.0) * LINE_STEP_M
    spread = (corners.max(0) - corners.min(0)) * LINE_STEP_M
    # lines no thinner than a few fine pixels, for people's eyes
    half = max(0.075, 1.2 * view.metres_per_px)
    line = (away < half) & (spread <= 0.5) & (corners.max(0) < 255)
    table = np.zeros((16, 3), np.uint8)
    for kind, colour in _GROUND.items():
        table[kind] = colour
    out = table[ground & 15]
    yellow = (ground & Ground.YELLOW) > 0
    return np.where(line[..., None], np.where(yellow[..., None], _YELLOW, _WHITE), out).astype(
        np.uint8
    )
