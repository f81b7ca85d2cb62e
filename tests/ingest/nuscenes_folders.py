"""A data set in nuScenes' layout, as its published schema has it (docs/schema_nuscenes.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from recordings import marked

CHANNELS = {
    "CAM_FRONT": (0.0, 0.0),
    "CAM_FRONT_RIGHT": (-55.0, 0.008),
    "CAM_BACK_RIGHT": (-110.0, 0.016),
    "CAM_BACK": (180.0, 0.025),
    "CAM_BACK_LEFT": (110.0, 0.033),
    "CAM_FRONT_LEFT": (55.0, -0.008),
}
"""Yaw in degrees to the left and offset of the shutter in seconds."""
START_US = 1_532_402_927_612_460
RATE_HZ = 12.0
SPEED_MPS = 6.0
YAW_RATE = 0.2


def quaternion(rotation: np.ndarray) -> list[float]:
    """w, x, y, z of a rotation of less than half a turn or any other one, by its trace."""
    w = np.sqrt(max(1 + np.trace(rotation), 0)) / 2
    if w > 1e-6:
        r = rotation
        axis = [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]
        return [float(w), *(float(a / (4 * w)) for a in axis)]
    axis = np.sqrt(np.maximum((np.diag(rotation) + 1) / 2, 0))
    largest = int(np.argmax(axis))
    signs = np.sign(rotation[largest] + (np.arange(3) == largest))
    return [0.0, *(float(a * s) for a, s in zip(axis, signs, strict=True))]


def vehicle_from_camera(yaw_deg: float) -> np.ndarray:
    """OpenCV's axes of a level camera that looks `yaw_deg` to the left of ahead."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return turn @ np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def pose_at(time_s: float) -> tuple[list[float], list[float]]:
    """Translation and rotation of a vehicle in a steady left turn."""
    yaw = YAW_RATE * time_s
    radius = SPEED_MPS / YAW_RATE
    place = [400.0 + radius * np.sin(yaw), 1100.0 + radius * (1 - np.cos(yaw)), 0.0]
    return place, [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def make_nuscenes(root: Path, *, scenes: int = 2, frames: int = 13, key_every: int = 6) -> Path:
    """Write a data set; every `key_every`-th frame is a sample, the others are sweeps."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("scene", "sample", "sample_data", "calibrated_sensor", "ego_pose", "sensor",
                     "log")
    }  # fmt: skip
    tables["log"].append(
        {"token": "log", "logfile": "n008", "vehicle": "n008", "date_captured": "2018-08-01",
         "location": "singapore-onenorth"}
    )  # fmt: skip
    for channel in [*CHANNELS, "LIDAR_TOP"]:
        modality = "lidar" if channel == "LIDAR_TOP" else "camera"
        tables["sensor"].append({"token": f"s-{channel}", "channel": channel, "modality": modality})
    for scene in range(scenes):
        _scene(root, tables, scene, frames, key_every)
    folder = root / "v1.0-mini"
    folder.mkdir(parents=True)
    for name, entries in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(entries, indent=0))
    return folder


def _scene(
    root: Path, tables: dict[str, list[dict[str, Any]]], scene: int, frames: int, key_every: int
) -> None:
    samples = [f"sample-{scene}-{k}" for k in range(0, frames, key_every)]
    tables["scene"].append(
        {"token": f"scene-{scene}", "name": f"scene-{scene:04d}", "description": "a turn",
         "log_token": "log", "nbr_samples": len(samples), "first_sample_token": samples[0],
         "last_sample_token": samples[-1]}
    )  # fmt: skip
    base_us = START_US + scene * 60_000_000
    for number, token in enumerate(samples):
        time_us = base_us + round(number * key_every / RATE_HZ * 1e6)
        tables["sample"].append(
            {"token": token, "timestamp": time_us, "scene_token": f"scene-{scene}",
             "prev": samples[number - 1] if number else "",
             "next": samples[number + 1] if number + 1 < len(samples) else ""}
        )  # fmt: skip
    for channel, (yaw_deg, offset_s) in [*CHANNELS.items(), ("LIDAR_TOP", (0.0, 0.04))]:
        camera = channel != "LIDAR_TOP"
        sensor = f"c-{scene}-{channel}"
        lens = [[50.0, 0.0, 31.5], [0.0, 50.0, 23.5], [0.0, 0.0, 1.0]] if camera else []
        tables["calibrated_sensor"].append(
            {"token": sensor, "sensor_token": f"s-{channel}", "translation": [1.7, 0.1, 1.5],
             "rotation": quaternion(vehicle_from_camera(yaw_deg)), "camera_intrinsic": lens}
        )  # fmt: skip
        for k in range(frames):
            time_s = k / RATE_HZ + offset_s
            time_us = base_us + round(time_s * 1e6)
            key = k % key_every == 0
            name = f"{'samples' if key else 'sweeps'}/{channel}/n008__{channel}__{time_us}"
            token = f"d-{scene}-{channel}-{k}"
            place, rotation = pose_at(time_s)
            tables["ego_pose"].append(
                {"token": token, "timestamp": time_us, "rotation": rotation, "translation": place}
            )
            tables["sample_data"].append(
                {"token": token, "sample_token": samples[min(-(-k // key_every), len(samples) - 1)],
                 "ego_pose_token": token, "calibrated_sensor_token": sensor, "timestamp": time_us,
                 "fileformat": "jpg" if camera else "pcd", "is_key_frame": key,
                 "height": 48 if camera else 0, "width": 64 if camera else 0,
                 "filename": f"{name}.{'jpg' if camera else 'pcd.bin'}", "prev": "", "next": ""}
            )  # fmt: skip
            if camera:
                path = root / f"{name}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(marked(64, 48, k).to_ndarray(format="rgb24")).save(path)
