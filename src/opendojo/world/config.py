"""What a world is made of: rig, rates, the vehicle's body and its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opendojo.clip import Camera, Pose
from opendojo.world.body import VEHICLE, Vehicle

__all__ = [
    "EVALUATION_SEEDS",
    "TRAINING_SEEDS",
    "VEHICLE",
    "Vehicle",
    "WorldConfig",
    "default_rig",
]

TRAINING_SEEDS = range(1_000_000)
"""Roads that may be trained on: a road is a function of its seed alone."""
EVALUATION_SEEDS = range(1_000_000, 2_000_000)
"""Roads held out for judging drivers; `record_fleet` never draws from them."""


def default_rig(width_px: int = 128, height_px: int = 64) -> tuple[Camera, ...]:
    """Front, left and right cameras that together see some 200 degrees; level, calibrated."""

    def camera(name: str, fov_deg: float, x_m: float, y_m: float, yaw_deg: float) -> Camera:
        mount = Pose(x_m=x_m, y_m=y_m, z_m=1.4, yaw_rad=math.radians(yaw_deg))
        return Camera.with_fov(name, width_px, height_px, fov_deg, mount=mount)

    return (
        camera("front", 70.0, 1.6, 0.0, 0.0),
        camera("left", 80.0, 1.4, 0.5, 55.0),
        camera("right", 80.0, 1.4, -0.5, -55.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """One kind of world; `World` draws as many of it as it is given seeds."""

    cameras: tuple[Camera, ...] = default_rig()
    """The rig: level pinhole cameras of one even picture size."""
    step_s: float = 0.1
    """Time of one step; the ego moves in two halves of it."""
    route_m: float = 250.0
    """Way along the road that counts as the whole route; the road goes on beyond it."""
    other_cars: int = 5
    """Most other cars in a world; seeds leave some out."""
    noise: float = 1.0
    """Strength of the cameras' noise: 0 for none, 1 for that of a modest sensor."""

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ValueError("a world needs a camera: use default_rig()")
        width, height = self.cameras[0].width_px, self.cameras[0].height_px
        if width % 2 or height % 2:
            raise ValueError(f"pictures of {width}x{height}: 4:2:0 needs even sides")
        for camera in self.cameras:
            if (camera.width_px, camera.height_px) != (width, height):
                raise ValueError(f"camera {camera.name}: give all cameras one picture size")
            mount = camera.mount
            if camera.lens != "pinhole" or camera.distortion or mount.pitch_rad or mount.roll_rad:
                raise ValueError(f"camera {camera.name}: only level pinhole cameras are drawn")
            if mount.z_m <= 0.0 or not 0.0 <= camera.cy_px < height - 1:
                raise ValueError(f"camera {camera.name}: must look at the ground from above it")
        if self.step_s <= 0.0 or self.route_m <= 0.0:
            raise ValueError("step_s and route_m must be above zero")
        if self.other_cars < 0 or self.noise < 0.0:
            raise ValueError("other_cars and noise cannot be below zero")

    @property
    def width_px(self) -> int:
        """Columns of every camera's picture."""
        return self.cameras[0].width_px

    @property
    def height_px(self) -> int:
        """Rows of every camera's picture."""
        return self.cameras[0].height_px
