"""Can it run Crysis, at 1e9 frames/s: the arithmetic of many independent screens.

Modelled: the work of a pixel follows from a measured rate of frames on a card and the card's rated
fp32, and a chip is taken to spend its own rated fp32 as well. It is throughput over many games at
once: in 1 ns light goes 30 cm, so no single game can show 1e9 frames/s to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opendojo.machine.chips import find_chip
from opendojo.machine.power import PUE_DEFAULT

__all__ = ["GAMES", "Game", "Machines", "Render", "render"]

_UHD = 3840 * 2160
_NO_TEXTURE_UNITS = {"Tesla D1", "Tesla D1 training tile"}
_CORE_FRAMES_PER_S = 120.0


@dataclass(frozen=True, slots=True)
class Game:
    """One measured rate of frames."""

    name: str
    card: str
    frames_per_s: float
    watts: float
    source: str

    def flops_per_pixel(self) -> float:
        """Rated fp32 of the card over the pixels it showed."""
        return find_chip(self.card).rate("fp32").value / (self.frames_per_s * _UHD)


GAMES = {
    "2007": Game("Crysis, 2007, very high", "GTX 1080 Ti", 80.0, 250.0,
                 "Tom's Hardware Italy, ten years of Crysis: 4K on a GTX 1080 Ti, about 80"),
    "remastered": Game("Crysis Remastered, 2020, 'Can it run Crysis?'", "RTX 3080", 37.46, 319.0,
                       "PC Gamer: 4K on an RTX 3080, 37.46 frames/s at 319 W"),
}  # fmt: skip

OWN_FLOPS_PER_PIXEL = 189.867
OWN_PIXELS_PER_S = 1973.31 * 128 * 64
"""This project's renderer as measured: benchmarks/results/world_2core-*.json, compiled,
on two cores of an Intel Xeon, pictures of 128 x 64 with their labels."""


@dataclass(frozen=True, slots=True)
class Machines:
    """How many of one chip it takes; low and high hold the same for the whole line."""

    chip: str
    count: float
    low: float
    high: float
    megawatts: float
    megawatts_high: float
    note: str


@dataclass(frozen=True, slots=True)
class Render:
    """The answer."""

    game: str
    source: str
    width_px: int
    height_px: int
    frames_per_s: float
    frame_bytes: int
    bytes_per_s: float
    flops_per_pixel: float
    flops_per_s: float
    game_logic_cores: float
    own_flops_per_s: float
    own_two_core_machines: float
    machines: tuple[Machines, ...]


def render(
    width_px: int,
    height_px: int,
    frames_per_s: float,
    *,
    game: str = "2007",
    chips: Sequence[str] = ("GTX 1080 Ti", "RTX 4090", "H100", "B200", "D1", "dojo1", "dojo2"),
) -> Render:
    """Bytes, arithmetic, chips and watts. Raises `ValueError` for a size or rate not above 0."""
    if min(width_px, height_px) < 1 or frames_per_s <= 0:
        raise ValueError("width, height and frames/s must be above 0")
    if game not in GAMES:
        raise ValueError(f"game {game!r} is none of {', '.join(GAMES)}")
    chosen = GAMES[game]
    pixels = width_px * height_px
    flops_per_s = chosen.flops_per_pixel() * pixels * frames_per_s
    return Render(
        game=chosen.name,
        source=chosen.source,
        width_px=width_px,
        height_px=height_px,
        frames_per_s=frames_per_s,
        frame_bytes=3 * pixels,
        bytes_per_s=3 * pixels * frames_per_s,
        flops_per_pixel=chosen.flops_per_pixel(),
        flops_per_s=flops_per_s,
        game_logic_cores=frames_per_s / _CORE_FRAMES_PER_S,
        own_flops_per_s=OWN_FLOPS_PER_PIXEL * pixels * frames_per_s,
        own_two_core_machines=pixels * frames_per_s / OWN_PIXELS_PER_S,
        machines=tuple(_machines(name, flops_per_s) for name in chips),
    )


def _machines(name: str, flops_per_s: float) -> Machines:
    chip = find_chip(name)
    rate, tdp = chip.rate("fp32"), chip.tdp_w
    # Other cards reach 0.5 to 1.5 of what rated fp32 says about this game; without texture units
    # and a rasteriser the same picture is thought to take 3 to 10 times the arithmetic.
    bare = chip.name in _NO_TEXTURE_UNITS or chip.name.startswith("Tesla Dojo")
    least, most = (3.0, 10.0) if bare else (0.67, 2.0)
    middle = (least * most) ** 0.5 if bare else 1.0
    count = flops_per_s * middle / rate.value
    high = flops_per_s * most / rate.low
    return Machines(
        chip=chip.name,
        count=count,
        low=flops_per_s * least / rate.high,
        high=high,
        megawatts=count * tdp.value * PUE_DEFAULT / 1e6,
        megawatts_high=high * tdp.high * PUE_DEFAULT / 1e6,
        note="no texture units: 3 to 10 times the arithmetic (assumed)" if bare else "",
    )
