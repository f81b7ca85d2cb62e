"""drive.mp4: a closed-loop drive as the cameras saw it, with plan, boxes and the view from above.

film(record(NetworkDriver(network), seed), folder / "drive.mp4")
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from opendojo.clip import Camera
from opendojo.evaluate.above import surroundings
from opendojo.evaluate.boxes import draw_road_users
from opendojo.evaluate.picture import NETWORK, Rgb, draw_path, to_rgb
from opendojo.evaluate.record import Recording
from opendojo.store.atomic import sync_file, sync_folder
from opendojo.world.mosaic import in_rows

__all__ = ["film", "film_frame", "main_camera"]

_MAIN_PX = (800, 400)
"""The picture of the main camera fits in here, at the top left."""
_ABOVE_PX, _BELOW_PX = 480, 320
"""Width of the view from above, at the top right; height of what is below both."""
_PANEL_PX = 440
_GAP_PX = 4
_GROUND = (18, 24, 32)
_INK, _SOFT, _TROUGH = (235, 240, 246), (154, 167, 184), (44, 54, 68)
_GOOD, _BAD = (0, 158, 115), (213, 94, 0)
_HOLD_S = 1.5
"""The last picture stays this long, with how the drive ended."""
_NAMES = {
    "nc": "no fault", "dac": "on road", "ddc": "direction", "tlc": "lights", "ep": "progress",
    "ttc": "distance", "lk": "lane", "hc": "comfort", "ec": "steady",
}  # fmt: skip
"""Words for the sub-scores of `windows`."""


def film(
    recording: Recording, path: Path, on_frame: Callable[[int, int], None] | None = None
) -> Path:
    """Write the drive as H.264 in MP4 (yuv420p), whole or not at all; returns `path`.

    `on_frame` hears how many frames are drawn, and of how many.
    """
    times_s = recording.trace.time_s
    rate_hz = Fraction(1.0 / float(times_s[1] - times_s[0])).limit_denominator(1000)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    steps = [*range(len(times_s)), *[len(times_s) - 1] * round(_HOLD_S * rate_hz)]
    try:
        with av.open(partial, "w", format="mp4", options={"movflags": "+faststart"}) as out:
            first = film_frame(recording, 0)
            stream = out.add_stream(
                "libx264", rate=rate_hz, options={"crf": "20", "preset": "superfast"}
            )
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = "yuv420p"
            for count, step in enumerate(steps):
                picture = av.VideoFrame.from_ndarray(film_frame(recording, step), format="rgb24")
                out.mux(stream.encode(picture))
                if on_frame is not None:
                    on_frame(count + 1, len(steps))
            out.mux(stream.encode())
        sync_file(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
    return path


def main_camera(cameras: tuple[Camera, ...]) -> int:
    """Place in the rig of the camera that best stands for a driver's view.

    The one called `front` or `front_main`, else of those that look most nearly ahead the one whose
    view is neither narrow nor wide.
    """
    names = [camera.name for camera in cameras]
    for name in ("front", "front_main"):
        if name in names:
            return names.index(name)

    def off(camera: Camera) -> tuple[float, float]:
        yaw = abs(math.remainder(camera.mount.yaw_rad, 2 * math.pi))
        return round(yaw, 2), abs(math.log(camera.width_px / camera.fx_px))

    return min(range(len(cameras)), key=lambda i: off(cameras[i]))


def film_frame(recording: Recording, step: int) -> Rgb:
    """One picture of the film, RGB uint8 [720, 1280, 3].

    The main camera with plan and boxes and the view from above; below them how the drive goes, and
    the other cameras.
    """
    width, height = _MAIN_PX[0] + _ABOVE_PX, _MAIN_PX[1] + _BELOW_PX
    canvas = Image.new("RGB", (width, height), _GROUND)
    main = main_camera(recording.cameras)
    _paste(canvas, recording, step, main, (0, 0, *_MAIN_PX))
    above = surroundings(recording, step, (_ABOVE_PX - _GAP_PX, _MAIN_PX[1]))
    canvas.paste(Image.fromarray(above), (_MAIN_PX[0] + _GAP_PX, 0))
    _panel(ImageDraw.Draw(canvas), recording, step, _MAIN_PX[1])
    order = in_rows(recording.cameras)
    rows = [[i for i in row if i != main] for row in order]
    rows = [row for row in rows if row]
    wide = width - _PANEL_PX
    for down, row in enumerate(rows):
        box_w = wide // max(map(len, rows))
        box_h = min((_BELOW_PX - _GAP_PX) // len(rows), round(box_w * _tallest(recording.cameras)))
        top = height - _BELOW_PX + (_BELOW_PX - box_h * len(rows)) // 2
        indent = _PANEL_PX + (wide - box_w * len(row)) // 2
        for across, i in enumerate(row):
            corner = (indent + across * box_w + _GAP_PX, top + down * box_h)
            box = (*corner, box_w - _GAP_PX, box_h - _GAP_PX)
            _paste(canvas, recording, step, i, box)
    return np.asarray(canvas)


def _tallest(cameras: tuple[Camera, ...]) -> float:
    """Height of a camera's picture as a share of its width."""
    return cameras[0].height_px / cameras[0].width_px


def _paste(
    canvas: Image.Image,
    recording: Recording,
    step: int,
    index: int,
    box: tuple[int, int, int, int],
) -> None:
    """What one camera saw, as large as a box (left, top, width, height) allows, with boxes around
    road users, the plan in the main camera's, and its name."""
    camera = recording.cameras[index]
    left, top, width, height = box
    scale = min(width / camera.width_px, height / camera.height_px)
    size = (round(camera.width_px * scale), round(camera.height_px * scale))
    small = Image.fromarray(to_rgb(recording.frames[step, index]))
    rgb = np.asarray(small.resize(size, Image.Resampling.BICUBIC))
    main = index == main_camera(recording.cameras)
    if main and recording.paths_m is not None:
        rgb = draw_path(rgb, camera, recording.paths_m[step], NETWORK, scale=scale)
    picture = Image.fromarray(draw_road_users(rgb, recording, step, index))
    pen = ImageDraw.Draw(picture)
    px = 17 if main else 13
    pen.text((8, 5), camera.name, _INK, _font(px), stroke_width=2, stroke_fill=_GROUND)
    canvas.paste(picture, (left + (width - size[0]) // 2, top + (height - size[1]) // 2))


def _panel(pen: ImageDraw.ImageDraw, recording: Recording, step: int, top: int) -> None:
    """Driver, speed, time and progress on the left, the last window's sub-scores on the right."""
    trace, left, right = recording.trace, 20, 206
    pen.text((left, top + 16), f"driver: {recording.driver}", _SOFT, _font(18))
    speed = f"{trace.speed_mps[step, 0]:.1f}"
    pen.text((left, top + 108), speed, _INK, _font(60), "ls")
    unit_at = left + pen.textlength(speed, _font(60)) + 8
    pen.text((unit_at, top + 108), "m/s", _SOFT, _font(22), "ls")
    done = float(np.clip(trace.progress_m[step, 0] / trace.route_m[0], 0.0, 1.0))
    pen.text((left, top + 150), f"{trace.time_s[step]:.1f} s", _INK, _font(20), "ls")
    share = f"{100 * done:.0f} % of the way"
    pen.text((right, top + 150), share, _SOFT, _font(16), "rs")
    _bar(pen, (left, top + 160, right, top + 168), done, NETWORK)
    lines = [
        f"off lane {100 * trace.off_lane[: step + 1, 0].mean():.0f} %",
        f"red lights run {int(trace.ran_red[: step + 1, 0].sum())}",
    ]
    for row, text in enumerate(lines):
        pen.text((left, top + 198 + 22 * row), text, _SOFT, _font(16), "ls")
    if step == len(trace.time_s) - 1:
        well = _INK if recording.route.success else _BAD
        pen.text((left, top + 262), recording.ending, well, _font(22), "ls")
        score = f"driving score {recording.route.score:.0f}"
        pen.text((left, top + 290), score, _INK, _font(20), "ls")
    _terms(pen, recording.last_terms(step), (226, top + 16, _PANEL_PX - 16))


def _terms(pen: ImageDraw.ImageDraw, terms: dict[str, float], box: tuple[int, int, int]) -> None:
    """The dojo score of the last four seconds, and what it is made of."""
    left, top, right = box
    pen.text((left, top), "dojo score, last 4 s", _SOFT, _font(16))
    if not terms:
        pen.text((left, top + 28), "from 4.0 s on", _SOFT, _font(16))
        return
    pen.text((left, top + 62), f"{terms['windows_score']:.2f}", _INK, _font(36), "ls")
    for row, (key, name) in enumerate(_NAMES.items()):
        down, value = top + 84 + 22 * row, terms[key]
        pen.text((left, down), name, _SOFT, _font(15), "lm")
        colour = _GOOD if value >= 0.999 else (NETWORK if key == "ep" else _BAD)
        _bar(pen, (left + 88, down - 5, right, down + 5), value, colour)


def _bar(
    pen: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    share: float,
    colour: tuple[int, int, int],
) -> None:
    """A trough, filled to a share."""
    left, top, right, base = box
    radius = (base - top) // 2
    pen.rounded_rectangle(box, radius, _TROUGH)
    if share > 0.0:
        least = 2 * radius
        end = left + least + (right - left - least) * share
        pen.rounded_rectangle((left, top, end, base), radius, colour)


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
