"""The truth about every pixel by brute force: one ray a pixel, every box, float64.

Slow and plain on purpose. It shares no tables and no method with the renderer: pixels are turned
into rays by `clip.Camera`'s own definition, rays are followed in three dimensions in the frame of
the world, each box is met in its own axes by the slab method (Kay and Kajiya, SIGGRAPH 1986) with
divisions, and the atlas is decoded as `town/atlas.py` documents it.

What the ground shows at a point is settled in this order: a line, where the distance from the
nearest one says so; else what `Atlas.ground` says of the cell that the point lies in. A crossing's
stripes and a stop line are lines. A camera inside a box does not see that box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from opendojo.clip import Camera
from opendojo.world.draw.scene import Boxes, Kind, Labels, Scene
from opendojo.world.town.atlas import CELL_M, LINE_STEP_M, Atlas, Ground

__all__ = ["angle_of", "camera_rays", "cast", "ground_kind"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_NO_PAINT = 255
_SPREAD_M = 0.5
"""A cell whose corners differ by more holds no paint."""
_HALF_NARROW_M, _HALF_WIDE_M = 0.075, 0.125
_KIND_OF = {
    Ground.GRASS: Kind.GRASS,
    Ground.ROAD: Kind.ROAD,
    Ground.SIDEWALK: Kind.SIDEWALK,
    Ground.CROSSING: Kind.LINE,
    Ground.STOP: Kind.LINE,
    Ground.ISLAND: Kind.SIDEWALK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hits:
    """What the rays of one picture meet, [h, w]."""

    kind: Ints
    along: Floats
    """In lengths of the ray's direction; inf for the sky."""
    instance: Ints


def cast(
    scene: Scene, cameras: Sequence[Camera] | Sequence[Sequence[Camera]], atlas: Atlas
) -> Labels:
    """`Labels` of every world and camera, as tensors on the CPU.

    Args:
        scene: n worlds.
        cameras: One rig for all worlds, or one a world.
        atlas: The towns' rasters.
    """
    n = len(scene.x_m)
    rigs = [tuple(c) for c in cameras if not isinstance(c, Camera)]
    rigs = rigs or [tuple(c for c in cameras if isinstance(c, Camera))]
    if len(rigs) not in (1, n):
        raise ValueError(f"{len(rigs)} rigs for {n} worlds: give one, or one a world")
    hits = [[_picture(scene, i, camera, atlas) for camera in rigs[i % len(rigs)]] for i in range(n)]

    def stacked(name: str, kind: npt.DTypeLike) -> torch.Tensor:
        return torch.from_numpy(np.array([[getattr(h, name) for h in row] for row in hits], kind))

    return Labels(
        kind=stacked("kind", np.uint8),
        depth_m=stacked("along", np.float32),
        instance=stacked("instance", np.int16),
    )


def camera_rays(camera: Camera) -> Floats:
    """The ray of each pixel's middle in OpenCV's camera axes, float64 [h, w, 3].

    Scaled so that a length along it is a depth as in `Labels.depth_m`: z is 1 in a pinhole camera,
    the vector is a unit one behind a Kannala-Brandt lens.
    """
    u, v = np.meshgrid(
        (np.arange(camera.width_px) - camera.cx_px) / camera.fx_px,
        (np.arange(camera.height_px) - camera.cy_px) / camera.fy_px,
    )
    if camera.lens == "pinhole":
        return np.stack([u, v, np.ones_like(u)], -1, dtype=np.float64)
    bent = np.hypot(u, v)
    angle = angle_of(bent, camera.distortion)
    ratio = np.divide(np.sin(angle), bent, out=np.ones_like(bent), where=bent > 0.0)
    return np.stack([u * ratio, v * ratio, np.cos(angle)], -1, dtype=np.float64)


def angle_of(bent: Floats, distortion: Sequence[float]) -> Floats:
    """Angles a off the axis with a + k1 a^3 + k2 a^5 + ... = bent, by Newton's method.

    Raises `ValueError` where there is none: the lens then does not reach such a pixel.
    """
    powers = 2 * np.arange(len(distortion) + 1) + 1
    factors = np.array([1.0, *distortion])
    angle = bent.copy()
    for _ in range(60):
        value = (factors * angle[..., None] ** powers).sum(-1) - bent
        slope = (factors * powers * angle[..., None] ** (powers - 1)).sum(-1)
        angle = np.clip(angle - value / np.where(np.abs(slope) > 1e-6, slope, 1e-6), 0.0, math.pi)
    value = (factors * angle[..., None] ** powers).sum(-1) - bent
    if np.abs(value).max(initial=0.0) > 1e-9:
        raise ValueError("the lens does not reach its picture's corners: mend its distortion")
    return angle


def _picture(scene: Scene, i: int, camera: Camera, atlas: Atlas) -> _Hits:
    """What camera `camera` of world i sees."""
    world_from_vehicle = np.eye(4)
    yaw = float(scene.yaw_rad[i])
    world_from_vehicle[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    world_from_vehicle[:2, 3] = float(scene.x_m[i]), float(scene.y_m[i])
    world_from_camera = world_from_vehicle @ camera.vehicle_from_camera
    rays = camera_rays(camera) @ world_from_camera[:3, :3].T
    origin = world_from_camera[:3, 3]
    down = rays[..., 2] < 0.0
    along = np.full(down.shape, np.inf)
    along[down] = -origin[2] / rays[..., 2][down]
    kind = np.full(down.shape, int(Kind.SKY))
    at = origin + along[down][:, None] * rays[down]
    kind[down] = ground_kind(atlas, int(scene.town[i]), at[:, 0], at[:, 1])
    instance = np.full(down.shape, -1)
    for k in np.flatnonzero(scene.boxes.mask[i].cpu().numpy()):
        enters = _box(scene.boxes, i, int(k), origin, rays)
        nearer = enters < along
        along[nearer] = enters[nearer]
        kind[nearer] = int(scene.boxes.kind[i, k])
        instance[nearer] = k
    return _Hits(kind=kind, along=along, instance=instance)


def _box(boxes: Boxes, i: int, k: int, origin: Floats, rays: Floats) -> Floats:
    """Where rays [h, w, 3] from `origin` enter box k of world i; inf where they miss it."""

    def value(name: str) -> float:
        return float(getattr(boxes, name)[i, k])

    yaw, base, top = value("yaw_rad"), value("base_m"), value("top_m")
    cos, sin = math.cos(yaw), math.sin(yaw)
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    start = turn @ (origin - np.array([value("x_m"), value("y_m"), (base + top) / 2.0]))
    half = np.array([value("length_m"), value("width_m"), top - base]) / 2.0
    near, far = np.full(rays.shape[:-1], -np.inf), np.full(rays.shape[:-1], np.inf)
    for axis in range(3):
        way = rays @ turn[axis]
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = (-half[axis] - start[axis]) / way, (half[axis] - start[axis]) / way
        # a ray that runs along a face gives 0 / 0; fmin and fmax pass it by
        near, far = np.fmax(near, np.fmin(one, two)), np.fmin(far, np.fmax(one, two))
    return np.where((near < far) & (near > 0.0), near, np.inf)


def ground_kind(atlas: Atlas, town: int, x_m: Floats, y_m: Floats) -> Ints:
    """The `Kind` of points of the ground [m]."""
    height, width = atlas.ground.shape[1:]
    across = (x_m - float(atlas.x0_m[town])) / CELL_M
    up = (y_m - float(atlas.y0_m[town])) / CELL_M
    column = np.clip(np.floor(across), 0, width - 1).astype(np.int64)
    row = np.clip(np.floor(up), 0, height - 1).astype(np.int64)
    code = atlas.ground[town].cpu().numpy()[row, column]
    kind = np.zeros(16, np.int64)
    for ground, meaning in _KIND_OF.items():
        kind[ground] = int(meaning)
    entry = atlas.lines[town].cpu().numpy()[row, column].astype(np.int64)
    fx, fy = np.clip(across - column, 0.0, 1.0), np.clip(up - row, 0.0, 1.0)
    half = np.where(code & Ground.WIDE, _HALF_WIDE_M, _HALF_NARROW_M)
    return np.where(_on_line(entry, fx, fy, half), int(Kind.LINE), kind[code & 15])


def _on_line(entry: Ints, fx: Floats, fy: Floats, half_m: Floats) -> npt.NDArray[np.bool_]:
    """Whether points at shares (fx, fy) of cells with these entries lie on a line."""
    low_low, low_high, high_low, high_high = (entry >> shift & 255 for shift in (0, 8, 16, 24))
    corners = np.stack([low_low, low_high, high_low, high_high])
    held = (corners.max(0) - corners.min(0)) * LINE_STEP_M <= _SPREAD_M
    held &= corners.max(0) < _NO_PAINT
    low = low_low * (1.0 - fx) + low_high * fx
    high = high_low * (1.0 - fx) + high_high * fx
    distance = (low * (1.0 - fy) + high * fy - 128.0) * LINE_STEP_M
    return held & (np.abs(distance) <= half_m)
