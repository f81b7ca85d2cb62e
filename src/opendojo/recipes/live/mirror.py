"""The mirrored world: a left bend for each right one, left-hand traffic for right-hand.

The loader mirrors pictures, mounts and paths (`loader.augment`); here what else is known of a
window follows.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from opendojo.clip import Camera
from opendojo.model import NetConfig
from opendojo.model.truth import Truth
from opendojo.world.route import FOLLOW, LEFT, RIGHT, STRAIGHT

__all__ = ["check_mirror", "mirrored_command", "mirrored_truth"]

_MATCH = 1e-6
_OTHER_WAY = torch.zeros(1 + max(FOLLOW, LEFT, STRAIGHT, RIGHT) + 1, dtype=torch.int64)
"""A batch's command in the mirror; 0, unknown, stays."""
for _from, _to in ((FOLLOW, FOLLOW), (STRAIGHT, STRAIGHT), (LEFT, RIGHT), (RIGHT, LEFT)):
    _OTHER_WAY[_from + 1] = _to + 1


def check_mirror(rig: tuple[Camera, ...], net: NetConfig) -> None:
    """Raise `ValueError` where a mirrored window would not look like one of this rig and grid."""

    def shape(camera: Camera, side: float) -> list[float]:
        mount, middle = camera.mount, 0.5 * (camera.width_px - 1)
        return [
            *(camera.fx_px, camera.fy_px, side * (camera.cx_px - middle), camera.cy_px),
            *(mount.x_m, side * mount.y_m, mount.z_m),
            *(side * mount.roll_rad, mount.pitch_rad, side * mount.yaw_rad, *camera.distortion),
        ]

    def alike(one: list[float], other: list[float]) -> bool:
        return len(one) == len(other) and all(
            abs(a - b) < _MATCH for a, b in zip(one, other, strict=True)
        )

    names = {camera.name: camera for camera in rig}
    for camera in rig:
        swapped = camera.name.replace("left", "\0").replace("right", "left").replace("\0", "right")
        other = names.get(swapped)
        if other is None or not alike(shape(camera, 1.0), shape(other, -1.0)):
            raise ValueError(
                f"live.flip: camera {camera.name!r} has no mirror image in the rig: set it to 0"
            )
    if abs(net.grid_y_m[0] + net.grid_y_m[1]) > _MATCH:
        raise ValueError(f"live.flip: grid_y_m {net.grid_y_m} is not even: set it to 0")


def mirrored_command(command: Tensor, chosen: Tensor) -> Tensor:
    """Commands int64 [b, t], left for right in the chosen windows, bool [b]."""
    return torch.where(chosen[:, None], _OTHER_WAY.to(command.device)[command], command)


def mirrored_truth(truth: Truth, chosen: Tensor, candidates: Tensor) -> Truth:
    """Labels with the chosen windows, bool [b], mirrored; `candidates` as `Vocabulary.mirrored`."""
    assert truth.judged is not None and truth.agents is not None
    assert truth.occupancy is not None and truth.road is not None
    sides = truth.agents.new_tensor([1.0, -1.0, -1.0, 1.0, 1.0, 1.0])

    def where(changed: Tensor, kept: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (kept.ndim - 1)), changed, kept)

    return replace(
        truth,
        judged=where(candidates[truth.judged], truth.judged),
        occupancy=where(truth.occupancy.flip(-2), truth.occupancy),
        road=where(truth.road.flip(-2), truth.road),
        agents=where(truth.agents * sides, truth.agents),
    )
