"""Small towns made by hand, an ego that stands aside, and traffic put where a test wants it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from opendojo.world.draw.scene import Kind
from opendojo.world.town.graph import Area, Conflict, Lane, Signal, Town, Walk, stations
from opendojo.world.town.towns import Towns
from opendojo.world.traffic import Neighbour, Traffic, TrafficConfig, TrafficState
from opendojo.world.traffic.state import NEVER, NOTHING, UNKNOWN

BOX = (-40.0, 340.0)


def lane(ax: float, ay: float, bx: float, by: float, **rest: Any) -> Lane:
    """A straight lane from one point to another."""
    k = max(2, int(math.hypot(bx - ax, by - ay)))
    x, y, yaw, curvature, length = stations(np.linspace(ax, bx, k), np.linspace(ay, by, k))
    given: dict[str, Any] = {"width_m": 3.5, "limit_mps": 12.0}
    return Lane(x_m=x, y_m=y, yaw_rad=yaw, curvature=curvature, length_m=length, **(given | rest))


def town(name: str, lanes: Sequence[Lane], **rest: Any) -> Town:
    """A town that is a square of asphalt."""
    low, high = BOX
    square = np.array([low, high, high, low]), np.array([low, low, high, high])
    area = Area(kind="road", x_m=square[0], y_m=square[1])
    return Town(name=name, left_hand=False, lanes=tuple(lanes), lines=(), areas=(area,), **rest)


def straight() -> Town:
    """One lane of 300 m, and two lanes of 300 m side by side."""
    return town(
        "straight",
        [
            lane(0, 100, 300, 100),
            lane(0, 0, 300, 0, left=2),
            lane(0, 3.5, 300, 3.5, right=1),
        ],
    )


def _cross(signal: bool, walks: tuple[Walk, ...] = ()) -> Sequence[Lane]:
    """Lanes 0, 1, 2 eastward and 3, 4, 5 northward cross at (150, 150); 3 waits for 0."""

    def met(other: int, yields: bool) -> tuple[Conflict, ...]:
        where = {"from_m": 8.0, "to_m": 12.0, "other_from_m": 8.0, "other_to_m": 12.0}
        return (Conflict(lane=other, yields=yields, **where),)

    lights = ({"signal": 0}, {"signal": 1}) if signal else ({}, {})
    return [
        lane(40, 150, 140, 150, next=(1,), stop_m=98.0 if signal else math.inf, **lights[0]),
        lane(140, 150, 160, 150, next=(2,), kind="junction", conflicts=met(4, False)),
        lane(160, 150, 260, 150),
        lane(150, 40, 150, 140, next=(4,), stop_m=98.0, **lights[1]),
        lane(150, 140, 150, 160, next=(5,), kind="junction", conflicts=met(1, True)),
        lane(150, 160, 150, 260),
    ]


def lit() -> Town:
    """A crossing with lights: eastward green in [0, 10) of 30 s, northward in [15, 25)."""
    signals = tuple(
        Signal(period_s=30.0, green_from_s=at, green_to_s=at + 10.0) for at in (0.0, 15.0)
    )
    return town("lit", _cross(True), signals=signals)


def give_way() -> Town:
    """A crossing where northward traffic gives way."""
    return town("give-way", _cross(False))


def walked() -> Town:
    """A lane of 200 m with a crossing for people at 120 m."""
    x, y, yaw, _, length = stations(np.full(13, 120.0), np.linspace(94.0, 106.0, 13))
    meets = Conflict(
        lane=0, from_m=4.2, to_m=7.8, other_from_m=118.5, other_to_m=121.5, yields=False
    )
    walk = Walk(x_m=x, y_m=y, yaw_rad=yaw, length_m=length, width_m=3.0, conflicts=(meets,))
    return town("walked", [lane(0, 100, 200, 100)], walks=(walk,))


def ring() -> Town:
    """Two lanes round a circle of 50 m, in four quarters each; nothing ever ends."""

    def arc(radius: float, k: int, **rest: Any) -> Lane:
        at = np.linspace(k, k + 1, 120) * (math.pi / 2)
        x, y = 150 + radius * np.cos(at), 150 + radius * np.sin(at)
        values = stations(x, y)
        return Lane(
            x_m=values[0], y_m=values[1], yaw_rad=values[2],
            curvature=np.full_like(values[0], 1 / radius), length_m=values[4], width_m=3.5,
            limit_mps=13.0, **rest,
        )  # fmt: skip

    inner = [arc(50.0, k, next=((k + 1) % 4,), right=4 + k) for k in range(4)]
    outer = [arc(53.5, k, next=(4 + (k + 1) % 4,), left=k) for k in range(4)]
    return town("ring", inner + outer)


def aside(n: int, x_m: float = 150.0, y_m: float = 150.0) -> Neighbour:
    """Egos that stand on no lane."""
    place = torch.full((n,), 1.0)
    zero, none = torch.zeros(n), torch.full((n,), -1)
    return Neighbour(
        x_m=place * x_m, y_m=place * y_m, yaw_rad=zero, speed_mps=zero, length_m=4.6,
        width_m=1.85, lane=none, s_m=zero, d_m=zero,
    )  # fmt: skip


BAKED: dict[str, Towns | None] = {}


class Scene:
    """One world whose traffic is put where a test wants it; nobody else ever comes."""

    def __init__(
        self, built: Town, cars: Sequence[tuple[int, float, float]], *, seed: int = 0,
        walkers: Sequence[tuple[int, float]] = (), first_step: int = 0, **drivers: float,
    ) -> None:  # fmt: skip
        self.towns = BAKED.setdefault(built.name, None) or Towns([built])
        BAKED[built.name] = self.towns
        share = len(walkers) / (len(cars) + len(walkers) or 1)
        config = TrafficConfig(agents=len(cars) + len(walkers), walkers=share, leave_m=1e4)
        self.traffic = Traffic(self.towns, torch.zeros(1, dtype=torch.int64), [seed], config)
        self.traffic.active[:] = False
        self.step_at = first_step
        self.ego = aside(1, 150.0, -30.0)
        state = self.traffic.start(self.ego)
        self.state = _with(self, state, cars, walkers, drivers)

    def step(self, times: int = 1) -> TrafficState:
        for _ in range(times):
            now = torch.tensor([self.step_at])
            self.state = self.traffic.step(self.state, self.ego, now, 0.1)
            self.step_at += 1
        return self.state


def _with(
    scene: Scene, state: TrafficState, cars: Sequence[tuple[int, float, float]],
    walkers: Sequence[tuple[int, float]], drivers: dict[str, float],
) -> TrafficState:  # fmt: skip
    """The state with cars at (lane, s, speed) and people standing at (walk, s)."""
    n_cars, agents = len(cars), state.agents
    lanes = torch.tensor([[c[0] for c in cars] + [w[0] for w in walkers]])
    s = torch.tensor([[c[1] for c in cars] + [w[1] for w in walkers]])
    speed = torch.tensor([[c[2] for c in cars] + [0.0] * len(walkers)])
    kind = torch.tensor([[int(Kind.CAR)] * n_cars + [int(Kind.PEDESTRIAN)] * len(walkers)])
    town_of, zero = torch.zeros(1, dtype=torch.int64), torch.zeros_like(s)
    x, y, cos, sin = scene.towns.place(town_of, lanes[:, :n_cars], s[:, :n_cars], zero[:, :n_cars])
    if walkers:
        on_foot = scene.towns.walk_place(
            town_of, lanes[:, n_cars:], s[:, n_cars:], zero[:, n_cars:]
        )
        x, y, cos, sin = (
            torch.cat(both, 1) for both in zip((x, y, cos, sin), on_foot, strict=True)
        )
    is_car = torch.arange(s.shape[1])[None] < n_cars
    agents = dataclasses.replace(
        agents, mask=torch.ones_like(agents.mask), kind=kind, x_m=x, y_m=y,
        yaw_rad=torch.atan2(sin, cos), speed_mps=speed, lane=lanes, s_m=s, d_m=zero,
        length_m=torch.where(is_car, 4.5, 0.4), width_m=torch.where(is_car, 1.8, 0.5),
    )  # fmt: skip
    usual = {
        "accel_mps2": 2.0, "brake_mps2": 4.0, "headway_s": 1.5, "standstill_m": 2.0,
        "politeness": 0.25, "safe_brake_mps2": 3.0, "pace": 1.0, "top_mps": 60.0, "side": 0.0,
    }  # fmt: skip
    values = {k: torch.full((1, n_cars), v) for k, v in (usual | drivers).items() if k != "vice"}
    vice = torch.full((1, n_cars), int(drivers.get("vice", 0)))
    path = torch.full_like(state.path, UNKNOWN)
    path[:, :, 1] = lanes[:, :n_cars]
    waiting = dataclasses.replace(
        state.walkers, way=torch.where(s[:, n_cars:] > 0, -1.0, 1.0),
        until=torch.zeros_like(state.walkers.until), pace_mps=zero[:, n_cars:] + 1.4,
        out=torch.zeros_like(state.walkers.out),
    )  # fmt: skip
    return dataclasses.replace(
        state, agents=agents, path=path, walkers=waiting,
        drivers=dataclasses.replace(state.drivers, vice=vice, **values),
        granted=torch.full_like(state.granted, NEVER),
        other_lane=torch.full_like(state.other_lane, NOTHING),
    )  # fmt: skip


@pytest.fixture(scope="session")
def put() -> Callable[..., Scene]:
    """`put(town, [(lane, s, speed), ...], walkers=[(walk, s)], **drivers)`: a `Scene`."""
    return Scene


@pytest.fixture(scope="session")
def made() -> dict[str, Callable[[], Town]]:
    """The towns made by hand, by name."""
    return {f.__name__: f for f in (straight, lit, give_way, walked, ring)}


@pytest.fixture(scope="session")
def ego_aside() -> Callable[..., Neighbour]:
    return aside


def touching(state: TrafficState) -> torch.Tensor:
    """bool [n, a, a]: whose bodies overlap, by separating axes, in float64."""
    agents = state.agents
    x, y, yaw = agents.x_m.double(), agents.y_m.double(), agents.yaw_rad.double()
    half, wide = agents.length_m.double() / 2, agents.width_m.double() / 2
    cos, sin = yaw.cos(), yaw.sin()
    dx, dy = x[:, None] - x[:, :, None], y[:, None] - y[:, :, None]
    c, s = cos[:, :, None], sin[:, :, None]
    with_c = (c * cos[:, None] + s * sin[:, None]).abs()
    with_s = (c * sin[:, None] - s * cos[:, None]).abs()
    along, across = (dx * c + dy * s).abs(), (dy * c - dx * s).abs()
    near = along < half[:, :, None] + with_c * half[:, None] + with_s * wide[:, None]
    near &= across < wide[:, :, None] + with_s * half[:, None] + with_c * wide[:, None]
    there = agents.mask[:, :, None] & agents.mask[:, None]
    return near & near.transpose(1, 2) & there & ~torch.eye(x.shape[1], dtype=torch.bool)


@pytest.fixture(scope="session")
def overlap() -> Callable[[TrafficState], torch.Tensor]:
    return touching
