"""A driver that looks at the world's insides: what imitation learns from and scores are held to."""

from __future__ import annotations

import torch
from torch import Tensor

from opendojo.world.config import VEHICLE
from opendojo.world.exact import sin_cos
from opendojo.world.motion import follow, idm
from opendojo.world.road import LANE_M
from opendojo.world.roads import Located, Roads
from opendojo.world.state import State

__all__ = ["expert_control"]

_LANE_CENTRE_M = -LANE_M / 2.0


def expert_control(state: State, roads: Roads, body: Located) -> Tensor:
    """Steering and acceleration, float32 [n, 2]; `body` locates `events.body_points`.

    Steers by pure pursuit (Coulter 1992): the arc from the rear axle through a point of the lane's
    centre ahead. Accelerates by the IDM towards the pace of the road and behind the car ahead.
    """
    ego = state.ego
    s = body.s_m[:, :1]
    reach = 3.5 + 0.45 * ego.speed_mps[:, None]
    s_ahead = s + (reach - VEHICLE.centre_m)
    x, y, _ = roads.place(s_ahead, torch.full_like(s, _LANE_CENTRE_M))
    dx, dy = x[:, 0] - ego.x_m, y[:, 0] - ego.y_m
    sin, cos = sin_cos(ego.yaw_rad)
    bend = 2.0 * (dy * cos - dx * sin) / (dx * dx + dy * dy).clamp(min=1.0)
    tangent = VEHICLE.wheelbase_m * bend
    # arctan to third order: within half a degree over the steering's range
    steer = tangent * (1.0 - tangent * tangent * (1.0 / 3.0))
    steer = steer.clamp(-VEHICLE.max_steer_rad, VEHICLE.max_steer_rad)

    half_length = torch.full_like(s, VEHICLE.length_m / 2.0)
    half_width = torch.full_like(s, VEHICLE.width_m / 2.0)
    gap, leader_mps = follow(
        state.cars, s, body.d_m[:, :1], half_length, half_width, torch.ones_like(s)
    )
    speed = ego.speed_mps[:, None]
    # the drive lags, so the pace is that of the place reached a little later
    pace = roads.at(roads.ahead_mps, s + 0.4 * speed)
    accel = idm(speed, pace, gap, speed - leader_mps)
    return torch.stack([steer, accel[:, 0]], 1)
