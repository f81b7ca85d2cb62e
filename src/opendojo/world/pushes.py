"""Pushes off the way: disturbances whose recoveries are worth recording."""

from __future__ import annotations

import numpy as np

from opendojo.world.body import VEHICLE

__all__ = ["Pushes"]


class Pushes:
    """When and how hard one drive is pushed: every five to eight seconds, for half a second.

    Args:
        seed: of the world; pushes have their own stream of it.
        frames: length of the drive.
        step_s: time of a frame.
    """

    def __init__(self, seed: int, frames: int, step_s: float) -> None:
        rng = np.random.Generator(np.random.Philox(key=[seed, 4]))
        self._steer, self._accel = np.zeros(frames), np.zeros(frames)
        start_s = rng.uniform(2.0, 6.0)
        while start_s < frames * step_s:
            length_s = rng.uniform(0.5, 1.0)
            first, last = round(start_s / step_s), round((start_s + length_s) / step_s)
            turn_rad = rng.uniform(0.06, 0.28) * (1.0 if rng.random() < 0.5 else -1.0)
            # tan(steer) / wheelbase * speed = turn / time; the speed is known when it happens
            self._steer[first:last] = turn_rad / length_s * VEHICLE.wheelbase_m
            self._accel[first:last] = rng.uniform(-3.0, 2.5)
            start_s += rng.uniform(5.0, 8.0)

    def at(self, frame: int, speed_mps: float) -> tuple[float, float]:
        """What is added to steering (rad) and acceleration (m/s2) in the step from this frame."""
        return float(self._steer[frame] / max(speed_mps, 4.0)), float(self._accel[frame])
