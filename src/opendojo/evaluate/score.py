"""What a driven route is worth: completion, infractions, comfort, the driving score.

The driving score is OpenDojo's own, on roads OpenDojo draws. It takes over three rules of
Bench2Drive (a collision keeps 0.6, each red light run 0.7; the off-lane share is subtracted), but
it is not CARLA's driving score and cannot be compared with one.

    score = 100 x completion x (0.6 if it ended in a collision) x 0.7^(red lights run)
                x (1 - off-lane share)

Driving against the traffic is driving off the route's lanes: it pays by the off-lane share, and by
DDC in the windows (see `windows`). A collision ends the route and pays whoever was at fault, as in
Bench2Drive; NC in the windows asks for fault.
Leaving the road ends the route, so it pays by the completion it misses; no further factor.
Metres rolled while braking count as completion: a driver that only stops scores about 4. Creeping
pays by the metre until the time limit, no more: at 0.5 m/s along the lane it comes to 14, and
without looking it gets no further than constant velocity, the floor beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "COLLISION_FACTOR",
    "RED_LIGHT_FACTOR",
    "Route",
    "Trace",
    "comfort_share",
    "slopes",
    "worth",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

COLLISION_FACTOR = 0.6
"""What a collision leaves of the score: Bench2Drive's penalty for meeting a vehicle."""
RED_LIGHT_FACTOR = 0.7
"""What each red light that is run leaves of it: Bench2Drive's penalty."""

LON_ACCEL_MPS2 = (-4.05, 2.40)
LAT_ACCEL_MPS2 = 4.89
JERK_MPS3 = 8.37
LON_JERK_MPS3 = 4.13
YAW_RATE_RADPS = 0.95
YAW_ACCEL_RADPS2 = 1.93
"""Comfort limits of NAVSIM's scorer (and of nuPlan's before it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """n drives, step by step: float64 or bool [steps, n]; the first row is the start."""

    time_s: Floats
    """[steps]."""
    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    speed_mps: Floats
    progress_m: Floats
    off_road: Flags
    collided: Flags
    off_lane: Flags
    ran_red: Flags
    """The front bumper came over a stop line since the row before, and its light is red."""
    impact_mps: Floats
    """Speed relative to the road user that is touched; 0 where none is."""
    route_m: Floats
    """Length of each route, [n]."""

    def end(self, i: int) -> int:
        """The row at which drive i ended: off-road, collision, completion, or the last row."""
        done = self.off_road[:, i] | self.collided[:, i] | self.completed(i)
        return int(done.argmax()) if done.any() else len(self.time_s) - 1

    def completion(self, i: int) -> float:
        """Share of the route driven at the end of drive i, 0 to 1."""
        return float(np.clip(self.progress_m[self.end(i), i] / self.route_m[i], 0.0, 1.0))

    def completed(self, i: int) -> Flags:
        """Whether drive i had reached the end of its route, [steps]."""
        return self.progress_m[:, i] >= self.route_m[i]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One drive, scored."""

    seed: int
    """The road."""
    score: float
    """Driving score, 0 to 100."""
    success: bool
    """Completed, never off the road, no collision, no red light run."""
    completion: float
    """Share of the route driven, 0 to 1."""
    off_road: bool
    """Ended by leaving the road."""
    collided: bool
    """Ended by a collision, whoever was at fault."""
    impact_mps: float
    """Relative speed at that collision; 0 without one."""
    red_lights: int
    """Red lights run."""
    off_lane_share: float
    """Share of the driven time spent out of the lane."""
    comfort: float
    """Share of the driven time within the comfort limits: see `comfort_share`."""
    mean_speed_mps: float
    """Over the driven time."""
    seconds: float
    """Driven time."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """Sub-scores, means over the drive's rolling windows (see `windows`), and `score`, the dojo
    score times the share completed; empty for drives of less than one window."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def worth(trace: Trace, i: int, seed: int, terms: Mapping[str, float] | None = None) -> Route:
    """Score drive i of a trace up to where it ended.

    `terms` are the means over its windows, from `windows.driven_terms`; their `score` is added.
    """
    end = trace.end(i)
    driven = slice(0, end + 1)
    completion = trace.completion(i)
    off_road, collided = bool(trace.off_road[end, i]), bool(trace.collided[end, i])
    off_lane = float(trace.off_lane[driven, i].mean())
    red_lights = int(trace.ran_red[driven, i].sum())
    kept = (COLLISION_FACTOR if collided else 1.0) * RED_LIGHT_FACTOR**red_lights
    seconds = float(trace.time_s[end] - trace.time_s[0])
    return Route(
        seed=seed,
        score=100.0 * completion * kept * (1.0 - off_lane),
        success=bool(trace.completed(i)[end]) and not (off_road or collided or red_lights),
        completion=completion,
        off_road=off_road,
        collided=collided,
        impact_mps=float(trace.impact_mps[end, i]) if collided else 0.0,
        red_lights=red_lights,
        off_lane_share=off_lane,
        comfort=comfort_share(
            trace.time_s[driven], trace.speed_mps[driven, i], trace.yaw_rad[driven, i]
        ),
        mean_speed_mps=float(trace.speed_mps[driven, i].mean()),
        seconds=seconds,
        terms={"score": terms["windows_score"] * completion, **terms} if terms else {},
    )


def comfort_share(time_s: Floats, speed_mps: Floats, yaw_rad: Floats) -> float:
    """Share of the steps within all six comfort limits, 0 to 1.

    Speed and yaw [steps] at equal intervals are smoothed as they are differentiated: a quadratic
    is fitted by least squares to the 7 steps around each (Savitzky and Golay 1964), to 15 for the
    second derivatives (jerk, yaw acceleration), fewer where the drive is shorter, one-sided at its
    ends. Lateral acceleration is speed times yaw rate; the jerk is that of both directions
    together. NAVSIM asks whether a whole plan is comfortable; this counts steps.
    """
    if len(time_s) < 3:
        return 1.0
    step_s = float(time_s[1] - time_s[0])
    yaw = np.unwrap(yaw_rad)
    lon, yaw_rate = slopes(speed_mps, step_s, 7), slopes(yaw, step_s, 7)
    lat = speed_mps * yaw_rate
    lon_jerk, lat_jerk = slopes(lon, step_s, 15), slopes(lat, step_s, 15)
    good = (
        (lon >= LON_ACCEL_MPS2[0])
        & (lon <= LON_ACCEL_MPS2[1])
        & (np.abs(lat) <= LAT_ACCEL_MPS2)
        & (np.hypot(lon_jerk, lat_jerk) <= JERK_MPS3)
        & (np.abs(lon_jerk) <= LON_JERK_MPS3)
        & (np.abs(yaw_rate) <= YAW_RATE_RADPS)
        & (np.abs(slopes(yaw_rate, step_s, 15)) <= YAW_ACCEL_RADPS2)
    )
    return float(good.mean())


def slopes(values: Floats, step_s: float, window: int) -> Floats:
    """Derivative of equally spaced `values` [n >= 3] by local quadratics over `window` steps."""
    n = len(values)
    window = min(window, n if n % 2 else n - 1)
    half = window // 2
    fit = np.linalg.pinv(np.vander(np.arange(-half, half + 1.0), 3))
    first = np.clip(np.arange(n) - half, 0, n - window)
    windows = np.lib.stride_tricks.sliding_window_view(values, window)[first]
    curve, slope, _ = fit @ windows.T
    return (2.0 * curve * (np.arange(n) - first - half) + slope) / step_s
