"""The one dial of the network: its size. Everything else follows from it and from the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["MEMORY_STEPS", "NetConfig", "Widths"]

MEMORY_STEPS = 8
"""How many time steps, its own included, any output may depend on: a window of the loader."""

_STRIDE_PX = 16
"""One cell of the last feature map, in pixels of the picture."""
_GRID = (4, 8)
"""Rows and columns of features the fusion reads, at most: near and far, left and right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Channel counts and depths that a size stands for."""

    stem: int
    """Channels of the stem, at a quarter of the picture's side."""
    stages: tuple[int, ...]
    """Channels of each stage; each halves the side."""
    depths: tuple[int, ...]
    """Residual blocks of each stage."""
    squeeze: int
    """Channels kept per cell of the grid when it is flattened."""
    features: int
    """Length of the fused features of one time step."""
    hidden: int
    """Length of the recurrent state, and of the path head's hidden layer."""
    forecast: int
    """Channels of the forecast's flow estimator."""


_SIZES: dict[str, Widths] = {
    "nano": Widths(
        stem=16,
        stages=(32, 96),
        depths=(1, 1),
        squeeze=8,
        features=128,
        hidden=128,
        forecast=24,
    ),
    "tiny": Widths(
        stem=32,
        stages=(64, 144),
        depths=(2, 3),
        squeeze=16,
        features=256,
        hidden=256,
        forecast=32,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConfig:
    """What a driving network is: its size, its rig, what it foresees."""

    size: Literal["nano", "tiny"] = "nano"
    """nano trains in minutes on two cores; tiny has some five times its parameters."""
    cameras: tuple[str, ...] = ("front", "left", "right")
    """The rig's slots in order; the forecast is of the first."""
    width_px: int = 128
    """Width of every camera's picture."""
    height_px: int = 64
    """Height of every camera's picture."""
    path_points: int = 16
    """Points of the planned path, evenly spaced in time."""
    path_horizon_s: float = 4.0
    """Time of the last point."""
    forecast_steps: int = 4
    """How many frames ahead the forecast is: 4 are 0.4 s at 10 Hz."""
    forecast_width_px: int = 32
    """Width of the forecast picture."""
    forecast_height_px: int = 16
    """Height of the forecast picture."""
    blind: bool = False
    """A floor to compare with: the same heads on the speed alone, no encoder, no forecast."""

    def __post_init__(self) -> None:
        if self.size not in _SIZES:
            raise ValueError(f"size {self.size!r}: choose one of {', '.join(_SIZES)}")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"cameras {self.cameras}: name each slot of the rig once")
        for name in ("width_px", "height_px"):
            side = getattr(self, name)
            if side < 2 * _STRIDE_PX or side % _STRIDE_PX:
                raise ValueError(f"{name} {side}: use a multiple of {_STRIDE_PX} from 32 up")
            small = getattr(self, f"forecast_{name}")
            if small < 4 or small % 2 or (side // 2) % small:
                raise ValueError(f"forecast_{name} {small}: use an even divisor of {side // 2}")
        for name in ("path_points", "path_horizon_s", "forecast_steps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)}: must be above 0")

    @property
    def widths(self) -> Widths:
        """The channel counts this size stands for."""
        return _SIZES[self.size]

    @property
    def path_times_s(self) -> tuple[float, ...]:
        """Times of the path's points after the frame: `horizon / points`, ..., `horizon`."""
        step_s = self.path_horizon_s / self.path_points
        return tuple(step_s * (i + 1) for i in range(self.path_points))

    @property
    def pool(self) -> tuple[int, int]:
        """Cells of the last feature map (rows, columns) averaged into one cell of the grid."""
        rows, columns = self.height_px // _STRIDE_PX, self.width_px // _STRIDE_PX
        return max(1, rows // _GRID[0]), max(1, columns // _GRID[1])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of features that the fusion over cameras reads."""
        down, across = self.pool
        return self.height_px // _STRIDE_PX // down, self.width_px // _STRIDE_PX // across

    @property
    def features(self) -> int:
        """Length d of what `encode` returns; 0 for a blind network."""
        return 0 if self.blind else self.widths.features

    @property
    def memory(self) -> int:
        """Length m of what `recall` returns: recurrent state, features, speed, whether known."""
        return self.widths.hidden + self.features + 2
