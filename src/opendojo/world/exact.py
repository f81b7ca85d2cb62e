"""Arithmetic whose results do not depend on the company a number keeps.

A library's sine is not rounded exactly: a tensor's body may go through vector instructions and its
tail through scalar ones, with other last bits, and another device has yet others. One world's state
would then depend on how many others share its batch, and on the number of threads. Sums, products,
quotients, square roots, floors and comparisons are rounded exactly (IEEE 754) wherever they are
computed. Everything in this room that reaches a state or a picture is made of those alone: no fused
operations (`addcmul`, `lerp`), no sums over a dim, no matrix products, and the functions here
instead of the library's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["hashed", "sin_cos", "wrapped"]

_HALF_PI_HIGH = 1.5703125  # pi / 2 in eight bits, so that k times it is exact
_HALF_PI_LOW = math.pi / 2 - _HALF_PI_HIGH


def sin_cos(angle_rad: Tensor) -> tuple[Tensor, Tensor]:
    """Sine and cosine of float32 angles up to some hundred radians, to about 1e-7."""
    k = torch.floor(angle_rad * (2.0 / math.pi) + 0.5)
    r = (angle_rad - k * _HALF_PI_HIGH) - k * _HALF_PI_LOW
    q = r * r
    # Taylor terms suffice on [-pi/4, pi/4].
    sine = (((q * (1 / 362880) - 1 / 5040) * q + 1 / 120) * q - 1 / 6) * (q * r) + r
    cosine = (((q * (1 / 40320) - 1 / 720) * q + 1 / 24) * q - 0.5) * q + 1.0
    quadrant = k - 4.0 * torch.floor(k * 0.25)
    odd = (quadrant == 1.0) | (quadrant == 3.0)
    s = torch.where(odd, cosine, sine)
    c = torch.where(odd, sine, cosine)
    s = torch.where(quadrant >= 2.0, -s, s)
    c = torch.where((quadrant == 1.0) | (quadrant == 2.0), -c, c)
    return s, c


def wrapped(angle_rad: Tensor) -> Tensor:
    """Angles brought into [-pi, pi)."""
    return angle_rad - torch.floor(angle_rad * (0.5 / math.pi) + 0.5) * (2.0 * math.pi)


def hashed(*keys: Tensor) -> Tensor:
    """A hash in [0, 2^32) of int64 keys that broadcast: the same keys, the same number.

    The mixing steps are the 32-bit finaliser of MurmurHash3 (A. Appleby, public domain).
    """
    value = torch.zeros((), dtype=torch.int64, device=keys[0].device)
    for key in keys:
        value = (value * 5 + 0x9E3779B9 + key) & 0xFFFFFFFF
        value = ((value ^ (value >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        value = ((value ^ (value >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        value = value ^ (value >> 16)
    return value
