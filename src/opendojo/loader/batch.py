"""What training reads: a batch of windows with their labels, and how the labels are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.clip import Log

__all__ = ["Batch", "ego_paths"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Windows as tensors; b windows, t instants, c cameras, p path points."""

    frames: Tensor
    """uint8 [b, t, c, 6, height / 2, width / 2], YUV 4:2:0 as `clip.pack_planes` lays it out;
    zero where a camera is absent. c is 0 where the loader reads no pixels."""
    camera_mask: Tensor
    """bool [b, c]: the camera is there."""
    time_s: Tensor
    """float64 [b, t], from the window's first instant."""
    speed_mps: Tensor
    """float32 [b, t], 0 where unknown."""
    speed_mask: Tensor
    """bool [b, t]: the speed is known."""
    path_m: Tensor
    """float32 [b, t, p, 2]: x forward, y left of the ego's later places, in the axes of the vehicle
    at each instant; 0 where unknown."""
    path_mask: Tensor
    """bool [b, t, p]: the place is known and what led there was the driver's doing."""
    drawn: Tensor
    """bool [b]: the world drew it; else a camera saw it."""
    window_id: Tensor
    """int64 [b]: number of the window in its loader."""

    @property
    def frame_count(self) -> int:
        """Pictures in the batch: those of absent cameras do not count."""
        return int(self.camera_mask.sum()) * self.frames.shape[1]

    def __repr__(self) -> str:
        return f"Batch(frames {list(self.frames.shape)}, path {list(self.path_m.shape)})"


def ego_paths(
    log: Log, now_s: Floats, ahead_s: Floats
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The ego's later places as seen from each of several instants.

    `now_s` is [t], `ahead_s` [p]; returns path_m float32 [t, p, 2] in the vehicle's axes at each
    instant, and its mask [t, p]: False where the log does not reach or the vehicle was pushed off
    its driver's intent on the way there.
    """
    later_s = now_s[:, None] + ahead_s[None, :]
    dx = log.sample("x_m", later_s) - log.sample("x_m", now_s)[:, None]
    dy = log.sample("y_m", later_s) - log.sample("y_m", now_s)[:, None]
    yaw = log.sample("yaw_rad", now_s)[:, None]
    cos, sin = np.cos(yaw), np.sin(yaw)
    path = np.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1)
    mask = np.isfinite(path).all(-1) & _undisturbed(log, now_s, later_s)
    return np.where(mask[..., None], path, 0.0).astype(np.float32), mask


def _undisturbed(log: Log, now_s: Floats, later_s: Floats) -> npt.NDArray[np.bool_]:
    if log.disturbed is None:
        return np.ones(later_s.shape, bool)
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(log.disturbed) > 0)])
    slack = 1e-6
    before_now = total[np.searchsorted(log.time_s, now_s - slack)]
    before_later = total[np.searchsorted(log.time_s, later_s - slack)]
    return before_later == before_now[:, None]


def empty_batch(
    windows: int, instants: int, cameras: int, points: int, height_px: int, width_px: int
) -> Batch:
    """A batch of zeros to fill in place."""
    return Batch(
        frames=torch.zeros(
            (windows, instants, cameras, 6, height_px // 2, width_px // 2), dtype=torch.uint8
        ),
        camera_mask=torch.zeros((windows, cameras), dtype=torch.bool),
        time_s=torch.zeros((windows, instants), dtype=torch.float64),
        speed_mps=torch.zeros((windows, instants)),
        speed_mask=torch.zeros((windows, instants), dtype=torch.bool),
        path_m=torch.zeros((windows, instants, points, 2)),
        path_mask=torch.zeros((windows, instants, points), dtype=torch.bool),
        drawn=torch.zeros(windows, dtype=torch.bool),
        window_id=torch.zeros(windows, dtype=torch.int64),
    )
