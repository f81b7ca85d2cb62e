"""The one dial of the network: its size. Everything else follows from it and from the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["MEMORY_STEPS", "SIZES", "SUB_SCORES", "NetConfig", "Size", "Widths"]

MEMORY_STEPS = 8
"""How many time steps, its own included, any output may depend on: a window of the loader."""

USER_TOKENS = 4
"""Scene tokens that tell of other road users by bearing, beside those of the bird's-eye places."""

SUB_SCORES = ("nc", "dac", "ddc", "tlc", "ttc", "ep", "c")
"""The world's judge on a candidate, one head each: fields of `world.judge_terms.Terms`."""

Size = Literal["nano", "tiny", "small", "base", "large"]
SIZES: tuple[Size, ...] = get_args(Size)
"""Every size, the smallest first."""

_STRIDE_PX = 16
"""One cell of the encoder's map, in pixels of the picture."""

Ring = tuple[float, int, float]
"""Distance in m, places on it, and the half angle in degrees over which they are spread."""

_SPARSE: tuple[Ring, ...] = (
    (6.0, 8, 31.0),
    (8.0, 12, 180.0),
    (12.0, 8, 31.0),
    (18.0, 12, 180.0),
    (32.0, 10, 36.0),
)
_DENSE: tuple[Ring, ...] = (
    (3.5, 8, 180.0),
    (6.0, 16, 180.0),
    (10.0, 24, 180.0),
    (16.0, 28, 180.0),
    (26.0, 28, 180.0),
    (45.0, 24, 90.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Channel counts and depths that a size stands for."""

    stem: int
    """Channels of the stem, at a quarter of the picture's side."""
    stages: tuple[int, ...]
    """Channels of each stage; the first two halve the side, later ones do not."""
    depths: tuple[int, ...]
    """Residual blocks of each stage."""
    group: int
    """Channels per group of a RegNet block's 3x3 convolution."""
    cells: tuple[int, int] | None
    """Rows and columns of image tokens a camera gives, at most; None keeps the whole map."""
    places: tuple[Ring, ...]
    """Where the bird's-eye queries stand."""
    token: int
    """Length d of a scene token."""
    heads: int
    """Attention heads; each looks at a height of its own."""
    layers: int
    """Times the queries look at the cameras."""
    attends: bool
    """Whether what is seen decides where a query looks, or geometry alone."""
    past: int
    """Channels a token leaves in the feature queue."""
    squeeze: int
    """Channels kept per token when the scene is flattened for the plan."""
    hidden: int
    """Length of the plan's hidden layers."""
    rank: int
    """Length of a candidate's learnt description."""
    levels: int
    """Curvature levels of the vocabulary on either side of straight on."""
    dense: int
    """Channels of the bird's-eye grid."""
    forecast: int
    """Channels of the forecast's flow estimator."""


_SIZES: dict[Size, Widths] = {
    "nano": Widths(
        stem=16, stages=(24, 64), depths=(1, 1), group=16, cells=(4, 8), places=_SPARSE, token=64,
        heads=4, layers=1, attends=False, past=16, squeeze=16, hidden=160, rank=32, levels=6,
        dense=16, forecast=24,
    ),
    "tiny": Widths(
        stem=24, stages=(32, 80), depths=(1, 2), group=16, cells=(4, 8), places=_SPARSE, token=128,
        heads=4, layers=1, attends=True, past=32, squeeze=32, hidden=768, rank=48, levels=7,
        dense=32, forecast=32,
    ),
    "small": Widths(
        stem=48, stages=(96, 224, 448), depths=(2, 4, 4), group=32, cells=None, places=_DENSE,
        token=256, heads=8, layers=2, attends=True, past=64, squeeze=32, hidden=768, rank=96,
        levels=9, dense=64, forecast=48,
    ),
    "base": Widths(
        stem=64, stages=(128, 384, 768), depths=(3, 6, 8), group=64, cells=None, places=_DENSE,
        token=640, heads=10, layers=6, attends=True, past=128, squeeze=48, hidden=1536, rank=192,
        levels=9, dense=128, forecast=64,
    ),
    "large": Widths(
        stem=128, stages=(256, 768, 1536), depths=(4, 10, 12), group=64, cells=None, places=_DENSE,
        token=1408, heads=16, layers=12, attends=True, past=256, squeeze=64, hidden=3072, rank=256,
        levels=9, dense=256, forecast=96,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConfig:
    """What a driving network is: its size, its pictures, what it foresees."""

    size: Size = "nano"
    """nano trains in minutes on two cores; large has some thousand million parameters."""
    encoder: str = "resnet"
    """What looks at each picture: `resnet`, `regnet`, or `timm:NAME` for a backbone of timm."""
    cameras: tuple[str, ...] = ("front", "left", "right")
    """The rig it is trained with, in order; the forecast is of the first. No weight depends on it:
    the network takes any other rig whose lenses and mounts are told."""
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
    grid_cells: int = 32
    """Rows and columns of the bird's-eye grid of occupancy, road and agents."""
    grid_x_m: tuple[float, float] = (-8.0, 56.0)
    """From where to where the grid reaches along x (forward)."""
    grid_y_m: tuple[float, float] = (-32.0, 32.0)
    """From where to where the grid reaches along y (left)."""
    imitation_weight: float = 1.0
    """What a candidate's imitation log-probability counts in the choice."""
    score_weights: tuple[float, ...] = (2.0, 2.0, 0.5, 1.0, 1.0, 1.0, 0.5)
    """What the log-probabilities of `SUB_SCORES` count in the choice."""
    blind: bool = False
    """A floor to compare with: the same plan from the speeds alone, no encoder, no forecast."""

    def __post_init__(self) -> None:
        if self.size not in _SIZES:
            raise ValueError(f"size {self.size!r}: choose one of {', '.join(_SIZES)}")
        if self.encoder not in ("resnet", "regnet") and not self.encoder.startswith("timm:"):
            raise ValueError(f"encoder {self.encoder!r}: choose resnet, regnet or timm:NAME")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"cameras {self.cameras}: name each slot of the rig once")
        for name in ("width_px", "height_px"):
            side = getattr(self, name)
            if side < 2 * _STRIDE_PX or side % _STRIDE_PX:
                raise ValueError(f"{name} {side}: use a multiple of {_STRIDE_PX} from 32 up")
            small = getattr(self, f"forecast_{name}")
            if small < 4 or small % 2 or (side // 2) % small:
                raise ValueError(f"forecast_{name} {small}: use an even divisor of {side // 2}")
        if self.path_points < 4:
            raise ValueError(f"path_points {self.path_points}: must be at least 4")
        for name in ("path_horizon_s", "forecast_steps", "grid_cells"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)}: must be above 0")
        self._check_choice()

    def _check_choice(self) -> None:
        if len(self.score_weights) != len(SUB_SCORES):
            raise ValueError(f"score_weights: give {len(SUB_SCORES)}, one for each of {SUB_SCORES}")
        if self.imitation_weight < 0 or min(self.score_weights) < 0:
            raise ValueError("imitation_weight and score_weights must not be below 0")
        for name in ("grid_x_m", "grid_y_m"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name} {low} to {high}: the first must be below the second")

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
    def cells(self) -> tuple[int, int]:
        """Rows and columns of image tokens of one camera."""
        rows, columns = self.height_px // _STRIDE_PX, self.width_px // _STRIDE_PX
        most = self.widths.cells or (rows, columns)
        return min(rows, most[0]), min(columns, most[1])

    @property
    def places(self) -> int:
        """Bird's-eye places, each with a scene token."""
        return sum(count for _, count, _ in self.widths.places)

    @property
    def tokens(self) -> int:
        """Scene tokens q of one instant: the places, then other road users by bearing; or one of a
        blind network."""
        return 1 if self.blind else self.places + USER_TOKENS
