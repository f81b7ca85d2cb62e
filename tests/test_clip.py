"""The value types: projection, crops, interpolation, packing."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from opendojo.clip import BadClip, Camera, Frame, Log, Pose, pack_planes, unpack_planes


def test_a_yawed_camera_sees_what_lies_to_its_side() -> None:
    camera = Camera.with_fov(
        "left", 128, 64, 80, mount=Pose(x_m=1.0, y_m=0.5, z_m=1.4, yaw_rad=math.radians(55))
    )
    along = np.array([math.cos(math.radians(55)), math.sin(math.radians(55)), 0.0])
    centre = np.array([1.0, 0.5, 1.4]) + 10 * along
    left = centre + np.array([-along[1], along[0], 0.0])  # further to the camera's left
    low = centre - np.array([0.0, 0.0, 1.0])
    points, seen = camera.project(np.stack([centre, left, low, -centre]))
    assert np.allclose(points[0], [63.5, 31.5])
    assert points[1, 0] < 63.5
    assert points[2, 1] > 31.5
    assert seen.tolist() == [True, True, True, False]
    assert np.isnan(points[3]).all()


def test_pose_angles_turn_as_iso_8855_says() -> None:
    x, y, z = np.eye(3)
    turn = lambda **angle: Pose(**angle).matrix[:3, :3]  # noqa: E731
    assert np.allclose(turn(yaw_rad=math.pi / 2) @ x, y)  # to the left
    assert np.allclose(turn(pitch_rad=math.pi / 2) @ x, -z)  # nose down
    assert np.allclose(turn(roll_rad=math.pi / 2) @ y, z)  # right side down


def test_fisheye_follows_its_polynomial() -> None:
    k = (0.1, -0.02)
    camera = Camera.with_fov("wide", 640, 480, 120, lens="kannala-brandt", distortion=k)
    for angle in (0.2, 0.9, 1.4):
        point = np.array([[math.cos(angle), -math.sin(angle), 0.0]]) * 7.0
        pixel, _ = camera.project(point)
        radius = angle + k[0] * angle**3 + k[1] * angle**5
        assert pixel[0, 0] - camera.cx_px == pytest.approx(camera.fx_px * radius)
        assert pixel[0, 1] == pytest.approx(camera.cy_px)


@pytest.mark.parametrize("size", [(128, 64), (64, 64), (96, 160)])
def test_a_fitted_camera_projects_where_the_pixels_went(size: tuple[int, int]) -> None:
    camera = Camera.with_fov("front", 1280, 720, 60, mount=Pose(z_m=1.4))
    fitted = camera.fitted(*size)
    points = np.array([[20.0, 1.0, 1.0], [9.0, -2.0, 0.0]])
    before, _ = camera.project(points)
    after, _ = fitted.project(points)
    left, top, width, height = camera.crop_box(*size)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    assert (left, top) == ((1280 - width) // 2, (720 - height) // 2)
    # the centre of the first pixel lies half a pixel inside the picture's edge
    edges = (before + 0.5 - [left, top]) * [size[0] / width, size[1] / height] - 0.5
    assert np.allclose(after, edges)


def test_log_turns_the_short_way_and_knows_its_ends() -> None:
    log = Log(
        time_s=np.array([0.0, 1.0, 2.0]),
        yaw_rad=np.array([3.0, -3.0, math.nan]),
        speed_mps=np.array([1.0, math.nan, 3.0]),
        disturbed=np.array([0.0, 1.0, 0.0]),
    )
    at = log.at(np.array([-0.1, 0.5, 1.5, 2.0, 2.1]))
    assert at.yaw_rad is not None
    assert math.cos(at.yaw_rad[1]) == pytest.approx(-1.0)
    assert np.isnan(at.yaw_rad[[0, 2, 3, 4]]).all()
    assert at.speed_mps is not None
    assert np.allclose(at.speed_mps[1:4], [1.5, 2.5, 3.0])
    assert at.disturbed is not None
    assert at.disturbed[1:4].tolist() == [0.0, 1.0, 0.0]
    assert np.isnan(log.sample("x_m", np.zeros((2, 2)))).all()


def test_packing_and_unpacking_are_inverse() -> None:
    rng = np.random.default_rng(0)
    y, u, v = (rng.integers(0, 256, s, dtype=np.uint8) for s in ((6, 8), (3, 4), (3, 4)))
    packed = pack_planes(y, u, v)
    assert packed[1, 2, 3] == y[4, 7]
    assert packed[2, 2, 3] == y[5, 6]
    assert all(np.array_equal(a, b) for a, b in zip(unpack_planes(packed), (y, u, v), strict=True))


def test_bad_values_are_refused() -> None:
    plane = np.zeros((4, 6), np.uint8)
    with pytest.raises(ValueError, match="chroma"):
        Frame(y=plane, u=plane, v=plane, time_s=0.0)
    with pytest.raises(ValueError, match="even sides"):
        Frame(y=plane[:3], u=plane, v=plane, time_s=0.0)
    with pytest.raises(ValueError, match="rising"):
        Log(time_s=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="speed_mps"):
        Log(time_s=np.zeros(2), speed_mps=np.zeros(3))


def test_a_finding_survives_pickle() -> None:
    bad = BadClip("a.mp4", "it is cut off", remedy="copy it again", frame=7, byte=99)
    again = pickle.loads(pickle.dumps(bad))
    assert str(again) == str(bad) == "a.mp4: it is cut off (copy it again)"
    assert (again.frame, again.byte) == (7, 99)
