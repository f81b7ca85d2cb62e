"""All that a world shows, in one picture for people: every camera, labels, the view from above.

rgb = mosaic(world, 0, [("picture", rgb_of(world.render()[0])), *label_rows(world, 0)])
Image.fromarray(rgb).save("world.png")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from opendojo.clip import Camera
from opendojo.world.draw.labels import flow
from opendojo.world.draw.look import Weather
from opendojo.world.draw.optics import Optics
from opendojo.world.draw.scene import Kind, Labels, Scene
from opendojo.world.rig import perturbed

if TYPE_CHECKING:
    from opendojo.world.world import World

__all__ = [
    "CLASS_COLOURS",
    "LABELS",
    "in_rows",
    "label_rows",
    "mosaic",
    "optics_of",
    "rgb_of",
    "title_of",
]  # fmt: skip

Rgb = npt.NDArray[np.uint8]
Row = tuple[str, Rgb]
"""A name and pictures [c, h, w, 3], one a camera."""

LABELS = ("class", "depth", "instance", "flow")
"""What `label_rows` can show."""

CLASS_COLOURS: dict[Kind, tuple[int, int, int]] = {
    Kind.SKY: (150, 190, 225), Kind.GRASS: (110, 150, 80), Kind.ROAD: (90, 92, 98),
    Kind.LINE: (245, 245, 240), Kind.SIDEWALK: (175, 170, 160), Kind.BUILDING: (190, 150, 110),
    Kind.TREE: (45, 100, 50), Kind.POLE: (60, 60, 64), Kind.SIGNAL: (240, 200, 40),
    Kind.CAR: (40, 100, 190), Kind.TRUCK: (20, 50, 120), Kind.CYCLIST: (170, 60, 160),
    Kind.PEDESTRIAN: (215, 50, 50),
}  # fmt: skip

_BACK, _INK, _EDGE = (18, 24, 32), (235, 240, 246), (18, 24, 32)
_TILE_PX = {1: 640, 2: 448, 3: 384}
"""Width of a camera's picture, by how many stand in the widest row."""
_MANY_PX, _GAP_PX, _TITLE_PX = 320, 4, 34
_NEAR_M, _FAR_M = 2.0, 120.0
"""Depths shown bright and dark; the scale is logarithmic."""


def rgb_of(pictures: Tensor) -> Rgb:
    """Planar YUV 4:2:0 uint8 [..., 3 h / 2, w] to RGB uint8 [..., h, w, 3]: BT.601, limited."""
    planes = pictures.cpu().numpy()
    *lead, rows, w = planes.shape
    h = rows * 2 // 3
    luma = 1.164383 * (planes[..., :h, :].astype(np.float32) - 16.0)
    chroma = planes[..., h:, :].reshape(*lead, 2, h // 2, w // 2).astype(np.float32) - 128.0
    cb, cr = np.moveaxis(np.repeat(np.repeat(chroma, 2, -2), 2, -1), -3, 0)
    red = luma + 1.596027 * cr
    green = luma - 0.391762 * cb - 0.812968 * cr
    blue = luma + 2.017232 * cb
    return np.clip(np.rint(np.stack([red, green, blue], -1)), 0, 255).astype(np.uint8)


def optics_of(world: World, index: int) -> Optics:
    """Projection by one world's cameras, with the errors of its rig."""
    config = world.config
    rig = config.cameras
    if config.rig_error:
        e, seed = config.rig_error, world.seeds[index : index + 1]
        rig = perturbed(rig, seed, angle_deg=2.0 * e, shift_m=0.05 * e, focal=0.02 * e)[0]
    return Optics(rig, torch.device("cpu"))


def label_rows(
    world: World, index: int, names: Sequence[str] = LABELS, after: Scene | None = None
) -> list[Row]:
    """Labels of what one world's cameras see now, as rows for `mosaic`.

    Args:
        world: The batch.
        index: Which world of it.
        names: Some of `LABELS`.
        after: The batch's scene an instant later: `flow` needs it, and is left out without.
    """
    truth = world.labels()
    one = Labels(**{k: getattr(truth, k)[index : index + 1].cpu() for k in Labels.__slots__})
    rows: list[Row] = []
    for name in names:
        if name == "class":
            rows.append((name, _of_class(one.kind[0].numpy())))
        elif name == "depth":
            rows.append((name, _of_depth(one.depth_m[0].numpy())))
        elif name == "instance":
            rows.append((name, _of_instance(one.instance[0].numpy())))
        elif name == "flow" and after is not None:
            scenes = (_only(world.scene, index), _only(after, index))
            moved = flow(*scenes, one, optics_of(world, index))
            rows.append((name, _of_flow(moved[0].numpy())))
    return rows


def _only(scene: Scene, index: int) -> Scene:
    """One world's scene."""

    def cut(struct: object) -> dict[str, Tensor]:
        names = type(struct).__slots__  # type: ignore[attr-defined]
        values = {name: getattr(struct, name) for name in names}
        return {k: v[index : index + 1].cpu() for k, v in values.items() if isinstance(v, Tensor)}

    boxes = type(scene.boxes)(**cut(scene.boxes))
    return Scene(boxes=boxes, **cut(scene))


def _of_class(kind: npt.NDArray[np.uint8]) -> Rgb:
    table = np.zeros((256, 3), np.uint8)
    for which, colour in CLASS_COLOURS.items():
        table[which] = colour
    return table[kind]


def _of_depth(depth_m: npt.NDArray[np.float32]) -> Rgb:
    """Near is bright yellow, far is dark blue, the sky black (as matplotlib's cividis)."""
    span = math.log(_FAR_M / _NEAR_M)
    far = np.clip(np.log(np.clip(depth_m, _NEAR_M, _FAR_M) / _NEAR_M) / span, 0.0, 1.0)[..., None]
    stops = np.array([(255, 233, 70), (124, 123, 120), (0, 34, 78)], np.float64)
    shade = np.where(
        far < 0.5,
        stops[0] + (stops[1] - stops[0]) * 2.0 * far,
        stops[1] + (stops[2] - stops[1]) * (2.0 * far - 1.0),
    )
    return np.where(np.isinf(depth_m)[..., None], 0, shade).astype(np.uint8)


def _of_instance(instance: npt.NDArray[np.int16]) -> Rgb:
    """A colour a box; ground and sky black."""
    index = np.arange(1, 1 << 10)
    hue = (index * 0.618034) % 1.0  # steps of the golden ratio lie far apart
    wheel = np.stack([np.cos(2 * np.pi * (hue - k / 3.0)) for k in range(3)], 1)
    table = np.concatenate([np.zeros((1, 3)), 140.0 + 95.0 * wheel]).astype(np.uint8)
    return table[instance.astype(np.int64) + 1]


def _of_flow(moved_px: npt.NDArray[np.float32]) -> Rgb:
    """Direction as colour, length as strength (full from the 95th percentile); unknown is black."""
    right, down = np.moveaxis(moved_px, 1, 0)
    length = np.hypot(right, down)
    known = np.isfinite(length)
    full = max(float(np.percentile(length[known], 95)) if known.any() else 1.0, 0.5)
    strength = np.clip(np.where(known, length, 0.0) / full, 0.0, 1.0)
    turn = np.where(known, np.arctan2(down, right), 0.0)
    wheel = np.stack([0.5 + 0.5 * np.cos(turn - 2 * np.pi * k / 3.0) for k in range(3)], -1)
    shade = 255.0 * (1.0 - strength[..., None] * (1.0 - wheel))
    return np.where(known[..., None], shade, 0).astype(np.uint8)


def in_rows(cameras: Sequence[Camera]) -> list[list[int]]:
    """Places in the rig, as people look at them: those looking ahead from left to right, then, for
    more than three cameras, those looking back, left ones left."""
    yaw = [math.remainder(camera.mount.yaw_rad, 2 * math.pi) for camera in cameras]
    order = sorted(range(len(cameras)), key=lambda i: (-round(yaw[i], 3), i))
    if len(cameras) <= 3:
        return [order]
    ahead = [i for i in order if abs(yaw[i]) <= math.pi / 2 + 1e-6]
    back = [i for i in range(len(cameras)) if i not in ahead]
    back.sort(key=lambda i: yaw[i] % (2 * math.pi))
    return [row for row in (ahead, back) if row]


def mosaic(world: World, index: int, rows: Sequence[Row], *, tile_px: int | None = None) -> Rgb:
    """Rows of the cameras' pictures with the view from above to the right: uint8 [h, w, 3].

    Args:
        world: The batch, for the view from above and the title.
        index: Which world of it.
        rows: Names and pictures [c, h, w, 3]; those of labels are enlarged without smoothing.
        tile_px: Width of one camera's picture; by their number where not given.
    """
    cameras = world.config.cameras
    order = in_rows(cameras)
    widest = max(map(len, order))
    tile = tile_px or _TILE_PX.get(widest, _MANY_PX)
    blocks = [_block(name, pictures, cameras, order, tile) for name, pictures in rows]
    left = np.concatenate(blocks, 0)
    side = min(max(left.shape[0] // 2 * 2, 320), 720)
    above = world.bird_eye(index, side, side, metres_per_px=88.0 / side).rgb
    height = max(left.shape[0], side)
    canvas = Image.new("RGB", (left.shape[1] + _GAP_PX + side, _TITLE_PX + height), _BACK)
    canvas.paste(Image.fromarray(left), (0, _TITLE_PX))
    canvas.paste(Image.fromarray(above), (left.shape[1] + _GAP_PX, _TITLE_PX))
    pen = ImageDraw.Draw(canvas)
    pen.text((10, _TITLE_PX // 2), title_of(world, index), _INK, _font(18), "lm")
    spot = (left.shape[1] + _GAP_PX + 10, _TITLE_PX + 8)
    pen.text(spot, "from above, 88 m", _INK, _font(15), stroke_width=2, stroke_fill=_EDGE)
    return np.asarray(canvas)


def title_of(world: World, index: int) -> str:
    """Which world it is and how late it is there, in one line."""
    config, town = world.config, world.towns.towns[int(world.town[index])]
    weather = Weather(int(world.look.weather[index])).name.lower()
    parts = (
        f"seed {world.seeds[index]}", town.name, f"{config.preset}, {weather}",
        f"{float(world.time_s[index]):.1f} s", f"{float(world.speed_mps[index]):.1f} m/s",
    )  # fmt: skip
    return "    ".join(parts)


def _block(
    name: str, pictures: Rgb, cameras: Sequence[Camera], order: list[list[int]], tile_px: int
) -> Rgb:
    """The pictures of all cameras, in rows, each with its name."""
    labelled = name in LABELS
    height = round(tile_px * pictures.shape[1] / pictures.shape[2])
    how = Image.Resampling.NEAREST if labelled else Image.Resampling.BICUBIC
    wide = max(map(len, order)) * (tile_px + _GAP_PX) - _GAP_PX
    canvas = Image.new("RGB", (wide, len(order) * (height + _GAP_PX)), _BACK)
    pen = ImageDraw.Draw(canvas)
    for down, row in enumerate(order):
        indent = (wide - len(row) * (tile_px + _GAP_PX) + _GAP_PX) // 2
        for across, i in enumerate(row):
            at = (indent + across * (tile_px + _GAP_PX), down * (height + _GAP_PX))
            canvas.paste(Image.fromarray(pictures[i]).resize((tile_px, height), how), at)
            text = f"{cameras[i].name}, {name}" if labelled else cameras[i].name
            spot = (at[0] + 8, at[1] + 5)
            pen.text(spot, text, _INK, _font(15), stroke_width=2, stroke_fill=_EDGE)
    return np.asarray(canvas)


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
