from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from opendojo.evaluate import (
    ConstantVelocityDriver,
    Driver,
    ExpertDriver,
    NetworkDriver,
    Observation,
    StopDriver,
)
from opendojo.evaluate.driver import path_times
from opendojo.loader.lens import lens_rows
from opendojo.model import DrivingNet, Motion, NetConfig
from opendojo.world import World, WorldConfig


def network(blind: bool = False) -> DrivingNet:
    torch.manual_seed(0)
    return DrivingNet(NetConfig(blind=blind)).eval()


@pytest.fixture(scope="module")
def world() -> World:
    return World([1_000_000, 1_000_001], WorldConfig(towns=("country",), agents=4))


def observed(world: World, speed_mps: list[float], frames: Tensor | None = None) -> Observation:
    return Observation(frames=frames, speed_mps=torch.tensor(speed_mps), world=world)


def test_constant_velocity_holds_the_first_speed_until_reset(world: World) -> None:
    driver = ConstantVelocityDriver()
    driver.reset(2)
    assert driver.act(observed(world, [5.0, 9.0]))[0].tolist() == [[0, 0], [0, 0]]
    control, path_m = driver.act(observed(world, [4.5, 9.5]))
    assert control[0, 1] > 0 > control[1, 1] and path_m is None
    driver.reset(2)
    assert driver.act(observed(world, [4.5, 9.5]))[0].tolist() == [[0, 0], [0, 0]]


def test_stop_brakes_straight_and_the_expert_is_the_worlds(world: World) -> None:
    control, _ = StopDriver().act(observed(world, [5.0, 9.0]))
    assert (control[:, 1] < 0).all() and (control[:, 0] == 0).all()
    assert torch.equal(ExpertDriver().act(observed(world, [5.0, 9.0]))[0], world.expert())


def test_a_network_driver_plans_what_the_network_says_about_the_window(world: World) -> None:
    """Step by step with a memory of features equals the whole window at once."""
    net, driver = network(), None
    driver = NetworkDriver(net)
    driver.reset(2)
    generator = torch.Generator().manual_seed(1)
    shape = (2, 10, 3, 6, 32, 64)
    frames = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    speeds = torch.rand(2, 10, generator=generator) * 12
    here = torch.ones(2, 3, dtype=torch.bool)
    rig = world.config.cameras
    lens = torch.from_numpy(lens_rows(rig, [camera.name for camera in rig])).expand(2, -1, -1)
    for step in range(10):
        seen = Observation(frames=frames[:, step], speed_mps=speeds[:, step], world=world)
        _, path_m = driver.act(seen)
        first = max(0, step - 7)  # the last eight, fewer at the start
        window = slice(first, step + 1)
        with torch.inference_mode():
            command = (world.command + 1)[:, None].expand(-1, step + 1 - first)
            motion = Motion.of(speeds[:, window], command=command)
            whole = net(frames[:, window], here, lens, motion).path_m[:, -1]
        torch.testing.assert_close(path_m, whole, rtol=1e-4, atol=1e-4)


def test_reset_forgets(world: World) -> None:
    driver = NetworkDriver(network())
    driver.reset(2)
    one = Observation(
        frames=torch.full((2, 3, 6, 32, 64), 90, dtype=torch.uint8),
        speed_mps=torch.tensor([6.0, 7.0]),
        world=world,
    )
    first, _ = driver.act(one)
    driver.act(one)
    driver.reset(2)
    assert torch.equal(driver.act(one)[0], first)


def test_a_blind_network_needs_no_pixels(world: World) -> None:
    driver = NetworkDriver(network(blind=True))
    driver.reset(2)
    control, path_m = driver.act(observed(world, [5.0, 9.0]))
    assert (driver.name, driver.needs_pixels) == ("blind", False)
    assert control.shape == (2, 2) and path_m.shape == (2, 16, 2)


@pytest.mark.parametrize(
    "make", [StopDriver, ConstantVelocityDriver, ExpertDriver, lambda: NetworkDriver(network())]
)
def test_drivers_fit_the_seam(make: Callable[[], Driver]) -> None:
    driver = make()
    assert driver.name and isinstance(driver.needs_pixels, bool)
    driver.reset(3)


def test_path_times_end_at_the_horizon() -> None:
    times_s = path_times(network(blind=True))
    assert times_s[0] == 0.25 and times_s[-1] == 4.0 and len(times_s) == 16
