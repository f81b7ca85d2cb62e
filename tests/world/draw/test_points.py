"""Known points of the world are found in the pictures, where `clip.Camera` says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from draw_scenes import flat_atlas, scene_of

from opendojo.clip import Camera
from opendojo.world.draw.look import draw_looks
from opendojo.world.draw.renderer import Renderer
from opendojo.world.draw.scene import Kind
from opendojo.world.rig import front_only, front_three, perturbed, tesla_eight

RIGS = {
    "tesla_eight": tesla_eight(),
    "front_three": front_three(),
    "front_only": front_only(),
    "tesla_eight, perturbed": perturbed(tesla_eight(), [11])[0],
    "front_three, perturbed": perturbed(front_three(), [11])[0],
}
POSE = (31.0, -12.0, 2.1)
APPARENT_PX = 7.0


def targets(camera: Camera) -> list[np.ndarray]:
    """Points of the vehicle's frame over the camera's picture, at several distances."""
    out = []
    for u, v, far in ((20, 14, 9.0), (64, 30, 18.0), (107, 20, 14.0), (40, 40, 6.0), (90, 50, 4.0)):
        x, y = (u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px
        if camera.lens == "kannala-brandt":
            bent = math.hypot(x, y)
            x, y = (math.tan(bent) * value / bent for value in (x, y))
        ray = camera.vehicle_from_camera[:3, :3] @ np.array([x, y, 1.0])
        point = camera.vehicle_from_camera[:3, 3] + far * ray / np.linalg.norm(ray)
        if point[2] > 0.3:
            out.append(point)
    return out


def plate_at(point: np.ndarray, camera: Camera) -> dict:
    """A thin upright plate about a point of the vehicle's frame, some seven pixels in size.

    It is parallel to a pinhole's picture and faces a fisheye, so its image's middle is its own.
    """
    away = point - camera.vehicle_from_camera[:3, 3]
    side = min(APPARENT_PX * float(np.linalg.norm(away)) / camera.fx_px, 2 * point[2])
    axis = camera.vehicle_from_camera[:3, 2] if camera.lens == "pinhole" else away
    x0, y0, yaw0 = POSE
    cos, sin = math.cos(yaw0), math.sin(yaw0)
    return {
        "kind": Kind.POLE, "yaw_rad": math.atan2(axis[1], axis[0]) + yaw0,
        "length_m": 0.01, "width_m": side, "paint": (16.0, 128.0, 128.0),
        "x_m": x0 + cos * point[0] - sin * point[1], "y_m": y0 + sin * point[0] + cos * point[1],
        "base_m": float(point[2] - side / 2), "top_m": float(point[2] + side / 2),
    }  # fmt: skip


@pytest.mark.parametrize("name", RIGS)
def test_known_points_are_found_within_half_a_pixel(name: str) -> None:
    """In the labels by the plate's pixels, in the pictures by the share that its black takes."""
    rig = RIGS[name]
    cases = [(c, point) for c, camera in enumerate(rig) for point in targets(camera)]
    assert {c for c, _ in cases} == set(range(len(rig)))
    worlds = [[plate_at(point, rig[c])] for c, point in cases]
    n, poses = len(worlds), [POSE] * len(worlds)
    look = draw_looks([4] * n, "clean", torch.device("cpu"))
    look = dataclasses.replace(look, haze_m=torch.full((n,), 1e6), rough=torch.zeros(n))
    renderer = Renderer(rig, flat_atlas(), look, range(n), torch.device("cpu"), noise=0.0)
    shown = renderer.labels(scene_of(worlds, poses)).instance == 0
    with_plate = renderer.render(scene_of(worlds, poses)).double()
    without = renderer.render(scene_of([[]] * n, poses)).double()
    change = ((without - with_plate) / (without - 15.0))[:, :, :64].clamp(min=0.0)
    errors = []
    for i, (c, point) in enumerate(cases):
        (wanted,), _ = rig[c].project(point[None])
        for weight in (shown[i, c].double(), change[i, c]):
            errors.append(middle(weight, wanted) - wanted)
            assert np.abs(errors[-1]).max() < 0.5, (rig[c].name, wanted, errors[-1])
    assert np.abs(errors).mean() < 0.2


def middle(weight: torch.Tensor, about: np.ndarray) -> np.ndarray:
    """Centroid (u, v) of a picture [64, 128], within 8 px of a point."""
    rows, columns = torch.arange(64.0)[:, None], torch.arange(128.0)
    near = ((columns - about[0]).abs() < 8) & ((rows - about[1]).abs() < 8)
    weight = weight * near
    total = float(weight.sum())
    assert total > 6
    return np.array([float((weight * columns).sum()), float((weight * rows).sum())]) / total
