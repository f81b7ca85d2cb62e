from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import Tensor

from opendojo.evaluate import (
    HELD_OUT_SETS,
    ConstantVelocityDriver,
    DriveConfig,
    ExpertDriver,
    Observation,
    StopDriver,
    drive,
    follow,
    roll,
    table,
)
from opendojo.world import EVALUATION_SEEDS, VEHICLE, WorldConfig

COUNTRY = WorldConfig(towns=("country",), agents=4)
SHORT = DriveConfig(world=WorldConfig(route_m=60.0, towns=("country",), agents=4), limit_s=20.0)
TINY = dataclasses.replace(SHORT, limit_s=0.1)
SEEDS = [1_000_000, 1_000_001, 1_000_002, 1_000_003]


def test_the_expert_is_the_ceiling_and_the_floors_are_low() -> None:
    expert = drive(ExpertDriver(), SEEDS[:3], SHORT)
    assert all(route.success for route in expert.routes)
    assert expert.mean("score") > 97.0 and expert.mean("comfort") > 0.95
    constant = drive(ConstantVelocityDriver(), SEEDS[:3], DriveConfig(world=COUNTRY, limit_s=12.0))
    assert constant.mean("score") < 40.0 and not any(r.success for r in constant.routes)


def test_stopping_scores_only_the_roll_out() -> None:
    drives = drive(StopDriver(), SEEDS, DriveConfig(world=COUNTRY, limit_s=6.0))
    for i, route in enumerate(drives.routes):
        speed_mps = drives.trace.speed_mps[0, i]
        lag_m = 2 * VEHICLE.lag_s * speed_mps
        roll_out_m = speed_mps**2 / (2 * 4.0)
        assert not route.success
        if route.collided or route.off_road:  # on a bend it rolls out of its lane
            continue
        assert route.completion * 250.0 == pytest.approx(roll_out_m + lag_m / 2, abs=lag_m / 2)
        assert route.seconds == pytest.approx(6.0)
    assert drives.mean("score") < 8.0


class Creeper(StopDriver):
    """Brakes down to walking pace and stays in its lane: it must not pay."""

    name = "creep"

    def act(self, observation: Observation) -> tuple[Tensor, None]:
        control = observation.world.expert().clone()
        wanted = (0.5 - observation.speed_mps).clamp(-4.0, 1.0)
        control[:, 1] = torch.minimum(wanted, control[:, 1])
        return control, None


@pytest.mark.slow
def test_creeping_ends_where_the_time_does() -> None:
    config = DriveConfig(world=COUNTRY, limit_s=8.0)
    creep, stop = (drive(d, SEEDS[:2], config) for d in (Creeper(), StopDriver()))
    gained_m = (creep.mean("completion") - stop.mean("completion")) * 250.0
    assert 0.0 < gained_m < 0.5 * 8.0 + 2.0
    assert not any(route.success for route in creep.routes)


def test_a_route_does_not_depend_on_its_neighbours_nor_on_what_follows_its_end() -> None:
    short = dataclasses.replace(SHORT, limit_s=6.0)
    together = drive(ConstantVelocityDriver(), SEEDS[:3], short)
    for i, seed in enumerate(SEEDS[:1]):
        assert drive(ConstantVelocityDriver(), [seed], short).routes[0] == together.routes[i]
    longer = drive(ConstantVelocityDriver(), SEEDS[:3], dataclasses.replace(short, limit_s=8.0))
    ended = [r for r in zip(together.routes, longer.routes, strict=True) if r[0].off_road]
    assert ended and all(a == b for a, b in ended)


def test_a_roll_draws_pictures_only_when_asked() -> None:
    tiny = dataclasses.replace(SHORT, limit_s=0.2)
    plain = list(roll(StopDriver(), SEEDS[:1], tiny))
    assert len(plain) == 3 and all(moment.frames is None for moment in plain)
    drawn = next(roll(StopDriver(), SEEDS[:1], tiny, pixels=True))
    assert drawn.frames is not None and drawn.frames.shape == (1, 3, 6, 32, 64)


@pytest.mark.slow
def test_following_the_experts_way_keeps_the_lane() -> None:
    """The tracker on the true path of the world's own vehicle, with its lag and steering rate."""
    times_s = torch.arange(1, 17) * 0.25

    class Centre(StopDriver):
        def act(self, observation: Observation) -> tuple[Tensor, Tensor]:
            world = observation.world
            ego = world.state.ego
            pace = (observation.speed_mps + 0.5).clamp(max=8.0)
            ahead_m = world.state.s_m[:, None] - VEHICLE.centre_m + pace[:, None] * times_s
            x, y, _, _ = world.routes.place(ahead_m, torch.zeros_like(ahead_m))
            dx, dy = x - ego.x_m[:, None], y - ego.y_m[:, None]
            cos, sin = ego.yaw_rad.cos()[:, None], ego.yaw_rad.sin()[:, None]
            path_m = torch.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1)
            return follow(path_m, times_s, observation.speed_mps), path_m

    alone = WorldConfig(agents=1, route_m=150.0, towns=("country",))
    config = DriveConfig(world=alone, limit_s=30.0)
    for route in drive(Centre(), SEEDS[:2], config).routes:
        assert route.success and route.off_lane_share == 0.0 and route.comfort > 0.9


def test_the_table_is_json_with_means_and_ranges_over_the_sets() -> None:
    result = table([StopDriver()], [[1_000_000, 1_000_001], [1_000_002]], TINY)
    assert json.loads(json.dumps(result)) == result
    score = result["drivers"]["stop"]["score"]
    assert score["mean"] == pytest.approx(sum(score["values"]) / 2)
    assert (score["min"], score["max"]) == (min(score["values"]), max(score["values"]))
    scores = [route["score"] for route in result["drivers"]["stop"]["routes"]]
    assert score["values"] == pytest.approx([(scores[0] + scores[1]) / 2, scores[2]])


def test_the_fingerprint_tells_seeds_and_configurations_apart() -> None:
    longer = dataclasses.replace(TINY, limit_s=0.2)
    same, again, other_seeds, other_config = (
        table([StopDriver()], [[seed]], config)["fingerprint"]
        for seed, config in ((5, TINY), (5, TINY), (6, TINY), (5, longer))
    )
    assert same == again and len({same, other_seeds, other_config}) == 3


def test_held_out_roads_are_held_out_and_differ() -> None:
    flat = [seed for seeds in HELD_OUT_SETS for seed in seeds]
    assert len(set(flat)) == 15 and all(seed in EVALUATION_SEEDS for seed in flat)


def test_a_limit_under_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="limit_s"):
        DriveConfig(limit_s=0.01)
