"""What stays fixed between frames: where each pixel of a rig's level cameras looks.

Pixels are kept in the packed order of `clip.pack_planes`: luma as (row parity, column parity, row /
2, column / 2), so that the luma planes of a picture are drawn in place and a mean over the four
parities gives what a chroma pixel sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opendojo.clip import Camera

__all__ = ["Lens", "make_lens"]

_FAR_M = 4000.0
_VISIBILITY_M = 220.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """Tables of a rig of c cameras, float32, in the vehicle's frame.

    Ground tables are [c, 4, rows, width / 2]: the half-rows from `horizon` down.
    """

    horizon: int
    """First half-row in which any camera sees ground."""
    ground_x_m: Tensor
    ground_y_m: Tensor
    """Where the pixel's ray meets the ground."""
    across_x_m: Tensor
    across_y_m: Tensor
    """Step on the ground from one pixel column to the next."""
    away_x_m: Tensor
    away_y_m: Tensor
    """Step on the ground from one pixel row to the one above."""
    haze: Tensor
    """Share of the light scattered in on the way, at full haze."""
    ray_x: Tensor
    ray_y: Tensor
    """Direction of each luma column, 1 along the optical axis, [c, width]."""
    stretch: Tensor
    """Length of each column's direction, [c, width]."""
    bearing_rad: Tensor
    """Bearing of each luma column from the vehicle's axis, [c, width]."""
    mount_x_m: Tensor
    mount_y_m: Tensor
    mount_z_m: Tensor
    fy_px: Tensor
    cy_px: Tensor
    """Per camera, [c]."""


def make_lens(cameras: Sequence[Camera], device: torch.device) -> Lens:
    """The tables of a rig; computed in float64 once."""
    width, height = cameras[0].width_px, cameras[0].height_px
    horizon = min((math.floor(camera.cy_px) + 1) // 2 for camera in cameras)
    yaw = np.array([[c.mount.yaw_rad] for c in cameras])
    fx, fy = np.array([(c.fx_px, c.fy_px) for c in cameras]).T[:, :, None]
    cx, cy = np.array([(c.cx_px, c.cy_px) for c in cameras]).T[:, :, None]
    mounts = [(c.mount.x_m, c.mount.y_m, c.mount.z_m) for c in cameras]
    mount_x, mount_y, mount_z = np.array(mounts).T[:, :, None]
    side = (np.arange(width) - cx) / fx
    right_x, right_y = np.sin(yaw), -np.cos(yaw)
    ray_x, ray_y = -right_y + side * right_x, right_x + side * right_y

    rows = np.arange(2 * horizon, height)
    below = rows - cy
    depth = (mount_z * fy / np.maximum(below, 1e-9)).clip(max=_FAR_M)[:, :, None]
    step = depth / fx[:, :, None]
    recede = depth * depth / (mount_z * fy)[:, :, None]
    haze = 1.0 - np.exp(-depth * np.hypot(ray_x, ray_y)[:, None] / _VISIBILITY_M)
    haze = np.where(below[:, :, None] > 0, haze, 1.0)

    def packed(table: np.ndarray) -> np.ndarray:
        """[c, rows, width] to [c, 4, rows / 2, width / 2]."""
        table = np.broadcast_to(table, (len(cameras), len(rows), width))
        return np.stack([table[:, p::2, q::2] for p in (0, 1) for q in (0, 1)], 1)

    tables = {
        "ground_x_m": packed(mount_x[:, None] + depth * ray_x[:, None]),
        "ground_y_m": packed(mount_y[:, None] + depth * ray_y[:, None]),
        "across_x_m": packed(step * right_x[:, None]),
        "across_y_m": packed(step * right_y[:, None]),
        "away_x_m": packed(recede * ray_x[:, None]),
        "away_y_m": packed(recede * ray_y[:, None]),
        "haze": packed(haze),
        "ray_x": ray_x,
        "ray_y": ray_y,
        "stretch": np.hypot(ray_x, ray_y),
        "bearing_rad": np.arctan2(ray_y, ray_x),
        "mount_x_m": mount_x[:, 0],
        "mount_y_m": mount_y[:, 0],
        "mount_z_m": mount_z[:, 0],
        "fy_px": fy[:, 0],
        "cy_px": cy[:, 0],
    }
    return Lens(
        horizon=horizon,
        **{k: torch.tensor(v, dtype=torch.float32, device=device) for k, v in tables.items()},
    )
