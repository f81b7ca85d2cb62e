"""Derived labels on cases worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from draw_scenes import flat_atlas, scene_of

from opendojo.clip import Camera, Pose
from opendojo.world.draw import oracle
from opendojo.world.draw.above import LanePieces, ego_future, occupancy
from opendojo.world.draw.labels import boxes_in_image, flow
from opendojo.world.draw.optics import Optics
from opendojo.world.draw.scene import Kind, Labels, Scene
from opendojo.world.rig import perturbed, tesla_eight
from opendojo.world.town.graph import Lane, Town, stations

CPU = torch.device("cpu")
FRONT = Camera(
    name="front", width_px=64, height_px=32, fx_px=32.0, fy_px=32.0, cx_px=31.0, cy_px=15.0,
    mount=Pose(z_m=1.5),
)  # fmt: skip
WALL = {"kind": Kind.CAR, "x_m": 11.0, "length_m": 2.0, "width_m": 4.0, "top_m": 3.0}
"""Its near face is 10 m before `FRONT`, 12.8 px wide."""


def truth_of(scene: Scene, *cameras: Camera) -> Labels:
    return oracle.cast(scene, cameras, flat_atlas())


def test_optics_project_as_the_cameras_do() -> None:
    rigs = perturbed(tesla_eight(), [1, 2])
    optics = Optics(rigs, CPU)
    points = np.random.Generator(np.random.Philox(key=1)).uniform(-30, 30, (2, 200, 3))
    px, seen = optics.project(torch.tensor(points, dtype=torch.float32)[:, None])
    for i, rig in enumerate(rigs):
        for c, camera in enumerate(rig):
            wanted, ahead = camera.project(points[i])
            if camera.lens == "pinhole":
                assert (seen[i, c].numpy() == ahead).all()
            near = ahead & (np.abs(np.nan_to_num(wanted, nan=9e9)) < 300).all(1)
            assert near.sum() > 5
            np.testing.assert_allclose(px[i, c].numpy()[near], wanted[near], atol=2e-2)


def test_nothing_moves_while_nothing_moves() -> None:
    rig = perturbed(tesla_eight(), [9])[0]
    scene = scene_of([[WALL]], [(40.0, 80.0, 2.0)])
    still = flow(scene, scene, truth_of(scene, *rig), Optics(rig, CPU))
    assert still.shape == (1, 8, 2, 64, 128)
    assert float(still.abs().max()) < 2e-2


def test_driving_on_makes_a_wall_grow() -> None:
    before = scene_of([[WALL]])
    after = scene_of([[WALL]], [(2.0, 0.0, 0.0)])
    moved = flow(before, after, truth_of(before, FRONT), Optics((FRONT,), CPU))[0, 0]
    # 10 m become 8 m: offsets from the middle grow by 10 / 8
    np.testing.assert_allclose(moved[:, 15, 35], [(35 - 31) * 0.25, 0.0], atol=1e-4)
    np.testing.assert_allclose(moved[:, 18, 31], [0.0, 3 * 0.25], atol=1e-4)
    # the ground at row 27, 12 px down, is 32 * 1.5 / 12 = 4 m ahead; it comes to 2 m
    np.testing.assert_allclose(moved[:, 27, 31], [0.0, 12.0], atol=1e-4)
    assert float(moved[:, :5, :].abs().max()) == 0.0, "the sky does not come nearer"


def test_turning_left_moves_all_to_the_right_by_its_angle() -> None:
    before, after = scene_of([[]]), scene_of([[]], [(0.0, 0.0, 0.1)])
    moved = flow(before, after, truth_of(before, FRONT), Optics((FRONT,), CPU))[0, 0]
    np.testing.assert_allclose(moved[:, 15, 31], [32 * math.tan(0.1), 0.0], atol=1e-4)


def test_a_road_user_carries_its_pixels_along() -> None:
    before = scene_of([[WALL]])
    after = scene_of([[{**WALL, "x_m": 12.0, "y_m": 1.0}]])
    truth = truth_of(before, FRONT)
    optics = Optics((FRONT,), CPU)
    moved = flow(before, after, truth, optics)[0, 0]
    # the face at 10 m goes 1 m to the left, 1 m away: from y = 0 to y = 1 at 11 m
    np.testing.assert_allclose(moved[:, 15, 31], [-32 / 11, 0.0], atol=1e-4)
    assert float(moved[:, 31, :].abs().max()) < 1e-4, "the ground stays"
    turned = scene_of([[{**WALL, "yaw_rad": 0.2}]])
    moved = flow(before, turned, truth, optics)[0, 0]
    # the middle of the near face is 1 m before the box's middle and swings to the right
    x, y = 11 - math.cos(0.2), -math.sin(0.2)
    np.testing.assert_allclose(moved[0, 15, 31], 32 * -y / x, atol=1e-4)


@pytest.mark.parametrize(
    "change", [{"mask": False}, {"kind": Kind.TRUCK}, {"x_m": 40.0}, {"x_m": 11.0}]
)
def test_what_becomes_of_a_vanished_road_user_is_unknown(change: dict) -> None:
    before, after = scene_of([[WALL]]), scene_of([[{**WALL, **change}]])
    truth = truth_of(before, FRONT)
    unknown = flow(before, after, truth, Optics((FRONT,), CPU))[0, 0].isnan().all(0)
    expected = truth.kind[0, 0] == Kind.CAR
    assert torch.equal(unknown, expected & (change != {"x_m": 11.0}))


def test_a_box_has_its_corners_and_its_extent() -> None:
    scene = scene_of([[WALL, {**WALL, "mask": False}]])
    boxes = boxes_in_image(scene, truth_of(scene, FRONT), Optics((FRONT,), CPU))
    np.testing.assert_allclose(boxes.corners_m[0, 0, 0], [12.0, 2.0, 0.0])
    np.testing.assert_allclose(boxes.corners_m[0, 0, 6], [10.0, -2.0, 3.0])
    np.testing.assert_allclose(boxes.corners_px[0, 0, 0, 6], [31 + 6.4, 15 - 4.8], atol=1e-4)
    np.testing.assert_allclose(boxes.low_px[0, 0, 0], [31 - 6.4, 15 - 4.8], atol=1e-4)
    np.testing.assert_allclose(boxes.high_px[0, 0, 0], [31 + 6.4, 15 + 4.8], atol=1e-4)
    assert float(boxes.visible[0, 0, 0]) == pytest.approx(1.0)
    assert int(boxes.pixels[0, 0, 0]) == 13 * 9
    assert boxes.low_px[0, 0, 1].isnan().all() and float(boxes.visible[0, 0, 1]) == 0.0


def test_boxes_are_cut_by_the_picture_and_at_the_camera() -> None:
    # beside the camera and beyond it: from 5 m behind to 10 m ahead, 2 to 4 m on the left
    long = {"kind": Kind.TRUCK, "x_m": 2.5, "y_m": 3.0, "length_m": 15.0, "width_m": 2.0}
    behind = {**WALL, "x_m": -11.0}
    scene = scene_of([[{**long, "top_m": 3.0}, behind]])
    boxes = boxes_in_image(scene, truth_of(scene, FRONT), Optics((FRONT,), CPU))
    np.testing.assert_allclose(boxes.low_px[0, 0, 0], [-0.5, -0.5], atol=1e-4)
    np.testing.assert_allclose(boxes.high_px[0, 0, 0], [31 - 6.4, 31.5], atol=1e-4)
    assert 0.0 < float(boxes.visible[0, 0, 0]) < 0.9
    assert boxes.low_px[0, 0, 1].isnan().all() and boxes.corners_px[0, 0, 1].isnan().all()


def test_half_a_hidden_box_is_half_visible() -> None:
    far = {**WALL, "x_m": 21.0, "width_m": 8.0}
    # at half the distance, covers the right half of the far box's image and more
    near = {**WALL, "kind": Kind.TRUCK, "y_m": -4.0, "width_m": 8.0, "top_m": 9.0, "base_m": 0.0}
    scene = scene_of([[far, near]])
    boxes = boxes_in_image(scene, truth_of(scene, FRONT), Optics((FRONT,), CPU))
    assert float(boxes.visible[0, 0, 0]) == pytest.approx(0.5, abs=0.01)
    assert float(boxes.visible[0, 0, 1]) < 1.0, "its top leaves the picture"


def lane(x: list[float], y: list[float]) -> Lane:
    x_m, y_m, yaw, curvature, length = stations(np.array(x), np.array(y))
    return Lane(
        x_m=x_m, y_m=y_m, yaw_rad=yaw, curvature=curvature, length_m=length, width_m=3.0,
        limit_mps=10.0,
    )  # fmt: skip


def test_lanes_near_by_are_given_in_the_egos_axes_nearest_first() -> None:
    lanes = lane([0.0, 100.0], [0.0, 0.0]), lane([50.0, 50.0], [10.0, 30.0])
    town = Town(name="t", left_hand=False, lanes=lanes, lines=(), areas=())
    other = dataclasses.replace(town, lanes=lanes[1:])
    pieces = LanePieces([town, other], CPU, piece_m=20.0, points=3)
    # at (50, 2), facing +y
    n = 2
    near = pieces.near(
        torch.tensor([0, 1]), torch.full((n,), 50.0), torch.full((n,), 2.0),
        torch.full((n,), math.pi / 2), most=4, reach_m=15.0,
    )  # fmt: skip
    assert near.lane[0].tolist() == [0, 1, 0, 0] and near.lane[1].tolist() == [0, -1, -1, -1]
    # x from 40 to 60 along y = 0: 2 m behind, first 10 m to the left, last 10 m to the right
    np.testing.assert_allclose(near.points_m[0, 0], [[-2, 10], [-2, 0], [-2, -10]], atol=1e-4)
    np.testing.assert_allclose(near.points_m[1, 0], [[8, 0], [18, 0], [28, 0]], atol=1e-4)
    assert float(near.points_m[1, 1:].abs().max()) == 0.0


def test_occupancy_shows_boxes_and_road_in_the_egos_axes() -> None:
    atlas = flat_atlas(cells=256)  # 64 m square around the origin, all 8 m off the road
    road = torch.zeros((128, 128), dtype=torch.int32)
    road[:, 64:] = -1  # x > 0: all corners 255, nearly 8 m into the road
    atlas = dataclasses.replace(atlas, edge=road[None])
    box = {"kind": Kind.CAR, "x_m": 3.5, "y_m": 1.5, "length_m": 2.9, "width_m": 0.9}
    crown = {**box, "y_m": -3.0, "base_m": 2.5}
    scene = scene_of([[box, crown]])
    drivable, taken = occupancy(scene, atlas, cells=8)[0]
    # rows from x = 3.5 down to -3.5, columns from y = 3.5 down to -3.5
    assert bool(drivable[:4].all()) and not bool(drivable[4:].any())
    expected = torch.zeros((8, 8), dtype=torch.bool)
    expected[0:2, 2] = True
    assert torch.equal(taken, expected)
    turned = dataclasses.replace(scene, yaw_rad=torch.tensor([math.pi / 2]))
    drivable, taken = occupancy(turned, atlas, cells=8)[0]
    # facing +y, what was ahead is on the right
    expected = torch.zeros((8, 8), dtype=torch.bool)
    expected[2, 6:8] = True
    assert torch.equal(taken, expected)
    assert bool(drivable[:, 4:].all()) and not bool(drivable[:, :4].any())


def test_a_thin_pole_or_a_turned_corner_is_not_lost_between_middles() -> None:
    pole = {"kind": Kind.POLE, "x_m": 1.95, "y_m": 0.95, "length_m": 0.05, "width_m": 0.05}
    taken = occupancy(scene_of([[pole]]), flat_atlas(), cells=4)[0, 1]
    assert taken.nonzero().tolist() == [[0, 1]]
    diamond = {**pole, "x_m": 0.0, "y_m": 0.0, "yaw_rad": math.pi / 4}
    diamond |= {"length_m": 2.0, "width_m": 2.0}
    taken = occupancy(scene_of([[diamond]]), flat_atlas(), cells=4)[0, 1]
    # corners at 1.41 m on the axes reach the neighbours of the middle four, not the far corners
    expected = [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
    assert taken.to(torch.int64).tolist() == expected


def test_the_future_is_told_from_where_the_ego_is_now() -> None:
    x, y = torch.tensor([[5.0, 5.0, 3.0]]), torch.tensor([[1.0, 3.0, 5.0]])
    yaw = torch.tensor([[math.pi / 2, math.pi / 2, -math.pi + 0.1]])
    np.testing.assert_allclose(
        ego_future(x, y, yaw)[0], [[2, 0, 0], [4, 2, math.pi / 2 + 0.1]], atol=1e-5
    )
