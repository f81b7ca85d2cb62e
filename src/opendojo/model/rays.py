"""Where image tokens look: rays from the rows of lens and mount that come with a batch.

A token's ray is that of its cell's middle, in the vehicle's axes (x forward, y left, z up). Lenses
are pinholes or Kannala-Brandt fisheyes (PAMI 2006): r = f (a + k1 a^3 + k2 a^5 + k3 a^7 + k4 a^9)
of the angle a off the axis, undone by Newton's method. Where a lens is not calibrated, or not told,
a learnt stand-in takes its place: a camera that looks ahead, whose focal length, height and pitch
training may move.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["LENS_COLUMNS", "RAY_FEATURES", "Rays", "StandIn", "cell_rays"]

LENS_COLUMNS = (
    "fx_px", "fy_px", "cx_px", "cy_px", "k1", "k2", "k3", "k4", "is_fisheye",
    "x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad", "calibrated",
)  # fmt: skip
"""What a row of `lens` holds: as the loader's batches have it."""

RAY_FEATURES = 11
"""Numbers that describe a ray: origin, direction, ground point, whether it meets the ground, and
whether the camera is calibrated."""

_NEWTON = 8
"""Steps; from r itself, on lenses up to 200 degrees, six reach float32's precision."""
_FAR_M = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rays:
    """Rays of the tokens of n rigs; k tokens, camera after camera, row after row."""

    origin_m: Tensor
    """float32 [n, k, 3]: the camera's place on the vehicle."""
    direction: Tensor
    """float32 [n, k, 3]: unit vectors."""
    calibrated: Tensor
    """float32 [n, k]: 1, or 0 where a stand-in tells."""

    def features(self) -> Tensor:
        """float32 [n, k, RAY_FEATURES]: each of the order of 1."""
        down = -self.direction[..., 2:]
        height_m = self.origin_m[..., 2:]
        meets = (down > 1e-3).to(down.dtype)
        range_m = (height_m / down.clamp(min=1e-3)).clamp(max=_FAR_M)
        ground = (self.origin_m + range_m * self.direction)[..., :2] * meets
        parts = [self.origin_m, self.direction, ground / 20.0, meets, self.calibrated[..., None]]
        return torch.cat([*parts, (range_m / _FAR_M) * meets], -1)


class StandIn(nn.Module):
    """The lens and mount of a camera that nobody calibrated; a learnt guess."""

    def __init__(self) -> None:
        super().__init__()
        self.guess = nn.Parameter(torch.tensor([0.7, 1.4, 1.4, 0.0]))
        """Focal length in widths, x and z of the mount in m, pitch in rad."""

    def forward(self, lens: Tensor, width_px: int, height_px: int) -> Tensor:
        """Rows [n, c, 16] with those of uncalibrated cameras replaced."""
        focal = self.guess[0].clamp(min=0.1) * width_px
        x, z, pitch = self.guess[1:].unbind()
        zero = torch.zeros_like(focal)
        middle = [zero + (width_px - 1) / 2.0, zero + (height_px - 1) / 2.0]
        row = torch.stack(
            [focal, focal, *middle, *[zero] * 5, x, zero, z, zero, pitch, zero, zero]
        )
        return torch.where(lens[..., -1:] > 0.5, lens, row.to(lens.dtype))


def cell_rays(lens: Tensor, cells: tuple[int, int], width_px: int, height_px: int) -> Rays:
    """Rays of each cell's middle: lens [n, c, 16], of every camera [rows, columns] cells."""
    rows, columns = cells
    u = (torch.arange(columns, device=lens.device) + 0.5) * (width_px / columns) - 0.5
    v = (torch.arange(rows, device=lens.device) + 0.5) * (height_px / rows) - 0.5
    v, u = (grid.flatten() for grid in torch.meshgrid(v, u, indexing="ij"))
    lens = lens.float()[:, :, None]
    x = (u - lens[..., 2]) / lens[..., 0]
    y = (v - lens[..., 3]) / lens[..., 1]
    flat = torch.stack([torch.ones_like(x), -x, -y], -1)  # forward, left, up of the camera
    flat = flat / flat.norm(dim=-1, keepdim=True)
    ray = torch.where(lens[..., 8:9] > 0.5, _fisheye(x, y, lens[..., 4:8]), flat)
    # sums rather than matrix products, which autocast would round
    turned = (_mounts(lens[..., 12:15]) * ray[..., None, :]).sum(-1)
    origin = lens[..., 9:12].expand_as(turned)
    calibrated = lens[..., 15].expand(turned.shape[:3])
    return Rays(
        origin_m=origin.flatten(1, 2),
        direction=turned.flatten(1, 2),
        calibrated=calibrated.flatten(1, 2),
    )


def _fisheye(x: Tensor, y: Tensor, k: Tensor) -> Tensor:
    """Unit rays [..., 3] (forward, left, up) of a Kannala-Brandt lens, of points on its plane."""
    bent = (x * x + y * y + 1e-12).sqrt()
    k1, k2, k3, k4 = k.unbind(-1)
    angle = bent.clamp(max=torch.pi)
    for _ in range(_NEWTON):
        a2 = angle * angle
        value = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
        angle = (angle - (value - bent) / slope.clamp(min=0.05)).clamp(0.0, torch.pi)
    aside = angle.sin() / bent
    return torch.stack([angle.cos(), -x * aside, -y * aside], -1)


def _mounts(attitude: Tensor) -> Tensor:
    """Rotations [..., 3, 3] from a camera's body to the vehicle, of (roll, pitch, yaw) [..., 3].

    Yaw, then pitch, then roll, as `clip.Pose`.
    """
    sr, sp, sy = attitude.sin().unbind(-1)
    cr, cp, cy = attitude.cos().unbind(-1)
    rows = [
        torch.stack([cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr], -1),
        torch.stack([sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr], -1),
        torch.stack([-sp, cp * sr, cp * cr], -1),
    ]
    return torch.stack(rows, -2)
