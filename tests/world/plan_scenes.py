"""Small towns and scenes for tests of plans, whose numbers can be worked out by hand.

The town "street": two lanes to the east, A (y = 0) and, left of it, B (y = 3.2), and C (y = 6.4) to
the west. A and B pass a junction, x = 120 to 140, with lights whose stop is at x = 118: green from
0 s, yellow from 20 s, red from 23 s to 60 s. Each lane is 3.2 m wide; the road spans y = -2 .. 8.4.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from opendojo.world.course import Course
from opendojo.world.draw.scene import Kind
from opendojo.world.forecast import Others
from opendojo.world.judge import Plans
from opendojo.world.route import Routes
from opendojo.world.town.graph import Area, Conflict, Lane, LaneKind, Signal, Town, stations
from opendojo.world.town.towns import Towns
from opendojo.world.traffic.agents import Agents
from opendojo.world.vehicle import Ego, still_ego


def lane(x: list[float], y: list[float], kind: LaneKind = "road", **rest: object) -> Lane:
    at_x, at_y, yaw, curvature, length = stations(np.array(x, float), np.array(y, float))
    return Lane(
        x_m=at_x, y_m=at_y, yaw_rad=yaw, curvature=curvature, length_m=length, width_m=3.2,
        limit_mps=12.0, kind=kind, **rest,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def street() -> Towns:
    parts = []
    for row, y in enumerate((0.0, 3.2)):
        first = 3 * row
        beside = {"left": 3} if row == 0 else {"right": -3}
        for k, (low, high, kind) in enumerate(
            ((-20.0, 120.0, "road"), (120.0, 140.0, "junction"), (140.0, 600.0, "road"))
        ):
            sides = {name: first + k + shift for name, shift in beside.items() if kind == "road"}
            more = {"signal": 0, "stop_m": 138.0} if k == 0 else {}
            onward = (first + k + 1,) if k < 2 else ()
            parts.append(lane([low, high], [y, y], kind, next=onward, **sides, **more))
    parts.append(lane([600.0, -20.0], [6.4, 6.4]))
    road = Area(
        kind="road",
        x_m=np.array([-30.0, 610.0, 610.0, -30.0]),
        y_m=np.array([-2.0, -2.0, 8.4, 8.4]),
    )
    town = Town(
        name="street", left_hand=False, lanes=tuple(parts), lines=(), areas=(road,),
        signals=(Signal(period_s=60.0, green_from_s=0.0, green_to_s=20.0, yellow_s=3.0),),
        starts=(0,),
    )  # fmt: skip
    return Towns([town])


def crossing() -> Towns:
    """East along y = 0, giving way at x = 60 (no light) to a lane that runs south at x = 70."""
    meets = Conflict(lane=4, from_m=7.0, to_m=13.0, other_from_m=7.0, other_to_m=13.0, yields=True)
    back = Conflict(lane=1, from_m=7.0, to_m=13.0, other_from_m=7.0, other_to_m=13.0, yields=False)
    lanes = (
        lane([-20.0, 60.0], [0.0, 0.0], next=(1,), stop_m=79.0),
        lane([60.0, 80.0], [0.0, 0.0], "junction", next=(2,), conflicts=(meets,)),
        lane([80.0, 500.0], [0.0, 0.0]),
        lane([70.0, 70.0], [200.0, 10.0], next=(4,)),
        lane([70.0, 70.0], [10.0, -10.0], "junction", next=(5,), conflicts=(back,)),
        lane([70.0, 70.0], [-10.0, -200.0]),
    )
    spans = ((-30.0, 510.0, -2.0, 2.0), (68.0, 72.0, -200.0, 200.0))
    areas = tuple(
        Area(kind="road", x_m=np.array([a, b, b, a]), y_m=np.array([c, c, d, d]))
        for a, b, c, d in spans
    )
    town = Town(name="crossing", left_hand=False, lanes=lanes, lines=(), areas=areas, starts=(0,))
    return Towns([town])


def bend(radius_m: float) -> Towns:
    """40 m east, a quarter circle to the left, and 300 m north; the road is 8 m wide."""
    turn = np.linspace(0.0, math.pi / 2.0, 200)
    x = np.concatenate([[-20.0], 40.0 + radius_m * np.sin(turn), [40.0 + radius_m]])
    y = np.concatenate([[0.0], radius_m * (1.0 - np.cos(turn)), [radius_m + 300.0]])
    dx, dy = np.gradient(x), np.gradient(y)
    size = np.hypot(dx, dy)
    nx, ny = -dy / size, dx / size
    road = Area(
        kind="road",
        x_m=np.concatenate([x + 4 * nx, (x - 4 * nx)[::-1]]),
        y_m=np.concatenate([y + 4 * ny, (y - 4 * ny)[::-1]]),
    )
    one = lane(x.tolist(), y.tolist())
    return Towns([Town(name="bend", left_hand=False, lanes=(one,), lines=(), areas=(road,))])


def course_of(towns: Towns, n: int = 1, length_m: int = 400) -> tuple[Routes, Course]:
    """The route from the start of the first lane."""
    town = torch.zeros(n, dtype=torch.int64)
    routes = Routes.draw(towns, town, torch.zeros(n, dtype=torch.int64), length_m)
    return routes, Course.of(towns, routes)


def straight_plan(
    speed: float | Tensor, *, x: float = 0.0, y: float = 0.0, yaw: float = 0.0, count: int = 41
) -> Plans:
    """A plan [1, 1, t] along x at a speed, one for all instants or [t], by the trapezium rule."""
    v = torch.as_tensor(speed, dtype=torch.float32).expand(count)
    way = torch.cat([torch.zeros(1), ((v[1:] + v[:-1]) * 0.05).cumsum(0)])
    return Plans(
        x_m=(x + way * math.cos(yaw))[None, None], y_m=(y + way * math.sin(yaw))[None, None],
        yaw_rad=torch.full((1, 1, count), yaw), speed_mps=v[None, None],
    )  # fmt: skip


def one_other(
    x: Tensor | float,
    y: Tensor | float,
    speed: float = 0.0,
    *,
    yaw: float = 0.0,
    kind: Kind = Kind.CAR,
    length: float = 4.0,
    width: float = 1.8,
) -> Others:
    """One other [1, 41, 1], at given middles."""

    def column(value: Tensor | float) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float32).expand(41)[None, :, None]

    return Others(
        mask=torch.ones(1, 41, 1, dtype=torch.bool), kind=torch.full((1, 41, 1), int(kind)),
        x_m=column(x), y_m=column(y), cos=column(math.cos(yaw)), sin=column(math.sin(yaw)),
        speed_mps=column(speed), length_m=column(length), width_m=column(width),
    )  # fmt: skip


def nobody(n: int = 1, slots: int = 3) -> Agents:
    return agents([], n, slots)


def agents(rows: list[dict[str, float]], n: int = 1, slots: int = 3) -> Agents:
    """The same agents in n worlds; rows give x, y, yaw, speed, and maybe lane, s, kind."""
    return agents_of([rows] * n, slots)


def agents_of(worlds: list[list[dict[str, float]]], slots: int = 3) -> Agents:
    """The agents of several worlds."""
    full = [[*rows, *[{}] * (slots - len(rows))] for rows in worlds]

    def column(name: str, rest: float) -> Tensor:
        return torch.tensor(
            [[row.get(name, rest) for row in rows] for rows in full], dtype=torch.float32
        )

    def whole(name: str, rest: int) -> Tensor:
        return column(name, rest).to(torch.int64)

    return Agents(
        mask=torch.tensor([[bool(row) for row in rows] for rows in full]),
        kind=whole("kind", Kind.CAR), x_m=column("x", 0.0), y_m=column("y", 0.0),
        yaw_rad=column("yaw", 0.0), speed_mps=column("speed", 0.0),
        accel_mps2=column("accel", 0.0), length_m=column("length", 4.0),
        width_m=column("width", 1.8), height_m=column("height", 1.5), lane=whole("lane", -1),
        s_m=column("s", 0.0), d_m=column("d", 0.0),
    )  # fmt: skip


def egos_at(x_m: list[float], speed_mps: list[float], *, latency_s: float = 0.1) -> Ego:
    """Egos on the x axis, heading along it."""
    x = torch.tensor(x_m)
    zero = torch.zeros_like(x)
    ego = still_ego(x, zero, zero, step_s=0.1, latency_s=latency_s)
    return replace(ego, speed_mps=torch.tensor(speed_mps))
