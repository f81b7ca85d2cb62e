"""Ego motion from video in the drawn world, where the truth is known."""

from __future__ import annotations

import numpy as np
import torch

from common.document import Section
from flywheel_parts.bench import Bench
from opendojo.flywheel.egomotion import ego_motion
from opendojo.world import TOWNS, World, WorldConfig, front_only

__all__ = ["run"]


def run(bench: Bench) -> Section:
    """Median errors over worlds of every kind of town; shares that are refused."""
    section = Section("motion", "ego motion from one camera's video", not bench.smoke)
    worlds, steps = (2, 8) if bench.smoke else (20, 60)
    rig = front_only(256, 128)
    section.say(
        f"{worlds} worlds of training towns, {steps} pictures of 256x128 at 10 Hz, dry day; driven "
        "by the IDM on its route's middle; no recorded video with truth is at hand"
    )
    config = WorldConfig(cameras=rig, towns=TOWNS, agents=6)
    world = World([4 * k for k in range(worlds)], config)
    pictures, poses = [], []
    for _ in range(steps):
        pictures.append(world.render().numpy()[:, 0, :128].copy())
        ego = world.state.ego
        poses.append(torch.stack([ego.x_m, ego.y_m, ego.yaw_rad], 1).double().numpy().copy())
        world.step(world.idm_on_centreline())
    frames, pose = np.stack(pictures), np.stack(poses)
    turn_off, speed_off, inside = [], [], []
    for k in range(worlds):
        motion = ego_motion(frames[:, k], np.arange(steps) * 0.1, rig[0])
        turn = np.diff(np.unwrap(pose[:, k, 2])) / 0.1
        speed = np.hypot(*np.diff(pose[:, k, :2], axis=0).T) / 0.1
        off = np.abs(motion.speed_mps - speed)
        turn_off += np.degrees(np.abs(motion.yaw_rate_radps - turn)).tolist()
        moving = speed > 1.0
        speed_off += (off[moving] / speed[moving]).tolist()
        inside += (off < 2.0 * motion.speed_sigma_mps)[~np.isnan(off)].tolist()
    known = np.isfinite(speed_off)
    section.add("turn", "median error of the yaw rate", float(np.median(turn_off)), "deg/s")
    section.add("turn_90", "its 90 % quantile", float(np.quantile(turn_off, 0.9)), "deg/s")
    section.add("speed", "median error of the speed", float(np.nanmedian(speed_off)), "of it")
    section.add("known", "speeds not refused", float(known.mean()), "of all")
    section.add("inside", "true speeds within two told sigmas", float(np.mean(inside)), "of them")
    section.bar("turn", float(np.median(turn_off)), 0.5, "deg/s", at_most=True)
    section.bar("speed", float(np.nanmedian(speed_off)), 0.10, "of it", at_most=True)
    return section
