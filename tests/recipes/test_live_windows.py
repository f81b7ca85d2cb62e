"""Windows of a live batch: some of their instants, and the mirrored world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from opendojo.clip import Camera
from opendojo.model import DrivingTrainee, LossConfig, NetConfig
from opendojo.model.vocabulary import Vocabulary
from opendojo.recipes.live import LiveBatch, LiveConfig, LiveSource
from opendojo.recipes.live.collect import drive_and_label
from opendojo.recipes.live.rounds import write_round
from opendojo.world import World, WorldConfig, tesla_eight

NET = NetConfig()
LIVE = LiveConfig(
    world=WorldConfig(towns=("urban",), agents=24),
    worlds=3,
    steps=14,
    rounds=1,
    round_steps=9,
    batch=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One round of the expert's driving, the same for every way to cut windows of it."""
    path = tmp_path_factory.mktemp("live")
    source = LiveSource(path, LIVE, NET)
    world = World(LIVE.seeds(0), LIVE.world)
    examiner, surveyor = source._examiner, source._surveyor
    drives = drive_and_label(world, None, LIVE.steps, examiner, surveyor, expert_share=1.0)
    write_round(path, "round-0000-00", drives)
    return path


def batch_of(folder: Path, config: LiveConfig) -> LiveBatch:
    source = LiveSource(folder, config, NET)
    source.follow(torch.nn.Identity, 0)
    return next(source.batches(0))


def test_some_instants_of_the_same_windows(folder: Path):
    whole = batch_of(folder, LIVE)
    some = batch_of(folder, replace(LIVE, instants=(0, 4, 6, 7)))
    keep = [0, 4, 6, 7]
    assert whole.instants == tuple(range(8)) and some.instants == (0, 4, 6, 7)
    for name in ("yuv", "time_s", "speed_mps", "path_m", "command"):
        assert torch.equal(getattr(some, name), getattr(whole, name)[:, keep]), name
    assert some.truth.agents is not None and whole.truth.agents is not None
    assert torch.equal(some.truth.agents, whole.truth.agents[:, keep])


def test_a_forecast_is_learnt_where_the_later_picture_is_shown(folder: Path):
    """Four frames ahead: of (0, 4, 6, 7) the first alone, of (0, 1, 2) none."""
    torch.manual_seed(0)
    trainee = DrivingTrainee(NET, LossConfig(speed_drop=0.0)).eval()
    whole, some, none = (
        batch_of(folder, replace(LIVE, instants=instants))
        for instants in ((0, 1, 2, 3, 4), (0, 4, 6, 7), (0, 1, 2))
    )
    losses = [trainee(batch)["forecast"] for batch in (whole, some, none)]
    assert losses[1] > 0.0 and losses[2] == 0.0
    assert torch.allclose(losses[0], losses[1], rtol=1e-4)


def test_the_mirrored_world(folder: Path):
    """With every window mirrored: pictures, places, commands and judged candidates change sides."""
    plain, other = batch_of(folder, LIVE), batch_of(folder, replace(LIVE, flip=1.0))
    assert torch.equal(other.y[:, :, [0, 2, 1]], plain.y.flip(-1))  # front, left, right
    assert torch.allclose(other.lens, plain.lens, atol=1e-5)  # an even rig
    assert torch.equal(other.path_m[..., 0], plain.path_m[..., 0])
    assert torch.equal(other.path_m[..., 1], -plain.path_m[..., 1])
    swap = {0: 0, 1: 1, 2: 4, 3: 3, 4: 2}
    assert other.command.flatten().tolist() == [swap[c] for c in plain.command.flatten().tolist()]
    here, there = plain.truth, other.truth
    assert here.occupancy is not None and there.occupancy is not None
    assert here.occupancy.any() and torch.equal(there.occupancy, here.occupancy.flip(-2))
    assert here.judged is not None and there.judged is not None
    rolled = Vocabulary(NET)
    one, two = rolled.some(plain.speed_mps, here.judged), rolled.some(plain.speed_mps, there.judged)
    assert torch.equal(one.x_m, two.x_m) and torch.equal(one.y_m, -two.y_m)
    assert here.terms is not None and there.terms is not None
    assert torch.equal(here.terms, there.terms)


def test_boxes_stay_on_their_cells_in_the_mirror(folder: Path):
    """The grid is drawn from the agents: mirrored agents lie in mirrored cells."""
    batch = batch_of(folder, replace(LIVE, flip=0.5))
    truth, (low, high) = batch.truth, NET.grid_y_m
    assert truth.agents is not None and truth.agents_mask is not None
    assert truth.occupancy is not None
    x_m, y_m = truth.agents[..., 0], truth.agents[..., 1]
    count = truth.occupancy.shape[-1]
    column = ((x_m - NET.grid_x_m[0]) / (NET.grid_x_m[1] - NET.grid_x_m[0]) * count).floor().long()
    row = ((y_m - low) / (high - low) * count).floor().long()
    inside = truth.agents_mask & (column >= 0) & (column < count) & (row >= 0) & (row < count)
    some = truth.occupancy.any(2).flatten(0, 1)
    found = [bool(some[i, r, c]) for i, r, c in zip(
        inside.flatten(0, 1).nonzero()[:, 0], row[inside], column[inside], strict=True
    )]  # fmt: skip
    assert len(found) > 10 and all(found)


def test_an_uneven_rig_is_not_mirrored(tmp_path: Path):
    def trial(rig: tuple[Camera, ...]) -> None:
        net = replace(NET, cameras=tuple(c.name for c in rig))
        world = replace(LIVE.world, cameras=rig)
        LiveSource(tmp_path, replace(LIVE, world=world, flip=0.5), net)

    front, left, right = LIVE.world.cameras
    trial((front, left, right))
    trial((front,))
    turned = replace(right, mount=replace(right.mount, yaw_rad=right.mount.yaw_rad + 0.1))
    with pytest.raises(ValueError, match=r"'left' has no mirror image .* set it to 0"):
        trial((front, left, turned))
    with pytest.raises(ValueError, match="'front_narrow' has no mirror image"):
        trial(tesla_eight())


@pytest.mark.parametrize("bad", [{"instants": (0, 8)}, {"instants": (4, 0)}, {"flip": 1.5}])
def test_bad_windows_are_named(bad: dict[str, object]):
    with pytest.raises(ValueError, match=next(iter(bad))):
        replace(LIVE, **bad)  # type: ignore[arg-type]
