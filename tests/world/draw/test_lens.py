"""Rays against the camera's own projection, and tiles that cover every pixel once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from opendojo.clip import Camera, Pose
from opendojo.world.draw.lens import cone, make_rig, rays

CPU = torch.device("cpu")
TILTED = Pose(x_m=1.0, y_m=-0.4, z_m=1.5, roll_rad=0.05, pitch_rad=-0.08, yaw_rad=2.0)
LEVEL = Camera.with_fov("front", 32, 16, 70.0, mount=Pose(z_m=1.4, yaw_rad=1.0))
PINHOLE = Camera.with_fov("tilted", 32, 16, 70.0, mount=TILTED)
FISHEYE = Camera(
    name="wide", width_px=32, height_px=16, fx_px=14.0, fy_px=14.0, cx_px=15.5, cy_px=7.5,
    lens="kannala-brandt", distortion=(-0.03, 0.004, -0.001, 0.0002), mount=TILTED,
)  # fmt: skip


@pytest.mark.parametrize("camera", [LEVEL, PINHOLE, FISHEYE], ids=lambda camera: camera.name)
def test_rays_project_back_to_their_pixels(camera: Camera) -> None:
    u, v = np.meshgrid(np.arange(32.0), np.arange(16.0))
    ray = rays(camera, u, v)
    np.testing.assert_allclose(np.linalg.norm(ray, axis=-1), 1.0, atol=1e-12)
    at = camera.vehicle_from_camera[:3, 3]
    points, seen = camera.project((at + 7.0 * ray).reshape(-1, 3))
    assert seen.mean() > 0.9
    expected = np.stack([u.ravel(), v.ravel()], 1)
    np.testing.assert_allclose(points[seen], expected[seen], atol=1e-6)


@pytest.mark.parametrize("tile_px", [None, 128])
def test_tiles_cover_every_pixel_once_and_say_what_it_may_show(tile_px: int | None) -> None:
    rig = make_rig([(LEVEL, PINHOLE, FISHEYE)], CPU, tile_px)
    assert [fans.level for fans in rig.fans] == [True, False]
    count = np.zeros((3, 16, 32), int)
    for fans in rig.fans:
        for tile in fans.tiles:
            assert tile.luma.slope.shape[1:] == (
                tile.last - tile.first, tile.bottom - tile.top, 32,
            )  # fmt: skip
            assert tile.chroma.slope.shape[2:] == ((tile.bottom - tile.top) // 2, 16)
            assert tile.ground or bool((tile.luma.slope >= 0).all())
            assert tile.sky or bool((tile.luma.slope < 0).all())
            for fan in range(tile.first, tile.last):
                top = fans.tops[fan] + tile.top
                count[fans.cameras[fan], top : top + tile.bottom - tile.top] += 1
    assert (count == 1).all()


def test_a_level_camera_needs_one_row_of_directions() -> None:
    (fans,) = make_rig([(LEVEL,)], CPU).fans
    assert all(tile.luma.dx.shape[2] == 1 for tile in fans.tiles)
    assert float(fans.spread.max()) == 0.0
    upper, lower = fans.tiles
    assert (upper.ground, upper.sky, lower.ground, lower.sky) == (False, True, True, False)


def test_points_on_the_ground_lie_on_their_rays() -> None:
    (fans,) = make_rig([(PINHOLE,)], CPU).fans
    for tile in fans.tiles:
        view = tile.luma
        below = view.slope < -0.05
        height = TILTED.z_m + view.slope * view.range_m
        assert bool((height[below].abs() < 1e-3).all())
        x = TILTED.x_m + view.dx * view.range_m
        torch.testing.assert_close(view.x_m[below], x[below], atol=1e-3, rtol=0)


def test_spread_bounds_how_far_rays_leave_their_column() -> None:
    (fans,) = make_rig([(FISHEYE,)], CPU).fans
    for tile in fans.tiles:
        middle_x = fans.middle_x[:, tile.first : tile.last, None]
        middle_y = fans.middle_y[:, tile.first : tile.last, None]
        across = (tile.luma.dx * middle_y - tile.luma.dy * middle_x).abs()
        along = tile.luma.dx * middle_x + tile.luma.dy * middle_y
        spread = fans.spread[:, tile.first : tile.last, None]
        assert bool((across <= spread * along + 1e-6).all())


def test_one_rig_a_world_and_rigs_of_unequal_size() -> None:
    other = dataclasses.replace(LEVEL, mount=TILTED)
    rig = make_rig([(LEVEL,), (other,)], CPU)
    (fans,) = rig.fans
    assert not fans.level
    assert fans.mount_x_m.shape[0] == 2
    assert fans.rows(1, 2).mount_x_m.shape[0] == 1
    with pytest.raises(ValueError, match="equal numbers and sizes"):
        make_rig([(LEVEL, Camera.with_fov("odd", 64, 16, 70.0))], CPU)
    with pytest.raises(ValueError, match="four times whole"):
        make_rig([(Camera.with_fov("odd", 64, 18, 70.0),)], CPU)


def test_headlamps_shine_ahead_only() -> None:
    x = torch.tensor([15.0, 15.0, -10.0, 60.0])
    y = torch.tensor([0.0, 15.0, 0.0, 0.0])
    light = cone(x, y)
    assert light[0] > 0.5
    assert light[1] == 0 and light[2] == 0
    assert 0 < light[3] < light[0]
