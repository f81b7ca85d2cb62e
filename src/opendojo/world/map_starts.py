"""Where egos start on recorded maps.

A file's task says where. A recording without tasks has no gap for an ego, so one is looked for
behind each road user who drives there: since recorded road users do not react, those places count
most whose spot nobody passes for the longest time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from opendojo.world.body import VEHICLE
from opendojo.world.draw.scene import Kind
from opendojo.world.exact import sin_cos
from opendojo.world.town.commonroad import Scenario, Track
from opendojo.world.town.commonroad_replay import nearest_lane
from opendojo.world.town.graph import Town
from opendojo.world.vehicle import Ego

__all__ = ["Start", "Starts", "start_behind"]

_GAP_M, _GAP_S = 6.0, 1.2
"""From the ego's bumper to who is followed: so far, and what is driven in that time."""
_NEAR_M = 6.0
"""Whose middle comes nearer than this to a spot's is in its way."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where, how fast and when one ego starts."""

    lane: int
    s_m: float
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    time_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Where, how fast and when worlds start, [n] each; float32."""

    lane: Tensor
    """int64: the lane; -1 where none is told, and nothing else."""
    s_m: Tensor
    """Where the body's middle is on it."""
    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    """The body's middle and its heading."""
    speed_mps: Tensor
    """Negative where none is told."""
    time_s: Tensor
    """Of the recording."""

    @classmethod
    def of(cls, rows: Sequence[Start | None], device: torch.device) -> Starts:
        """The starts of worlds; None where none is told."""
        zero = dict.fromkeys((f.name for f in dataclasses.fields(cls)), 0.0)
        untold = {**zero, "lane": -1, "speed_mps": -1.0}
        every = [untold if row is None else dataclasses.asdict(row) for row in rows]
        columns = {name: [row[name] for row in every] for name in zero}
        kinds = {name: torch.int64 if name == "lane" else torch.float32 for name in zero}
        return cls(
            **{k: torch.tensor(v, dtype=kinds[k], device=device) for k, v in columns.items()}
        )

    def put(self, ego: Ego) -> Ego:
        """The egos in the places that are told."""
        told = self.lane >= 0
        sin, cos = sin_cos(self.yaw_rad)
        x, y = self.x_m - cos * VEHICLE.centre_m, self.y_m - sin * VEHICLE.centre_m
        return dataclasses.replace(
            ego,
            x_m=torch.where(told, x, ego.x_m),
            y_m=torch.where(told, y, ego.y_m),
            yaw_rad=torch.where(told, self.yaw_rad, ego.yaw_rad),
        )


def start_behind(scenario: Scenario, number: int) -> Start | None:
    """One of the best places behind those who drive at the recording's start; None for none."""
    ranked: list[tuple[float, Start]] = []
    for track in scenario.tracks:
        drives = track.kind != Kind.PEDESTRIAN and not track.static and track.steps[0] == 0
        start = _behind(scenario.town, track) if drives else None
        if start is not None:
            ranked.append((_free_steps(scenario, start), start))
    if not ranked:
        return None
    most = max(free for free, _ in ranked)
    best = [start for free, start in ranked if free == most]
    return best[number % len(best)]


def _behind(town: Town, track: Track) -> Start | None:
    """On the lane of a road user, or one before it, behind him and as fast."""
    x, y, yaw = (float(v[0]) for v in (track.x_m, track.y_m, track.yaw_rad))
    lane, s, _ = nearest_lane(town, x, y, yaw)
    if lane < 0:
        return None
    speed = min(max(float(track.speed_mps[0]), 0.0), town.lanes[lane].limit_mps)
    s -= (track.length_m + VEHICLE.length_m) / 2.0 + _GAP_M + _GAP_S * speed
    while s < 0.0:
        lane = next((i for i, other in enumerate(town.lanes) if lane in other.next), -1)
        if lane < 0:
            return None
        s += town.lanes[lane].length_m
    run = town.lanes[lane]
    station = min(math.floor(s), len(run.x_m) - 2)
    yaw, part = float(run.yaw_rad[station]), s - station
    x, y = (float(c[station] + (c[station + 1] - c[station]) * part) for c in (run.x_m, run.y_m))
    return Start(lane=lane, s_m=s, x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed, time_s=0.0)


def _free_steps(scenario: Scenario, start: Start) -> float:
    """For how many steps nobody is at a start's place: inf where nobody ever is."""
    free = math.inf
    for track in scenario.tracks:
        near = np.hypot(track.x_m - start.x_m, track.y_m - start.y_m) < _NEAR_M
        if near.any():
            free = min(free, 0.0 if track.static else float(track.steps[int(near.argmax())]))
    return free
