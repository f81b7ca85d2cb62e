"""What a log alone says of a moment: braking, jerk, turning, time to collision.

series = log_series(log, time_s)              # {"decel_mps2": [t], ...}
ttc_s = time_to_collision(log, tracks, time_s)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opendojo.clip import Log, Track

__all__ = ["TTC_HORIZON_S", "log_series", "time_to_collision", "worst_within"]

Floats = npt.NDArray[np.float64]

TTC_HORIZON_S = 8.0
"""Times to collision beyond this are no news, and told as this."""
_FIT_S = 0.7
"""Width of the fits that differentiate a log."""
_HALF_LENGTH_M, _HALF_WIDTH_M = 2.4, 1.0
"""Half a car around the ego's middle, where nobody tells its size."""
_CENTRE_M = 1.4
"""From the rear axle to the body's middle."""
_STEP_S = 0.2


def log_series(log: Log, time_s: Floats) -> dict[str, Floats]:
    """Speed, deceleration, jerk, turn rate, lateral acceleration over rising `time_s` [t].

    Speeds come from the log's own column, else from its places; NaN where nothing is known. Slopes
    are those of straight lines fitted over 0.7 s (Savitzky and Golay 1964).
    """
    nothing = np.full(len(time_s), np.nan)
    speed = log.sample("speed_mps", time_s)
    if np.isnan(speed).all() and log.x_m is not None and log.y_m is not None and len(time_s) > 1:
        x, y = log.sample("x_m", time_s), log.sample("y_m", time_s)
        speed = np.hypot(_slope(x, time_s), _slope(y, time_s))
    accel = _slope(speed, time_s)
    yaw = log.sample("yaw_rad", time_s) if log.yaw_rad is not None else nothing
    turn = _slope(np.unwrap(yaw), time_s) if not np.isnan(yaw).any() else nothing
    return {
        "speed_mps": speed,
        "decel_mps2": -accel,
        "jerk_mps3": np.abs(_slope(accel, time_s)),
        "turn_radps": turn,
        "lateral_mps2": np.abs(turn * speed),
    }


def _slope(values: Floats, time_s: Floats) -> Floats:
    """Slopes [t] of lines fitted around each instant; one-sided at the ends."""
    count = len(time_s)
    if count < 3:
        return np.full(count, np.nan)
    step_s = max(float(np.median(np.diff(time_s))), 1e-3)
    width = min(max(3, round(_FIT_S / step_s) | 1), count if count % 2 else count - 1)
    first = np.clip(np.arange(count) - width // 2, 0, count - width)
    t = np.lib.stride_tricks.sliding_window_view(time_s, width)[first]
    v = np.lib.stride_tricks.sliding_window_view(values, width)[first]
    t = t - t.mean(1, keepdims=True)
    spread = (t * t).sum(1)
    return np.where(spread > 0, (t * v).sum(1) / np.where(spread > 0, spread, 1.0), np.nan)


def worst_within(values: Floats, time_s: Floats, from_s: Floats, until_s: Floats) -> Floats:
    """For each of n spans the largest of `values` [t] within it; NaN where none is known."""
    out = np.full(len(from_s), np.nan)
    first = np.searchsorted(time_s, from_s - 1e-6)
    last = np.searchsorted(time_s, until_s + 1e-6)
    for i, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        some = values[low:high]
        some = some[~np.isnan(some)]
        if len(some):
            out[i] = some.max()
    return out


def time_to_collision(log: Log, tracks: Sequence[Track], time_s: Floats) -> Floats:
    """Seconds [t] until the ego meets somebody, if all keep speed and heading; at most 8 s.

    The ego is a rectangle of a car's size ahead of the rear axle, others are theirs. Whoever it
    touches later than 8 s, or never, counts as 8 s; NaN where the log does not say where it is.
    """
    x, y = log.sample("x_m", time_s), log.sample("y_m", time_s)
    yaw = log.sample("yaw_rad", time_s)
    speed = log_series(log, time_s)["speed_mps"]
    known = ~np.isnan(x + y + yaw + speed)
    out = np.where(known, TTC_HORIZON_S, np.nan)
    for track in tracks:
        there = known & (time_s >= track.time_s[0] - 1e-6) & (time_s <= track.time_s[-1] + 1e-6)
        if not there.any() or len(track.time_s) < 3:
            continue
        soonest = _meeting_s(track, time_s[there], x[there], y[there], yaw[there], speed[there])
        out[there] = np.minimum(out[there], soonest)
    return out


def _meeting_s(
    track: Track, time_s: Floats, x: Floats, y: Floats, yaw: Floats, speed: Floats
) -> Floats:
    """When one road user is met from each instant, in the ego's axes; infinity for never."""
    tx, ty = np.interp(time_s, track.time_s, track.x_m), np.interp(time_s, track.time_s, track.y_m)
    vx = np.interp(time_s, track.time_s, _slope(track.x_m, track.time_s))
    vy = np.interp(time_s, track.time_s, _slope(track.y_m, track.time_s))
    heading = np.interp(time_s, track.time_s, np.unwrap(track.yaw_rad)) - yaw
    cos, sin = np.cos(yaw), np.sin(yaw)
    ahead = cos * (tx - x) + sin * (ty - y) - _CENTRE_M
    left = cos * (ty - y) - sin * (tx - x)
    closing, aside = cos * vx + sin * vy - speed, cos * vy - sin * vx
    # its rectangle, turned into the ego's axes, reaches so far along and across
    reach = 0.5 * (
        np.abs(np.cos(heading)) * track.length_m + np.abs(np.sin(heading)) * track.width_m
    )
    wide = 0.5 * (
        np.abs(np.sin(heading)) * track.length_m + np.abs(np.cos(heading)) * track.width_m
    )
    later = np.arange(0.0, TTC_HORIZON_S + 1e-6, _STEP_S)[:, None]
    # only whoever the ego runs into with its front counts: what comes from behind is not its doing
    meets = (np.abs(left + aside * later) < _HALF_WIDTH_M + wide) & (
        np.abs(ahead + closing * later) < _HALF_LENGTH_M + reach
    )
    meets &= ahead > 0.0
    return np.where(meets.any(0), later[meets.argmax(0), 0], np.inf)
