"""Rays and projection of rigs, in batches: `clip.Camera` for tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from opendojo.clip import Camera
from opendojo.world.draw.oracle import camera_rays
from opendojo.world.draw.scene import Scene
from opendojo.world.exact import sin_cos, wrapped

__all__ = ["Optics", "local_boxes", "turned"]


class Optics:
    """Rays and projection of a rig of c cameras, or of one rig a world; float32."""

    def __init__(
        self, cameras: Sequence[Camera] | Sequence[Sequence[Camera]], device: torch.device
    ) -> None:
        rigs = [tuple(c) for c in cameras if not isinstance(c, Camera)]
        rigs = rigs or [tuple(c for c in cameras if isinstance(c, Camera))]
        self.width_px, self.height_px = rigs[0][0].width_px, rigs[0][0].height_px

        def table(of: Sequence[Sequence[object]]) -> Tensor:
            return torch.tensor(np.array(of), dtype=torch.float32, device=device)

        self.origin_m = table([[c.vehicle_from_camera[:3, 3] for c in rig] for rig in rigs])
        """[n or 1, c, 3]: the cameras' places in the vehicle's frame."""
        self.turn = table([[c.vehicle_from_camera[:3, :3] for c in rig] for rig in rigs])
        """[n or 1, c, 3, 3]: takes camera axes (OpenCV) to the vehicle's."""
        self.rays = table(
            [[camera_rays(c) @ c.vehicle_from_camera[:3, :3].T for c in rig] for rig in rigs]
        )
        """[n or 1, c, h, w, 3]: what a depth of 1 m is, in the vehicle's axes."""
        self._focal = table([[[c.fx_px, c.fy_px] for c in rig] for rig in rigs])
        self._middle = table([[[c.cx_px, c.cy_px] for c in rig] for rig in rigs])
        bends = [[[*c.distortion, *[0.0] * (4 - len(c.distortion))] for c in rig] for rig in rigs]
        self._bends = table(bends)
        self._most = table([[_widest(c) for c in rig] for rig in rigs])[..., None]
        fish = [[c.lens == "kannala-brandt" for c in rig] for rig in rigs]
        self.fisheye = torch.tensor(fish, device=device)[..., None]
        """bool [n or 1, c, 1]."""

    def project(self, points_m: Tensor) -> tuple[Tensor, Tensor]:
        """Image points [n, c, p, 2] of points of the vehicle's frame, and whether they have one.

        Args:
            points_m: float32 [n, c or 1, p, 3].
        """
        away = points_m - self.origin_m[:, :, None]
        return self.project_ways((away[..., None, :] * self.turn.mT[:, :, None]).sum(-1))

    def project_ways(self, ways: Tensor) -> tuple[Tensor, Tensor]:
        """Image points of directions of any length in camera axes, [n, c, p, 3]."""
        x, y, z = ways.unbind(-1)
        ahead = z > 1e-6
        plane = 1.0 / torch.where(ahead, z, 1.0)
        off = torch.sqrt(x * x + y * y)
        angle = torch.atan2(off, z)
        a2 = angle * angle
        k1, k2, k3, k4 = (k[..., None] for k in self._bends.unbind(-1))
        bent = angle * (1.0 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        wide = torch.where(off > 1e-9, bent / off.clamp(min=1e-9), plane)
        scale = torch.where(self.fisheye, wide, plane)
        at = torch.stack([x * scale, y * scale], -1) * self._focal[:, :, None]
        seen = torch.where(self.fisheye, angle < self._most, ahead)
        return at + self._middle[:, :, None], seen


def _widest(camera: Camera) -> float:
    """The angle up to which a Kannala-Brandt lens is one-to-one."""
    angle = np.linspace(0.0, math.pi, 2000)
    bent = angle + sum(k * angle ** (2 * i + 3) for i, k in enumerate(camera.distortion))
    falls = np.flatnonzero(np.diff(bent) <= 0.0)
    return float(angle[falls[0]]) if len(falls) else math.pi


def turned(x: Tensor, y: Tensor, yaw_rad: Tensor, *, back: bool = False) -> tuple[Tensor, Tensor]:
    """Vectors turned by an angle, or back by it."""
    sin, cos = sin_cos(yaw_rad)
    sin = -sin if back else sin
    return x * cos - y * sin, x * sin + y * cos


def local_boxes(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Middles of the boxes and their yaws in the vehicle's frame, [n, k]."""
    boxes = scene.boxes
    x, y = boxes.x_m - scene.x_m[:, None], boxes.y_m - scene.y_m[:, None]
    x, y = turned(x, y, scene.yaw_rad[:, None], back=True)
    return x, y, wrapped(boxes.yaw_rad - scene.yaw_rad[:, None])
