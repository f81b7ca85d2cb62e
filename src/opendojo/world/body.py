"""The ego vehicle's body and its limits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VEHICLE", "Vehicle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """The ego vehicle: body and actuators. Origin: ground below the centre of the rear axle."""

    length_m: float = 4.6
    """Bumper to bumper."""
    width_m: float = 1.85
    """Without mirrors."""
    height_m: float = 1.5
    """Ground to roof."""
    rear_overhang_m: float = 0.95
    """Rear axle to rear bumper."""
    wheelbase_m: float = 2.7
    """Rear axle to front axle."""
    max_steer_rad: float = 0.5
    """Largest angle of the front wheels."""
    max_steer_rate: float = 0.7
    """Fastest turn of the front wheels, in rad/s."""
    min_accel_mps2: float = -6.0
    """Hardest braking."""
    max_accel_mps2: float = 2.5
    """Hardest acceleration."""
    lag_s: float = 0.15
    """Time constant of the first-order lag of steering and drive."""

    @property
    def centre_m(self) -> float:
        """The body's centre ahead of the rear axle."""
        return self.length_m / 2.0 - self.rear_overhang_m


VEHICLE = Vehicle()
