"""The slow ray caster by hand-worked cases, then the renderer's labels against it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from draw_scenes import flat_atlas, random_scene, scene_of

from opendojo.clip import Camera, Pose
from opendojo.world.draw import oracle
from opendojo.world.draw.look import draw_looks
from opendojo.world.draw.renderer import Renderer
from opendojo.world.draw.scene import Kind, Labels, Scene
from opendojo.world.rig import fisheye, perturbed, tesla_eight
from opendojo.world.town.atlas import Atlas, Ground
from opendojo.world.town.bake import bake_all
from opendojo.world.town.build import TRAINING_SPECS, build

CPU = torch.device("cpu")
AHEAD = Camera(
    name="front", width_px=8, height_px=8, fx_px=4.0, fy_px=4.0, cx_px=3.0, cy_px=3.0,
    mount=Pose(x_m=1.0, z_m=2.0),
)  # fmt: skip
"""Pixel (row 3, column 3) looks straight ahead; (5, 3) falls 2 m in 4 m."""


def test_the_ground_is_met_where_similar_triangles_say() -> None:
    truth = oracle.cast(scene_of([[]]), (AHEAD,), flat_atlas())
    depth = truth.depth_m[0, 0]
    assert torch.isinf(depth[:4]).all(), "level rays and those above see the sky"
    np.testing.assert_allclose(depth[4:, 0], [8.0, 4.0, 8 / 3, 2.0], rtol=1e-6)
    assert bool((truth.kind[0, 0, :4] == Kind.SKY).all())
    assert bool((truth.kind[0, 0, 4:] == Kind.GRASS).all())
    assert bool((truth.instance == -1).all())


def test_a_box_ahead_is_met_at_its_near_face_and_by_its_edges() -> None:
    # near face at x = 11, so 10 m ahead of the camera: 2 m wide is 0.8 px on it, 3 m high 1.2 px
    box = {"kind": Kind.CAR, "x_m": 13.0, "length_m": 4.0, "width_m": 5.2, "top_m": 3.0}
    hidden = {**box, "kind": Kind.TRUCK, "x_m": 30.0}
    truth = oracle.cast(scene_of([[hidden, box]]), (AHEAD,), flat_atlas())
    kind, depth = truth.kind[0, 0], truth.depth_m[0, 0]
    shown = kind == Kind.CAR
    rows, columns = shown.nonzero().T
    assert sorted(set(columns.tolist())) == [2, 3, 4], "half of 5.2 m is 1.04 px at 10 m"
    assert sorted(set(rows.tolist())) == [3]
    np.testing.assert_allclose(depth[shown], 10.0, rtol=1e-6)
    assert bool((truth.instance[0, 0][shown] == 1).all())
    assert not bool((kind == Kind.TRUCK).any())


def test_a_turned_box_shows_its_corner_first() -> None:
    side = 2.0
    box = {"kind": Kind.CAR, "x_m": 11.0, "yaw_rad": math.pi / 4, "length_m": side, "width_m": side}
    box["top_m"] = 3.0
    truth = oracle.cast(scene_of([[box]]), (AHEAD,), flat_atlas())
    assert float(truth.depth_m[0, 0, 3, 3]) == pytest.approx(10 - math.sqrt(2), rel=1e-6)


def test_boxes_overhead_are_seen_from_below() -> None:
    # row 2 rises 1 m in 4 m: from 2 m up it meets the underside at 4.5 m after 10 m
    crown = {"kind": Kind.TREE, "x_m": 12.0, "length_m": 4.0, "width_m": 4.0}
    crown |= {"base_m": 4.5, "top_m": 8.0}
    truth = oracle.cast(scene_of([[crown]]), (AHEAD,), flat_atlas())
    assert truth.kind[0, 0, 2, 3] == Kind.TREE and truth.kind[0, 0, 3, 3] == Kind.SKY
    assert float(truth.depth_m[0, 0, 2, 3]) == pytest.approx(10.0, rel=1e-6)


def test_the_pose_of_the_ego_and_of_the_mount_is_heeded() -> None:
    # the ego at (5, -7) faces +y, its left camera +x reversed: the box stands at -x of it
    camera = dataclasses.replace(AHEAD, mount=Pose(x_m=1.0, z_m=2.0, yaw_rad=math.pi / 2))
    box = {"kind": Kind.POLE, "x_m": -6.0, "y_m": -6.0, "top_m": 3.0}
    scene = scene_of([[box]], [(5.0, -7.0, math.pi / 2)])
    truth = oracle.cast(scene, (camera,), flat_atlas())
    assert truth.kind[0, 0, 3, 3] == Kind.POLE
    assert float(truth.depth_m[0, 0, 3, 3]) == pytest.approx(10.5, rel=1e-6)
    nose_down = dataclasses.replace(AHEAD, mount=Pose(z_m=2.0, pitch_rad=math.pi / 2))
    below = oracle.cast(scene_of([[]]), (nose_down,), flat_atlas())
    np.testing.assert_allclose(below.depth_m, 2.0, rtol=1e-6)


def test_a_fisheye_measures_along_its_rays_and_bends_them() -> None:
    lens = fisheye("wide", 128, 64, 130.0, mount=Pose(z_m=2.0, pitch_rad=math.pi / 2))
    truth = oracle.cast(scene_of([[]]), (lens,), flat_atlas())
    rays = oracle.camera_rays(lens)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1.0)
    np.testing.assert_allclose(truth.depth_m[0, 0], 2.0 / rays[..., 2], rtol=1e-5)
    angle = np.linspace(0, 1.1, 50)
    bent = angle - 0.012 * angle**3 + 0.0015 * angle**5
    np.testing.assert_allclose(oracle.angle_of(bent, lens.distortion), angle, atol=1e-12)
    with pytest.raises(ValueError, match="distortion"):
        oracle.angle_of(np.array([1.5]), (-0.4,))


def test_rays_and_projection_undo_each_other_in_every_camera() -> None:
    for camera in perturbed(tesla_eight(), [5])[0]:
        rays = oracle.camera_rays(camera) @ camera.vehicle_from_camera[:3, :3].T
        points = camera.vehicle_from_camera[:3, 3] + 7.0 * rays
        px, seen = camera.project(points.reshape(-1, 3))
        u, v = np.meshgrid(np.arange(128), np.arange(64))
        assert seen.all()
        np.testing.assert_allclose(px, np.stack([u.ravel(), v.ravel()], 1), atol=1e-9)


def with_cell(atlas: Atlas, row: int, column: int, corners: list[int], code: int) -> None:
    packed = sum(corner << shift for corner, shift in zip(corners, (0, 8, 16, 24), strict=True))
    atlas.lines[0, row, column] = packed - (1 << 32) * (packed >= 1 << 31)
    atlas.ground[0, row, column] = code


def kinds_at(atlas: Atlas, points: list[tuple[float, float]]) -> list[int]:
    x, y = np.array(points).T
    return oracle.ground_kind(atlas, 0, x, y).tolist()


def test_the_atlas_is_read_as_documented() -> None:
    atlas = flat_atlas()  # low corner at (-8, -8), cells of 0.25 m
    # cell [0, 0.25) x [0, 0.25): the line runs along its low x side, 8 steps of 1/128 m away
    with_cell(atlas, 32, 32, [120, 152, 120, 152], Ground.ROAD)
    # half width 0.075: |-0.0625 + x| <= 0.075 up to x = 0.1375
    assert kinds_at(atlas, [(0.0, 0.1), (0.137, 0.2), (0.138, 0.2)]) == [3, 3, 2]
    atlas.ground[0, 32, 32] = Ground.ROAD | Ground.WIDE | Ground.YELLOW
    assert kinds_at(atlas, [(0.187, 0.1), (0.188, 0.1)]) == [3, 2]
    # corners 65 steps apart: more than half a metre, so no paint
    with_cell(atlas, 32, 32, [100, 128, 128, 165], Ground.ROAD)
    assert kinds_at(atlas, [(0.125, 0.125)]) == [2]
    with_cell(atlas, 32, 32, [100, 128, 128, 164], Ground.ROAD)
    assert kinds_at(atlas, [(0.125, 0.125)]) == [3]
    for code, kind in (
        (Ground.GRASS, 1), (Ground.SIDEWALK, 4), (Ground.CROSSING, 3), (Ground.STOP, 3),
        (Ground.ISLAND, 4),
    ):  # fmt: skip
        with_cell(atlas, 32, 32, [255] * 4, code)
        assert kinds_at(atlas, [(0.1, 0.1)]) == [kind]


def test_beyond_the_rim_the_ground_is_as_the_rim() -> None:
    atlas = flat_atlas()
    atlas.ground[0, :, -1] = Ground.ROAD
    assert kinds_at(atlas, [(7.9, 0.0), (500.0, 3.0), (-500.0, 3.0)]) == [2, 2, 1]


@pytest.fixture(scope="module")
def towns() -> tuple[list, Atlas]:
    built = [build(1, TRAINING_SPECS[name]) for name in ("urban", "roundabout", "mixed")]
    return built, bake_all(built, CPU)


def drawn(rig: tuple, atlas: Atlas, scene: Scene) -> Labels:
    n = len(scene.x_m)
    look = draw_looks(range(n), "clean", CPU)
    return Renderer(rig, atlas, look, range(n), CPU).labels(scene)


def agreement(truth: Labels, labels: Labels) -> tuple[float, float]:
    """Share of pixels of equal class, and, of those, with depths within 1 %."""
    same = truth.kind == labels.kind
    sky = truth.kind == Kind.SKY
    near = (labels.depth_m - truth.depth_m).abs() <= 0.01 * truth.depth_m
    near = torch.where(sky, torch.isinf(labels.depth_m), near)
    return float(same.double().mean()), float(near[same].double().mean())


def compared(
    seeds: range, towns: tuple[list, Atlas], per_world: bool, size: tuple[int, int] = (128, 64)
) -> torch.Tensor:
    """`agreement` by camera, [8, 2]; with `per_world`, each world has its own perturbed rig."""
    scene = random_scene(seeds, towns[0])
    rig = perturbed(tesla_eight(*size), seeds) if per_world else tesla_eight(*size)
    truth, labels = oracle.cast(scene, rig, towns[1]), drawn(rig, towns[1], scene)
    by_camera = [
        agreement(*(Labels(**{k: getattr(t, k)[:, c] for k in Labels.__slots__})
                    for t in (truth, labels)))
        for c in range(8)
    ]  # fmt: skip
    return torch.tensor(by_camera, dtype=torch.float64)


def test_the_renderer_agrees_with_the_oracle(towns: tuple[list, Atlas]) -> None:
    parts = [
        compared(seeds, towns, seeds.start >= 16, (64, 32))
        for seeds in (range(8), range(8, 16), range(16, 20))
    ]
    shares = (parts[0] * 8 + parts[1] * 8 + parts[2] * 4) / 20
    assert float(shares[:, 0].mean()) >= 0.995
    assert float(shares[:, 1].mean()) >= 0.995


@pytest.mark.slow
def test_the_renderer_agrees_with_the_oracle_in_two_hundred_scenes(
    towns: tuple[list, Atlas],
) -> None:
    parts = [compared(range(i, i + 20), towns, i >= 140) for i in range(0, 200, 20)]
    shares = torch.stack(parts).mean(0)
    for camera, (kind, depth) in zip(tesla_eight(), shares.tolist(), strict=True):
        assert kind >= 0.995, camera.name
        assert depth >= 0.995, camera.name
