"""How a world looks: light, weather, colours, wear and a sensor's faults, drawn per seed.

A surface has a reflectance in linear light. The weather gives the light that falls on it (how much,
and of which colour), the camera's exposure brings it into range, and the result is encoded: R'G'B'
with the sRGB curve, then Y'CbCr by ITU-R BT.601, limited range (Y 16..235, Cb and Cr 16..240).
Whoever draws mixes these encoded values.

Fog, dusk and storm (rain at night) are held out: no look for training contains them, nor fog's
visibility, dusk's darkness, or rain and night at once.

    looks = draw_looks(range(64), "hard", torch.device("cpu"))
    paint = box_paints(seeds, kinds, looks)          # [n, k, 3], for `Scene.boxes.paint`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.world.draw.paints import paints_in

__all__ = [
    "HELD_OUT_WEATHER",
    "HILL_BINS",
    "TRAINING_WEATHER",
    "Look",
    "Preset",
    "Weather",
    "box_paints",
    "draw_looks",
    "rgb_from_yuv",
    "yuv_from_rgb",
]

Floats = npt.NDArray[np.float64]
Preset = Literal["clean", "hard", "adversarial", "held_out"]
"""What to draw from. `clean`: dry days, a good camera. `hard`: also rain and night, wear, noise,
dirt. `adversarial`: weather never trained on, with the dials of `hard` and worse. `held_out`:
weather never trained on, with the dials of `clean`, to measure it alone."""

HILL_BINS = 1024
"""Bearings at which the height of the hills is known; bin b is centred on b * 2 pi / 1024."""


class Weather(IntEnum):
    """What `Look.weather` holds."""

    CLEAR = 0
    CLOUDY = 1
    OVERCAST = 2
    RAIN = 3
    NIGHT = 4
    FOG = 5
    DUSK = 6
    STORM = 7
    """Rain at night."""


TRAINING_WEATHER = (Weather.CLEAR, Weather.CLOUDY, Weather.OVERCAST, Weather.RAIN, Weather.NIGHT)
HELD_OUT_WEATHER = (Weather.FOG, Weather.DUSK, Weather.STORM)

_WEATHERS: dict[str, tuple[Weather, ...]] = {
    "clean": TRAINING_WEATHER[:3],
    "hard": TRAINING_WEATHER,
    "adversarial": HELD_OUT_WEATHER,
    "held_out": HELD_OUT_WEATHER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The looks of n worlds: colours float32 [n, 3] (Y, Cb, Cr, lit and exposed), dials [n]."""

    weather: Tensor
    """int64: `Weather`."""
    grass: Tensor
    verge: Tensor
    """Bare earth and gravel beside the road."""
    asphalt: Tensor
    sidewalk: Tensor
    white: Tensor
    yellow: Tensor
    """Paint of lines."""
    stripe: Tensor
    """Paint of crossings and stop lines."""
    horizon: Tensor
    """The sky at the horizon, and what haze fades to."""
    zenith: Tensor
    hills: Tensor
    building_tone: Tensor
    """What the windows of buildings show: dark glass by day, some light at night."""
    hill_line: Tensor
    """float32 [n, 1024]: tangent of the hills' elevation by bearing, `HILL_BINS`."""
    light: Tensor
    """float32 [n, 3]: linear R, G, B light times exposure that a surface receives; `box_paints`
    lights by it."""
    ambient: Tensor
    """Share of a face's light, in encoded values, that it keeps when turned from the sun."""
    sun: Tensor
    """float32 [n, 2]: unit vector towards the sun in the ground plane, times its strength: a face
    with plan normal m has the light ambient + max(0, m . sun)."""
    haze_m: Tensor
    """Visibility: at range r the share exp(-3 r / haze_m) of a thing's contrast is left."""
    wear: Tensor
    """Share of the paint of lines that is gone, 0..1."""
    rough: Tensor
    """Contrast of the ground's texture, about 1."""
    night: Tensor
    """0 day .. 1 night: whether lights shine."""
    lamp: Tensor
    """Strength of the own headlamps, 0..1."""
    noise: Tensor
    """Standard deviation of the luma's noise, in levels."""
    gain: Tensor
    """Exposure error: a factor on everything around black, applied last."""
    dirt: Tensor
    """How dirty the lenses are, 0..1 (`sensor`)."""
    rain: Tensor
    """Streaks of rain in the picture, 0..1 (`sensor`)."""
    blocks: Tensor
    """Strength of the blocks of a JPEG-like compression, 0..1 (`sensor`)."""

    def rows(self, first: int, last: int) -> Look:
        """The looks of some of the worlds."""
        return Look(**{name: getattr(self, name)[first:last] for name in Look.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sky:
    """What one weather fixes; linear light, where 1 is white paper on a bright day."""

    light: Floats
    zenith: Floats
    horizon: Floats
    sun: float
    ambient: float
    haze_m: float
    night: float = 0.0
    lamp: float = 0.0
    wet: float = 0.0
    rain: float = 0.0


def yuv_from_rgb(rgb: npt.ArrayLike) -> Floats:
    """R'G'B' in 0..1, [..., 3], to BT.601 limited-range Y'CbCr, float64."""
    r, g, b = np.moveaxis(np.asarray(rgb, np.float64), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([16 + 219 * y, 128 + 224 * (b - y) / 1.772, 128 + 224 * (r - y) / 1.402], -1)


def rgb_from_yuv(
    y: npt.NDArray[np.uint8], u: npt.NDArray[np.uint8], v: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Planes of one 4:2:0 picture to uint8 RGB [height, width, 3], for people."""
    luma = (y.astype(np.float64) - 16) / 219
    cb, cr = (((p.astype(np.float64) - 128) / 224).repeat(2, 0).repeat(2, 1) for p in (u, v))
    r, b = luma + 1.402 * cr, luma + 1.772 * cb
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    return (np.stack([r, g, b], -1) * 255 + 0.5).clip(0, 255).astype(np.uint8)


def draw_looks(seeds: Sequence[int], preset: Preset, device: torch.device) -> Look:
    """The looks of worlds of these seeds, each a function of its seed and the preset alone."""
    if preset not in _WEATHERS:
        raise ValueError(f"no preset of looks {preset!r}: use one of {', '.join(get_args(Preset))}")
    drawn = [_draw(_stream(seed), preset) for seed in seeds]
    columns = {name: np.stack([look[name] for look in drawn]) for name in Look.__slots__}
    tensors = {
        name: torch.tensor(column, dtype=torch.float32, device=device)
        for name, column in columns.items()
    }
    tensors["weather"] = tensors["weather"].to(torch.int64)
    return Look(**tensors)


def _stream(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed & (2**64 - 1), 0x100C]))


def _draw(rng: np.random.Generator, preset: str) -> dict[str, Floats]:
    """All fields of one look."""
    weather = _WEATHERS[preset][rng.integers(len(_WEATHERS[preset]))]
    sky = _sky(rng, weather)
    bearing = rng.uniform(0.0, 2.0 * math.pi)
    colours = _colours(rng, sky)
    dials = _dials(rng, sky, hard=preset in ("hard", "adversarial"), worse=preset == "adversarial")
    return {
        "weather": np.array(float(weather)),
        **{name: yuv_from_rgb(_encoded(colour)) for name, colour in colours.items()},
        **{name: np.array(value) for name, value in dials.items()},
        "hill_line": _hill_line(rng),
        "light": sky.light,
        "ambient": np.array(sky.ambient),
        "sun": np.array([math.cos(bearing), math.sin(bearing)]) * sky.sun,
        "haze_m": np.array(sky.haze_m),
        "night": np.array(sky.night),
        "lamp": np.array(sky.lamp),
        "rain": np.array(sky.rain),
    }


def _encoded(linear: Floats) -> Floats:
    """Linear light to R'G'B' in 0..1: the curve of IEC 61966-2-1, with a soft shoulder."""
    linear = np.where(linear < 0.7, linear, 0.7 + 0.3 * np.tanh((linear - 0.7) / 0.3))
    linear = linear.clip(0.0, 1.0)
    return np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _sky(rng: np.random.Generator, weather: Weather) -> _Sky:
    """Light of a weather. Colours of light are as after a camera's partial white balance."""
    tint = rng.uniform(-1.0, 1.0)
    level = rng.uniform(0.75, 1.05)
    warm = np.array([1.0 + 0.06 * tint, 1.0, 1.0 - 0.09 * tint])
    grey = np.array([0.97, 1.0, 1.03])
    if weather in (Weather.CLEAR, Weather.CLOUDY):
        cloud = rng.uniform(0.0, 0.25) if weather == Weather.CLEAR else rng.uniform(0.3, 0.75)
        blue = np.array([0.16, 0.33, 0.68]) * rng.uniform(0.8, 1.15)
        pale = np.array([0.62, 0.74, 0.86])
        return _Sky(
            light=level * warm,
            zenith=(blue + cloud * (0.62 * grey - blue)) * level,
            horizon=(pale + cloud * (0.74 * grey - pale)) * level,
            sun=0.46 - 0.4 * cloud,
            ambient=0.66 + 0.22 * cloud,
            haze_m=_log_uniform(rng, 1500.0, 8000.0),
        )
    if weather in (Weather.OVERCAST, Weather.RAIN):
        wet = float(weather == Weather.RAIN)
        dim = level * (0.85 - 0.2 * wet)
        far = (500.0, 1500.0) if wet else (1000.0, 5000.0)
        return _Sky(
            light=dim * grey,
            zenith=(0.62 - 0.12 * wet) * dim * grey,
            horizon=(0.78 - 0.12 * wet) * dim * grey,
            sun=0.05,
            ambient=0.93,
            haze_m=_log_uniform(rng, *far),
            wet=wet * rng.uniform(0.6, 1.0),
            rain=wet * rng.uniform(0.25, 1.0),
            lamp=0.35 * wet,
        )
    if weather == Weather.FOG:
        veil = rng.uniform(0.5, 0.72) * grey
        return _Sky(
            light=0.8 * level * grey, zenith=1.04 * veil, horizon=veil, sun=0.0, ambient=1.0,
            haze_m=_log_uniform(rng, 45.0, 140.0), lamp=0.5, wet=0.3,
        )  # fmt: skip
    if weather == Weather.DUSK:
        return _Sky(
            light=rng.uniform(0.16, 0.3) * np.array([1.12, 0.95, 0.96]),
            zenith=np.array([0.05, 0.075, 0.19]) * rng.uniform(0.8, 1.5),
            horizon=np.array([0.66, 0.33, 0.17]) * rng.uniform(0.7, 1.1),
            sun=0.3, ambient=0.75, haze_m=_log_uniform(rng, 1500.0, 6000.0),
            night=rng.uniform(0.35, 0.6), lamp=0.7,
        )  # fmt: skip
    storm = float(weather == Weather.STORM)
    glow = np.array([1.12, 0.97, 0.84]) * rng.uniform(0.03, 0.075)
    return _Sky(
        light=glow, zenith=0.12 * glow, horizon=0.5 * glow, sun=0.0, ambient=0.9,
        haze_m=_log_uniform(rng, 250.0, 450.0) if storm else _log_uniform(rng, 800.0, 3000.0),
        night=rng.uniform(0.85, 1.0), lamp=1.0, wet=storm * 0.9,
        rain=storm * rng.uniform(0.4, 1.0),
    )  # fmt: skip


def _colours(rng: np.random.Generator, sky: _Sky) -> dict[str, Floats]:
    """Colours of the ground, sky and hills, linear, lit; reflectances as of common surfaces."""

    def mixed(one: Sequence[float], two: Sequence[float], share: float) -> Floats:
        return np.array(one) + share * (np.array(two) - np.array(one))

    dry = rng.uniform(0.0, 1.0)
    grass = mixed((0.060, 0.105, 0.026), (0.205, 0.185, 0.085), dry)
    verge = mixed((0.185, 0.150, 0.110), (0.300, 0.265, 0.215), rng.random())
    asphalt = rng.uniform(0.055, 0.15) * np.array([1.0, 1.0, 1.0 + rng.uniform(-0.06, 0.08)])
    sidewalk = mixed((0.235, 0.230, 0.220), (0.360, 0.345, 0.315), rng.random())
    white = np.array([0.78, 0.78, 0.76]) * rng.uniform(0.85, 1.0)
    yellow = np.array([0.72, 0.44, 0.045]) * rng.uniform(0.85, 1.0)
    # water fills the pores: asphalt reflects half as much, earth two thirds, and mirrors some sky
    wet, mirror = sky.wet, 0.03 * sky.wet * sky.horizon
    lit = {
        "grass": grass * (1.0 - 0.25 * wet),
        "verge": verge * (1.0 - 0.4 * wet),
        "asphalt": asphalt * (1.0 - 0.55 * wet),
        "sidewalk": sidewalk * (1.0 - 0.4 * wet),
        "white": white * (1.0 - 0.15 * wet),
        "yellow": yellow * (1.0 - 0.15 * wet),
        "stripe": white * rng.uniform(0.9, 1.0) * (1.0 - 0.15 * wet),
    }
    out = {name: colour * sky.light for name, colour in lit.items()}
    for name in ("asphalt", "sidewalk", "white", "yellow", "stripe"):
        out[name] = out[name] + mirror
    wood = np.array([0.075, 0.105, 0.075]) * sky.light
    veil = 1.0 - math.exp(-3.0 * 1200.0 / sky.haze_m)
    glass = 0.04 * sky.light + 0.12 * sky.zenith
    return {
        **out,
        "horizon": sky.horizon,
        "zenith": sky.zenith,
        "hills": wood + (0.35 + 0.65 * veil) * (sky.horizon - wood),
        "building_tone": glass + sky.night * rng.uniform(0.1, 0.4) * np.array([1.0, 0.72, 0.38]),
    }


def _dials(rng: np.random.Generator, sky: _Sky, *, hard: bool, worse: bool) -> dict[str, float]:
    """Wear of the town and state of the camera."""
    dark = 2.2 * sky.night
    low, high = (0.72, 1.28) if hard else (0.94, 1.06)
    often = 0.8 if worse else 0.4
    dirty, blocky = rng.random() < often, rng.random() < often
    strength = rng.uniform(0.2, 0.6, 2) + 0.4 * worse
    return {
        "wear": rng.uniform(0.1, 0.65) if hard else rng.uniform(0.0, 0.25),
        "rough": rng.uniform(0.5, 1.8) if hard else rng.uniform(0.7, 1.2),
        "noise": (rng.uniform(1.0, 3.5) if hard else rng.uniform(0.6, 1.6)) + dark,
        "gain": rng.uniform(low, high),
        "dirt": float(strength[0]) if hard and dirty else 0.0,
        "blocks": float(strength[1]) if hard and blocky else 0.0,
    }


def _hill_line(rng: np.random.Generator) -> Floats:
    """A closed line around the horizon: waves whose height falls with their number, [1024]."""
    bearing = np.arange(HILL_BINS) * (2.0 * math.pi / HILL_BINS)
    number = np.arange(1, 25)
    strength = rng.normal(size=24) / number**0.8
    phase = rng.uniform(0.0, 2.0 * math.pi, 24)
    line = (strength * np.cos(number * bearing[:, None] + phase)).sum(1)
    return np.maximum(rng.uniform(0.0, 0.02) + rng.uniform(0.008, 0.022) * line / line.std(), 0.0)


def box_paints(seeds: Tensor, kinds: Tensor, look: Look | None = None) -> Tensor:
    """Paints of boxes: float32 [n, k, 3], Y, Cb, Cr, limited range.

    A paint is a function of the world's seed, the slot, and the slot's kind alone, and of the light
    of `look` (without one, daylight 1).

    Args:
        seeds: int64 [n].
        kinds: int64 [n, k], `Kind`.
        look: The worlds' looks.
    """
    return paints_in(
        seeds, kinds, torch.ones(1, 3, device=kinds.device) if look is None else look.light
    )
