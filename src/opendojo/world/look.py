"""How a world looks: colours, light and wear, drawn per seed.

Colours are Y'CbCr by ITU-R BT.601, limited range (Y 16..235, Cb and Cr 16..240), as float32; mixing
is done in these gamma-encoded values.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opendojo.world.road import stream

__all__ = ["SKYLINE_BINS", "Look", "draw_looks", "rgb_from_yuv", "yuv_from_rgb"]

SKYLINE_BINS = 1024
"""Bearings at which a skyline's height is known."""

_CAR_PAINTS = (
    (0.86, 0.86, 0.87), (0.62, 0.64, 0.67), (0.13, 0.14, 0.16), (0.70, 0.10, 0.10),
    (0.12, 0.25, 0.52), (0.30, 0.33, 0.37), (0.82, 0.77, 0.66), (0.11, 0.34, 0.30),
    (0.85, 0.48, 0.12), (0.45, 0.10, 0.16),
)  # fmt: skip


def yuv_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """R'G'B' in 0..1, [..., 3], to BT.601 limited-range Y'CbCr."""
    r, g, b = np.moveaxis(np.asarray(rgb, np.float64), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([16 + 219 * y, 128 + 224 * (b - y) / 1.772, 128 + 224 * (r - y) / 1.402], -1)


def rgb_from_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Planes of one 4:2:0 picture to uint8 RGB [height, width, 3], for people."""
    luma = (y.astype(np.float64) - 16) / 219
    cb, cr = (((p.astype(np.float64) - 128) / 224).repeat(2, 0).repeat(2, 1) for p in (u, v))
    r, b = luma + 1.402 * cr, luma + 1.772 * cb
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    return (np.stack([r, g, b], -1) * 255 + 0.5).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The looks of a batch; colours float32 [n, 3], dials float32 [n]."""

    grass: Tensor
    verge: Tensor
    asphalt: Tensor
    edge_line: Tensor
    centre_line: Tensor
    horizon: Tensor
    zenith: Tensor
    hills: Tensor
    trees: Tensor
    wear: Tensor
    """How much of the lane lines' paint is gone."""
    rough: Tensor
    """Contrast of the ground's texture."""
    haze: Tensor
    """How much of the far ground is veiled."""
    dash_m: Tensor
    """Length of a dash of the centre line."""
    sun: Tensor
    """Unit vector towards the sun in the ground plane, times its strength, [n, 2]."""
    ambient: Tensor
    """Light on a face turned away from the sun."""
    car_paint: Tensor
    """[n, a, 3]."""
    hill_line: Tensor
    tree_line: Tensor
    """Tangent of the skyline's elevation by bearing, [n, SKYLINE_BINS]."""

    def rows(self, first: int, last: int) -> Look:
        """The looks of some of the worlds."""
        return Look(**{name: getattr(self, name)[first:last] for name in Look.__slots__})


def draw_looks(seeds: Sequence[int], cars: int, device: torch.device) -> Look:
    """The looks of worlds of these seeds, each from its seed's own stream."""
    drawn = [_draw(stream(seed, 3), cars) for seed in seeds]
    columns = {name: np.stack([look[name] for look in drawn]) for name in Look.__slots__}
    return Look(
        **{k: torch.tensor(v, dtype=torch.float32, device=device) for k, v in columns.items()}
    )


def _draw(rng: np.random.Generator, cars: int) -> dict[str, np.ndarray]:
    def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
        return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))

    light = rng.uniform(0.78, 1.08)
    warm = np.array([1.0, 1.0, 1.0]) + rng.uniform(-0.05, 0.07) * np.array([1.0, 0.15, -1.0])
    clear = rng.uniform(0.0, 1.0)  # overcast to blue sky
    dry = rng.uniform(0.0, 1.0)
    grass = hsv(0.285 - 0.11 * dry, 0.52 - 0.08 * dry, 0.44 + 0.14 * dry)
    verge = hsv(0.10 + 0.03 * rng.random(), 0.26, 0.52 + 0.1 * rng.random())
    grey = rng.uniform(0.27, 0.42)
    asphalt = np.array([grey, grey, grey + rng.uniform(-0.015, 0.02)])
    horizon = hsv(0.56, 0.10 + 0.12 * clear, 0.90)
    zenith = hsv(0.585, 0.14 + 0.46 * clear, 0.80 - 0.08 * clear)
    trees = hsv(0.31 - 0.12 * dry * rng.random(), 0.34, 0.33)
    yellow = rng.random() < 0.3
    centre = np.array([0.93, 0.76, 0.25]) if yellow else np.array([0.93, 0.93, 0.92])
    paints = np.array(_CAR_PAINTS)[rng.integers(0, len(_CAR_PAINTS), cars)].reshape(cars, 3)
    bearing = rng.uniform(0.0, 2.0 * math.pi)

    def lit(rgb: np.ndarray) -> np.ndarray:
        return yuv_from_rgb(np.clip(rgb * light * warm, 0.0, 1.0))

    return {
        "grass": lit(grass),
        "verge": lit(verge),
        "asphalt": lit(asphalt),
        "edge_line": lit(np.array([0.93, 0.93, 0.92])),
        "centre_line": lit(centre),
        "horizon": lit(horizon),
        "zenith": lit(zenith),
        "hills": lit(0.55 * horizon + 0.45 * hsv(0.45, 0.25, 0.42)),
        "trees": lit(0.25 * horizon + 0.75 * trees),
        "wear": np.array(rng.uniform(0.0, 0.35)),
        "rough": np.array(rng.uniform(0.6, 1.2)),
        "haze": np.array(rng.uniform(0.5, 1.0)),
        "dash_m": np.array(rng.uniform(3.0, 4.5)),
        "sun": np.array([math.cos(bearing), math.sin(bearing)]) * (0.12 + 0.33 * clear),
        "ambient": np.array(0.82 - 0.12 * clear),
        "car_paint": lit(paints),
        "hill_line": _skyline(rng, 0.012, 0.016, 7),
        "tree_line": _skyline(rng, 0.010, 0.009, 90),
    }


def _skyline(rng: np.random.Generator, low: float, swing: float, waves: int) -> np.ndarray:
    """A closed line around the horizon: waves whose amplitude falls with their number."""
    bearing = np.arange(SKYLINE_BINS) * (2.0 * math.pi / SKYLINE_BINS)
    number = np.arange(1, waves + 1)
    strength = rng.normal(size=waves) / number**0.6
    phase = rng.uniform(0.0, 2.0 * math.pi, waves)
    line = (strength * np.cos(number * bearing[:, None] + phase)).sum(1)
    return np.maximum(low + swing * line / line.std(), 0.0)
