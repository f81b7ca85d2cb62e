import math

import pytest
import torch

from opendojo.model import COMMANDS, SUB_SCORES, NetConfig, Vocabulary
from opendojo.model import vocabulary as v
from opendojo.world import VEHICLE, World, WorldConfig, route
from opendojo.world.judge_terms import LAT_ACCEL_MPS2, Terms

SPEEDS = torch.tensor([0.0, 0.5, 2.0, 4.5, 8.0, 14.0, 25.0, 40.0])
STEP_S = 0.25


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(NetConfig(size="tiny"))


@pytest.fixture(scope="module")
def rolled(vocabulary):
    return vocabulary(SPEEDS)


def test_limits_and_names_are_the_worlds():
    assert VEHICLE.wheelbase_m == v.WHEELBASE_M
    assert (VEHICLE.max_steer_rad, VEHICLE.max_steer_rate) == (v.MAX_STEER_RAD, v.MAX_STEER_RATE)
    assert v.LATERAL_MPS2 < LAT_ACCEL_MPS2
    assert set(SUB_SCORES) <= set(Terms.__dataclass_fields__)
    for number, name in enumerate(COMMANDS[1:]):
        assert getattr(route, name.upper()) == number


def test_the_first_goes_straight_on_at_its_speed(rolled):
    times_s = torch.tensor(NetConfig().path_times_s)
    torch.testing.assert_close(rolled.x_m[:, 0], SPEEDS[:, None] * times_s)
    assert not rolled.y_m[:, 0].any() and (rolled.speed_mps[:, 0] == SPEEDS[:, None]).all()


def test_candidates_obey_the_bicycle(rolled):
    """Recomputed from the poses: acceleration, way, curvature, wheel, lateral acceleration."""
    start = SPEEDS[:, None, None].expand(-1, rolled.x_m.shape[1], 1)
    speed = torch.cat([start, rolled.speed_mps], -1).double()
    accel = speed.diff(dim=-1) / STEP_S
    assert accel.min() >= VEHICLE.min_accel_mps2 - 1e-4
    assert accel.max() <= VEHICLE.max_accel_mps2 + 1e-4
    zero = torch.zeros_like(start)
    x, y, yaw = (
        torch.cat([zero, p], -1).double() for p in (rolled.x_m, rolled.y_m, rolled.yaw_rad)
    )
    mean = 0.5 * (speed[..., 1:] + speed[..., :-1])
    turned = yaw.diff(dim=-1)
    chord = torch.hypot(x.diff(dim=-1), y.diff(dim=-1))
    half = 0.5 * turned.abs().clamp(min=1e-9)
    torch.testing.assert_close(chord, mean * STEP_S * half.sin() / half, rtol=1e-4, atol=1e-4)
    heading = torch.atan2(y.diff(dim=-1), x.diff(dim=-1))
    off = (heading - (yaw[..., :-1] + 0.5 * turned) + math.pi) % (2 * math.pi) - math.pi
    assert off[chord > 0.05].abs().max() < 1e-2
    curvature = torch.where(mean > 0.05, turned / (mean * STEP_S).clamp(min=1e-6), 0.0)
    assert (curvature * mean * mean).abs().max() <= v.LATERAL_MPS2 * 1.001
    steer = torch.atan(VEHICLE.wheelbase_m * curvature)
    assert steer.abs().max() <= VEHICLE.max_steer_rad + 1e-4
    moving = (mean[..., 1:] > 0.05) & (mean[..., :-1] > 0.05)
    rate = torch.where(moving, steer.diff(dim=-1) / STEP_S, 0.0)
    assert rate.abs().max() <= VEHICLE.max_steer_rate


def test_it_can_stand_halt_and_turn_tightly(rolled):
    still = rolled.places_m[0].norm(dim=-1).amax(-1)
    assert still.min() == 0.0
    halts = (rolled.speed_mps[:7, :, -1] == 0).any(-1)
    assert halts[:6].all(), "from 14 m/s a car halts within four seconds"
    slow = SPEEDS.tolist().index(2.0)
    turn = rolled.yaw_rad[slow].diff(dim=-1) / (rolled.speed_mps[slow, :, :-1] * STEP_S).clamp(
        min=0.1
    )
    assert 1.0 / turn.abs().max() < 5.5
    assert torch.equal(rolled.y_m.amax(1), -rolled.y_m.amin(1)), "left and right alike"


def test_other_horizons_roll_the_same_ways():
    fine = Vocabulary(NetConfig(path_points=40, path_horizon_s=4.0))(SPEEDS)
    coarse = Vocabulary(NetConfig())(SPEEDS)
    apart = (fine.places_m[:, :, 9::10] - coarse.places_m[:, :, 3::4]).norm(dim=-1)
    assert apart.mean() < 0.2


@pytest.fixture(scope="module")
def driven():
    """Speeds [n] and places [n, 4, 2] at 0.5, ..., 2 s of plans of the world's expert."""
    world = World(list(range(40, 44)), WorldConfig(towns=("country", "urban"), agents=6))
    rows = []
    for step in range(36):
        choice = world.choice()
        if step % 4 == 3:
            ego = world.state.ego
            cos, sin = ego.yaw_rad.cos()[:, None], ego.yaw_rad.sin()[:, None]
            dx = choice.plan[:, 5:21:5, 0] - ego.x_m[:, None]
            dy = choice.plan[:, 5:21:5, 1] - ego.y_m[:, None]
            places = torch.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1)
            rows.append((ego.speed_mps, places))
        world.step(choice.control)
    return [torch.cat(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_it_covers_what_the_worlds_expert_drives(driven, size):
    """The nearest candidate's mean distance over the first two seconds: see `docs/networks.md`."""
    speed_mps, places = driven
    candidates = Vocabulary(NetConfig(size=size))(speed_mps).places_m[:, :, 1:8:2]
    nearest = (candidates - places[:, None]).norm(dim=-1).mean(-1).amin(1)
    assert nearest.mean() < 0.25


def test_some_candidates_are_those_of_all():
    vocabulary = Vocabulary(NetConfig())
    speed = torch.tensor([0.0, 3.0, 11.0])
    index = torch.randint(len(vocabulary), (3, 9), generator=torch.Generator().manual_seed(0))
    some, all_taken = vocabulary.some(speed, index), vocabulary(speed).taken(index)
    for name in ("x_m", "y_m", "yaw_rad", "speed_mps"):
        assert torch.equal(getattr(some, name), getattr(all_taken, name)), name
