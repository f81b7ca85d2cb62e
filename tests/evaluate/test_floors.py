"""Floors: what each looks at, and that none finds a way around the score."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from opendojo.evaluate import (
    FLOORS,
    ConstantTurnRateDriver,
    DriveConfig,
    ExpertDriver,
    IdmDriver,
    NetworkDriver,
    Observation,
    ReplayDriver,
    ShuffledDriver,
    roll,
)
from opendojo.model import DrivingNet, NetConfig
from opendojo.world import VEHICLE, World, WorldConfig

CONFIG = DriveConfig(world=WorldConfig(towns=("country",), agents=4, route_m=40.0), limit_s=3.0)
SEEDS = [1_000_000, 1_000_001]


@pytest.fixture(scope="module")
def world() -> World:
    return World(SEEDS, CONFIG.world)


def now(world: World, frames: Tensor | None = None) -> Observation:
    return Observation(frames=frames, speed_mps=world.speed_mps.clone(), world=world)


def test_the_floors_have_their_names_and_see_no_pixels() -> None:
    for name, make in FLOORS.items():
        driver = make()
        assert (driver.name, driver.needs_pixels) == (name, False)


def test_a_constant_turn_is_that_of_the_road_at_the_start(world: World) -> None:
    world.reset()
    driver = ConstantTurnRateDriver()
    driver.reset(2)
    control, _ = driver.act(now(world))
    bend = world.course.at(world.state.s_m[:, None]).curvature[:, 0]
    torch.testing.assert_close(control[:, 0].tan() / VEHICLE.wheelbase_m, bend)
    world.step(world.expert())
    assert torch.equal(driver.act(now(world))[0][:, 0], control[:, 0])


def test_the_experts_plan_is_where_it_drives(world: World) -> None:
    """In the axes of the vehicle, 0.1 s to a point: the first is its next place."""
    world.reset()
    ego = world.state.ego
    control, path_m = ExpertDriver().act(now(world))
    assert path_m is not None and path_m.shape == (2, 40, 2)
    world.step(control)
    there = world.state.ego
    cos, sin = ego.yaw_rad.cos(), ego.yaw_rad.sin()
    dx, dy = there.x_m - ego.x_m, there.y_m - ego.y_m
    driven = torch.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1)
    torch.testing.assert_close(path_m[:, 0], driven, atol=0.02, rtol=0.0)
    assert (path_m[:, -1, 0] > 20.0).all(), "four seconds ahead, at some 10 m/s or more"


def test_idm_is_the_worlds(world: World) -> None:
    world.reset()
    assert torch.equal(IdmDriver().act(now(world))[0], world.idm_on_centreline())


def test_a_replay_drives_the_recorded_way_and_leaves_the_world_as_it_was(world: World) -> None:
    experts = [m.world.state.ego for m in roll(ExpertDriver(), SEEDS, CONFIG, world=world)]
    world.reset()
    before = world.digests()
    driver = ReplayDriver(limit_s=3.0)
    driver.reset(2)
    driver.act(now(world))
    assert world.digests() == before
    egos = [m.world.state.ego for m in roll(driver, SEEDS, CONFIG, world=world)]
    last = min(len(egos), len(experts)) - 1
    gap = torch.hypot(egos[last].x_m - experts[last].x_m, egos[last].y_m - experts[last].y_m)
    assert last >= 20 and (gap < 0.8).all()


def test_a_replay_of_a_driver_that_needs_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="needs pixels"):
        ReplayDriver(NetworkDriver(DrivingNet(NetConfig())))


def test_a_shuffled_network_sees_the_other_worlds_frames(world: World) -> None:
    torch.manual_seed(0)
    network = DrivingNet(NetConfig())
    world.reset()
    frames = torch.randint(0, 256, (2, 3, 6, 32, 64), dtype=torch.uint8)
    shuffled, straight = ShuffledDriver(network), NetworkDriver(network)
    for driver in (shuffled, straight):
        driver.reset(2)
    assert (shuffled.name, shuffled.needs_pixels) == ("shuffled", True)
    torch.testing.assert_close(
        shuffled.act(now(world, frames))[1], straight.act(now(world, frames.flip(0)))[1]
    )


def test_alone_a_shuffled_network_sees_its_own_past() -> None:
    torch.manual_seed(0)
    world = World([1_000_000], WorldConfig(towns=("country",), agents=4))
    network = DrivingNet(NetConfig())
    shuffled, straight = ShuffledDriver(network), NetworkDriver(network)
    shuffled.reset(1)
    straight.reset(1)
    first, second = torch.randint(0, 256, (2, 1, 3, 6, 32, 64), dtype=torch.uint8)
    speed = torch.tensor([6.0])
    for seen, wanted in ((first, first), (second, first)):
        shown = Observation(frames=seen, speed_mps=speed, world=world)
        past = Observation(frames=wanted, speed_mps=speed, world=world)
        torch.testing.assert_close(shuffled.act(shown)[1], straight.act(past)[1])
