"""Learning on the way: what is driven, what is judged, and that an interruption changes nothing."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from opendojo.evaluate import NetworkDriver
from opendojo.model import SUB_SCORES, DrivingTrainee, NetConfig
from opendojo.recipes.live import LiveConfig, LiveSource
from opendojo.recipes.live.around import Surveyor
from opendojo.recipes.live.collect import drive_and_label, expert_path
from opendojo.recipes.live.exam import JUDGED, Examiner, in_world
from opendojo.recipes.live.rounds import read_round, write_round
from opendojo.train import TrainConfig, train
from opendojo.world import World, WorldConfig
from opendojo.world.draw.above import occupancy

NET = NetConfig()
LIVE = LiveConfig(
    world=WorldConfig(towns=("country",), agents=4),
    worlds=3,
    steps=10,
    rounds=2,
    round_steps=2,
    batch=2,
    expert_halves=0.1,
    expert_least=0.0,
)
TRAIN = TrainConfig(steps=4, checkpoint_every=50, threads=1)


@pytest.fixture(scope="module")
def world() -> World:
    made = World(LIVE.seeds(0), LIVE.world)
    made.reset()
    for _ in range(5):
        made.step(made.expert())
    return made


def test_candidates_in_the_world_start_from_the_ego_and_go_where_it_looks(world: World):
    fine = Examiner(NET)._fine
    straight = fine.some(world.speed_mps, torch.zeros(len(world.seeds), 1, dtype=torch.int64))
    plans = in_world(world, straight)
    ego = world.state.ego
    assert plans.x_m.shape == (3, 1, 41)
    assert torch.equal(plans.x_m[:, 0, 0], ego.x_m) and torch.equal(plans.y_m[:, 0, 0], ego.y_m)
    way = 4.0 * world.speed_mps
    assert torch.allclose(plans.x_m[:, 0, -1], ego.x_m + way * ego.yaw_rad.cos(), atol=0.02)
    assert torch.allclose(plans.y_m[:, 0, -1], ego.y_m + way * ego.yaw_rad.sin(), atol=0.02)


def test_the_judge_tells_the_way_of_the_road_from_a_way_off_it(world: World):
    """Some of the candidates nearest to the expert stay on the road for all four seconds (they end
    half a metre off and the lane leaves the vehicle less than one); the tightest turns leave it."""
    examiner, choice = Examiner(NET), world.choice()
    path_m = expert_path(world, choice, examiner.times_s)
    count = len(examiner.vocabulary)
    every = torch.arange(count).expand(3, -1)
    terms = world.terms(in_world(world, examiner._fine.some(world.speed_mps, every)))
    rolled = examiner.vocabulary(world.speed_mps)
    gap = (rolled.places_m - path_m[:, None]).square().sum(-1).mean(-1)
    near = gap.topk(20, 1, largest=False).indices
    assert terms.dac.gather(1, near).amax(1).eq(1.0).all()
    assert terms.nc.gather(1, near).eq(1.0).all()
    right = rolled.y_m[..., -1].argmin(-1)
    assert terms.dac[torch.arange(3), right].eq(0.0).all()


def test_what_lies_around_agrees_with_the_view_from_above():
    """The world's own grid has row 0 farthest ahead and column 0 farthest left."""
    world = World(range(6), WorldConfig(towns=("urban",), agents=24))
    net = NetConfig(grid_cells=32, grid_x_m=(-32.0, 32.0), grid_y_m=(-32.0, 32.0))
    around, n = Surveyor(net).around(world), len(world.seeds)
    scene, atlas = world.scene, world.towns.atlas
    above = occupancy(scene, atlas, cells=32, cell_m=2.0).flip(-1, -2).transpose(-1, -2)
    assert around.road[:, 0].float().mean() > 0.05
    assert (around.road[:, 0] == above[:, 0]).float().mean() > 0.999
    agents = around.agents_mask.sum(-1)
    assert around.agents_mask.shape == (n, world.state.agents.mask.shape[1]) and agents.any()
    near = around.agents_mask & (around.agents[..., :2].abs() < 30.0).all(-1)
    place = (around.agents[..., :2] / 2.0 + 16.0).floor().long()
    for i, k in near.nonzero().tolist():
        x, y = place[i, k].tolist()
        assert around.occupancy[i, :, y, x].any() and above[i, 1, y, x]
    assert near.any() and not (around.occupancy.any(1) & ~_wider(above[:, 1])).any()


def _wider(grid: Tensor) -> Tensor:
    return functional.max_pool2d(grid.float(), 3, 1, 1).bool()


def test_an_instant_has_labels_of_every_kind():
    worlds = World(LIVE.seeds(0), LIVE.world)
    instants = list(
        drive_and_label(worlds, None, 4, Examiner(NET), Surveyor(NET), expert_share=1.0)
    )
    asked, not_asked = instants[0], instants[1]
    assert asked.judged.shape == (3, JUDGED)
    assert asked.terms.shape == (3, JUDGED, len(SUB_SCORES))
    assert not asked.terms.isnan().any() and not_asked.terms.isnan().all()
    assert asked.terms.min() >= 0.0 and asked.terms.max() <= 1.0
    assert int(asked.command.min()) >= 1 and int(asked.command.max()) <= 4
    later = torch.stack([instant.path_m[:, -1, 0] for instant in instants])
    assert later.gt(0.0).all(), "the expert drives on"


def test_who_drives_is_the_share_asked_for():
    """A driver that brakes and does nothing else: its worlds slow down, the expert's do not."""
    driver = NetworkDriver(DrivingTrainee(NET).network)
    driver.act = lambda seen: (torch.tensor([[0.0, -6.0]]).repeat(3, 1), torch.zeros(3, 16, 2))
    slowed = {}
    for share in (0.0, 0.5, 1.0):
        worlds = World(LIVE.seeds(0), LIVE.world)
        drives = list(
            drive_and_label(worlds, driver, 10, Examiner(NET), Surveyor(NET), expert_share=share)
        )
        slowed[share] = drives[-1].speed_mps < drives[0].speed_mps - 2.5
    assert slowed[0.0].all() and not slowed[1.0].any()
    assert 0 < int(slowed[0.5].sum()) < 3


def test_a_round_is_there_whole_or_not_at_all(tmp_path: Path):
    worlds = World(LIVE.seeds(0), LIVE.world)
    instants = list(
        drive_and_label(worlds, None, 3, Examiner(NET), Surveyor(NET), expert_share=1.0)
    )

    def broken():
        yield instants[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_round(tmp_path, "round", broken())
    assert not list(tmp_path.iterdir())
    (tmp_path / ".round").mkdir()  # as a kill leaves it
    (tmp_path / ".round" / "yuv.npy").write_bytes(b"half")
    write_round(tmp_path, "round", iter(instants))
    assert [path.name for path in tmp_path.iterdir()] == ["round"]
    found = read_round(tmp_path / "round")
    for name in ("yuv", "speed_mps", "path_m", "judged"):
        wanted = torch.stack([getattr(instant, name) for instant in instants])
        assert torch.equal(torch.from_numpy(getattr(found, name).copy()), wanted), name


@pytest.mark.parametrize(
    "stops", [(3,), pytest.param((1, 2, 3), marks=pytest.mark.slow)], ids=["once", "everywhere"]
)
def test_a_stopped_run_drives_and_learns_the_same(tmp_path: Path, stops: tuple[int, ...]):
    whole = train(tmp_path / "whole", NET, LiveSource(tmp_path / "a", LIVE, NET), TRAIN)
    for after in stops:
        folder, run = tmp_path / f"live{after}", tmp_path / f"run{after}"
        taken = 0

        def stop(after: int = after) -> bool:
            nonlocal taken
            taken += 1
            return taken == after

        train(run, NET, LiveSource(folder, LIVE, NET), TRAIN, stop=stop)
        resumed = train(run, NET, LiveSource(folder, LIVE, NET), TRAIN)
        assert resumed.digest == whole.digest, f"stopped after {after}"
    first, second = (read_round(tmp_path / "a" / f"round-{i:04d}-00") for i in (0, 1))
    assert not (first.yuv == second.yuv).all(), "each round has worlds of its own"


def test_windows_in_which_the_expert_turns_or_brakes_come_more_often(tmp_path: Path):
    config = dataclasses.replace(LIVE, worlds=4, plain=0.25, batch=40)
    source = LiveSource(tmp_path, config, NET)
    source.follow(lambda: DrivingTrainee(NET), 0)
    (drives,) = source._rounds[0]
    times_s = source._examiner.times_s.numpy()
    path_m, speed_mps = np.zeros_like(drives.path_m), np.full_like(drives.speed_mps, 8.0)
    path_m[..., 0] = 8.0 * times_s  # straight on at one speed in worlds 0 and 1,
    path_m[:, 2, :, 1] = 1.0 * times_s**2  # to the left in world 2,
    path_m[:, 3, :, 0] -= 1.0 * times_s**2  # and braking in world 3
    episode = np.zeros_like(drives.episode)
    source._rounds[0] = [
        dataclasses.replace(drives, path_m=path_m, speed_mps=speed_mps, episode=episode)
    ]
    seen = torch.cat([source._batch(number).path_m[:, 0, -1] for number in range(8)])
    turned, braked = (seen[:, 1] > 1.0).sum(), (seen[:, 0] < 24.0).sum()
    plain = len(seen) - turned - braked  # of four windows drawn, half are plain
    assert 0.12 < plain / len(seen) < 0.30, "a quarter of the others, so a fifth of all"
    assert 0.7 < turned / braked < 1.4


def test_a_lost_round_is_named(tmp_path: Path):
    source = LiveSource(tmp_path, LIVE, NET)
    trainee = DrivingTrainee(NET)
    with pytest.raises(ValueError, match="round-0000-00 is gone"):
        source.follow(lambda: trainee, 1)
    source.follow(lambda: trainee, 0)
    source.follow(lambda: trainee, 1)
    assert next(iter(source.batches(0))).truth.terms is not None


def test_ranks_share_the_driving_and_the_batches(tmp_path: Path):
    config = dataclasses.replace(LIVE, parts=2, worlds=2)
    trainee = DrivingTrainee(NET)
    alone = LiveSource(tmp_path / "one", config, NET)
    alone.follow(lambda: trainee, 0)
    two = [LiveSource(tmp_path / "two", config, NET, rank, 2) for rank in range(2)]
    threads = [threading.Thread(target=s.follow, args=(lambda: trainee, 0)) for s in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = next(iter(alone.batches(0)))
    shares = [next(iter(source.batches(0))) for source in two]
    for name, tensor in wanted.tensors().items():
        assert torch.equal(torch.cat([getattr(s, name) for s in shares]), tensor), name
    assert wanted.truth.judged is not None
    judged = [share.truth.judged for share in shares]
    assert all(part is not None for part in judged)
    assert torch.equal(
        torch.cat([part for part in judged if part is not None]), wanted.truth.judged
    )


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"worlds": 0}, "live.worlds"),
        ({"steps": 7}, "a window alone has 8"),
        ({"expert_least": 1.5}, "expert_least"),
        ({"expert_halves": 0.0}, "expert_halves"),
        ({"plain": 0.0}, "live.plain"),
    ],
)
def test_bad_values_are_named(bad: dict[str, float], word: str):
    with pytest.raises(ValueError, match=word):
        dataclasses.replace(LIVE, **bad)


def test_a_network_must_fit_the_world_and_its_judge(tmp_path: Path):
    with pytest.raises(ValueError, match="cameras"):
        LiveSource(tmp_path, LIVE, NetConfig(cameras=("front",)))
    with pytest.raises(ValueError, match="path_horizon_s"):
        LiveSource(tmp_path, LIVE, NetConfig(path_horizon_s=3.0))
    with pytest.raises(ValueError, match="3 ranks"):
        LiveSource(tmp_path, LIVE, NET, 0, 3)
