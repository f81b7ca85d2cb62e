"""A driver around an exported step drives as the network itself does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from opendojo.evaluate import DriveConfig, NetworkDriver, Observation, drive
from opendojo.evaluate.onnx_driver import WARM_UP, OnnxDriver, percentiles
from opendojo.model import DrivingNet, NetConfig
from opendojo.model.export_driving import driving_meta, step_graph
from opendojo.model.export_run import Exported
from opendojo.world import World, WorldConfig

WORLD = WorldConfig(towns=("country",), agents=4)


@pytest.fixture(scope="module")
def network() -> DrivingNet:
    torch.manual_seed(0)
    net = DrivingNet(NetConfig())
    for weights in net.parameters():
        if not bool(weights.any()):
            nn.init.normal_(weights, std=0.03)
    return net.eval()


@pytest.fixture(scope="module")
def world() -> World:
    return World([1_000_000, 1_000_001], WORLD)


def exported(network: DrivingNet, **meta: object) -> Exported:
    """The graph itself in the clothes of a file."""
    graph = step_graph(network)
    inputs = [{"name": port.name} for port in graph.inputs]
    told = {**driving_meta(network), "graph": "step", "inputs": inputs, **meta}
    return Exported(path=Path("car.onnx"), meta=told, call=graph.run)


def test_it_plans_as_the_network_does_from_the_first_instant_on(
    network: DrivingNet, world: World
) -> None:
    mine, theirs = OnnxDriver(exported(network)), NetworkDriver(network)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):  # a second drive remembers nothing of the first
        mine.reset(2)
        theirs.reset(2)
        for _ in range(11):
            frames = torch.randint(
                0, 256, (2, 3, 6, 32, 64), generator=generator, dtype=torch.uint8
            )
            speed_mps = torch.rand(2, generator=generator) * 12
            seen = Observation(frames=frames, speed_mps=speed_mps, world=world)
            (control, path_m), (wanted, wanted_m) = mine.act(seen), theirs.act(seen)
            torch.testing.assert_close(path_m, wanted_m, rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(control, wanted, rtol=1e-3, atol=1e-3)


def test_it_drives_in_closed_loop_and_tells_its_latency(network: DrivingNet, world: World) -> None:
    config = DriveConfig(world=WORLD, limit_s=1.5, windows=False)
    driver = OnnxDriver(exported(network))
    drives = drive(driver, world.seeds, config, world=world)
    same = drive(NetworkDriver(network), world.seeds, config, world=world)
    assert drives.driver == "network"
    assert drives.routes[0].completion == pytest.approx(same.routes[0].completion, rel=1e-3)
    told = driver.latency()
    assert told["instants"] == len(driver.seconds) - WARM_UP > 0
    assert 0 < told["p50_ms"] <= told["p95_ms"] <= told["p99_ms"]


def test_percentiles_are_of_the_instants() -> None:
    told = percentiles([i / 1000 for i in range(101)])
    assert (told["p50_ms"], told["p95_ms"], told["p99_ms"]) == pytest.approx((50.0, 95.0, 99.0))
    assert percentiles([])["p50_ms"] is None


def test_another_rig_and_a_part_of_a_network_are_refused(network: DrivingNet, world: World) -> None:
    driver = OnnxDriver(exported(network))
    frames = torch.zeros(2, 2, 6, 32, 64, dtype=torch.uint8)
    with pytest.raises(ValueError, match="the rig has 2 cameras of 128x64"):
        driver.act(Observation(frames=frames, speed_mps=torch.zeros(2), world=world))
    with pytest.raises(ValueError, match="its part `plan`"):
        OnnxDriver(exported(network, graph="plan"))
