"""What follows from a scene and the truth about its pixels: optical flow, boxes in the pictures.

    optics = Optics(rig, device)
    truth = renderer.labels(scene)
    flow_px = flow(scene, next_scene, truth, optics)
    boxes = boxes_in_image(scene, truth, optics)

What is seen from above is in `above`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.world.draw.optics import Optics, local_boxes, turned
from opendojo.world.draw.scene import Kind, Labels, Scene
from opendojo.world.exact import wrapped

__all__ = ["ImageBoxes", "boxes_in_image", "flow"]

_NEAR_M = 0.1
"""Depth in front of which nothing is projected by a pinhole camera."""
_CORNERS = [(i, j, k) for k in (-1.0, 1.0) for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
_STARTS = (0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3)
_ENDS = (1, 2, 3, 0, 5, 6, 7, 4, 4, 5, 6, 7)
"""Corners at both ends of the twelve edges."""
_EDGE_POINTS, _FACE_POINTS = 8, 6


def flow(
    before: Scene, after: Scene, truth: Labels, optics: Optics, *, jump_m: float = 6.0
) -> Tensor:
    """How far what each pixel shows moves in the picture until `after`, in pixels.

    float32 [n, c, 2, h, w]: to the right, down. The ground and what stands are static, road users
    move with their boxes, the sky is far away. NaN where that is unknown: a road user is gone, or
    another one, or moved by more than `jump_m` (it was set down anew), or what was seen is behind
    the camera then.

    Args:
        before: The scene of `truth`.
        after: The same worlds an instant later.
        truth: `Renderer.labels(before)`.
        optics: Of the same rig.
        jump_m: See above.
    """
    n, c, h, w = truth.kind.shape
    sky = (truth.kind == int(Kind.SKY)).flatten(2)
    depth = torch.where(sky, 0.0, truth.depth_m.flatten(2))
    rays = optics.rays.flatten(2, 3)
    at = optics.origin_m[:, :, None] + depth[..., None] * rays
    wide = (slice(None), None, None)
    east, north = turned(at[..., 0], at[..., 1], before.yaw_rad[wide])
    lost, east1, north1 = _carried(before, after, truth, east, north, jump_m)
    moved_x = east1 + (before.x_m - after.x_m)[wide]
    moved_y = north1 + (before.y_m - after.y_m)[wide]
    x, y = turned(moved_x, moved_y, after.yaw_rad[wide], back=True)
    away = torch.stack([x, y, at[..., 2]], -1) - optics.origin_m[:, :, None]
    turn = (before.yaw_rad - after.yaw_rad)[wide]
    far_x, far_y = turned(rays[..., 0], rays[..., 1], turn)
    far = torch.stack([far_x, far_y, rays[..., 2].expand_as(far_x)], -1)
    away = torch.where(sky[..., None], far, away)
    ways = (away[..., None, :] * optics.turn.mT[:, :, None]).sum(-1)
    px, seen = optics.project_ways(ways)
    rows = torch.arange(h, device=px.device, dtype=torch.float32)
    columns = torch.arange(w, device=px.device, dtype=torch.float32)
    here = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)
    moved = torch.where((seen & ~lost)[..., None], px - here, torch.nan)
    return moved.view(n, c, h, w, 2).movedim(-1, 2)


def _carried(
    before: Scene, after: Scene, truth: Labels, east: Tensor, north: Tensor, jump_m: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Points [n, c, p], from the ego along the town's axes, carried along by their road users.

    Returns which are lost, and the points, both coordinates still counted from the ego before.
    """
    slot = truth.instance.flatten(2).to(torch.int64)
    user = (truth.kind.flatten(2) >= int(Kind.CAR)) & (slot >= 0)
    flat = slot.clamp(min=0).flatten(1)

    def got(value: Tensor) -> Tensor:
        return value.gather(1, flat).view(slot.shape)

    old, new = before.boxes, after.boxes
    step_x, step_y = new.x_m - old.x_m, new.y_m - old.y_m
    gone = ~new.mask | (new.kind != old.kind) | (step_x**2 + step_y**2 > jump_m**2)
    from_x, from_y = old.x_m - before.x_m[:, None], old.y_m - before.y_m[:, None]
    off_x, off_y = east - got(from_x), north - got(from_y)
    off_x, off_y = turned(off_x, off_y, got(wrapped(new.yaw_rad - old.yaw_rad)))
    to_x, to_y = off_x + got(from_x + step_x), off_y + got(from_y + step_y)
    return user & got(gone), torch.where(user, to_x, east), torch.where(user, to_y, north)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBoxes:
    """Boxes as n worlds' c cameras see them; slots as in `Boxes`, k of them."""

    corners_m: Tensor
    """float32 [n, k, 8, 3], the vehicle's frame: the underside's front left, front right, back
    right, back left, then the same of the top."""
    corners_px: Tensor
    """float32 [n, c, k, 8, 2]: NaN behind the camera."""
    low_px: Tensor
    high_px: Tensor
    """float32 [n, c, k, 2]: corners (u, v) of the rectangle around the whole box, hidden parts
    too, cut to the picture; NaN where it does not reach into it."""
    visible: Tensor
    """float32 [n, c, k]: share of what the camera would see of the box if nothing else were there
    and the picture went on, by solid angle, that the picture shows."""
    pixels: Tensor
    """int64 [n, c, k]: how many pixels' middles show the box."""


def boxes_in_image(scene: Scene, truth: Labels, optics: Optics) -> ImageBoxes:
    """Where boxes are in the pictures, and how much of them is seen."""
    corners = _corners(scene)
    n, k = corners.shape[:2]
    c, w, h = optics.rays.shape[1], optics.width_px, optics.height_px
    px, seen = optics.project(corners.view(n, 1, k * 8, 3))
    px = torch.where(seen[..., None], px, torch.nan).view(n, c, k, 8, 2)
    mask = scene.boxes.mask[:, None, :]
    low, high = _extent(corners, optics)
    rim = torch.tensor([w - 0.5, h - 0.5], device=low.device)
    low, high = low.clamp(min=-0.5), torch.minimum(high, rim)
    inside = ((high > low).all(-1) & mask)[..., None]
    slot = torch.where(truth.instance >= 0, truth.instance.to(torch.int64), k)
    counts = torch.zeros((n, c, k + 1), dtype=torch.int64, device=low.device)
    counts.scatter_add_(2, slot.flatten(2), torch.ones_like(slot.flatten(2)))
    return ImageBoxes(
        corners_m=corners,
        corners_px=torch.where(mask[..., None, None], px, torch.nan),
        low_px=torch.where(inside, low, torch.nan),
        high_px=torch.where(inside, high, torch.nan),
        visible=_visible(scene, truth, optics) * mask,
        pixels=counts[..., :k],
    )


def _points(scene: Scene, unit: Tensor) -> Tensor:
    """Points [n, k, p, 3] of the vehicle's frame; `unit` [p, 3] has them in half sizes."""
    x, y, yaw = (v[..., None] for v in local_boxes(scene))
    boxes = scene.boxes
    along = unit[:, 0] * (0.5 * boxes.length_m)[..., None]
    left = unit[:, 1] * (0.5 * boxes.width_m)[..., None]
    dx, dy = turned(along, left, yaw)
    middle, half = 0.5 * (boxes.top_m + boxes.base_m), 0.5 * (boxes.top_m - boxes.base_m)
    z = middle[..., None] + unit[:, 2] * half[..., None]
    return torch.stack([x + dx, y + dy, z], -1)


def _corners(scene: Scene) -> Tensor:
    return _points(scene, torch.tensor(_CORNERS, device=scene.x_m.device))


def _extent(corners: Tensor, optics: Optics) -> tuple[Tensor, Tensor]:
    """Low and high image coordinates of boxes [n, k, 8, 3]: [n, c, k, 2]; a fisheye's bent edges
    are followed by points, and a pinhole's edges are cut before the camera."""
    away = corners[:, None] - optics.origin_m[:, :, None, None]
    turn = optics.turn.mT[:, :, None, None]
    ways = (away[..., None, :] * turn).sum(-1)
    one, two = ways[..., _STARTS, :], ways[..., _ENDS, :]
    rise = two[..., 2] - one[..., 2]
    cut = ((_NEAR_M - one[..., 2]) / torch.where(rise.abs() > 1e-9, rise, 1e-9)).clamp(0.0, 1.0)
    fish = optics.fisheye[..., None]
    start = torch.where(~fish & (one[..., 2] < _NEAR_M), cut, 0.0)[..., None]
    end = torch.where(~fish & (two[..., 2] < _NEAR_M), cut, 1.0)[..., None]
    share = torch.linspace(0.0, 1.0, _EDGE_POINTS, device=corners.device)
    share = (start + (end - start) * share)[..., None]
    points = one[..., None, :] + (two - one)[..., None, :] * share
    ahead = (fish[..., None] | (points[..., 2] > 0.5 * _NEAR_M)).flatten(3)
    n, c, k = ahead.shape[:3]
    px, seen = optics.project_ways(points.reshape(n, c, -1, 3))
    px, seen = px.view(n, c, k, -1, 2), (seen.view(n, c, k, -1) & ahead)[..., None]
    low = torch.where(seen, px, torch.inf).amin(3)
    return low, torch.where(seen, px, -torch.inf).amax(3)


def _visible(scene: Scene, truth: Labels, optics: Optics) -> Tensor:
    """`ImageBoxes.visible`, by points spread over the faces: a point is hidden where the nearest
    pixel shows another box, nearer by."""
    device = scene.x_m.device
    unit, normal = (torch.tensor(v, device=device) for v in _faces())
    points = _points(scene, unit)
    n, k, p, _ = points.shape
    c, w, h = optics.rays.shape[1], optics.width_px, optics.height_px
    _, _, yaw = local_boxes(scene)
    nx, ny = turned(normal[:, 0], normal[:, 1], yaw[..., None])
    normals = torch.stack([nx, ny, normal[:, 2].expand_as(nx)], -1)
    boxes = scene.boxes
    size = torch.stack([boxes.length_m, boxes.width_m, boxes.top_m - boxes.base_m], -1)
    area = torch.where(normal.abs() > 0.5, 1.0, size[:, :, None]).prod(-1)
    away = points[:, None] - optics.origin_m[:, :, None, None]
    far = torch.sqrt((away * away).sum(-1))
    weight = (-(away * normals[:, None]).sum(-1)).clamp(min=0.0) * area[:, None] / far**3
    ways = (away[..., None, :] * optics.turn.mT[:, :, None, None]).sum(-1)
    px, seen = optics.project_ways(ways.view(n, c, k * p, 3))
    column, row = (torch.floor(v + 0.5) for v in px.nan_to_num(-9.0).unbind(-1))
    seen = seen & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    index = (row * w + column).clamp(0, h * w - 1).to(torch.int64)
    other = truth.instance.flatten(2).gather(2, index).view(n, c, k, p)
    depth = truth.depth_m.flatten(2).gather(2, index).view(n, c, k, p)
    own = torch.where(optics.fisheye[..., None], far, ways[..., 2])
    slot = torch.arange(k, device=device)[:, None]
    hidden = (other >= 0) & (other != slot) & (depth < own)
    shown = seen.view(n, c, k, p) & ~hidden
    return (weight * shown).sum(-1) / weight.sum(-1).clamp(min=1e-12)


def _faces() -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Points spread over a box's faces, in half sizes, and their outward normals."""
    spread = [(2 * i + 1) / _FACE_POINTS - 1.0 for i in range(_FACE_POINTS)]
    points: list[tuple[float, ...]] = []
    normals: list[tuple[float, ...]] = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            normal = tuple(side if i == axis else 0.0 for i in range(3))
            for a in spread:
                for b in spread:
                    rest = iter((a, b))
                    points.append(tuple(side if i == axis else next(rest) for i in range(3)))
                    normals.append(normal)
    return points, normals
