"""drive.mp4: a closed-loop drive as the cameras saw it, with the plan and the view from above.

film(record(NetworkDriver(network), seed), folder / "drive.mp4")
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from opendojo.evaluate.above import surroundings
from opendojo.evaluate.picture import NETWORK, Rgb, draw_path, enlarge, to_rgb
from opendojo.evaluate.record import Recording
from opendojo.store.atomic import sync_file, sync_folder

__all__ = ["film", "film_frame"]

_ORDER = ("left", "front", "right")
_WIDTH_PX = 1152
_PANEL_PX = 320
_BELOW_PX = 288
_GROUND = (18, 24, 32)
_INK, _SOFT = (235, 240, 246), (154, 167, 184)
_HOLD_S = 1.5
"""The last picture stays this long, with how the drive ended."""


def film(recording: Recording, path: Path) -> Path:
    """Write the drive as H.264 in MP4 (yuv420p), whole or not at all; returns `path`."""
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
            for step in steps:
                picture = av.VideoFrame.from_ndarray(film_frame(recording, step), format="rgb24")
                out.mux(stream.encode(picture))
            out.mux(stream.encode())
        sync_file(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
    return path


def film_frame(recording: Recording, step: int) -> Rgb:
    """One picture of the film: cameras above, speed and surroundings below."""
    names = [camera.name for camera in recording.cameras]
    shown = [name for name in _ORDER if name in names] or names[:3]
    scale = max(1, _WIDTH_PX // (len(shown) * recording.cameras[0].width_px))
    views = [_view(recording, step, names.index(name), scale) for name in shown]
    row = np.concatenate(views, 1)
    inset = surroundings(recording, step, (_WIDTH_PX - _PANEL_PX, _BELOW_PX))
    height = row.shape[0] + _BELOW_PX
    canvas = Image.new("RGB", (_WIDTH_PX, height + height % 2), _GROUND)
    canvas.paste(Image.fromarray(row), ((_WIDTH_PX - row.shape[1]) // 2, 0))
    canvas.paste(Image.fromarray(inset), (_PANEL_PX, row.shape[0]))
    _panel(ImageDraw.Draw(canvas), recording, step, row.shape[0])
    return np.asarray(canvas)


def _view(recording: Recording, step: int, index: int, scale: int) -> Rgb:
    """What one camera saw, enlarged, with its name and, in front, the plan."""
    camera = recording.cameras[index]
    rgb = enlarge(to_rgb(recording.frames[step, index]), scale)
    if camera.name == "front" and recording.paths_m is not None:
        rgb = draw_path(rgb, camera, recording.paths_m[step], NETWORK, scale=scale)
    picture = Image.fromarray(rgb)
    pen = ImageDraw.Draw(picture)
    pen.text((12, 8), camera.name, _INK, _font(17), stroke_width=2, stroke_fill=_GROUND)
    pen.line([(0, 0), (0, rgb.shape[0])], _GROUND, 3)
    return np.asarray(picture)


def _panel(pen: ImageDraw.ImageDraw, recording: Recording, step: int, top: int) -> None:
    """Driver, speed, time and progress, below the cameras on the left."""
    trace, route = recording.trace, recording.route
    left, right = 28, _PANEL_PX - 28
    pen.text((left, top + 20), f"driver: {recording.driver}", _SOFT, _font(20))
    speed = f"{trace.speed_mps[step, 0]:.1f}"
    pen.text((left, top + 128), speed, _INK, _font(72), "ls")
    unit_at = left + pen.textlength(speed, _font(72)) + 12
    pen.text((unit_at, top + 128), "m/s", _SOFT, _font(26), "ls")
    done = float(np.clip(trace.progress_m[step, 0] / trace.route_m[0], 0.0, 1.0))
    pen.text((left, top + 178), f"{trace.time_s[step]:.1f} s", _INK, _font(24), "ls")
    pen.text((right, top + 178), f"{100 * done:.0f} % of the route", _SOFT, _font(22), "rs")
    bar = (left, top + 192, right, top + 202)
    pen.rounded_rectangle(bar, 5, (44, 54, 68))
    pen.rounded_rectangle((*bar[:2], left + 10 + (right - left - 10) * done, bar[3]), 5, NETWORK)
    if step == len(trace.time_s) - 1:
        text = f"{recording.ending}, score {route.score:.0f}"
        pen.text((left, top + 250), text, _INK, _font(26), "ls")


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
