"""The stage and the fleet: events are where the truth says, and are met by the expert."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from opendojo.flywheel.fleet import FleetConfig, drive_name, read_truth, record_drives
from opendojo.flywheel.stage import EVENTS, shown, stage
from opendojo.model import NetConfig
from opendojo.world import World, WorldConfig

ROADS = WorldConfig(towns=("country",), agents=2, route_m=200.0)


def test_events_come_and_go_where_they_are_told_to() -> None:
    world = World([40, 41, 42, 43], ROADS)
    stage(world, ["cut_in", "debris", "red_runner", None], [0.5] * 4)
    assert shown(world).tolist() == [-1] * 4
    seen, least_m = np.zeros((30, 4), np.int64), torch.full((4,), 99.0)
    for step in range(30):
        seen[step] = shown(world).numpy()
        agents, ego = world.state.agents, world.state.ego
        far = torch.hypot(agents.x_m[:, 0] - ego.x_m, agents.y_m[:, 0] - ego.y_m)
        least_m = torch.where(agents.mask[:, 0], torch.minimum(least_m, far), least_m)
        world.step(torch.zeros(4, 2))
    for k in range(3):
        assert set(seen[:, k]) == {-1, k}, EVENTS[k]
        assert (seen[:5, k] == -1).all()
        assert least_m[k] < 40.0
    assert (seen[:, 3] == -1).all()
    world.reset()
    assert shown(world).tolist() == [-1] * 4


@pytest.mark.slow
def test_the_expert_heeds_events_and_other_worlds_stay_as_they_were() -> None:
    world, plain = World([40, 41, 42, 43], ROADS), World([40, 41, 42, 43], ROADS)
    stage(world, ["cut_in", "debris", "red_runner", None], [1.0] * 4)
    for _ in range(60):
        world.step(world.expert())
        plain.step(plain.expert())
    assert float(world.state.ego.x_m[3]) == float(plain.state.ego.x_m[3])
    assert ((plain.progress_m - world.progress_m)[:3] > 1.0).all()


def test_wrong_events_are_refused() -> None:
    world = World([40], ROADS)
    with pytest.raises(ValueError, match="no event 'meteor'"):
        stage(world, ["meteor"], [1.0])
    with pytest.raises(ValueError, match="1 kinds"):
        stage(world, [None, None], [1.0, 1.0])


def test_a_fleet_is_recorded_once_with_its_truth(tmp_path: Path) -> None:
    config = FleetConfig(drives=2, seconds=2.0, rare=0.5, world=ROADS)
    record_drives(tmp_path, config, NetConfig(), None)
    for k in range(2):
        assert (tmp_path / "drives" / drive_name(k) / "front.mp4").exists()
    truth = read_truth(tmp_path, drive_name(0))
    assert truth.path_m.shape == (20, 16, 2)
    assert truth.command.min() >= 1
    before = (tmp_path / "drives" / drive_name(0) / "log.parquet").stat().st_mtime_ns
    record_drives(tmp_path, config, NetConfig(), None)
    assert (tmp_path / "drives" / drive_name(0) / "log.parquet").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="truth"):
        read_truth(tmp_path, "drive-00099")
