"""A camera's geometry as the numbers of one row of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opendojo.clip import Camera

__all__ = ["LENS_COLUMNS", "lens_rows"]

LENS_COLUMNS = (
    "fx_px",
    "fy_px",
    "cx_px",
    "cy_px",
    "k1",
    "k2",
    "k3",
    "k4",
    "is_fisheye",
    "x_m",
    "y_m",
    "z_m",
    "roll_rad",
    "pitch_rad",
    "yaw_rad",
    "calibrated",
)
"""What `Batch.lens` holds of a camera: lens, and place and attitude on the vehicle; see
`clip.Camera`."""


def lens_rows(cameras: Sequence[Camera], wanted: Sequence[str]) -> npt.NDArray[np.float32]:
    """The wanted cameras' geometry, float32 [wanted, 16]; zero where one is absent."""
    out = np.zeros((len(wanted), len(LENS_COLUMNS)), np.float32)
    for camera in cameras:
        if camera.name in wanted:
            bent = (*camera.distortion, 0.0, 0.0, 0.0, 0.0)[:4]
            mount = camera.mount
            out[wanted.index(camera.name)] = (
                *(camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px),
                *bent,
                camera.lens == "kannala-brandt",
                *(mount.x_m, mount.y_m, mount.z_m),
                *(mount.roll_rad, mount.pitch_rad, mount.yaw_rad),
                camera.calibrated,
            )
    return out
