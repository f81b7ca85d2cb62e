"""Recorded maps as worlds: they load, are drawn, and are driven; what is broken says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from opendojo.cli import main
from opendojo.world import World, WorldConfig, front_only

FOLDER = Path("maps") / "commonroad_factory" / "tests" / "resources"


@pytest.fixture(scope="module")
def files(shared_data: Path) -> tuple[str, ...]:
    found = sorted((shared_data / FOLDER).glob("*/*.xml"))
    assert len(found) == 11
    return tuple(str(path) for path in found)


@pytest.fixture(scope="module")
def world(files: tuple[str, ...]) -> World:
    return World(range(len(files)), WorldConfig(cameras=front_only(), maps=files))


def test_every_file_is_drawn_and_driven(world: World) -> None:
    """Pictures show road below and sky above; the expert gets on or waits, and leaves no road."""
    world.reset()
    luma = world.render()[:, 0, :64].float()
    assert (luma.flatten(1).std(1) > 8.0).all()
    assert (luma[:, :8].mean((1, 2)) > luma[:, 56:].mean((1, 2)) + 10.0).all()
    users = world.state.agents.mask.sum(1)
    assert users[3:].min() >= 1, "the scenarios have recorded traffic, the bare maps have none"
    hit = torch.zeros(len(users), dtype=torch.bool)
    for _ in range(30):
        world.step(world.expert())
        hit |= world.collided
        assert not (world.off_road & ~hit).any()
    assert (world.progress_m > 2.0).float().mean() > 0.5


def test_a_map_is_the_same_alone_and_in_company(files: tuple[str, ...], world: World) -> None:
    alone = World([5], WorldConfig(cameras=front_only(), maps=files))
    world.reset()
    for _ in range(5):
        alone.step(torch.zeros(1, 2))
        world.step(torch.zeros(len(files), 2))
    shown = (alone.state.agents, world.state.agents)
    kept = shown[0].x_m.shape[1]
    for name in ("mask", "x_m", "y_m", "yaw_rad", "speed_mps"):
        one, other = (getattr(agents, name) for agents in shown)
        assert torch.equal(one[0], other[5, :kept]), name
    assert not shown[1].mask[5, kept:].any()
    assert torch.equal(alone.state.ego.x_m[0], world.state.ego.x_m[5])
    assert torch.equal(alone.render()[0], world.render()[5])


def test_worlds_start_as_the_task_says(files: tuple[str, ...]) -> None:
    from opendojo.world.maps import scenario_of

    task = scenario_of(files[5]).tasks[0]
    ego = World([5], WorldConfig(cameras=front_only(), maps=files)).state.ego
    assert float(ego.speed_mps[0]) == pytest.approx(task.speed_mps)
    x, y = (float(v[0]) for v in ego.middle())
    assert abs(complex(x - task.x_m, y - task.y_m)) < 6.0


def test_traffic_of_our_own_drives_on_maps(files: tuple[str, ...]) -> None:
    world = World([0, 1], WorldConfig(cameras=front_only(), maps=files[5:6], traffic="drawn"))
    for _ in range(3):
        world.step(world.idm_on_centreline())
    assert world.state.agents.x_m.shape == (2, 16) and world.state.agents.mask.any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<commonRoad", "fetch it again"),
        ("<commonRoad commonRoadVersion='2020a' timeStepSize='0.1'/>", "lanelet"),
    ],
)
def test_a_broken_map_names_its_fault_and_is_bad_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    path = tmp_path / "broken.xml"
    path.write_text(text)
    assert main(["world", "view", "--map", str(path), "--out", str(tmp_path / "x.png")]) == 3
    err = capsys.readouterr().err
    assert "broken.xml" in err and words in err
    assert not (tmp_path / "x.png").exists()


def test_a_map_that_is_not_there_is_a_matter_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drive", "--map", str(tmp_path / "none.xml")]) == 2
    assert "none.xml" in capsys.readouterr().err
