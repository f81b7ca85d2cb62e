"""Labels without people: what the ego's path is, where it comes from, how sure it is.

Hindsight first: the future of a log labels its past. In the world the privileged expert says what
it would have done. A label carries its origin and confidence, and is held against physics before it
is used: no car moves sideways, jumps, or brakes like a wall.

    label = hindsight(log, now_s, spec.path_times_s)
    label = checked(label, spec.path_times_s, speed_mps)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from opendojo.clip import Log
from opendojo.loader import ego_paths

__all__ = ["Limits", "PathLabel", "checked", "expert_label", "hindsight", "physics"]

Floats = npt.NDArray[np.float64]
Origin = Literal["log", "video", "expert", "teacher"]

_CONFIDENCE: dict[Origin, float] = {"expert": 1.0, "log": 0.95, "video": 0.6, "teacher": 0.5}
"""How far a label is trusted before anything is known of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLabel:
    """Paths of n instants over p points, in the vehicle's axes at each instant."""

    path_m: npt.NDArray[np.float32]
    """float32 [n, p, 2]: x forward, y left; 0 where unknown."""
    mask: npt.NDArray[np.bool_]
    """bool [n, p]."""
    confidence: npt.NDArray[np.float32]
    """float32 [n]: 0 to 1; 0 where the label is refused."""
    origin: Origin
    """Where it comes from."""
    reason: tuple[str, ...]
    """Why a label was refused, [n]; empty where it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a car can do; beyond it a label is wrong. Braking: 1 g and a little; NAVSIM's comfort
    limits are half of these."""

    speed_mps: float = 70.0
    accel_mps2: float = 7.0
    brake_mps2: float = 11.0
    lateral_mps2: float = 11.0
    start_mps: float = 4.0
    """Difference of the path's first speed and the told one, plus a fifth of it."""
    back_m: float = 1.0
    """Way that a path may lead backwards."""


def hindsight(
    log: Log, now_s: Floats, ahead_s: Floats, origin: Literal["log", "video"] = "log"
) -> PathLabel:
    """What the log says came after `now_s` [n], at `ahead_s` [p].

    `origin` is `video` where the log is `egomotion.Motion.log`: what was seen, not measured.
    """
    path_m, mask = ego_paths(log, now_s, ahead_s)
    return _label(path_m, mask, origin)


def expert_label(path_m: npt.NDArray[np.float32]) -> PathLabel:
    """What the world's expert would do: paths [n, p, 2], all of them known."""
    return _label(path_m, np.ones(path_m.shape[:2], bool), "expert")


def _label(
    path_m: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], origin: Origin
) -> PathLabel:
    known = mask.mean(1)
    return PathLabel(
        path_m=path_m,
        mask=mask,
        confidence=(known * _CONFIDENCE[origin]).astype(np.float32),
        origin=origin,
        reason=("",) * len(mask),
    )


def checked(
    label: PathLabel, ahead_s: Floats, speed_mps: Floats, limits: Limits | None = None
) -> PathLabel:
    """The label with what physics refuses taken out: its mask False, confidence 0, reason told.

    `ahead_s` [p] are the points' times, `speed_mps` [n] the ego's speed now, NaN where unknown.
    """
    reasons = physics(label.path_m, label.mask, ahead_s, speed_mps, limits)
    good = np.array([not reason for reason in reasons], bool)
    return replace(
        label,
        mask=label.mask & good[:, None],
        confidence=np.where(good, label.confidence, 0.0).astype(np.float32),
        reason=tuple(old or new for old, new in zip(label.reason, reasons, strict=True)),
    )


def physics(
    path_m: npt.NDArray[np.floating],
    mask: npt.NDArray[np.bool_],
    ahead_s: Floats,
    speed_mps: Floats,
    limits: Limits | None = None,
) -> tuple[str, ...]:
    """Why no car could drive each path [n, p, 2]; an empty word where one could.

    Speeds are differences of neighbouring points, accelerations of neighbouring speeds, and across
    the path by the change of heading where the car moves. Only known points count.
    """
    limits = limits or Limits()
    return tuple(
        _impossible(np.asarray(path, np.float64)[known], ahead_s[known], float(speed), limits)
        for path, known, speed in zip(path_m, mask, speed_mps, strict=True)
    )


def _impossible(path: Floats, time_s: Floats, speed: float, limits: Limits) -> str:
    if len(path) == 0:
        return "nothing is known"
    if not np.isfinite(path).all():
        return "not finite"
    points = np.concatenate([[[0.0, 0.0]], path])
    steps_s = np.diff(np.concatenate([[0.0], time_s]))
    moves = np.diff(points, axis=0)
    pace = np.hypot(*moves.T) / steps_s
    if pace.max() > limits.speed_mps:
        return f"{pace.max():.0f} m/s"
    if np.isfinite(speed) and abs(pace[0] - speed) > limits.start_mps + 0.2 * speed:
        return f"starts at {pace[0]:.1f} m/s, the car has {speed:.1f}"
    if points[:, 0].min() < -limits.back_m - 0.5 * np.abs(points[:, 1]).max():
        return "leads backwards"
    if len(pace) < 2:
        return ""
    between_s = 0.5 * (steps_s[1:] + steps_s[:-1])
    accel = np.diff(pace) / between_s
    if accel.max() > limits.accel_mps2 or accel.min() < -limits.brake_mps2:
        worst = accel[np.abs(accel).argmax()]
        return f"{worst:.1f} m/s2 along the path"
    moving = (pace[1:] > 2.0) & (pace[:-1] > 2.0)
    heading = np.arctan2(moves[:, 1], moves[:, 0])
    turn = np.angle(np.exp(1j * np.diff(heading))) / between_s
    aside = np.where(moving, np.abs(turn) * 0.5 * (pace[1:] + pace[:-1]), 0.0)
    if aside.max() > limits.lateral_mps2:
        return f"{aside.max():.1f} m/s2 across the path"
    if moving[0] and abs(heading[0]) > 0.6:
        return f"begins {np.degrees(heading[0]):.0f} degrees off the car's heading"
    return ""
