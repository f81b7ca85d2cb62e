"""Ego motion: on a painted plane seen by a known camera, and in the drawn world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from opendojo.clip import Camera, Pose
from opendojo.flywheel.egomotion import ego_motion
from opendojo.world import World, WorldConfig, front_only

CAMERA = Camera.with_fov("front", 192, 96, 70, mount=Pose(x_m=1.5, z_m=1.4, pitch_rad=0.03))


def painted(x: float, y: float, yaw: float, contrast: float = 40.0) -> np.ndarray:
    """What the camera of a car at a pose sees of an endless plane with a smooth random pattern."""
    v, u = np.mgrid[0:96, 0:192]
    rays = np.stack([(u.ravel() - CAMERA.cx_px) / CAMERA.fx_px,
                     (v.ravel() - CAMERA.cy_px) / CAMERA.fy_px, np.ones(u.size)])  # fmt: skip
    a, b, c = CAMERA.vehicle_from_camera[:3, :3] @ rays
    down = c < -1e-3
    reach = np.where(down, 1.4 / np.where(down, -c, 1.0), 0.0)
    gx, gy = 1.5 + a * reach, b * reach
    wx, wy = x + np.cos(yaw) * gx - np.sin(yaw) * gy, y + np.sin(yaw) * gx + np.cos(yaw) * gy
    rng = np.random.default_rng(0)
    tone = np.zeros(u.size)
    for _ in range(12):
        angle, length, phase = rng.uniform(0, 6.3), rng.uniform(0.9, 4.0), rng.uniform(0, 6.3)
        tone += np.sin((np.cos(angle) * wx + np.sin(angle) * wy) * 6.28 / length + phase)
    haze = np.exp(-reach / 25.0)
    return np.where(down, 120 + contrast * haze * tone / 3.0, 180.0).reshape(96, 192)


def driven(
    speed: float, turn: float, count: int = 7, **more: float
) -> tuple[np.ndarray, np.ndarray]:
    pictures, x, y, yaw = [], 0.0, 0.0, 0.2
    for _ in range(count):
        pictures.append(painted(x, y, yaw, **more))
        middle = yaw + 0.05 * turn
        x, y, yaw = (
            x + 0.1 * speed * np.cos(middle),
            y + 0.1 * speed * np.sin(middle),
            yaw + 0.1 * turn,
        )
    return np.stack(pictures), np.arange(count) * 0.1


@pytest.mark.parametrize(("speed", "turn"), [(0.0, 0.0), (8.0, 0.0), (12.0, 0.25), (20.0, -0.1)])
def test_a_painted_plane(speed: float, turn: float) -> None:
    motion = ego_motion(*driven(speed, turn), CAMERA)
    assert np.isfinite(motion.speed_mps).all(), motion.refused
    assert np.abs(motion.speed_mps - speed).max() < 0.4
    off = np.degrees(np.abs(motion.yaw_rate_radps - turn))
    assert np.median(off) < 0.5
    assert off.max() < 2.0
    assert (motion.speed_sigma_mps > 0).all()
    log = motion.log()
    assert log.yaw_rad is not None
    assert log.yaw_rad[-1] == pytest.approx(0.6 * turn, abs=0.01)


def test_bare_ground_is_refused() -> None:
    motion = ego_motion(*driven(10.0, 0.0, count=3, contrast=0.0), CAMERA)
    assert np.isnan(motion.speed_mps).all()
    assert all("nothing to hold on" in why for why in motion.refused)
    with pytest.raises(ValueError, match="0% of the video"):
        motion.log()


def test_pictures_of_different_ground_are_refused() -> None:
    rng = np.random.default_rng(1)
    motion = ego_motion(rng.uniform(0, 255, (3, 96, 192)), np.arange(3) * 0.1, CAMERA)
    assert np.isnan(motion.speed_mps).all()
    up = Camera.with_fov("up", 192, 96, 40, mount=Pose(z_m=1.4, pitch_rad=-0.6))
    motion = ego_motion(driven(10.0, 0.0, count=2)[0], np.arange(2) * 0.1, up)
    assert motion.refused == ("the camera sees too little ground",)


def test_cameras_that_cannot_are_refused() -> None:
    pictures = np.zeros((2, 96, 192))
    side = Camera.with_fov("left", 192, 96, 70, mount=Pose(z_m=1.4, yaw_rad=1.5))
    guessed = Camera.with_fov("front", 192, 96, 70, calibrated=False, mount=Pose(z_m=1.4))
    for camera in (side, guessed):
        with pytest.raises(ValueError, match="camera"):
            ego_motion(pictures, np.arange(2) * 0.1, camera)


@pytest.mark.slow
def test_in_the_drawn_world() -> None:
    rig = front_only(256, 128)
    world = World([10, 14, 18], WorldConfig(cameras=rig, towns=("country", "urban"), agents=4))
    pictures, poses = [], []
    for _ in range(20):
        pictures.append(world.render().numpy()[:, 0, :128].copy())
        ego = world.state.ego
        poses.append(torch.stack([ego.x_m, ego.y_m, ego.yaw_rad], 1).double().numpy().copy())
        world.step(world.idm_on_centreline())
    frames, pose = np.stack(pictures), np.stack(poses)
    turn_off, speed_off = [], []
    for k in range(3):
        motion = ego_motion(frames[:, k], np.arange(20) * 0.1, rig[0])
        turn = np.diff(np.unwrap(pose[:, k, 2])) / 0.1
        speed = np.hypot(*np.diff(pose[:, k, :2], axis=0).T) / 0.1
        turn_off += np.degrees(np.abs(motion.yaw_rate_radps - turn)).tolist()
        speed_off += (np.abs(motion.speed_mps - speed) / speed).tolist()
    assert np.median(turn_off) < 0.5
    assert np.nanmedian(speed_off) < 0.1
    assert np.isfinite(speed_off).mean() > 0.7
