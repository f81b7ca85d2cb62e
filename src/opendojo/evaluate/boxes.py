"""Boxes of road users, drawn where a camera sees them.

draw_boxes(picture, camera, box_corners_m(...), colours)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from opendojo.clip import Camera
from opendojo.evaluate.picture import SOFT, VEHICLES, Colour, Rgb
from opendojo.evaluate.record import Recording
from opendojo.world.bird import box_corners
from opendojo.world.draw.optics import Optics
from opendojo.world.draw.scene import Kind

__all__ = ["draw_boxes", "draw_road_users", "road_users_m"]

Floats = npt.NDArray[np.float64]

_EDGES = (
    (0, 1),
    (1, 2),
    (2, 3),
    (3, 0),
    (4, 5),
    (5, 6),
    (6, 7),
    (7, 4),
    (0, 4),
    (1, 5),
    (2, 6),
    (3, 7),
)
_POINTS = 25
"""Points along an edge: edges are bent by a fisheye, and end where a pinhole cannot see."""
_NEAR_M = 0.2
"""Points nearer to a pinhole's plane are not drawn: they project far outside."""
_FEWEST_PX = 6
"""Road users of whom fewer pixels are seen get no box."""
_FINE = 2  # drawn larger by this and reduced, for smooth edges


def draw_road_users(rgb: Rgb, recording: Recording, step: int, index: int) -> Rgb:
    """A copy of what camera `index` saw at a step, with a box around every road user it shows."""
    others = recording.traffic
    seen = others.pixels[step, index] >= _FEWEST_PX
    slots = np.flatnonzero(others.there[step] & seen)
    soft = others.kind[step, slots] > Kind.TRUCK
    colours = [SOFT if s else VEHICLES for s in soft]
    boxes = road_users_m(recording, step)[slots]
    return draw_boxes(rgb, recording.cameras[index], boxes, colours)


def road_users_m(recording: Recording, step: int) -> Floats:
    """Corners [a, 8, 3] of the road users' boxes in the vehicle's frame: underside, then top."""
    others, trace = recording.traffic, recording.trace
    yaw = float(trace.yaw_rad[step, 0])
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    here = np.array([trace.x_m[step, 0], trace.y_m[step, 0]])
    columns = (others.x_m, others.y_m, others.yaw_rad, others.length_m, others.width_m)
    out = np.zeros((others.there.shape[1], 8, 3))
    for a, box in enumerate(zip(*(column[step] for column in columns), strict=True)):
        out[a, :, :2] = np.tile((box_corners(*box) - here) @ turn, (2, 1))
        out[a, 4:, 2] = others.height_m[step, a]
    return out


def draw_boxes(
    rgb: Rgb, camera: Camera, corners_m: Floats, colours: Sequence[Colour], width_px: float = 1.6
) -> Rgb:
    """A copy of `rgb` with the edges of boxes [k, 8, 3] (the vehicle's frame).

    `rgb` shows what `camera` sees, at any size of the same aspect.
    """
    if not len(corners_m):
        return rgb
    height, width = rgb.shape[:2]
    scale = width / camera.width_px * _FINE
    layer = Image.new("RGBA", (width * _FINE, height * _FINE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for edges, colour in zip(_edges_px(camera, corners_m), colours, strict=True):
        for edge in edges:
            for line in _pieces((edge + 0.5) * scale - 0.5):
                pen.line(line, (*colour, 255), round(width_px * _FINE), joint="curve")
    small = layer.convert("RGBa").reduce(_FINE).convert("RGBA")
    base = Image.fromarray(rgb).convert("RGBA")
    return np.asarray(Image.alpha_composite(base, small).convert("RGB"))


def _edges_px(camera: Camera, corners_m: Floats) -> Floats:
    """Points [k, 12, points, 2] along the edges in the picture, NaN where they are not seen."""
    start, end = (corners_m[:, [edge[i] for edge in _EDGES]] for i in (0, 1))
    share = np.linspace(0.0, 1.0, _POINTS)[:, None]
    points = start[:, :, None] + (end - start)[:, :, None] * share
    flat = torch.from_numpy(points.reshape(1, 1, -1, 3)).float()
    px, seen = _optics(camera).project(flat)
    ahead = (points.reshape(-1, 3) - camera.vehicle_from_camera[:3, 3]) @ (
        camera.vehicle_from_camera[:3, 2]
    )
    shown = seen[0, 0].numpy() & ((camera.lens != "pinhole") | (ahead > _NEAR_M))
    out = np.where(shown[:, None], px[0, 0].double().numpy(), np.nan)
    return out.reshape(*points.shape[:3], 2)


def _pieces(line: Floats) -> list[list[tuple[float, float]]]:
    """Runs of known points of a line [p, 2]."""
    known = np.isfinite(line).all(1)
    cuts = np.flatnonzero(np.diff(known.astype(int))) + 1
    runs = np.split(line, cuts)
    return [[tuple(p) for p in run] for run in runs if len(run) > 1 and np.isfinite(run).all()]


@lru_cache(maxsize=64)
def _optics(camera: Camera) -> Optics:
    return Optics([camera], torch.device("cpu"))
