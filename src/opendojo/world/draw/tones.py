"""What pixels need to know of their world: pose, dials and colours, as numbers in one table.

Kept together, the numbers are made once for all of a world's pixels, and lie in memory such that
the compiler sees which way a picture's rows run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.world.draw.look import Look
from opendojo.world.draw.paint_raster import ISLAND_BIT, STRIPE_BIT, WALK_BIT, YELLOW_BIT, Raster
from opendojo.world.draw.scene import Scene
from opendojo.world.exact import sin_cos
from opendojo.world.town.atlas import CELL_M

__all__ = ["BLACK", "Tones", "first_cell", "pose_tones", "spread", "tones_of"]

BLACK = (16.0, 128.0, 128.0)
"""Y, Cb, Cr of black: all paints are counted from it, so that light is a factor."""
_COLOURS = {
    "grass": ("grass", None, 1),
    "walk": ("sidewalk", "grass", WALK_BIT),
    "verge": ("verge", None, 1),
    "asphalt": ("asphalt", None, 1),
    "stripe": ("stripe", "asphalt", STRIPE_BIT),
    "island": ("sidewalk", "asphalt", ISLAND_BIT),
    "white": ("white", None, 1),
    "yellow": ("yellow", "white", YELLOW_BIT),
    "horizon": ("horizon", None, 1),
    "zenith": ("zenith", "horizon", 1),
    "hills": ("hills", None, 1),
}
"""Of each plane: a colour of the look, less another one, a share of it."""
_POSE = ("cos", "sin", "x0", "y0", "right", "top", "columns")
_DIALS = ("haze", "glow", "grain", "keep", "wear", "noise")

Tones = dict[str, Tensor]
"""Numbers by name, [n, 1, 1, 1]; colours with their plane, as in `grass0`. `cos`, `sin`, `x0` and
`y0`: a point (x, y) of the vehicle's frame lies in column x0 + x cos - y sin and row
y0 + x sin + y cos of the raster, in cells; `right`, `top`: just within its rim; `columns`: of a
row. `haze`: what of the contrast a metre takes; `glow`: how many times the light of day or night
the own headlamps add at their brightest; `grain`: strength of the ground's texture; `keep`, `wear`:
how much of a line is left, and how that changes with the texture; `noise`: of the sensor."""


def first_cell(scene: Scene, raster: Raster) -> Tensor:
    """`Raster.first` of each world's town, int32 [n, 1, 1, 1]."""
    return raster.first.index_select(0, scene.town).view(-1, 1, 1, 1)


def pose_tones(scene: Scene, raster: Raster) -> Tones:
    """The numbers that tell the pose."""
    return {k: v.view(-1, 1, 1, 1) for k, v in zip(_POSE, _pose(scene, raster), strict=True)}


def _pose(scene: Scene, raster: Raster) -> list[Tensor]:
    sin, cos = sin_cos(scene.yaw_rad)
    x0 = (scene.x_m - raster.x0_m.index_select(0, scene.town)) * (1.0 / CELL_M)
    y0 = (scene.y_m - raster.y0_m.index_select(0, scene.town)) * (1.0 / CELL_M)
    rows, columns = (v.index_select(0, scene.town) for v in (raster.rows, raster.columns))
    rim = 1.0 / 256.0
    return [cos * (1.0 / CELL_M), sin * (1.0 / CELL_M), x0, y0, columns - rim, rows - rim, columns]


def tones_of(scene: Scene, look: Look, raster: Raster) -> Tensor:
    """The table, float32 [n, numbers]; `spread` names them."""
    texture = (look.white[:, 0] - 16.0) * (1.3 / 200.0)
    numbers = [
        *_pose(scene, raster),
        3.0 / 8.0 / look.haze_m,
        look.night * look.lamp * 4.0,
        look.rough * look.gain * texture,
        1.0 - 0.6 * look.wear,
        look.wear * -0.12,
        look.noise,
    ]
    table = [torch.stack(numbers, 1)]
    black = torch.tensor(BLACK, device=look.gain.device)
    for name, less, share in _COLOURS.values():
        other = black if less is None else getattr(look, less)
        table.append((getattr(look, name) - other) * (look.gain[:, None] * (1.0 / share)))
    return torch.cat(table, 1)


def spread(table: Tensor) -> Tones:
    """The numbers by name, beside pixels."""
    names = [*_POSE, *_DIALS, *(f"{name}{plane}" for name in _COLOURS for plane in range(3))]
    return dict(zip(names, table[:, :, None, None, None].unbind(1), strict=True))
