from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch
from plan_scenes import (
    agents,
    agents_of,
    bend,
    course_of,
    crossing,
    egos_at,
    nobody,
    street,
)
from torch import Tensor

from opendojo.world.course import Course
from opendojo.world.planner import PROPOSALS, Planner
from opendojo.world.proposals import _Body
from opendojo.world.route import Routes
from opendojo.world.town.build import TRAINING_SPECS, build
from opendojo.world.town.towns import Towns
from opendojo.world.traffic.agents import Agents
from opendojo.world.vehicle import Ego, move_ego

FRONT_M = 3.65


@pytest.fixture(scope="module")
def towns() -> Towns:
    return street()


def start_s(routes: Routes, ego: Ego) -> Tensor:
    return routes.locate(ego.x_m[:, None], ego.y_m[:, None]).s_m[:, 0]


@dataclasses.dataclass
class Drive:
    """What became of egos: x of the front bumper, y, speed, acceleration, [steps, n]."""

    front: Tensor
    y: Tensor
    speed: Tensor
    accel: Tensor
    offset: Tensor
    """From the route's middle line, of the rear axle."""


def drive(
    towns: Towns, ego: Ego, around: Agents, seconds: float, at_s: list[float], *,
    town: Tensor | None = None, idm: bool = False, hold: int = 4,
) -> Drive:  # fmt: skip
    """Egos among agents that keep their speed and heading; each control is held for some steps."""
    n = len(ego.x_m)
    town = torch.zeros(n, dtype=torch.int64) if town is None else town
    routes = Routes.draw(towns, town, torch.zeros_like(town), 400)
    course, planner, s = Course.of(towns, routes), Planner(towns), start_s(routes, ego)
    turn = torch.cos(around.yaw_rad), torch.sin(around.yaw_rad)
    control, rows = torch.zeros(n, 2), []
    for step in range(round(seconds * 10)):
        time_s = torch.tensor(at_s) + 0.1 * step
        if idm:
            control = planner.idm_on_centreline(course, ego, around, time_s, s)
        elif step % hold == 0:
            control = planner.plan(course, ego, around, time_s, s).control
        ego = move_ego(ego, control, 0.1)
        s, d, _ = course.foot(ego.x_m[:, None], ego.y_m[:, None], s[:, None])
        s, way = s[:, 0], around.speed_mps * 0.1
        around = dataclasses.replace(
            around, x_m=around.x_m + way * turn[0], y_m=around.y_m + way * turn[1],
            s_m=around.s_m + way,
        )  # fmt: skip
        rows.append((ego.x_m + FRONT_M, ego.y_m, ego.speed_mps, ego.accel_mps2, d[:, 0]))
    return Drive(*(torch.stack(list(column)) for column in zip(*rows, strict=True)))


WALKER = {
    "x": 60.0, "y": -6.0, "yaw": torch.pi / 2, "speed": 1.3, "kind": 12, "length": 0.5,
    "width": 0.5,
}  # fmt: skip
# the lights: green up to 20 s, red from 23 s to 60 s; the stop is at x = 118. From 12 m/s at 3 m/s2
# it takes 24 m, and what is lost before the brakes act, to stop at yellow
SCENES: dict[str, tuple[float, float, list[dict[str, float]], float]] = {
    "car that stands": (0.0, 10.0, [{"x": 80.0}], 60.0),
    "slower car": (0.0, 10.0, [{"x": 40.0, "speed": 5.0}], 60.0),
    "red": (40.0, 12.0, [], 45.0),
    "green": (40.0, 12.0, [], 60.0),
    "yellow, far": (118.0 - FRONT_M - 40.0, 12.0, [], 20.05),
    "yellow, near": (118.0 - FRONT_M - 15.0, 12.0, [], 20.05),
    "walker": (15.0, 11.0, [WALKER], 60.0),
}


@pytest.fixture(scope="module", params=["expert", "idm"])
def driven(request: pytest.FixtureRequest, towns: Towns) -> tuple[str, dict[str, Drive]]:
    """All scenes, driven side by side."""
    x, speed, rows, at_s = (list(column) for column in zip(*SCENES.values(), strict=True))
    ego, idm = egos_at(x, speed), request.param == "idm"
    whole = drive(towns, ego, agents_of(rows), 20.0, at_s, idm=idm)
    columns = {f.name: getattr(whole, f.name) for f in dataclasses.fields(Drive)}
    each = {
        name: Drive(**{key: value[:, i] for key, value in columns.items()})
        for i, name in enumerate(SCENES)
    }
    return request.param, each


Driven = tuple[str, dict[str, Drive]]


def test_stops_behind_a_car_that_stands(driven: Driven) -> None:
    one = driven[1]["car that stands"]
    # its rear is at x = 78; the gap to it is 1 m by the IDM
    assert 0.5 < 78.0 - float(one.front[-1]) < 2.5
    assert float(one.speed[-1]) < 0.1
    assert float(one.y.abs().max()) < 0.5  # nor did it pass by
    assert float(one.accel.min()) > -4.0


def test_follows_a_slower_car_at_a_distance(driven: Driven) -> None:
    one = driven[1]["slower car"]
    # settled: 5 m/s, gap (1 + 1.5 x 5) / sqrt(1 - (5/12)^4) = 8.6 m to its rear at 138
    assert float(one.speed[-1]) == pytest.approx(5.0, abs=0.4)
    assert 138.0 - float(one.front[-1]) == pytest.approx(8.6, abs=2.0)


def test_stops_at_red_and_goes_at_green(driven: Driven) -> None:
    front = driven[1]["red"].front
    # at 14 s the light is still red: neither over the line, nor far away, nor creeping
    assert 115.5 < float(front[140]) <= 118.0
    assert float(front[140] - front[120]) < 0.5
    assert float(front[-1]) > 119.0


def test_goes_through_at_green(driven: Driven) -> None:
    assert float(driven[1]["green"].speed.min()) > 11.0


def test_yellow_is_for_those_who_can_stop(driven: Driven) -> None:
    assert float(driven[1]["yellow, far"].front.max()) <= 118.0
    assert float(driven[1]["yellow, near"].front[40]) > 118.3


def test_waits_for_people_on_foot(driven: Driven) -> None:
    name, each = driven
    one = each["walker"]
    # it walks over the lane from 3.4 s to 5.9 s
    walker = -6.0 + 0.13 * torch.arange(1, 201)
    near = (walker.abs() < 1.3) & (one.front > 59.7) & (one.front < 65.0)
    assert name == "idm" or not near.any()
    assert float(one.front[-1]) > 66.0


@pytest.fixture(scope="module")
def bends() -> tuple[list[float], Drive]:
    radii = [8.0, 12.0, 30.0]
    towns = Towns([bend(radius).towns[0] for radius in radii])
    ego = egos_at([5.0] * 3, [8.0] * 3)
    return radii, drive(towns, ego, nobody(3), 9.0, [0.0] * 3, town=torch.arange(3), hold=2)


def test_follows_bends(bends: tuple[list[float], Drive]) -> None:
    radii, driven = bends
    assert float(driven.offset.abs().max()) < 0.3
    assert float(driven.y[-1].min()) > 5.0
    # v^2 / r within what is borne: the slowest is in the bend
    for radius, speed in zip(radii, driven.speed.amin(0).tolist(), strict=True):
        assert speed * speed / radius < 2.4


def test_gives_way() -> None:
    """The paths cross at x = 68 .. 72; others come from the north, or stand, or nobody is there."""
    comes = [(200.0, 10.0), (90.0, 8.0)]
    rows: list[list[dict[str, float]]] = [
        [{"x": 70.0, "y": y, "yaw": -torch.pi / 2, "speed": v, "lane": 3, "s": 200.0 - y}]
        for y, v in [*comes, (30.0, 0.0)]
    ]
    ego = egos_at([20.0] * 4, [8.0] * 4)
    driven = drive(crossing(), ego, agents_of([*rows, []]), 18.0, [0.0] * 4)
    for i, (y, v) in enumerate(comes):
        there = y - v * 0.1 * torch.arange(1, 181)
        inside = (driven.front[:, i] > 67.0) & (driven.front[:, i] < 77.0)
        assert not (inside & (there.abs() < 8.0)).any(), "in the other's way"
    assert float(driven.front[-1].min()) > 85.0  # all went on in the end
    assert float(driven.speed[:60, 3].min()) > 7.0  # the last without a halt


def test_brakes_when_somebody_cuts_in(towns: Towns) -> None:
    """A car stands 14 m ahead of the bumper at 12 m/s: nothing helps, and the brakes are hit."""
    ego = egos_at([0.0], [12.0], latency_s=0.0)
    routes, course = course_of(towns)
    choice = Planner(towns).plan(
        course, ego, agents([{"x": 14.0 + FRONT_M}]), torch.tensor([5.0]), start_s(routes, ego)
    )
    assert int(choice.index) == len(PROPOSALS)
    assert float(choice.control[0, 1]) == -6.0


def test_the_plan_is_what_is_driven(towns: Towns) -> None:
    """With nobody else the first second of a plan is driven as it was meant."""
    ego = egos_at([0.0], [6.0])
    ego = dataclasses.replace(ego, y_m=ego.y_m + 0.6)
    routes, course = course_of(towns)
    plan = Planner(towns).plan(course, ego, nobody(), torch.tensor([5.0]), start_s(routes, ego))
    assert plan.plan.shape == (1, 41, 3)
    assert plan.plan[0, 0].tolist() == pytest.approx([0.0, 0.6, 0.0], abs=1e-5)
    after = drive(towns, ego, nobody(), 1.0, [5.0])
    assert float(after.front[-1]) == pytest.approx(float(plan.plan[0, 10, 0]) + FRONT_M, abs=0.1)
    assert float(after.y[-1]) == pytest.approx(float(plan.plan[0, 10, 1]), abs=0.05)


def digests(towns: Towns, seeds: list[int], steps: int) -> dict[int, str]:
    """A hash of each world's controls; the world's town, route and agents hang on its seed."""
    number = torch.tensor(seeds)
    town = number % len(towns.towns)
    routes = Routes.draw(towns, town, number, 300)
    course, planner = Course.of(towns, routes), Planner(towns)
    n = len(seeds)
    x, y, c, s = routes.place(torch.full((n, 1), 4.0), torch.zeros(n, 1))
    ego = dataclasses.replace(
        egos_at([0.0] * n, [5.0] * n), x_m=x[:, 0], y_m=y[:, 0], yaw_rad=torch.atan2(s, c)[:, 0]
    )
    s_m = torch.full((n,), 4.0)
    at = 12.0 + 11.0 * torch.arange(4) + (number[:, None] % 5)
    x, y, c, s = routes.place(at, torch.zeros_like(at) + 0.5 * (number[:, None] % 3))
    one = agents([{"x": 1.0}] * 4, n, 4)
    around = dataclasses.replace(
        one, x_m=x, y_m=y, yaw_rad=torch.atan2(s, c), speed_mps=torch.full_like(x, 3.0),
        lane=torch.stack([routes.at(routes.lane, a[:, None])[:, 0] for a in at.unbind(1)], 1),
        s_m=torch.stack([routes.at(routes.lane_s_m, a[:, None])[:, 0] for a in at.unbind(1)], 1),
    )  # fmt: skip
    hashes = [hashlib.sha256() for _ in seeds]
    for step in range(steps):
        choice = planner.plan(course, ego, around, torch.full((n,), 0.1 * step), s_m)
        ego = move_ego(ego, choice.control, 0.1)
        s_m = course.foot(ego.x_m[:, None], ego.y_m[:, None], s_m[:, None])[0][:, 0]
        for i, value in enumerate(hashes):
            value.update(choice.control[i].numpy().tobytes())
            value.update(choice.plan[i].contiguous().numpy().tobytes())
    return {seed: value.hexdigest() for seed, value in zip(seeds, hashes, strict=True)}


def test_a_world_does_not_depend_on_its_batch() -> None:
    towns = Towns([build(3, TRAINING_SPECS[kind]) for kind in ("urban", "roundabout")])
    whole = digests(towns, list(range(13)), 3)
    assert len(set(whole.values())) == 13
    back = digests(towns, list(range(12, -1, -1)), 3)
    assert back == whole
    assert digests(towns, [5], 3) == {5: whole[5]}
    assert digests(towns, [2, 7, 11], 3) == {seed: whole[seed] for seed in (2, 7, 11)}


def test_proposals_move_as_the_vehicle_does(towns: Towns) -> None:
    ego = egos_at([0.0, 0.0], [9.0, 3.0], latency_s=0.2)
    ego = dataclasses.replace(
        ego, yaw_rad=torch.tensor([3.1, -0.4]), steer_rad=torch.tensor([0.1, -0.3]),
        latency_s=torch.tensor([0.2, 0.05]), queue=torch.rand(2, 2, 2) - 0.5,
    )  # fmt: skip
    light = _Body(ego, (2, 1))
    for step in range(40):
        control = torch.tensor([[0.4, 2.0], [-0.5, 1.0 - 0.1 * step]])
        ego = move_ego(ego, control, 0.1, halves=1)
        light.move(control[:, :1], control[:, 1:])
    for one, other in ((light.x, ego.x_m), (light.y, ego.y_m), (light.speed, ego.speed_mps)):
        assert torch.allclose(one[:, 0], other, atol=2e-4)
    assert torch.allclose(torch.cos(light.yaw[:, 0]), torch.cos(ego.yaw_rad), atol=1e-4)
    assert torch.allclose(light.cos[:, 0], torch.cos(ego.yaw_rad), atol=1e-4)
