"""What is to be drawn, as the renderer takes it: vehicle, upright boxes, lights, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor

__all__ = ["Boxes", "Kind", "Labels", "Scene"]


class Kind(IntEnum):
    """What a pixel shows: the classes of `Labels.kind` and the kinds of boxes."""

    SKY = 0
    GRASS = 1
    ROAD = 2
    LINE = 3
    """Lane lines, stop lines and the stripes of crossings."""
    SIDEWALK = 4
    """And islands."""
    BUILDING = 5
    TREE = 6
    POLE = 7
    SIGNAL = 8
    CAR = 9
    TRUCK = 10
    CYCLIST = 11
    PEDESTRIAN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Upright boxes, [n, k]: road users first (slot a of the traffic is box a), then the rest."""

    mask: Tensor
    """bool: whether the slot holds a box."""
    kind: Tensor
    """int64, `Kind`."""
    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    """float32: the middle, and the direction of the length."""
    length_m: Tensor
    width_m: Tensor
    base_m: Tensor
    top_m: Tensor
    """float32: underside and top, above the ground."""
    paint: Tensor
    """float32 [n, k, 3]: Y, Cb, Cr, limited range."""
    lamp: Tensor
    """int64: of a SIGNAL 0 red, 1 yellow, 2 green; of a vehicle 1 while it brakes, else 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A batch of n worlds at one instant."""

    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    """float32 [n]: the ego's rear axle and heading."""
    town: Tensor
    """int64 [n]: which town of the atlas."""
    boxes: Boxes
    step: Tensor
    """int64 [n]: steps since the start; the noise depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The truth about every pixel, [n, c, h, w], sampled at the pixel's middle."""

    kind: Tensor
    """uint8, `Kind`."""
    depth_m: Tensor
    """float32: distance along the camera's axis (z of OpenCV's camera frame); inf in the sky. For
    a Kannala-Brandt lens, whose rays may point backwards, the distance along the ray."""
    instance: Tensor
    """int16: index into `Boxes`; -1 for ground and sky."""
