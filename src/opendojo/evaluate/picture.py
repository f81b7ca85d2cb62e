"""Pictures for people: frames to RGB, paths drawn where the camera would see them.

rgb = to_rgb(planes)                        # uint8 [6, h, w] to uint8 [2h, 2w, 3]
big = enlarge(rgb, 3)
draw_path(big, camera, path_m, NETWORK, scale=3)
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from opendojo.clip import Camera, unpack_planes

__all__ = [
    "NETWORK",
    "SOFT",
    "TRUTH",
    "VEHICLES",
    "Picture",
    "Pictures",
    "data_uri",
    "draw_path",
    "enlarge",
    "to_rgb",
]

Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

NETWORK: Colour = (86, 180, 233)
"""Sky blue of Okabe and Ito's colour-blind safe palette (2008): what the network planned."""
TRUTH: Colour = (240, 228, 66)
"""Yellow of the same palette: what was driven."""
VEHICLES: Colour = (0, 200, 145)
"""Its bluish green, lighter: other cars and trucks."""
SOFT: Colour = (230, 120, 185)
"""Its reddish purple, lighter: cyclists and people on foot."""

_NEAREST_M = 0.5
"""Points of the ground closer to the camera than this are not drawn: they project far outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture and what to say below it."""

    rgb: Rgb
    """uint8 [height, width, 3] or [height, width]."""
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What a report shows beside its figures; what is missing is left out of the page."""

    metrics: Sequence[Mapping[str, Any]] = ()
    """Rows of metrics.jsonl: see `chart.curves_svg`."""
    samples: Sequence[Picture] = ()
    """Frames with the planned and the driven path: see `gallery.sample_pictures`."""
    forecast: Sequence[Picture] = ()
    """Last frame, forecast, truth: see `gallery.forecast_pictures`."""
    bird_eye: Picture | None = None
    """A drive from above: see `gallery.bird_eye_picture`."""
    film: str | None = None
    """Name of the film in the report's folder."""


def to_rgb(planes: npt.NDArray[np.uint8]) -> Rgb:
    """Six packed planes, uint8 [6, h, w], to RGB uint8 [2h, 2w, 3]: BT.601, limited range."""
    y, u, v = unpack_planes(planes)
    luma = 1.164383 * (y.astype(np.float32) - 16.0)
    cb = np.repeat(np.repeat(u, 2, 0), 2, 1).astype(np.float32) - 128.0
    cr = np.repeat(np.repeat(v, 2, 0), 2, 1).astype(np.float32) - 128.0
    red = luma + 1.596027 * cr
    green = luma - 0.391762 * cb - 0.812968 * cr
    blue = luma + 2.017232 * cb
    return np.clip(np.rint(np.stack([red, green, blue], -1)), 0, 255).astype(np.uint8)


def enlarge(rgb: Rgb, factor: int) -> Rgb:
    """A picture [h, w, 3] or [h, w], `factor` times as large, smoothly."""
    height, width = rgb.shape[:2]
    size = (width * factor, height * factor)
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))


def draw_path(
    rgb: Rgb,
    camera: Camera,
    path_m: npt.NDArray[np.floating],
    colour: Colour,
    *,
    scale: float = 1.0,
    half_width_m: float = 0.45,
    dashed: bool = False,
) -> Rgb:
    """A copy of `rgb` with a path [p, 2] (x forward, y left, metres) laid on the road.

    `rgb` shows what `camera` sees, enlarged `scale` times. The path starts below the vehicle's
    rear axle; it is drawn as a ribbon of the given half width, flat on the ground, with holes
    where `dashed`.
    """
    base = Image.fromarray(rgb).convert("RGB")
    layer = Image.new("RGBA", base.size, (*colour, 0))
    pen = ImageDraw.Draw(layer)
    for index, quad in enumerate(_ribbon(camera, path_m, half_width_m)):
        if dashed and index // 3 % 2:
            continue
        corners = [tuple((corner + 0.5) * scale - 0.5) for corner in quad]
        pen.polygon(corners, fill=(*colour, 165))
    return np.asarray(Image.alpha_composite(base.convert("RGBA"), layer).convert("RGB"))


def _ribbon(
    camera: Camera, path_m: npt.NDArray[np.floating], half_width_m: float
) -> list[npt.NDArray[np.float64]]:
    """Quadrilaterals [4, 2] in pixels that tile a ribbon along the path, nearest first."""
    points = np.concatenate([np.zeros((1, 2)), np.asarray(path_m, np.float64)])
    arc_m = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if arc_m[-1] < 0.5:
        return []
    fine_m = np.arange(0.0, arc_m[-1], 0.5)
    centre = np.stack([np.interp(fine_m, arc_m, points[:, i]) for i in (0, 1)], 1)
    ahead = np.gradient(centre, axis=0) if len(centre) > 1 else np.array([[1.0, 0.0]])
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    side = half_width_m * np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    edges, seen = [], np.ones(len(centre), bool)
    for edge in (centre + side, centre - side):
        ground = np.concatenate([edge, np.zeros((len(edge), 1))], 1)
        depth = (ground - camera.vehicle_from_camera[:3, 3]) @ camera.vehicle_from_camera[:3, 2]
        pixels, before = camera.project(ground)
        edges.append(pixels)
        seen &= before & (depth > _NEAREST_M)
    left, right = edges
    return [
        np.stack([left[k], left[k + 1], right[k + 1], right[k]])
        for k in range(len(centre) - 1)
        if seen[k] and seen[k + 1]
    ]


def data_uri(rgb: Rgb) -> str:
    """A picture, uint8 [h, w, 3] or [h, w], as a PNG inside a `data:` address."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
