"""A recorded drive from above: the whole route as a picture, or the surroundings of one step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from opendojo.evaluate.picture import NETWORK, SOFT, VEHICLES, Colour, Rgb
from opendojo.evaluate.record import GRASS, MAP_M_PER_PX, Recording, body_centre
from opendojo.world import VEHICLE
from opendojo.world.bird import box_corners
from opendojo.world.draw.scene import Kind

__all__ = ["route_picture", "surroundings"]

_EGO: Colour = (240, 150, 40)
_LIGHTS: tuple[Colour, ...] = ((225, 50, 45), (240, 200, 50), (50, 200, 90))
_LIGHT_M = 0.85
_LOW = 0.68
"""How far down in the view around a vehicle it stands, as a share of the height."""
_ENDED_WELL, _ENDED_BADLY = (255, 255, 255), (213, 60, 0)
_MAP_PX = (1400, 800)
"""The route's picture fills one of these sides."""
_MAP_MARGIN_M = 30.0
_FINE = 2  # drawn larger by this and reduced, for smooth edges


class _View:
    """A window onto the map of a drive, `zoom` pixels to a pixel of the map, to draw on.

    The point `centre_m` lies `low` of the way down, in the middle; the heading `up_rad` points up.
    """

    def __init__(
        self,
        recording: Recording,
        centre_m: tuple[float, float],
        size_px: tuple[int, int],
        zoom: float,
        up_rad: float = np.pi / 2,
        low: float = 0.5,
    ) -> None:
        self._recording = recording
        self._zoom = zoom * _FINE
        width, height = size_px[0] * _FINE, size_px[1] * _FINE
        self._middle = recording.ground.pixels(np.array(centre_m))
        self._anchor = np.array([width / 2, height * low])
        cos, sin = np.sin(up_rad), -np.cos(up_rad)
        self._turn = np.array([[cos, -sin], [sin, cos]])
        # from the picture back to the map, pixels' corners at whole numbers
        back = self._turn.T / self._zoom
        shift = self._middle + 0.5 - back @ self._anchor
        self.picture = Image.fromarray(recording.ground.rgb).transform(
            (width, height),
            Image.Transform.AFFINE,
            (*back[0], shift[0], *back[1], shift[1]),
            Image.Resampling.BILINEAR,
            fillcolor=GRASS,
        )
        self.pen = ImageDraw.Draw(self.picture)
        self._m_per_px = MAP_M_PER_PX / self._zoom

    def pixels(self, points_m: npt.ArrayLike) -> list[tuple[float, float]]:
        """World points [n, 2] on the picture under the pen."""
        places = self._recording.ground.pixels(np.asarray(points_m, np.float64))
        turned = (places - self._middle) @ self._turn.T * self._zoom + self._anchor
        return [tuple(p) for p in turned]

    def line(self, points_m: npt.ArrayLike, colour: Colour, width_px: float) -> None:
        """A line through world points [n, 2], in pixels of the finished picture."""
        self.pen.line(self.pixels(points_m), colour, round(width_px * _FINE), joint="curve")

    def vehicles(self, step: int) -> None:
        """The other road users and the vehicle itself, as they stood."""
        others = self._recording.traffic
        for a in np.flatnonzero(others.there[step]):
            box = (others.x_m, others.y_m, others.yaw_rad, others.length_m, others.width_m)
            corners = box_corners(*(float(column[step, a]) for column in box))
            paint = VEHICLES if others.kind[step, a] <= Kind.TRUCK else SOFT
            self.pen.polygon(self.pixels(corners), paint, (235, 235, 235), _FINE)
        place = body_centre(self._recording.trace, step)
        corners = box_corners(*place, VEHICLE.length_m, VEHICLE.width_m)
        self.pen.polygon(self.pixels(corners), _EGO, (20, 20, 20), _FINE)

    def lights(self, step: int) -> None:
        """The traffic lights, as they shone."""
        lights, radius = self._recording.lights, _LIGHT_M / self._m_per_px
        for place, shows in zip(lights.place_m, lights.shows[step], strict=True):
            u, v = self.pixels([place])[0]
            spot = (u - radius, v - radius, u + radius, v + radius)
            self.pen.ellipse(spot, _LIGHTS[shows], (20, 20, 20))

    def finished(self) -> Rgb:
        """The picture, RGB uint8 [height, width, 3]."""
        return np.array(self.picture.reduce(_FINE))


def surroundings(
    recording: Recording, step: int, size_px: tuple[int, int], metres_per_px: float = 0.14
) -> Rgb:
    """What is around the vehicle at one step, the way driven below it, its plan above."""
    x, y, yaw = body_centre(recording.trace, step)
    view = _View(recording, (x, y), size_px, MAP_M_PER_PX / metres_per_px, yaw, _LOW)
    trace = recording.trace
    if step:
        way = np.stack([trace.x_m[: step + 1, 0], trace.y_m[: step + 1, 0]], 1)
        view.line(way, _EGO, 2.5)
    if recording.paths_m is not None:
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, sin], [-sin, cos]])
        here = np.array([trace.x_m[step, 0], trace.y_m[step, 0]])
        plan = np.concatenate([np.zeros((1, 2)), recording.paths_m[step]])
        view.line(plan @ turn + here, NETWORK, 4.0)
    view.lights(step)
    view.vehicles(step)
    return view.finished()


def route_picture(recording: Recording) -> Rgb:
    """The whole route with the way driven, the traffic at the end, and where and how it ended."""
    trace, end = recording.trace, recording.trace.end(0)
    width_m, height_m, centre_m = _extent(recording)
    metres_per_px = max(width_m / _MAP_PX[0], height_m / _MAP_PX[1])
    size = (int(width_m / metres_per_px), int(height_m / metres_per_px))
    view = _View(recording, centre_m, size, MAP_M_PER_PX / metres_per_px)
    way = np.stack([trace.x_m[: end + 1, 0], trace.y_m[: end + 1, 0]], 1)
    view.line(way, (20, 20, 20), 8.0)
    view.line(way, _EGO, 5.0)
    view.lights(end)
    view.vehicles(end)
    _label(view, tuple(way[0]), "start", _ENDED_WELL)
    well = recording.route.success
    _label(view, tuple(way[-1]), recording.ending, _ENDED_WELL if well else _ENDED_BADLY)
    _scale_bar(view, size, metres_per_px)
    return view.finished()


def _extent(recording: Recording) -> tuple[float, float, tuple[float, float]]:
    """Width, height and centre, in metres, of what the route's picture shows."""
    left, low, right, high = recording.bounds_m
    size = (right - left + 2 * _MAP_MARGIN_M, high - low + 2 * _MAP_MARGIN_M)
    return *size, ((left + right) / 2.0, (low + high) / 2.0)


def _label(view: _View, place_m: tuple[float, ...], text: str, colour: Colour) -> None:
    """A dot on the road, its word above it, kept inside the picture."""
    (u, v), width = view.pixels([place_m])[0], view.picture.width
    radius, font = 9 * _FINE, ImageFont.load_default(24 * _FINE)
    view.pen.ellipse(
        (u - radius, v - radius, u + radius, v + radius), colour, (20, 20, 20), 2 * _FINE
    )
    half = view.pen.textlength(text, font) / 2
    u = min(max(u, half + 12 * _FINE), width - half - 12 * _FINE)
    v += -46 * _FINE if v > 80 * _FINE else 46 * _FINE
    view.pen.text((u, v), text, (255, 255, 255), font, "mm", stroke_width=3 * _FINE,
                  stroke_fill=(20, 20, 20))  # fmt: skip


def _scale_bar(view: _View, size_px: tuple[int, int], metres_per_px: float) -> None:
    length = 20.0 / metres_per_px * _FINE
    left, base = 24 * _FINE, (size_px[1] - 24) * _FINE
    view.pen.line([(left, base), (left + length, base)], (255, 255, 255), 4 * _FINE)
    font = ImageFont.load_default(20 * _FINE)
    view.pen.text((left + length + 10 * _FINE, base), "20 m", (255, 255, 255), font, "lm")
