"""Ego motion from video alone: how fast, and how the car turns, with error bars; or a refusal.

Two looks at each pair of pictures. What is far (the band about the horizon) moves by the turn
alone, plus an even expansion: three numbers by Gauss-Newton on brightness (Lucas and Kanade 1981).
Then the ground, a plane whose scale the camera's height tells: the way driven is the one by which
one picture's ground, laid over the other's, agrees best (normalised correlation). Speeds are
refused where the ground shows too little: at night, behind traffic, on bare asphalt.

    motion = ego_motion(luma, time_s, camera)       # float [t, h, w], [t]
    log = motion.log()                              # with x, y, yaw: labels of origin `video`

Pinhole cameras that look ahead, with a known mount; flat ground; no slip to the side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.clip import Camera, Log

__all__ = ["Motion", "ego_motion"]

Floats = npt.NDArray[Any]

_FASTEST_MPS = 45.0
_BAND = (0.30, 0.02)
"""Share of the picture's height above and below the horizon that counts as far."""
_NEAR_M, _WIDE_M = (2.5, 16.0), 7.0
"""Ground that is compared: ahead of the axle, and to either side."""
_AGREES = 0.45
"""Correlation of two pictures of the ground under which a speed is refused."""
_TEXTURE = 1.2
"""Brightness levels by which the ground must vary."""
_STEPS = 8
_FAR_ERRS = 20.0
"""So many times its own sigma does the far band err, for what is nearer than far: found in drawn
towns."""
_MOST_POINTS = 6000
_TOGETHER, _LEAST_M = 400.0, 0.02
"""So many pixels of the ground err together, and the least sigma of a way: with these, errors in
drawn towns are about as large as their sigmas say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Motion between neighbouring pictures, t - 1 intervals; NaN where refused."""

    time_s: Floats
    """[t]: of the pictures."""
    yaw_rate_radps: Floats
    """[t - 1], positive to the left."""
    yaw_sigma_radps: Floats
    """[t - 1]: one standard deviation."""
    speed_mps: Floats
    """[t - 1]."""
    speed_sigma_mps: Floats
    """[t - 1]."""
    refused: tuple[str, ...]
    """[t - 1]: why there is no speed; empty where there is."""

    def log(self, least: float = 0.6) -> Log:
        """Speeds, yaw and places by dead reckoning, gaps up to a second filled by neighbours.

        Raises `ValueError` where less than a share of `least` of the speeds is known.
        """
        known = ~np.isnan(self.speed_mps)
        if known.mean() < least:
            why = max(set(self.refused), key=self.refused.count) or "the turn is not known"
            raise ValueError(f"speed is known for {known.mean():.0%} of the video only: {why}")
        middle_s = 0.5 * (self.time_s[1:] + self.time_s[:-1])
        speed = np.interp(middle_s, middle_s[known], _median3(self.speed_mps[known]))
        turn = _median3(np.nan_to_num(self.yaw_rate_radps))
        steps_s = np.diff(self.time_s)
        yaw = np.concatenate([[0.0], np.cumsum(turn * steps_s)])
        heading = 0.5 * (yaw[1:] + yaw[:-1])
        x = np.concatenate([[0.0], np.cumsum(speed * steps_s * np.cos(heading))])
        y = np.concatenate([[0.0], np.cumsum(speed * steps_s * np.sin(heading))])
        at_pictures = np.interp(self.time_s, middle_s, speed)
        return Log(time_s=self.time_s, x_m=x, y_m=y, yaw_rad=yaw, speed_mps=at_pictures)


def ego_motion(luma: npt.NDArray[np.floating], time_s: Floats, camera: Camera) -> Motion:
    """Motion of the car that carries `camera`, from its pictures [t, h, w] (0 to 255) at `time_s`.

    Raises `ValueError` for a camera that is no calibrated pinhole looking ahead, or fewer than two
    pictures.
    """
    if camera.lens != "pinhole" or not camera.calibrated or camera.mount.z_m <= 0.0:
        raise ValueError(f"camera {camera.name}: give a calibrated pinhole with its height")
    if abs(camera.mount.yaw_rad) > 0.5 or len(luma) < 2:
        raise ValueError(f"camera {camera.name}: give two pictures or more of one looking ahead")
    eye = _Eye(camera, luma.shape[1:])
    pictures = [_high_passed(np.asarray(picture, np.float64)) for picture in luma]
    rows: list[tuple[float, float, float, float, str]] = []
    guess, last = 0.0, 0.0
    for k in range(len(luma) - 1):
        step_s = float(time_s[k + 1] - time_s[k])
        pair = pictures[k], pictures[k + 1]
        far, far_sigma, guess = eye.turn(*pair, guess)
        told = max(
            (eye.both(*pair, first, step_s) for first in (far, last)), key=lambda one: one.agrees
        )
        # where the ground tells, it is the better witness: what is far is seldom far enough
        turn = told.turn if not told.why else far
        sigma = told.turn_sigma if not told.why else _FAR_ERRS * far_sigma
        last = turn
        rows.append((turn / step_s, sigma / step_s, told.way / step_s, told.way_sigma / step_s,
                     told.why))  # fmt: skip
    columns = list(zip(*rows, strict=True))
    numbers = [np.array(column, np.float64) for column in columns[:4]]
    return Motion(
        time_s=np.asarray(time_s, np.float64),
        yaw_rate_radps=numbers[0], yaw_sigma_radps=np.maximum(numbers[1], _scatter(numbers[0])),
        speed_mps=numbers[2], speed_sigma_mps=np.maximum(numbers[3], _scatter(numbers[2])),
        refused=tuple(columns[4]),
    )  # fmt: skip


class _Eye:
    """A camera's geometry: the far band, and the ground behind each pixel."""

    def __init__(self, camera: Camera, shape: tuple[int, ...]) -> None:
        self.camera = camera
        height, width = shape
        rotation = camera.vehicle_from_camera[:3, :3]
        ahead = rotation.T @ np.array([1.0, 0.0, 0.0])
        self.horizon = camera.fy_px * ahead[1] / ahead[2] + camera.cy_px
        self.middle = camera.fx_px * ahead[0] / ahead[2] + camera.cx_px
        top = int(np.clip(self.horizon - _BAND[0] * height, 1, height - 6))
        low = int(np.clip(self.horizon + _BAND[1] * height, top + 4, height - 2))
        v, u = np.mgrid[top:low, 2 : width - 2]
        self.far = u.ravel().astype(float), v.ravel().astype(float)
        v, u = np.mgrid[0:height, 0:width]
        rays = np.stack([(u.ravel() - camera.cx_px) / camera.fx_px,
                         (v.ravel() - camera.cy_px) / camera.fy_px, np.ones(u.size)])  # fmt: skip
        x, y, z = rotation @ rays
        down = z < -1e-3
        reach = np.where(down, camera.mount.z_m / np.where(down, -z, 1.0), np.inf)
        gx, gy = camera.mount.x_m + x * reach, camera.mount.y_m + y * reach
        near = down & (gx > _NEAR_M[0]) & (gx < _NEAR_M[1]) & (np.abs(gy) < _WIDE_M)
        chosen = np.flatnonzero(near)
        chosen = chosen[:: max(1, len(chosen) // _MOST_POINTS)]
        self.ground_px = u.ravel()[chosen].astype(float), v.ravel()[chosen].astype(float)
        self.ground_m = np.stack([gx[chosen], gy[chosen], np.zeros(len(chosen))], 1)

    def turn(self, one: Floats, other: Floats, guess_px: float) -> tuple[float, float, float]:
        """Turn to the left (rad) with its sigma, and the shift in pixels that it comes from.

        What is far moves to the right by `fx` times the turn, down by a pitch, and outwards from
        the point ahead by an expansion that stands for what is nearer.
        """
        u, v = self.far
        before = _sample(one, u, v)
        out_u, out_v = (u - self.middle) / 100.0, (v - self.horizon) / 100.0
        numbers = np.array([self._coarse(before, other, guess_px), 0.0, 0.0])
        grad_v, grad_u = np.gradient(other)
        sigma = np.inf
        for _ in range(_STEPS):
            at_u = u + numbers[0] + numbers[2] * out_u
            at_v = v + numbers[1] + numbers[2] * out_v
            inside = _inside(other, at_u, at_v)
            gap = _sample(other, at_u, at_v) - before
            scale = 1.4826 * np.median(np.abs(gap[inside])) + 1.0
            weight = inside / (1.0 + (gap / (2.0 * scale)) ** 2)
            du, dv = _sample(grad_u, at_u, at_v), _sample(grad_v, at_u, at_v)
            slopes = np.stack([du, dv, du * out_u + dv * out_v], 1)
            normal = (slopes * weight[:, None]).T @ slopes + 1e-6 * np.eye(3)
            step = np.linalg.solve(normal, (slopes * weight[:, None]).T @ gap)
            numbers -= np.clip(step, -2.0, 2.0)
            # neighbouring pixels err together: some ten of them count as one
            sigma = float(np.sqrt(10.0 * scale**2 * np.linalg.inv(normal)[0, 0]))
            if np.abs(step).max() < 1e-3:
                break
        fx = self.camera.fx_px
        return float(np.arctan(numbers[0] / fx)), sigma / fx, float(numbers[0])

    def _coarse(self, before: Floats, other: Floats, guess_px: float) -> float:
        """The whole shift about the guess that fits best."""
        u, v = self.far
        shifts = np.round(guess_px) + np.arange(-6, 7)
        gaps = [np.abs(_sample(other, u + shift, v) - before).mean() for shift in shifts]
        return float(shifts[int(np.argmin(gaps))])

    def both(self, one: Floats, other: Floats, turn: float, step_s: float) -> _Told:
        """Way and turn by the ground, from a first guess of the turn."""
        if len(self.ground_m) < 200:
            return _Told(why="the camera sees too little ground")
        before = _sample(one, *self.ground_px)
        if before.std() < _TEXTURE:
            return _Told(why="the ground shows nothing to hold on to")

        def fits(ways: Floats, turns: Floats) -> Floats:
            pairs = np.broadcast(ways, turns)
            return np.array([self._fit(before, other, t, w) for w, t in pairs])

        coarse = np.arange(0.0, _FASTEST_MPS * step_s + 0.1, 0.1)
        whole = fits(coarse, np.array(turn))
        if not np.isfinite(whole).any():
            return _Told(why="the ground leaves the picture")
        way = float(coarse[int(np.nanargmax(whole))])
        peak, bend_turn, bend_way = -1.0, 0.0, 0.0
        for reach, way_step in ((4e-3, 0.06), (1.2e-3, 0.03), (4e-4, 0.02)):
            turns = turn + reach * np.arange(-4, 5)
            turn, peak, bend_turn = _top(turns, fits(np.array(way), turns))
            ways = np.clip(way + way_step * np.arange(-4, 5), 0.0, None)
            way, peak, bend_way = _top(ways, fits(ways, np.array(turn)))
        rival = whole[np.abs(coarse - way) > 0.6]
        why = ""
        if not peak >= _AGREES:
            why = "the ground of two pictures does not agree"
        elif len(rival) and np.nanmax(rival) > peak - 0.03:
            why = "the ground repeats itself"
        if why:
            return _Told(agrees=peak, why=why)
        noise = np.sqrt(_TOGETHER * (1.0 - peak**2) / len(before))
        return _Told(
            way=way, turn=turn, agrees=peak,
            way_sigma=float(max(noise / np.sqrt(max(bend_way, 1e-3)), _LEAST_M)),
            turn_sigma=float(max(noise / np.sqrt(max(bend_turn, 1.0)), 1e-4)),
        )  # fmt: skip

    def _fit(self, before: Floats, other: Floats, turn: float, way: float) -> float:
        """Correlation of one picture's ground with the other's, moved by a way along an arc."""
        cos, sin = np.cos(turn), np.sin(turn)
        dx = self.ground_m[:, 0] - way * np.cos(0.5 * turn)
        dy = self.ground_m[:, 1] - way * np.sin(0.5 * turn)
        moved = np.stack([cos * dx + sin * dy, cos * dy - sin * dx, self.ground_m[:, 2]], 1)
        points, seen = self.camera.project(moved)
        u, v = np.nan_to_num(points, nan=-1e6).T
        inside = _inside(other, u, v) & seen
        if inside.sum() < 0.25 * len(before):
            return np.nan
        a, b = before[inside], _sample(other, u[inside], v[inside])
        a, b = a - a.mean(), b - b.mean()
        norm = np.sqrt((a * a).sum() * (b * b).sum())
        return float((a * b).sum() / norm) if norm > 1e-9 else np.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the ground of two pictures tells."""

    way: float = np.nan
    turn: float = np.nan
    way_sigma: float = np.nan
    turn_sigma: float = np.nan
    agrees: float = -1.0
    """The best correlation."""
    why: str = ""
    """Why it tells nothing."""


def _top(places: Floats, values: Floats) -> tuple[float, float, float]:
    """The top of a curve over even places, its value, and how sharply it bends there."""
    known = np.where(np.isfinite(values), values, -1.0)
    k = int(known.argmax())
    top = float(places[k])
    if not 0 < k < len(places) - 1 or known[k - 1 : k + 2].min() <= -1.0:
        return top, float(known[k]), 0.0
    step = float(places[k + 1] - places[k])
    bend = float(2.0 * known[k] - known[k - 1] - known[k + 1])
    if bend > 1e-9 and step > 0:
        top += step * 0.5 * float(known[k + 1] - known[k - 1]) / bend
    return top, float(known[k]), bend / step**2 if step > 0 else 0.0


def _inside(picture: Floats, u: Floats, v: Floats) -> npt.NDArray[np.bool_]:
    height, width = picture.shape
    return (u >= 0) & (v >= 0) & (u <= width - 1) & (v <= height - 1)


def _sample(picture: Floats, u: Floats, v: Floats) -> Floats:
    """Bilinear values; beyond the rim those of the rim."""
    height, width = picture.shape
    u, v = np.clip(u, 0.0, width - 1.001), np.clip(v, 0.0, height - 1.001)
    left, top = u.astype(np.int64), v.astype(np.int64)
    fu, fv = u - left, v - top
    upper = picture[top, left] * (1 - fu) + picture[top, left + 1] * fu
    lower = picture[top + 1, left] * (1 - fu) + picture[top + 1, left + 1] * fu
    return upper * (1 - fv) + lower * fv


def _high_passed(picture: Floats) -> Floats:
    """Less its mean over some 15 pixels: exposure and shade move, edges stay."""
    return _blurred(picture, 1) - _blurred(picture, 7)


def _blurred(picture: Floats, reach: int) -> Floats:
    """Mean over a square, by running sums."""
    size = 2 * reach + 1
    padded = np.pad(picture, reach, mode="edge")
    for axis in (0, 1):
        sums = np.cumsum(padded, axis)
        sums = np.insert(sums, 0, 0.0, axis)
        padded = (np.take(sums, range(size, sums.shape[axis]), axis)
                  - np.take(sums, range(sums.shape[axis] - size), axis)) / size  # fmt: skip
    return padded


def _scatter(values: Floats) -> float:
    """How much neighbours scatter about a straight line: no car changes as fast as errors do.

    The robust deviation of second differences over the square root of 6, which is theirs where
    errors are independent; 0 for too few.
    """
    bends = np.diff(values, 2)
    bends = bends[~np.isnan(bends)]
    return float(1.4826 * np.median(np.abs(bends)) / 6.0**0.5) if len(bends) >= 4 else 0.0


def _median3(values: Floats) -> Floats:
    if len(values) < 3:
        return values
    padded = np.pad(values, 1, mode="edge")
    return np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), 0)
