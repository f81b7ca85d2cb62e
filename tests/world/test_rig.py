from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from opendojo.clip import Camera, Pose
from opendojo.world.rig import (
    check_rig,
    fisheye,
    front_only,
    front_three,
    perturbed,
    read_rig,
    tesla_eight,
)


def test_the_three_are_level_and_see_ahead_and_to_both_sides() -> None:
    front, left, right = front_three()
    assert front == Camera.with_fov("front", 128, 64, 70.0, mount=Pose(x_m=1.6, z_m=1.4))
    side = Pose(x_m=1.4, y_m=0.5, z_m=1.4, yaw_rad=math.radians(55))
    assert left == Camera.with_fov("left", 128, 64, 80.0, mount=side)
    side = Pose(x_m=1.4, y_m=-0.5, z_m=1.4, yaw_rad=math.radians(-55))
    assert right == Camera.with_fov("right", 128, 64, 80.0, mount=side)
    assert front_three(256, 128)[0].fx_px == pytest.approx(2 * front.fx_px)
    assert front_only() == (front,)


def horizontal_fov_deg(camera: Camera) -> float:
    """Between the outer rims of the first and the last column, by bisection of `project`."""
    side = np.linspace(0.0, 89.9, 90_000)
    angle = np.radians(side)
    at = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle), np.ones_like(angle)], 1)
    points = (at @ camera.vehicle_from_camera.T)[:, :3]
    u = camera.project(points)[0][:, 0]
    return 2 * float(side[np.searchsorted(u, camera.width_px - 0.5)])


def test_the_eight_have_their_fields_of_view_and_look_all_around() -> None:
    rig = tesla_eight()
    wanted = {
        "front_narrow": 35, "front_main": 50, "front_wide": 120, "left_pillar": 90,
        "right_pillar": 90, "left_fender": 75, "right_fender": 75, "rear": 130,
    }  # fmt: skip
    assert [camera.name for camera in rig] == list(wanted)
    for camera in rig:
        assert horizontal_fov_deg(camera) == pytest.approx(wanted[camera.name], abs=0.02)
    bearing = np.radians(np.arange(360))
    ring = np.stack([20 * np.cos(bearing), 20 * np.sin(bearing), np.full(360, 0.5)], 1)
    seen = np.zeros(360, int)
    for camera in rig:
        px, ahead = camera.project(ring)
        u, v = np.nan_to_num(px, nan=-9).T
        seen += ahead & (u >= 0) & (u <= 127) & (v >= 0) & (v <= 63)
    assert seen.min() >= 1
    assert [c.lens for c in rig if c.name in ("front_wide", "rear")] == ["kannala-brandt"] * 2
    assert check_rig(tesla_eight(256, 128))[0].width_px == 256


def test_left_cameras_are_on_the_left_and_look_left() -> None:
    for camera in tesla_eight():
        side = {"left": 1.0, "righ": -1.0}.get(camera.name[:4])
        if side:
            assert camera.mount.y_m * side > 0
            px, seen = camera.project(np.array([[camera.mount.x_m, side * 30.0, 1.0]]))
            forward, _ = camera.project(np.array([[40.0, side * 30.0, 1.0]]))
            if seen[0] and "pillar" in camera.name:
                assert (forward[0, 0] - px[0, 0]) * side > 0, "ahead is to the right on the left"


def test_perturbed_rigs_are_small_errors_of_their_seeds_alone() -> None:
    rig = tesla_eight()
    rigs = perturbed(rig, range(40))
    assert perturbed(rig, [17])[0] == rigs[17]
    assert rigs[17] != rigs[18] and rigs[17][1].mount != rigs[17][2].mount
    turns, shifts, scales = [], [], []
    for row in rigs:
        for camera, true in zip(row, rig, strict=True):
            a, b = camera.mount, true.mount
            turns += [a.yaw_rad - b.yaw_rad, a.pitch_rad - b.pitch_rad, a.roll_rad - b.roll_rad]
            shifts += [a.x_m - b.x_m, a.y_m - b.y_m, a.z_m - b.z_m]
            scales.append(camera.fx_px / true.fx_px - 1)
            assert camera.fx_px / true.fx_px == pytest.approx(camera.fy_px / true.fy_px)
            assert (camera.lens, camera.cx_px, camera.name) == (true.lens, true.cx_px, true.name)
    for draws, most in ((turns, math.radians(2)), (shifts, 0.05), (scales, 0.02)):
        assert 0.9 * most < max(np.abs(draws)) <= most + 1e-12
        assert abs(np.mean(draws)) < 0.1 * most
    assert perturbed(rig, [3], angle_deg=0, shift_m=0, focal=0)[0] == rig


GOOD = """
width_px = 128
height_px = 64

[[camera]]
name = "front"
fov_deg = 70
x_m = 1.6
z_m = 1.4
pitch_deg = 2

[[camera]]
name = "rear"
lens = "kannala-brandt"
distortion = [-0.01, 0.002]
fov_deg = 130
x_m = -0.9
z_m = 0.9
yaw_deg = 180

[[camera]]
name = "side"
fx_px = 80.5
cy_px = 30
y_m = 0.8
z_m = 1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text)
    return path


def test_a_file_gives_its_cameras(tmp_path: Path) -> None:
    front, rear, side = read_rig(written(tmp_path, GOOD))
    mount = Pose(x_m=1.6, z_m=1.4, pitch_rad=math.radians(2))
    assert front == Camera.with_fov("front", 128, 64, 70.0, mount=mount)
    mount = Pose(x_m=-0.9, z_m=0.9, yaw_rad=math.pi)
    assert rear == fisheye("rear", 128, 64, 130.0, distortion=(-0.01, 0.002), mount=mount)
    assert horizontal_fov_deg(rear) == pytest.approx(130, abs=0.02)
    assert (side.fx_px, side.fy_px, side.cx_px, side.cy_px) == (80.5, 80.5, 63.5, 30.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[camera]]", "[camera", "no TOML"),
        (GOOD, "width_px = 128", "no camera"),
        (GOOD, "camera = 3", r"\[\[camera\]\]"),
        ('name = "rear"', 'name = "front"', "'front' is there twice"),
        ('name = "rear"', "", "camera 2: give it a name"),
        ("fov_deg = 70", "fov = 70", "camera 'front': 'fov' is not known"),
        ("fov_deg = 70", "fov_deg = 200", "between 0 and 180"),
        ("fov_deg = 70", 'fov_deg = "wide"', "fov_deg is 'wide'; give a number"),
        ("fov_deg = 70", "fov_deg = 70\nfx_px = 3", "not both"),
        ("fx_px = 80.5", "", "'side': give fov_deg, or fx_px"),
        ("fx_px = 80.5", "fx_px = -1", "above zero"),
        ('lens = "kannala-brandt"', 'lens = "fish"', "'rear': lens is 'fish'"),
        ('lens = "kannala-brandt"', "", "distortion is a list"),
        ("z_m = 1.4", "z_m = -0.1", "above the ground"),
        ("height_px = 64", "height_px = 62", "height fourfold"),
        ("height_px = 64", "", "whole numbers"),
        ('name = "side"', 'name = "side"\nwidth_px = 64', "one picture size"),
        ("width_px = 128", "width = 128", "'width' is not known"),
    ],
)
def test_a_broken_file_names_its_fault(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as caught:
        read_rig(path)
    assert "rig.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.toml: cannot be read"):
        read_rig(tmp_path / "none.toml")
